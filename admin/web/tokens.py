"""Service tokens: random texts of which the catalog keeps only the SHA-256."""

import hashlib
import secrets

from tasks.catalog import Token
from tasks.clock import Clock

_PREFIX = "Bearer "


def new_token() -> tuple[str, str]:
    """A fresh token: the text to hand over once, and the digest to store."""
    text = f"snapfleet-{secrets.token_urlsafe(32)}"
    return text, digest(text)


def digest(text: str) -> str:
    """What a Token row keeps of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """The token of an Authorization header; '' when there is none."""
    return header.removeprefix(_PREFIX).strip() if header and header.startswith(_PREFIX) else ""


def allows(text: str, scope: str, clock: Clock) -> bool:
    """Whether a token is known, of this scope and not expired. Needs a session."""
    if not text:
        return False
    row = Token.get_or_none(Token.digest == digest(text), Token.scope == scope)
    return row is not None and (row.expires_at is None or row.expires_at > clock.timer())
