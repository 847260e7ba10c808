"""The token endpoint: client credentials for a service principal (Microsoft identity platform, OAuth 2.0 client
credentials flow). Errors carry the AADSTS text that the SDKs look for."""

import secrets
from typing import Any

from deploy.sandbox.azure.state import World

LIFETIME = 3600.0  # seconds, as Entra's access tokens


def configuration(base: str, tenant: str) -> dict[str, Any]:
    """The OpenID document of a tenant, as far as MSAL reads it."""
    root = f"{base}/{tenant}"
    return {
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "issuer": f"{root}/v2.0",
        "jwks_uri": f"{root}/discovery/v2.0/keys",
        "tenant_region_scope": None,
    }


def token(world: World, tenant: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and body for a token request."""
    principal = world.principals.get(form.get("client_id", "").lower())
    if principal is None or principal.tenant.lower() != tenant.lower():
        text = f"AADSTS700016: Application with identifier '{form.get('client_id')}' was not found in the directory."
        return 401, {"error": "unauthorized_client", "error_description": text, "error_codes": [700016]}
    if not secrets.compare_digest(principal.secret.encode(), form.get("client_secret", "").encode()):
        text = "AADSTS7000215: Invalid client secret provided."
        return 401, {"error": "invalid_client", "error_description": text, "error_codes": [7000215]}
    made = secrets.token_urlsafe(32)
    world.tokens[made] = (principal.client.lower(), world.now() + LIFETIME)
    return 200, {
        "token_type": "Bearer",
        "expires_in": int(LIFETIME),
        "ext_expires_in": int(LIFETIME),
        "access_token": made,
    }
