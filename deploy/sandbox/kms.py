"""Which KMS key an EBS operation uses, and whether the caller may use it; the keys themselves are moto's.

"Amazon EBS encryption" (EBS user guide): without a key the account's `alias/aws/ebs` of that region; a key of another
account needs a key policy or grant that names the caller's account.
"""

import json
from typing import Any

from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError

EBS_ALIAS = "alias/aws/ebs"
CROSS_ACCOUNT = ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ListGrants", "ReEncrypt")
NOT_ACCESSIBLE = "Given key ID is not accessible"  # StateMessage, CopySnapshot in the EC2 API reference


def backend(account: str, region: str) -> Any:
    from moto.kms import kms_backends

    return kms_backends[account][region]


def default_key(account: str, region: str, alias: str = EBS_ALIAS) -> str:
    """ARN of the AWS managed key of a service, made when first needed."""
    return backend(account, region).describe_key(alias).arn


def find(account: str, region: str, key_id: str) -> Any:
    """The key behind an id, alias or ARN as seen from an account and region; None when there is none."""
    if key_id.startswith("arn:"):
        parts = key_id.split(":", 5)
        if len(parts) < 6 or parts[3] != region:
            return None
        account, key_id = parts[4], parts[5].removeprefix("key/")
    held = backend(account, region)
    try:
        return held.describe_key(key_id)
    except Exception:  # moto raises whatever its look-up meets
        return None


def policy_allows(key: Any, account: str) -> bool:
    """Whether the key's policy or a grant names the account, its root or one of its roles."""
    try:
        statements = json.loads(key.policy).get("Statement", [])
    except (TypeError, ValueError):
        return False
    for statement in statements:
        principal = statement.get("Principal", {})
        names = principal.get("AWS", []) if isinstance(principal, dict) else principal
        names = [names] if isinstance(names, str) else names
        if statement.get("Effect") == "Allow" and any(n == "*" or account in n.split(":") for n in names):
            return True
    return any(account in grant.grantee_principal.split(":") for grant in key.grants.values())


def is_default(arn: str | None) -> bool:
    """Whether an ARN names an AWS managed key, which never leaves its account."""
    if not arn or not arn.startswith("arn:"):
        return False
    _, _, _, region, account, _ = arn.split(":", 5)
    key = find(account, region, arn)
    return key is not None and key.key_manager == "AWS"


def answering_account(caller: str, operation: str, parameters: dict) -> str:
    """The account whose keys a KMS request is about: a key's own one when its policy lets the caller in.

    "Allowing users in other accounts to use a KMS key" (KMS developer guide): by key ARN, for cryptographic
    operations, DescribeKey and grants. AccessDeniedException otherwise.
    """
    arn = str(parameters.get("KeyId", ""))
    parts = arn.split(":", 5)
    if operation not in CROSS_ACCOUNT or len(parts) < 6 or parts[2] != "kms" or parts[4] == caller:
        return caller
    key = find(parts[4], parts[3], arn)
    if key is None or not policy_allows(key, caller):
        raise AwsError("AccessDeniedException", f"Account {caller} is not allowed to use {arn}.", 400)
    return parts[4]


def usable(call: Call, arn: str | None, action: str = "kms:CreateGrant") -> bool:
    """Whether the caller can decrypt and encrypt with a key, now; `action` is what its role must allow."""
    if arn is None:
        return True
    if not arn.startswith("arn:"):
        return False
    region = arn.split(":")[3]
    key = find(call.account, region, arn)
    if key is None or not key.enabled or key.key_state != "Enabled":
        return False
    return policy_allows(key, call.account) and call.principal.allows(action)


def chosen(call: Call, key_id: str | None, alias: str = EBS_ALIAS) -> tuple[str, bool]:
    """(ARN, usable) of the key for something new; an unknown key keeps its name and is not usable."""
    if not key_id:
        return default_key(call.account, call.region, alias), True
    key = find(call.account, call.region, key_id)
    if key is None:
        return key_id, False
    return key.arn, usable(call, key.arn)
