"""How Object Lock holds an object in S3: asked for by name, version by version.

A HEAD cannot tell: S3 leaves the lock's headers out for whoever lacks s3:GetObjectRetention or s3:GetObjectLegalHold,
so that a locked object looks free (HeadObject, x-amz-object-lock-*, Amazon S3 API reference, read 2026-11). These two
questions are refused instead, and a refusal is no answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workers.repository.errors import AccessRefused
from workers.repository.s3wire import REFUSED

# What S3 says of an object without retention, or without a hold (GetObjectRetention, GetObjectLegalHold).
_NONE = frozenset({"NoSuchObjectLockConfiguration"})
_ADVICE = "Allow s3:GetObjectRetention and s3:GetObjectLegalHold there: without them a locked object looks free."


@dataclass(frozen=True)
class ObjectLock:
    """Retention with its mode, '' for none, and whether somebody holds the object until they let it go."""

    mode: str = ""
    until: datetime | None = None
    held: bool = False

    @property
    def end(self) -> datetime | None:
        """Until when nobody may delete it; None when nothing holds it, the end of time under a hold."""
        return datetime.max.replace(tzinfo=UTC) if self.held else self.until


def default_lock(settings: dict[str, Any]) -> tuple[str, ...]:
    """What a bucket's own default retention means for a repository, as a sentence; nothing without one."""
    rule = settings.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    if not rule:
        return ()
    spell = f"{rule['Days']} days" if rule.get("Days") else f"{rule.get('Years')} years"
    text = f"The bucket itself locks each object for {spell} ({rule.get('Mode')})"
    return (f"{text}: what is pruned or taken away before stays, and is billed, until then.",)


def lock_of(client: Any, bucket: str, key: str, version: str = "") -> ObjectLock:
    """How an object, or one version of it, is locked. Two requests.

    Raises AccessRefused where the locks may not be read, and what the SDK raises for other answers.
    """
    named = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
    kept = _asked(client, key, lambda: client.get_object_retention(**named)).get("Retention", {})
    hold = _asked(client, key, lambda: client.get_object_legal_hold(**named)).get("LegalHold", {})
    return ObjectLock(str(kept.get("Mode", "")), kept.get("RetainUntilDate"), hold.get("Status") == "ON")


def _asked(client: Any, key: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask()
    except client.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NONE:
            return {}
        if code in REFUSED:
            raise AccessRefused(f"Whether {key} is locked may not be read.", advice=_ADVICE) from None
        raise
