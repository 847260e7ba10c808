"""A store in Amazon S3, or in anything that speaks its protocol (s3://BUCKET/PREFIX).

Packs are few and large, so boto3 is fast enough here: measured 2026-11, 0.38 CPU-s a GiB with the payload unsigned
(over TLS) and a CRC-32 of our own, 1.71 with the defaults.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from workers.repository.errors import (
    AccessRefused,
    Archived,
    Conflict,
    Missing,
    RepositoryError,
    StoreUnavailable,
    Unsuitable,
)
from workers.repository.store import PLAIN, Body, Features, Put, Stat, Thaw

COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})
CLASSES = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
_REFUSED = {"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
_MISSING = {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}
# An expired session is another one at the next attempt.
_PASSING = {"ExpiredToken", "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling"}
_PASSING |= {"503", "500"}
_CONFLICTS = 5  # 409 means that another conditional write is under way: ask again


def s3_client(endpoint: str | None = None, region: str | None = None, session: Any = None) -> Any:
    """A client as the store wants it: unsigned payload over TLS, no checksum but ours, patient retries.

    Credentials, and the endpoint when None, come from the SDK's own settings.
    """
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 8},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=64,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": "path" if endpoint else "auto"},
        user_agent_extra="snapfleet",
    )
    return (session or boto3).client("s3", endpoint_url=endpoint, region_name=region, config=config)


class S3Store:
    """Objects below `prefix` of a bucket. `encryption` are PutObject's server-side encryption parameters, as
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN}."""

    def __init__(self, client: Any, bucket: str, prefix: str = "", encryption: dict[str, str] | None = None) -> None:
        self._client, self._bucket = client, bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._encryption = encryption or {}
        self._versions: bool | None = None
        self.url = f"s3://{bucket}/{self._prefix}".rstrip("/")

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._write(name, body, how, {})

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._conditional(name, body, how, {"IfNoneMatch": "*"})

    def replace(self, name: str, body: Body, tag: str) -> str:
        return self._conditional(name, body, PLAIN, {"IfMatch": tag})

    def get(self, name: str) -> tuple[bytes, str]:
        with self._translated(name):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            return answer["Body"].read(), answer["ETag"]

    def read(self, name: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        with self._translated(name):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes={start}-{start + length - 1}"
                )
            except ClientError as error:
                if _code(error) == "InvalidRange":
                    return b""
                raise
            body: bytes = answer["Body"].read()
            return body

    def list(self, prefix: str) -> Iterator[Stat]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    yield Stat(
                        item["Key"][len(self._prefix) :],
                        item["Size"],
                        item["LastModified"],
                        _class(item.get("StorageClass")),
                    )

    def stat(self, name: str) -> Stat:
        with self._translated(name):
            facts = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        return Stat(name, facts["ContentLength"], facts["LastModified"], _class(facts.get("StorageClass")))

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        kept: dict[str, str] = {}
        batch: list[dict[str, str]] = []
        for name in names:
            batch.extend(self._entries(name))
            while len(batch) >= 1000:
                kept.update(self._delete(batch[:1000]))
                batch = batch[1000:]
        if batch:
            kept.update(self._delete(batch))
        return kept

    def thaw(self, names: Iterable[str], days: int, tier: str) -> dict[str, Thaw]:
        return {name: self._thaw(name, days, tier) for name in names}

    def extend_lock(self, name: str, until: datetime) -> None:
        with self._translated(name):
            self._client.put_object_retention(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
                ChecksumAlgorithm="CRC32",
            )

    def reclass(self, name: str, storage_class: str) -> None:
        key = self._prefix + name
        before = [entry for entry in self._entries(name) if "VersionId" in entry]
        with self._translated(name):
            lock = self._lock_of(key)
            self._client.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": key},
                StorageClass=storage_class,
                MetadataDirective="COPY",
                **self._encryption,
            )
            if lock:  # a copy has no lock of itself
                self._client.put_object_retention(
                    Bucket=self._bucket, Key=key, Retention=lock, ChecksumAlgorithm="CRC32"
                )
        if before:  # in a bucket with versions the warm one stays beside the copy; while it is locked it must
            self._delete(before)

    def _lock_of(self, key: str) -> dict[str, Any]:
        """How an object is locked now, as PutObjectRetention takes it; empty for one that is not."""
        if not self._has_versions():
            return {}
        facts = self._client.head_object(Bucket=self._bucket, Key=key)
        mode, until = facts.get("ObjectLockMode"), facts.get("ObjectLockRetainUntilDate")
        return {"Mode": mode, "RetainUntilDate": until} if mode and until else {}

    def features(self) -> Features:
        locks = self._setting(lambda: self._client.get_object_lock_configuration(Bucket=self._bucket))
        on = (locks or {}).get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        rules = self._setting(lambda: self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket))
        return Features(on, CLASSES, tuple(self._dangers((rules or {}).get("Rules", []))), COLD)

    def _dangers(self, rules: Iterable[dict[str, Any]]) -> Iterator[str]:
        """Lifecycle rules that would delete or move objects behind the repository's back."""
        for rule in rules:
            prefix = rule.get("Filter", {}).get("Prefix", rule.get("Prefix", "")) or ""
            touches = prefix.startswith(self._prefix) or self._prefix.startswith(prefix)
            if rule.get("Status") == "Enabled" and touches:
                if "Expiration" in rule and ("Days" in rule["Expiration"] or "Date" in rule["Expiration"]):
                    yield f"Lifecycle rule {rule.get('ID', '')!r} deletes objects of this repository: remove it."
                if any(move.get("StorageClass") in COLD for move in rule.get("Transitions", ())):
                    yield f"Lifecycle rule {rule.get('ID', '')!r} archives objects that must stay readable: remove it."

    def _setting(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return ask()
        except ClientError as error:
            if _code(error) in _REFUSED:
                raise AccessRefused(f"{self.url} does not show its settings.") from None
            return None  # not configured, or not known to this server
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self.url} did not answer ({type(error).__name__}).") from None

    def _write(self, name: str, body: Body, how: Put, condition: dict[str, str]) -> str:
        extra: dict[str, Any] = dict(self._encryption)
        if how.storage_class:
            extra["StorageClass"] = how.storage_class
        if how.retain_until is not None:
            extra |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": how.retain_until}
        check = base64.b64encode(binascii.crc32(body).to_bytes(4, "big")).decode()
        with self._translated(name):
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=body,
                ChecksumAlgorithm="CRC32",
                ChecksumCRC32=check,
                **condition,
                **extra,
            )
            return str(answer["ETag"])

    def _conditional(self, name: str, body: Body, how: Put, condition: dict[str, str]) -> str:
        """A conditional write. After a time-out the SDK sends again and may be told 412 by its own success: what is
        there is compared with what was sent."""
        for _ in range(_CONFLICTS):
            try:
                return self._write(name, body, how, condition)
            except _Underway:
                continue
            except Conflict:
                found, tag = self.get(name)
                if found == bytes(body):
                    return tag
                raise
        raise StoreUnavailable(f"Others keep writing {name}.")

    def _entries(self, name: str) -> Iterator[dict[str, str]]:
        """What to delete for a name: in a bucket with versions, each version, so that it is gone for good."""
        key = self._prefix + name
        if not self._has_versions():
            yield {"Key": key}
            return
        with self._translated(name):
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
            for page in pages:
                for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                    if item["Key"] == key:
                        yield {"Key": key, "VersionId": item["VersionId"]}

    def _delete(self, entries: Sequence[dict[str, str]]) -> dict[str, str]:
        with self._translated("objects"):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": entries, "Quiet": True}, ChecksumAlgorithm="CRC32"
            )
        kept = {}
        for error in answer.get("Errors", ()):
            if error.get("Code") not in _MISSING:
                reason = "locked or no right" if error.get("Code") == "AccessDenied" else str(error.get("Code"))
                kept[error["Key"][len(self._prefix) :]] = reason
        return kept

    def _has_versions(self) -> bool:
        if self._versions is None:
            facts = self._setting(lambda: self._client.get_bucket_versioning(Bucket=self._bucket))
            self._versions = (facts or {}).get("Status") in ("Enabled", "Suspended")
        return self._versions

    def _thaw(self, name: str, days: int, tier: str) -> Thaw:
        key = self._prefix + name
        with self._translated(name):
            facts = self._client.head_object(Bucket=self._bucket, Key=key)
            if _class(facts.get("StorageClass")) not in COLD or 'ongoing-request="false"' in facts.get("Restore", ""):
                return Thaw.READY
            if 'ongoing-request="true"' not in facts.get("Restore", ""):
                try:
                    self._client.restore_object(
                        Bucket=self._bucket,
                        Key=key,
                        RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": tier}},
                    )
                except ClientError as error:
                    if _code(error) != "RestoreAlreadyInProgress":
                        raise
        return Thaw.UNDERWAY

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise _ours(_code(error), name, self.url) from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self.url} did not answer at {name} ({type(error).__name__}).") from None


class _Underway(Conflict):
    """409: another conditional write to the same name is in flight."""


def _class(stated: str | None) -> str:
    return "" if stated in (None, "STANDARD") else str(stated)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _ours(code: str, name: str, url: str) -> RepositoryError:
    if code in ("PreconditionFailed", "412"):
        return Conflict(f"{name} is not as expected.")
    if code in ("ConditionalRequestConflict", "409"):
        return _Underway(f"{name} is being written.")
    if code in _MISSING:
        return Missing(f"{name} is not there.")
    if code == "NoSuchBucket":
        return Unsuitable(f"{url}: there is no such bucket.", advice="Create it first.")
    if code == "InvalidObjectState":
        return Archived(f"{name} is archived.")
    if code == "RequestTimeTooSkewed":
        return Unsuitable("This host's clock is too far off.", advice="Set the clock, then try again.")
    if code in _REFUSED:
        return AccessRefused(f"{url} refuses {name} ({code}).")
    if code in _PASSING:
        return StoreUnavailable(f"{url} is busy ({code}).")
    return RepositoryError(f"{url} refuses {name} ({code}).")
