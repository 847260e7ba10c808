"""What a repository asks of a store: a flat, strongly consistent space of immutable objects plus compare-and-set.

The world must promise: what `put` returned for can be read and listed by anyone from then on (Amazon S3 since
December 2020, Azure Blob, a local file system); `create` and `replace` are atomic, one winner each. A store that
ignores the condition (rclone's S3 server does) is found out by `probe`; such a repository keeps its leases in an
outside CommitStore.

Names are plain ASCII with slashes, as in names.py. Bodies are bytes, bytearrays or views of bytes, good until the call
returns. Every method may raise StoreUnavailable (unknown outcome, try again) and AccessRefused.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from workers.repository.errors import Conflict, Unsuitable

Body = bytes | bytearray | memoryview


class Thaw(StrEnum):
    """How far the retrieval of an archived object is."""

    READY = "ready"
    UNDERWAY = "underway"


@dataclass(frozen=True)
class Stat:
    """An object as a listing shows it: bytes, when it was written, its storage class ('' is the store's default)."""

    name: str
    size: int
    modified_at: datetime
    storage_class: str = ""


@dataclass(frozen=True)
class Put:
    """How an object is to be kept: storage class, and until when nobody may delete it."""

    storage_class: str = ""
    retain_until: datetime | None = None


@dataclass(frozen=True)
class Features:
    """What a store's settings allow. Sentences for the operator: `warnings` say what would endanger a repository, so
    that none is made there, `notes` what only costs."""

    object_lock: bool = False
    storage_classes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cold_classes: frozenset[str] = field(default_factory=frozenset)
    notes: tuple[str, ...] = ()


PLAIN = Put()


class Store(Protocol):
    """One repository's place; safe to be shared by threads."""

    url: str

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        """Write an object, whether it is there or not; its tag."""

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        """Write an object that must not be there yet; its tag. Raises Conflict unless what is there is `body`:
        then an earlier attempt of this same call has succeeded."""

    def replace(self, name: str, body: Body, tag: str) -> str:
        """Write an object that must still have `tag`; the new tag. Raises Conflict (as in `create`), Missing."""

    def get(self, name: str) -> tuple[bytes, str]:
        """A whole object and its tag. Raises Missing, Archived."""

    def read(self, name: str, start: int, length: int) -> bytes:
        """A range; shorter where the object ends. Raises Missing, Archived."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects whose name begins so, in order of names."""

    def stat(self, name: str) -> Stat:
        """Raises Missing."""

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        """Delete for good, also in a bucket with versions; what is not there counts as deleted. Gives what was
        kept, with the reason (locked, no right)."""

    def thaw(self, names: Iterable[str], days: int, tier: str) -> dict[str, Thaw]:
        """Ask for archived objects to be readable for `days`; returns at once. Asking again is how one polls."""

    def extend_lock(self, name: str, until: datetime) -> None:
        """Forbid deletion until then; never shortens. Raises Unsuitable where the store has no locks."""

    def reclass(self, name: str, storage_class: str) -> None:
        """Move an object to another storage class, keeping content and lock. Raises Missing, Archived."""

    def features(self) -> Features:
        """What the store's settings say now."""


def read_into(store: Store, name: str, start: int, into: memoryview) -> memoryview:
    """A range as long as `into`, read into it where the store can do that; the part that was filled. Raises as
    Store.read."""
    direct: Callable[[str, int, memoryview], memoryview] | None = getattr(store, "read_into", None)
    if direct is not None:
        return direct(name, start, into)
    content = store.read(name, start, len(into))
    into[: len(content)] = content
    return into[: len(content)]


class CommitStore(Protocol):
    """Compare-and-set for leases: the store itself, or a database where the store cannot do it."""

    def create(self, name: str, body: bytes) -> str:
        """As Store.create."""

    def replace(self, name: str, body: bytes, tag: str) -> str:
        """As Store.replace."""

    def get(self, name: str) -> tuple[bytes, str]:
        """As Store.get."""

    def names(self) -> list[str]:
        """All leases."""

    def remove(self, names: Iterable[str]) -> None:
        """Forget leases; those that are gone already are no error."""


class StoreCommits:
    """Leases in the store itself, by its conditional writes."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def create(self, name: str, body: bytes) -> str:
        return self._store.create(name, body)

    def replace(self, name: str, body: bytes, tag: str) -> str:
        return self._store.replace(name, body, tag)

    def get(self, name: str) -> tuple[bytes, str]:
        return self._store.get(name)

    def names(self) -> list[str]:
        return [stat.name for stat in self._store.list(self._prefix)]

    def remove(self, names: Iterable[str]) -> None:
        self._store.delete(names)


class MirroredCommits:
    """Leases in an outside compare-and-set, copied into the store afterwards so that the bucket alone tells the tale.

    The outside is the truth: a copy that a crash left behind is written again by whoever writes the lease next.
    """

    def __init__(self, outside: CommitStore, store: Store) -> None:
        self._outside, self._store = outside, store

    def create(self, name: str, body: bytes) -> str:
        tag = self._outside.create(name, body)
        self._store.put(name, body)
        return tag

    def replace(self, name: str, body: bytes, tag: str) -> str:
        new = self._outside.replace(name, body, tag)
        self._store.put(name, body)
        return new

    def get(self, name: str) -> tuple[bytes, str]:
        return self._outside.get(name)

    def names(self) -> list[str]:
        return self._outside.names()

    def remove(self, names: Iterable[str]) -> None:
        listed = list(names)
        self._outside.remove(listed)
        self._store.delete(listed)


def probe(store: Store) -> bool:
    """Whether the store honours conditional writes. Writes and deletes one small object.

    Raises Unsuitable when it does not even read back what was written.
    """
    name = f"probe/{secrets.token_hex(8)}"
    first = store.create(name, b"first")
    try:
        honoured = _refuses(lambda: store.create(name, b"second"))
        second = store.replace(name, b"third", first if honoured else store.get(name)[1])
        honoured = honoured and second != first and _refuses(lambda: store.replace(name, b"fourth", first))
        body = store.get(name)[0]
        if honoured and body != b"third":
            raise Unsuitable(f"{store.url} does not give back what was just written.")
        return honoured
    finally:
        store.delete([name])


def _refuses(write: Callable[[], str]) -> bool:
    try:
        write()
    except Conflict:
        return True
    return False
