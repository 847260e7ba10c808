"""A store in memory: for tests, rehearsals and property checks. Locks, classes and retrieval behave as in S3."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import RLock

from workers.repository.clock import Clock, host_clock
from workers.repository.errors import Archived, Conflict, Missing
from workers.repository.store import PLAIN, Body, Features, Put, Stat, Thaw

COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True)
class _Object:
    body: bytes
    how: Put
    written_at: datetime
    readable_from: datetime | None = None


class MemoryStore:
    """Objects in a dictionary. A cold object becomes readable `retrieval` after it was asked for."""

    def __init__(
        self, clock: Clock = host_clock, url: str = "memory://", retrieval: timedelta = timedelta(hours=5)
    ) -> None:
        self.url = url
        self._clock, self._retrieval = clock, retrieval
        self._objects: dict[str, _Object] = {}
        self._lock = RLock()

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        with self._lock:
            self._objects[name] = _Object(bytes(body), how, self._clock())
            return _tag(body)

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        with self._lock:
            found = self._objects.get(name)
            if found is None:
                return self.put(name, body, how)
            if found.body != body:
                raise Conflict(f"{name} is there already.")
            return _tag(body)

    def replace(self, name: str, body: Body, tag: str) -> str:
        with self._lock:
            found = self._found(name)
            if _tag(found.body) != tag and found.body != body:
                raise Conflict(f"{name} has changed.")
            return self.put(name, body, found.how)

    def get(self, name: str) -> tuple[bytes, str]:
        body = self._readable(name).body
        return body, _tag(body)

    def read(self, name: str, start: int, length: int) -> bytes:
        return self._readable(name).body[start : start + length]

    def list(self, prefix: str) -> Iterator[Stat]:
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
            yield from [self.stat(name) for name in names]

    def stat(self, name: str) -> Stat:
        found = self._found(name)
        return Stat(name, len(found.body), found.written_at, found.how.storage_class)

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        kept = {}
        with self._lock:
            for name in list(names):
                found = self._objects.get(name)
                until = found.how.retain_until if found else None
                if until is not None and until > self._clock():
                    kept[name] = f"locked until {until:%Y-%m-%d}"
                else:
                    self._objects.pop(name, None)
        return kept

    def thaw(self, names: Iterable[str], days: int, tier: str) -> dict[str, Thaw]:  # noqa: ARG002 - the store's shape
        states = {}
        with self._lock:
            for name in names:
                found = self._found(name)
                if found.how.storage_class in COLD and found.readable_from is None:
                    found = replace(found, readable_from=self._clock() + self._retrieval)
                    self._objects[name] = found
                states[name] = Thaw.READY if self._is_readable(found) else Thaw.UNDERWAY
        return states

    def extend_lock(self, name: str, until: datetime) -> None:
        with self._lock:
            found = self._found(name)
            if found.how.retain_until is None or found.how.retain_until < until:
                self._objects[name] = replace(found, how=replace(found.how, retain_until=until))

    def locked_until(self, name: str) -> datetime | None:
        """Until when nobody may delete an object. Raises Missing."""
        return self._found(name).how.retain_until

    def reclass(self, name: str, storage_class: str) -> None:
        with self._lock:
            found = self._readable(name)
            self._objects[name] = replace(
                found, how=replace(found.how, storage_class=storage_class), readable_from=None
            )

    def features(self) -> Features:
        return Features(object_lock=True, storage_classes=("GLACIER", "DEEP_ARCHIVE"), cold_classes=COLD)

    def _found(self, name: str) -> _Object:
        with self._lock:
            if name not in self._objects:
                raise Missing(f"{name} is not there.")
            return self._objects[name]

    def _readable(self, name: str) -> _Object:
        found = self._found(name)
        if not self._is_readable(found):
            raise Archived(f"{name} lies in {found.how.storage_class}.")
        return found

    def _is_readable(self, found: _Object) -> bool:
        if found.how.storage_class not in COLD:
            return True
        return found.readable_from is not None and found.readable_from <= self._clock()


def _tag(body: Body) -> str:
    return hashlib.sha256(body).hexdigest()
