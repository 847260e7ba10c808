"""Who may do what with a bucket: its own account by the caller's role, other accounts by a bucket policy as well.

"How Amazon S3 authorizes a request", "Bucket policies" (S3 user guide). A statement with a condition counts as one
whose condition is not met, which is right for the common demand of TLS; ACLs are not looked at (the default of new
buckets, "Controlling ownership of objects").
"""

import json
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from deploy.sandbox.call import Call, Principal
from deploy.sandbox.errors import AwsError
from deploy.sandbox.s3_route import Target

PARTITION = "aws"
ACTIONS = {  # "Required permissions for Amazon S3 API operations", where the action has another name
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListBuckets": "ListAllMyBuckets",
    "DeleteObjects": "DeleteObject",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}
BY_VERSION = {  # the same document, where a request names a version
    "GetObject": "GetObjectVersion",
    "DeleteObject": "DeleteObjectVersion",
    "GetObjectTagging": "GetObjectVersionTagging",
}


def owner_of(bucket: str) -> str | None:
    """The account that a bucket belongs to."""
    from moto.s3.models import s3_backends

    held = s3_backends.bucket_accounts.get(bucket)
    return held[1] if held else None


def backend(account: str) -> Any:
    """moto's S3 of an account."""
    from moto.s3.models import s3_backends

    return s3_backends[account][PARTITION]


def bucket_of(name: str) -> Any:
    """moto's bucket; NoSuchBucket (404)."""
    account = owner_of(name)
    if account is None:
        raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
    return backend(account).buckets[name]


def denied(what: str) -> AwsError:
    return AwsError("AccessDenied", f"Access Denied: {what}", 403)


def check(call: Call, target: Target, headers: dict[str, str]) -> str:
    """The account in whose name the request is done; AccessDenied (403) and NoSuchBucket (404)."""
    action = ACTIONS.get(target.operation, target.operation)
    action = BY_VERSION.get(action, action) if target.version else action
    if target.operation in ("ListBuckets", "CreateBucket"):
        if not call.principal.allows(f"s3:{action}"):
            raise denied(action)
        return call.account
    bucket = bucket_of(target.bucket)
    expected = headers.get("x-amz-expected-bucket-owner")
    if expected and expected != bucket.account_id:
        raise denied("the bucket belongs to another account")
    check_one(call.principal, bucket, action, target.key)
    source = headers.get("x-amz-copy-source")
    if source and target.operation in ("CopyObject", "UploadPartCopy"):
        path, _, query = source.partition("?")
        name, _, key = unquote(path).lstrip("/").partition("/")
        check_one(call.principal, bucket_of(name), "GetObjectVersion" if query else "GetObject", key)
    return bucket.account_id


def check_one(principal: Principal, bucket: Any, action: str, key: str) -> None:
    """AccessDenied (403) unless the caller may do this with a bucket or an object in it."""
    resource = f"arn:{PARTITION}:s3:::{bucket.name}" + (f"/{key}" if key else "")
    verdict = _policy(bucket.policy, principal, f"s3:{action}", resource)
    own = principal.account == bucket.account_id
    if verdict == "Deny" or not principal.allows(f"s3:{action}") or (not own and verdict != "Allow"):
        raise denied(f"s3:{action} on {resource}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names(principal: Principal, who: Any) -> bool:
    if who == "*":
        return True
    mine = {"*", principal.account, f"arn:{PARTITION}:iam::{principal.account}:root", principal.arn}
    if principal.role is not None:
        mine.add(principal.role.arn)
    return isinstance(who, dict) and any(name in mine for name in _listed(who.get("AWS", [])))


def _policy(policy: bytes | None, principal: Principal, action: str, resource: str) -> str:
    """`Deny`, `Allow` or nothing."""
    verdict = ""
    for statement in _listed(json.loads(policy)["Statement"]) if policy else []:
        patterns = [str(a).lower() for a in _listed(statement.get("Action", []))]
        fits = any(fnmatchcase(action.lower(), p) for p in patterns)
        fits = fits and any(fnmatchcase(resource, r) for r in _listed(statement.get("Resource", [])))
        if not fits or statement.get("Condition") or not _names(principal, statement.get("Principal")):
            continue
        if statement["Effect"] == "Deny":
            return "Deny"
        verdict = "Allow"
    return verdict
