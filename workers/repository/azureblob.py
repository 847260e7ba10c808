"""A store in Azure Blob (azure://ACCOUNT/CONTAINER/PREFIX): block blobs, conditions by ETag, access tiers.

Two differences to S3 that a repository meets: reading an archived blob again moves it to the Hot tier for good, not
for some days (so it is moved back to Archive like any other, by the next tiering); and locks need a container with
version-level immutability. Retrieval takes up to 15 hours, with high priority some under one ("Blob rehydration from
the archive tier", read 2026-11).
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from workers.repository.azurewire import BlobWire, Locked, instant, stamp
from workers.repository.errors import AccessRefused, Archived, Conflict, Missing, RepositoryError, Unsuitable
from workers.repository.store import PLAIN, Body, Features, Put, Stat, Thaw

# Tiers as this product names classes, and as the service does.
TIERS: Mapping[str, str] = {"COOL": "Cool", "COLD": "Cold", "ARCHIVE": "Archive"}
COLD = frozenset({"ARCHIVE"})
_NAMES = {tier: name for name, tier in TIERS.items()}
# Deletions at once: each is a request of its own, and latency is all.
_TOGETHER = 16
_POLICY_UNTIL, _POLICY_MODE = "x-ms-immutability-policy-until-date", "x-ms-immutability-policy-mode"


class BlobStore:
    """One repository's place in a container; safe to be shared by threads."""

    def __init__(self, wire: BlobWire, prefix: str = "") -> None:
        self._wire = wire
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._versions: bool | None = None
        self.url = f"{wire.url}/{self._prefix}".rstrip("/")

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._write(name, body, how, {})

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        return self._conditional(name, body, how, {"if-none-match": "*"})

    def replace(self, name: str, body: Body, tag: str) -> str:
        return self._conditional(name, body, PLAIN, {"if-match": tag})

    def get(self, name: str) -> tuple[bytes, str]:
        answer = self._wire.call("GET", self._prefix + name)
        return bytes(answer.body), answer.headers.get("etag", "")

    def read(self, name: str, start: int, length: int) -> bytes:
        return bytes(self._wire.read(self._prefix + name, start, length)) if length > 0 else b""

    def read_into(self, name: str, start: int, into: memoryview) -> memoryview:
        """A range as long as `into`, received there; the part of it that was filled. Raises as `read`."""
        return memoryview(self._wire.read(self._prefix + name, start, len(into), into))

    def list(self, prefix: str) -> Iterator[Stat]:
        for item in self._wire.list(self._prefix + prefix):
            facts = item.find("Properties")
            if facts is None:
                continue
            at, size = instant(facts.findtext("Last-Modified") or ""), int(facts.findtext("Content-Length") or 0)
            inferred = (facts.findtext("AccessTierInferred") or "").lower() == "true"
            tier = _class("" if inferred else facts.findtext("AccessTier") or "")
            yield Stat((item.findtext("Name") or "")[len(self._prefix) :], size, at, tier)

    def stat(self, name: str) -> Stat:
        headers = self._facts(name)
        return Stat(name, int(headers["content-length"]), instant(headers["last-modified"]), _tier(headers))

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        versions = self._has_versions()
        with ThreadPoolExecutor(min(_TOGETHER, len(wanted))) as pool:
            answers = pool.map(lambda name: self._delete(name, versions), wanted)
            return {name: why for name, why in zip(wanted, answers, strict=True) if why}

    def thaw(self, names: Iterable[str], days: int, tier: str) -> dict[str, Thaw]:  # noqa: ARG002 - no end here
        """As Store.thaw; `days` is of no use here: what was retrieved stays in the Hot tier. `tier` 'Expedited' asks
        with high priority, anything else with the standard one."""
        priority = "High" if tier == "Expedited" else "Standard"
        return {name: self._thaw(name, priority) for name in names}

    def extend_lock(self, name: str, until: datetime) -> None:
        headers = self._facts(name)
        held = headers.get(_POLICY_UNTIL)
        if held and headers.get(_POLICY_MODE, "").lower() == "locked" and instant(held) >= until:
            return
        policy = {_POLICY_UNTIL: stamp(until), _POLICY_MODE: "Locked"}
        try:
            self._wire.call("PUT", self._prefix + name, {"comp": "immutabilityPolicies"}, policy)
        except (Missing, AccessRefused):
            raise
        except RepositoryError as error:
            if error.passing:
                raise
            raise Unsuitable(
                f"{self.url} locks nothing: {error.text}", advice="Use a container with version-level immutability."
            ) from None

    def locked_until(self, name: str) -> datetime | None:
        """Until when nobody may delete a blob; the end of time under a legal hold. Raises Missing."""
        headers = self._facts(name)
        if headers.get("x-ms-legal-hold", "").lower() == "true":
            return datetime.max.replace(tzinfo=UTC)
        return instant(headers[_POLICY_UNTIL]) if headers.get(_POLICY_UNTIL) else None

    def reclass(self, name: str, storage_class: str) -> None:
        if storage_class and storage_class not in TIERS:
            raise Unsuitable(
                f"{self.url} has no storage class {storage_class!r}.", advice=f"It has {', '.join(TIERS)}."
            )
        if _tier(self._facts(name)) in COLD:
            raise Archived(f"{name} is archived.")
        self._set_tier(name, TIERS.get(storage_class, "Hot"))

    def features(self) -> Features:
        container = self._wire.call("GET", "", {"restype": "container"}).headers
        locks = container.get("x-ms-immutable-storage-with-versioning-enabled", "").lower() == "true"
        return Features(locks, tuple(TIERS), tuple(self._dangers(container)), COLD, tuple(self._notes()))

    def _dangers(self, container: Mapping[str, str]) -> Iterator[str]:
        """Settings that forbid what a repository must do."""
        held = "x-ms-has-immutability-policy", "x-ms-has-legal-hold"
        if any(container.get(name, "").lower() == "true" for name in held):
            yield "The container has a policy or hold of its own: leases cannot be replaced there. Use another one."

    def _notes(self) -> Iterator[str]:
        """Settings that keep what is deleted."""
        try:
            body = self._wire.call("GET", "", {"restype": "service", "comp": "properties"}, service=True).body
        except (RepositoryError, ValueError):
            return  # a role or signature for the container alone does not see the account's settings
        rule = ElementTree.fromstring(bytes(body)).find("DeleteRetentionPolicy")  # noqa: S314 - expat limits entities
        if rule is not None and (rule.findtext("Enabled") or "").lower() == "true":
            yield f"Soft delete keeps, and bills, deleted blobs for {rule.findtext('Days')} days more."

    def _write(self, name: str, body: Body, how: Put, condition: Mapping[str, str]) -> str:
        headers = dict(condition)
        if how.storage_class:
            if how.storage_class not in TIERS:
                raise Unsuitable(f"{self.url} has no storage class {how.storage_class!r}.")
            headers["x-ms-access-tier"] = TIERS[how.storage_class]
        if how.retain_until is not None:
            headers |= {_POLICY_UNTIL: stamp(how.retain_until), _POLICY_MODE: "Locked"}
        answer = self._wire.put(self._prefix + name, body, headers)
        if answer.get("x-ms-version-id"):
            self._versions = True
        return answer.get("etag", "")

    def _conditional(self, name: str, body: Body, how: Put, condition: Mapping[str, str]) -> str:
        """A conditional write. Sent again after a lost answer it may be told 409 or 412 by its own success: what is
        there is compared with what was sent."""
        try:
            return self._write(name, body, how, condition)
        except Conflict:
            found, tag = self.get(name)
            if found == bytes(body):
                return tag
            raise

    def _facts(self, name: str) -> Mapping[str, str]:
        return self._wire.call("HEAD", self._prefix + name).headers

    def _delete(self, name: str, versions: bool) -> str:
        """Why a blob was kept, '' when it is gone; in a container with versions, all of them."""
        key = self._prefix + name
        try:
            if versions and self._is_locked(name):
                return "locked"  # with versions the service would take it out of sight, and keep it
            self._delete_one(key, {})
            if versions:
                for item in self._wire.list(key, {"include": "versions"}):
                    if item.findtext("Name") == key:
                        self._delete_one(key, {"versionid": item.findtext("VersionId") or ""})
        except Locked:
            return "locked"
        except AccessRefused:
            return "no right"
        return ""

    def _is_locked(self, name: str) -> bool:
        try:
            until = self._facts(name).get(_POLICY_UNTIL)
        except Missing:
            return False
        return bool(until) and instant(str(until)) > self._wire.now()

    def _delete_one(self, key: str, which: Mapping[str, str]) -> None:
        try:
            self._wire.call("DELETE", key, which)
        except Missing:
            return

    def _has_versions(self) -> bool:
        """Whether what is deleted stays as an older version."""
        if self._versions is None:
            try:
                first: Any = next(self._wire.list(self._prefix, {"include": "versions", "maxresults": "1"}), None)
            except AccessRefused:
                first = None  # a signature that may not list versions may not delete them either
            if first is None:
                return False
            self._versions = first.find("VersionId") is not None
        return self._versions

    def _thaw(self, name: str, priority: str) -> Thaw:
        headers = self._facts(name)
        if _tier(headers) not in COLD:
            return Thaw.READY
        if not headers.get("x-ms-archive-status"):
            self._set_tier(name, "Hot", {"x-ms-rehydrate-priority": priority})
        return Thaw.UNDERWAY

    def _set_tier(self, name: str, tier: str, more: Mapping[str, str] | None = None) -> None:
        headers = {"x-ms-access-tier": tier, **(more or {})}
        try:
            self._wire.call("PUT", self._prefix + name, {"comp": "tier"}, headers)
        except Archived:
            if not more:
                raise  # else it is on its way already


def _class(tier: str) -> str:
    """A tier as the store's interface has it: '' for Hot, and for what the account's default says."""
    return _NAMES.get(tier, "")


def _tier(headers: Mapping[str, str]) -> str:
    if headers.get("x-ms-access-tier-inferred", "").lower() == "true":
        return ""
    return _class(headers.get("x-ms-access-tier", ""))
