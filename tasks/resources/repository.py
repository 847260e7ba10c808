"""What the account of a repository must be allowed: on its bucket, below its prefix, and on its key in KMS.

One role does all of it, the account's `role_arn`: an archive takes away its own parts, and a prune writes tombstones.
Against whoever has that role there is Object Lock. Sources: "Required permissions for Amazon S3 API operations" (S3
user guide); HeadObject (S3 API reference), which leaves locks out for whoever may not read them.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

_UNSEEN = "locks are not seen: in a bucket with Object Lock nothing is compacted, moved or deleted as a whole"
# Action -> what does not work without it.
ON_BUCKET: Mapping[str, str] = {
    "s3:ListBucket": "nothing is archived, restored or pruned",
    "s3:GetBucketVersioning": "nothing is pruned or moved",
    "s3:ListBucketVersions": "in a bucket with versions nothing is pruned or moved",
    "s3:GetBucketObjectLockConfiguration": "nothing is compacted, moved or deleted as a whole",
    "s3:GetLifecycleConfiguration": "a lifecycle rule that would eat packs is not seen",
}
ON_OBJECTS: Mapping[str, str] = {
    "s3:GetObject": "nothing is archived or restored",
    "s3:PutObject": "nothing is archived",
    "s3:DeleteObject": "nothing is pruned",
    "s3:DeleteObjectVersion": "in a bucket with versions nothing is pruned or moved",
    "s3:RestoreObject": "nothing comes back from a cold class",
    "s3:GetObjectRetention": _UNSEEN,
    "s3:GetObjectLegalHold": _UNSEEN,
}
_LOCKING: Mapping[str, str] = {"s3:PutObjectRetention": "nothing is locked"}
ON_KEY: Mapping[str, str] = {
    "kms:Decrypt": "nobody opens the repository",
    "kms:Encrypt": "the repository is not created, and its key is not exchanged",
}
# "Protecting data with server-side encryption using AWS KMS keys" (S3 user guide): S3 asks in the caller's name.
_ON_STORE_KEY: Mapping[str, str] = {
    "kms:Decrypt": "nothing is read that S3 has encrypted under this key",
    "kms:GenerateDataKey": "nothing is written",
}


def rights_of(spec: Mapping[str, Any], partition: str = "aws") -> dict[str, Mapping[str, str]]:
    """By ARN, the actions that a repository of the estate needs there, each with what does not work without it.

    Empty for one that does not lie in S3.
    """
    place = urlsplit(str(spec["url"]))
    if place.scheme != "s3":
        return {}
    bucket, prefix = f"arn:{partition}:s3:::{place.netloc}", unquote(place.path).strip("/")
    found: dict[str, Mapping[str, str]] = {
        bucket: ON_BUCKET,
        f"{bucket}/{prefix}{'/' if prefix else ''}*": {**ON_OBJECTS, **(_LOCKING if spec.get("lock") else {})},
    }
    for field, actions in (("kms_key", ON_KEY), ("sse_kms_key", _ON_STORE_KEY)):
        if spec.get(field):
            found[str(spec[field])] = {**found.get(str(spec[field]), {}), **actions}
    return found


def statements_of(spec: Mapping[str, Any], partition: str = "aws") -> list[dict[str, Any]]:
    """The same as statements of an IAM policy."""
    rights = rights_of(spec, partition)
    return [{"Effect": "Allow", "Action": sorted(actions), "Resource": [arn]} for arn, actions in rights.items()]
