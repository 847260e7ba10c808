"""Object Lock: what is retained can be retained longer, never shorter, save governance with the right to bypass it.

"How S3 Object Lock works" (S3 user guide); "PutObjectRetention", "GetObjectRetention", "GetObjectLegalHold",
"HeadObject" (S3 API reference).
"""

import re
from datetime import datetime
from typing import Any

from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request, Response
from deploy.sandbox.s3_route import Target

MODES = ("GOVERNANCE", "COMPLIANCE")
BYPASS = "x-amz-bypass-governance-retention"
# HeadObject and GetObject return these only to callers with the permission to read them ("HeadObject").
_SHOWN = {
    "s3:GetObjectRetention": ("x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"),
    "s3:GetObjectLegalHold": ("x-amz-object-lock-legal-hold",),
}


def bypasses(call: Call, headers: dict[str, str]) -> bool:
    """Whether the caller asks to pass governance retention, and may."""
    return headers.get(BYPASS, "").lower() == "true" and call.principal.allows("s3:BypassGovernanceRetention")


def moment(text: str) -> datetime:
    """A date as S3 takes it; InvalidArgument (400) for what is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise AwsError("InvalidArgument", f"Not a date: {text}", 400) from None


def _future(text: str, now: datetime) -> datetime:
    until = moment(text)
    if until <= now:
        raise AwsError("InvalidArgument", "The retain until date must be in the future!", 400)
    return until


def check_headers(call: Call, headers: dict[str, str]) -> None:
    """The lock headers of a new object: both or none, a known mode, a date to come."""
    mode, until = headers.get("x-amz-object-lock-mode"), headers.get("x-amz-object-lock-retain-until-date")
    if (mode is None) != (until is None):
        text = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
        raise AwsError("InvalidArgument", text, 400)
    if mode is not None and mode not in MODES:
        raise AwsError("InvalidArgument", "Unknown wormMode directive.", 400)
    if until is not None:
        _future(until, call.now)


def _element(body: bytes, name: str) -> str | None:
    found = re.search(rb"<%s>\s*([^<]*?)\s*</%s>" % (name.encode(), name.encode()), body)
    return found[1].decode() if found else None


def check_retention(call: Call, request: Request, version: Any) -> None:
    """AccessDenied (403) for a PutObjectRetention that would weaken what holds."""
    mode, text = _element(request.body, "Mode"), _element(request.body, "RetainUntilDate")
    if (mode is None) != (text is None) or (mode is not None and mode not in MODES):
        raise AwsError("MalformedXML", "The XML you provided was not well-formed.", 400)
    until = _future(text, call.now) if text else None
    if not version.lock_mode or moment(version.lock_until) <= call.now:
        return
    longer = until is not None and until >= moment(version.lock_until) and mode == version.lock_mode
    if longer or (version.lock_mode == "GOVERNANCE" and bypasses(call, request.headers)):
        return
    raise AwsError("AccessDenied", "Access Denied because object protected by object lock.", 403)


def get_retention(version: Any, bucket: Any) -> Response:
    """GetObjectRetention, which moto does not have."""
    inner = f"<Mode>{version.lock_mode}</Mode><RetainUntilDate>{version.lock_until}</RetainUntilDate>"
    return _told(bucket, version.lock_mode, "Retention", inner)


def get_legal_hold(version: Any, bucket: Any) -> Response:
    """GetObjectLegalHold; moto has no error for an object without one."""
    return _told(bucket, version.lock_legal_status, "LegalHold", f"<Status>{version.lock_legal_status}</Status>")


def _told(bucket: Any, found: Any, element: str, inner: str) -> Response:
    if not bucket.object_lock_enabled:
        raise AwsError("InvalidRequest", "Bucket is missing Object Lock Configuration", 400)
    if not found:
        text = "The specified object does not have a ObjectLock configuration"
        raise AwsError("NoSuchObjectLockConfiguration", text, 404)
    body = f'<{element} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{element}>'
    return Response(200, {"Content-Type": "application/xml"}, body.encode())


def conceal(call: Call, response: Response) -> None:
    """Leave out of an answer what the caller may not know of a lock."""
    for action, names in _SHOWN.items():
        if not call.principal.allows(action):
            for name in [one for one in response.headers if one.lower() in names]:
                del response.headers[name]


def carry(bucket: Any, upload: Any, made: Any) -> None:
    """A multipart object is locked as its CreateMultipartUpload said, or by the bucket's default."""
    mode, until, hold = getattr(upload, "lock_headers", None) or (None, None, None)
    if mode is None and bucket.has_default_lock:
        mode, until = bucket.default_lock_mode, bucket.default_retention()
    made.lock_mode, made.lock_until, made.lock_legal_status = mode, until, hold


def remember(upload: Any, headers: dict[str, str]) -> None:
    """Keep a multipart upload's lock headers for its completion."""
    names = ("mode", "retain-until-date", "legal-hold")
    upload.lock_headers = tuple(headers.get(f"x-amz-object-lock-{n}") for n in names)


def forbids_suspension(bucket: Any, target: Target, body: bytes) -> bool:
    """Versioning of a bucket with Object Lock cannot be suspended."""
    suspending = target.operation == "PutBucketVersioning" and b"Suspended" in body
    return suspending and bool(bucket.object_lock_enabled)
