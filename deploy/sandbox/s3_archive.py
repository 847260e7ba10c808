"""RestoreObject: archived objects come back after a while, for some days.

"RestoreObject" (S3 API reference), "Archive retrieval options" (S3 user guide). How long a retrieval takes here is
configured; on AWS it is minutes to two days. The copy stays until the midnight (UTC) after its last day.
"""

import re
from datetime import timedelta
from typing import Any

from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request, Response

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
TIERS = {"GLACIER": ("Expedited", "Standard", "Bulk"), "DEEP_ARCHIVE": ("Standard", "Bulk")}


def refresh(version: Any, now: Any) -> None:
    """Let a restored copy end when its days are over."""
    if version.expires_at is not None and now >= version.expires_at:
        version.restored_at = version.expires_at = None


def tier_of(body: bytes) -> str:
    found = re.search(rb"<Tier>\s*(\w+)\s*</Tier>", body)
    return found[1].decode() if found else "Standard"


def restore(call: Call, request: Request, version: Any) -> Response:
    """202 when a retrieval begins, 200 when there is a copy already, whose days then count anew."""
    kind = version.storage_class
    if kind not in ARCHIVES:
        text = "Restore is not allowed for the object's current storage class"
        raise AwsError("InvalidObjectState", text, 403)
    found, tier = re.search(rb"<Days>\s*(-?\d+)\s*</Days>", request.body), tier_of(request.body)
    days = int(found[1]) if found else 0
    if days < 1:
        raise AwsError("MalformedXML", "Days must be at least 1.", 400)
    if tier not in TIERS[kind]:
        raise AwsError("InvalidArgument", "Retrieval option is not supported by this storage class", 400)
    restored = version.restored_at is not None and version.restored_at <= call.now
    if version.restored_at is not None and not restored:
        raise AwsError("RestoreAlreadyInProgress", "Object restore is already in progress", 409)
    if not restored:
        version.restored_at = call.now + timedelta(seconds=call.config.s3_restore_seconds[tier])
    last = max(version.restored_at, call.now) + timedelta(days=days + 1)
    version.expires_at = last.replace(hour=0, minute=0, second=0, microsecond=0)
    return Response(200 if restored else 202)


def check_readable(version: Any, now: Any) -> None:
    """InvalidObjectState (403) for an archived object without a restored copy."""
    if version.storage_class in ARCHIVES and (version.restored_at is None or version.restored_at > now):
        text = "The operation is not valid for the object's storage class"
        raise AwsError("InvalidObjectState", text, 403)
