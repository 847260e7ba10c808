"""Conditional writes and deletes: If-None-Match and If-Match, decided in one step with what they guard.

"Add preconditions to S3 operations with conditional requests" (S3 user guide): 412 when the condition is not met, 404
for If-Match on an object that is not there. A 409 for a concurrent write has to be planted as a fault.
"""

from typing import Any

from deploy.sandbox.errors import AwsError

CONDITIONS = ("if-match", "if-none-match")
GUARDED = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject")


def failed(name: str) -> AwsError:
    text = f"At least one of the pre-conditions you specified did not hold: {name}"
    return AwsError("PreconditionFailed", text, 412)


def current(bucket: Any, key: str) -> tuple[Any, bool]:
    """(the current version or None, whether the key is hidden by a delete marker)."""
    from moto.s3.models import FakeKey

    versions = bucket.keys.getlist(key, [])
    if not versions:
        return None, False
    return (versions[-1], False) if isinstance(versions[-1], FakeKey) else (None, True)


def check(bucket: Any, operation: str, key: str, headers: dict[str, str]) -> None:
    """PreconditionFailed (412), NoSuchKey (404), or NotImplemented (501) for If-None-Match with an ETag."""
    match, none = (headers.get(name) for name in CONDITIONS)
    if operation not in GUARDED or (match is None and none is None):
        return
    held, marked = current(bucket, key)
    if none is not None and operation != "DeleteObject":
        if none != "*":
            text = "A header you provided implies functionality that is not implemented"
            raise AwsError("NotImplemented", text, 501)
        if held is not None:
            raise failed("If-None-Match")
    if match is None:
        return
    if held is None:
        if marked and operation == "DeleteObject":
            raise failed("If-Match")
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    if match != "*" and match.strip('"') != held.etag.strip('"'):
        raise failed("If-Match")
