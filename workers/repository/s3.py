"""A store in Amazon S3, or in anything that speaks its protocol (s3://BUCKET/PREFIX).

What moves objects and happens often (put, get, stat, list) goes over a lean wire where there is one (s3wire.py), the
rest through the SDK. Measured 2026-11, CPU seconds a GiB: packs put by boto3 with its defaults 1.71, with the payload
unsigned (over TLS) and a CRC-32 of our own 0.38, of which zlib's CRC-32 had 0.25 and isal's has 0.04; over the wire
0.2. A process that never needs the SDK starts 0.2 s earlier, which is a third of a small incremental.
"""

import base64
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from workers.repository.errors import AccessRefused, Conflict, Missing, StoreUnavailable, Unsuitable
from workers.repository.http import proxy_for
from workers.repository.s3locks import ObjectLock, default_lock, lock_of
from workers.repository.s3wire import MISSING, REFUSED, Elsewhere, Underway, Wire, error_of, storage_class
from workers.repository.sdk import usable
from workers.repository.sigv4 import Credentials
from workers.repository.store import PLAIN, Body, Features, Put, Stat, Thaw

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})
CLASSES = ("STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
_INSTANT = "%Y-%m-%dT%H:%M:%SZ"
_CONFLICTS = 5  # 409 means that another conditional write is under way: ask again
# Where a request is signed for when no setting names a region; a bucket elsewhere is found by the SDK then.
_REGION = "us-east-1"
_SETTINGS = (
    "Allow s3:GetBucketVersioning, s3:GetBucketObjectLockConfiguration and s3:GetLifecycleConfiguration on the bucket."
)
# How server-side encryption is asked for on the wire.
_ENCRYPTION = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
}


def s3_client(
    endpoint: str | None = None,
    region: str | None = None,
    session: Any = None,
    proxies: Mapping[str, str] | None = None,
) -> Any:
    """A client as the store wants it: unsigned payload over TLS, no checksum but ours, patient retries.

    Credentials, and the endpoint and proxies when None, come from the SDK's own settings. The SDK is loaded when the
    client is first asked for something.
    """

    def make() -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": 8},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=64,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": False, "addressing_style": "path" if endpoint else "auto"},
            user_agent_extra="snapfleet",
            proxies=proxies,
        )
        return (session or boto3).client("s3", endpoint_url=endpoint, region_name=region, config=config)

    return _LateClient(make)


def s3_store(bucket: str, prefix: str, endpoint: str | None, region: str | None) -> "S3Store":
    """A store as workers open it: objects over the lean wire, the rest through the SDK, credentials, region, proxy and
    certificates as the SDK's own settings say. Raises Unsuitable without credentials."""
    import boto3

    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    with usable():
        session = boto3.Session(region_name=region)
        place = session.region_name or _REGION
        held = session.get_credentials()
    if held is None:
        raise Unsuitable(
            "There are no AWS credentials.", advice="Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret."
        )

    def credentials() -> Credentials:
        with usable():
            now: Any = held.get_frozen_credentials()
        return Credentials(now.access_key, now.secret_key, now.token or "")

    suffix = "amazonaws.com.cn" if place.startswith("cn-") else "amazonaws.com"
    address = endpoint or f"https://s3.{place}.{suffix}"
    bundle = session._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE", "")
    wire = Wire(address, bucket, place, credentials, proxy=proxy_for(address), ca_bundle=bundle)
    return S3Store(s3_client(endpoint, place, session), bucket, prefix, wire=wire)


class _LateClient:
    """A client that is made when it is first used."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = Lock()
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make()
        return getattr(self._client, name)


class S3Store:
    """Objects below `prefix` of a bucket. `encryption` are PutObject's server-side encryption parameters, as
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN}. With `wire` objects move over it; without, the client
    does everything."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str = "",
        encryption: dict[str, str] | None = None,
        wire: Wire | None = None,
    ) -> None:
        self._client, self._bucket = client, bucket
        # what the wire cannot say it does not say
        self._wire = wire if set(encryption or {}) <= set(_ENCRYPTION) else None
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._encryption = encryption or {}
        self._versions: bool | None = None
        self._locks: bool | None = None
        self._notes: tuple[str, ...] = ()
        self.url = f"s3://{bucket}/{self._prefix}".rstrip("/")

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._write(name, body, how, {})

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._conditional(name, body, how, {"IfNoneMatch": "*"})

    def replace(self, name: str, body: Body, tag: str) -> str:
        return self._conditional(name, body, PLAIN, {"IfMatch": tag})

    def get(self, name: str) -> tuple[bytes, str]:
        if self._wire is not None:
            with self._away():
                return self._wire.get(self._prefix + name)
        with self._translated(name):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            return answer["Body"].read(), answer["ETag"]

    def read(self, name: str, start: int, length: int) -> bytes:
        if length <= 0:
            return b""
        if self._wire is not None:
            with self._away():
                return bytes(self._wire.read(self._prefix + name, start, length))
        with self._translated(name):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes={start}-{start + length - 1}"
                )
            except _refusal() as error:
                if _code(error) == "InvalidRange":
                    return b""
                raise
            body: bytes = answer["Body"].read()
            return body

    def read_into(self, name: str, start: int, into: memoryview) -> memoryview:
        """A range as long as `into`, received there; the part of it that was filled. Raises as `read`."""
        if self._wire is not None:
            with self._away():
                return memoryview(self._wire.read(self._prefix + name, start, len(into), into))
        content = self.read(name, start, len(into))
        into[: len(content)] = content
        return into[: len(content)]

    def list(self, prefix: str) -> Iterator[Stat]:
        if self._wire is not None:
            with self._away():
                for stat in self._wire.list(self._prefix + prefix):
                    yield replace(stat, name=stat.name[len(self._prefix) :])
                return
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
                        storage_class(item.get("StorageClass")),
                    )

    def stat(self, name: str) -> Stat:
        if self._wire is not None:
            with self._away():
                return replace(self._wire.stat(self._prefix + name), name=name)
        with self._translated(name):
            facts = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        return Stat(name, facts["ContentLength"], facts["LastModified"], storage_class(facts.get("StorageClass")))

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

    def locked_until(self, name: str) -> datetime | None:
        """Until when nobody may delete an object for good, whichever version of it is held; the end of time under a
        legal hold. Raises Missing; AccessRefused where the locks may not be read."""
        key = self._prefix + name
        with self._translated(name):
            ends = [self._lock_of(key, version).end for version, marker in self._versions_of(name) if not marker]
        if not ends:
            raise Missing(f"{name} is not there.")
        return max((end for end in ends if end is not None), default=None)

    def reclass(self, name: str, storage_class: str) -> None:
        key = self._prefix + name
        before = [entry for entry in self._entries(name) if "VersionId" in entry]
        with self._translated(name):
            lock = self._lock_of(key)
            done = self._client.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": key},
                StorageClass=storage_class,
                MetadataDirective="COPY",
                **self._encryption,
            )
            # a copy has no lock of itself, and S3 takes no date that is over
            if lock.until is not None and lock.until > done["CopyObjectResult"]["LastModified"]:
                kept = {"Mode": lock.mode, "RetainUntilDate": lock.until}
                self._client.put_object_retention(
                    Bucket=self._bucket, Key=key, Retention=kept, ChecksumAlgorithm="CRC32"
                )
        if before:  # in a bucket with versions the warm one stays beside the copy; while it is locked it must
            self._delete(before)

    def _lock_of(self, key: str, version: str = "") -> ObjectLock:
        """How an object is locked now, or one version of it. Raises AccessRefused where nobody here may read that."""
        return lock_of(self._client, self._bucket, key, version) if self._has_locks() else ObjectLock()

    def features(self) -> Features:
        on = self._has_locks()
        rules = self._setting(lambda: self._client.get_bucket_lifecycle_configuration(Bucket=self._bucket))
        return Features(on, CLASSES, tuple(self._dangers((rules or {}).get("Rules", []))), COLD, self._notes)

    def _dangers(self, rules: Iterable[dict[str, Any]]) -> Iterator[str]:
        """Lifecycle rules that would delete or move objects behind the repository's back."""
        for rule in rules:
            chosen = rule.get("Filter", {})
            both = chosen.get("And", {})
            if "Tag" in chosen or both.get("Tags"):
                continue  # our objects carry no tags
            prefix = chosen.get("Prefix") or both.get("Prefix") or rule.get("Prefix") or ""
            touches = prefix.startswith(self._prefix) or self._prefix.startswith(prefix)
            if rule.get("Status") == "Enabled" and touches:
                if "Expiration" in rule and ("Days" in rule["Expiration"] or "Date" in rule["Expiration"]):
                    yield f"Lifecycle rule {rule.get('ID', '')!r} deletes objects of this repository: remove it."
                if any(move.get("StorageClass") in COLD for move in rule.get("Transitions", ())):
                    yield f"Lifecycle rule {rule.get('ID', '')!r} archives objects that must stay readable: remove it."

    def _setting(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        from botocore.exceptions import BotoCoreError

        try:
            return ask()
        except _refusal() as error:
            if _code(error) in REFUSED:
                raise AccessRefused(f"{self.url} does not show its settings.", advice=_SETTINGS) from None
            return None  # not configured, or not known to this server
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self.url} did not answer ({type(error).__name__}).") from None

    def _write(self, name: str, body: Body, how: Put, condition: dict[str, str]) -> str:
        check = base64.b64encode(isal_zlib.crc32(body).to_bytes(4, "big")).decode()
        if self._wire is not None:
            with self._away():
                return self._wire.put(self._prefix + name, body, self._headers(how, condition, check))
        extra: dict[str, Any] = dict(self._encryption)
        if how.storage_class:
            extra["StorageClass"] = how.storage_class
        if how.retain_until is not None:
            extra |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": how.retain_until}
        with self._translated(name):
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=bytes(body) if isinstance(body, memoryview) else body,  # the SDK takes no views
                ChecksumAlgorithm="CRC32",
                ChecksumCRC32=check,
                **condition,
                **extra,
            )
            return str(answer["ETag"])

    def _headers(self, how: Put, condition: dict[str, str], check: str) -> dict[str, str]:
        """What goes with an object on the wire."""
        headers = {"x-amz-checksum-crc32": check}
        headers |= {_ENCRYPTION[name]: value for name, value in self._encryption.items()}
        headers |= {{"IfNoneMatch": "if-none-match", "IfMatch": "if-match"}[name]: v for name, v in condition.items()}
        if how.storage_class:
            headers["x-amz-storage-class"] = how.storage_class
        if how.retain_until is not None:
            headers["x-amz-object-lock-mode"] = "COMPLIANCE"
            headers["x-amz-object-lock-retain-until-date"] = how.retain_until.astimezone(UTC).strftime(_INSTANT)
        return headers

    def _conditional(self, name: str, body: Body, how: Put, condition: dict[str, str]) -> str:
        """A conditional write. After a time-out the SDK sends again and may be told 412 by its own success: what is
        there is compared with what was sent."""
        for _ in range(_CONFLICTS):
            try:
                return self._write(name, body, how, condition)
            except Underway:
                continue
            except Conflict:
                found, tag = self.get(name)
                if found == bytes(body):
                    return tag
                raise
        raise StoreUnavailable(f"Others keep writing {name}.")

    def _entries(self, name: str) -> Iterator[dict[str, str]]:
        """What to delete for a name: in a bucket with versions, each version, so that it is gone for good."""
        for version, _ in self._versions_of(name):
            yield {"Key": self._prefix + name, **({"VersionId": version} if version else {})}

    def _versions_of(self, name: str) -> Iterator[tuple[str, bool]]:
        """Each version of a name, and whether it is only a delete marker; ('', False) in a bucket without versions."""
        key = self._prefix + name
        if not self._has_versions():
            yield "", False
            return
        with self._translated(name):
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
            for page in pages:
                for kind in ("Versions", "DeleteMarkers"):
                    for item in page.get(kind, ()):
                        if item["Key"] == key:
                            yield item["VersionId"], kind == "DeleteMarkers"

    def _delete(self, entries: Sequence[dict[str, str]]) -> dict[str, str]:
        with self._translated("objects"):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": entries, "Quiet": True}, ChecksumAlgorithm="CRC32"
            )
        kept = {}
        for error in answer.get("Errors", ()):
            if error.get("Code") not in MISSING:
                reason = "locked or no right" if error.get("Code") == "AccessDenied" else str(error.get("Code"))
                kept[error["Key"][len(self._prefix) :]] = reason
        return kept

    def _has_versions(self) -> bool:
        if self._versions is None:
            facts = self._setting(lambda: self._client.get_bucket_versioning(Bucket=self._bucket))
            self._versions = (facts or {}).get("Status") in ("Enabled", "Suspended")
        return self._versions

    def _has_locks(self) -> bool:
        if self._locks is None:
            facts = self._setting(lambda: self._client.get_object_lock_configuration(Bucket=self._bucket))
            self._notes = default_lock(facts or {})
            self._locks = (facts or {}).get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        return self._locks

    def _thaw(self, name: str, days: int, tier: str) -> Thaw:
        key = self._prefix + name
        with self._translated(name):
            facts = self._client.head_object(Bucket=self._bucket, Key=key)
            if storage_class(facts.get("StorageClass")) not in COLD or 'ongoing-request="false"' in facts.get(
                "Restore", ""
            ):
                return Thaw.READY
            if 'ongoing-request="true"' not in facts.get("Restore", ""):
                try:
                    self._client.restore_object(
                        Bucket=self._bucket,
                        Key=key,
                        RestoreRequest={"Days": days, "GlacierJobParameters": {"Tier": tier}},
                    )
                except _refusal() as error:
                    if _code(error) != "RestoreAlreadyInProgress":
                        raise
        return Thaw.UNDERWAY

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Let the client do it from now on, when the wire does not find the bucket."""
        try:
            yield
        except Elsewhere:
            self._wire = None

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError

        try:
            yield
        except _refusal() as error:
            raise error_of(_code(error), name, self.url) from None
        except BotoCoreError as error:
            raise StoreUnavailable(f"{self.url} did not answer at {name} ({type(error).__name__}).") from None


def _refusal() -> "type[ClientError]":
    """What the SDK raises for an answer that is an error; loaded as late as the SDK."""
    from botocore.exceptions import ClientError

    return ClientError


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
