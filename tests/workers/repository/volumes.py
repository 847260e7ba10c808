"""Small volumes, clocks and faulty stores that the engine's tests share."""

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from workers.repository.errors import RepositoryError, StoreUnavailable, Unrelated
from workers.repository.keys import KeyFile
from workers.repository.memory import MemoryStore
from workers.repository.pipeline import Tuning
from workers.repository.repository import Repository, create
from workers.repository.restore import restore
from workers.repository.source import MemorySink, Ref

BLOCK = 4096  # small blocks: the format does not care, and a test moves thousands of them
KEY = KeyFile(b"a key file for tests, 32 bytes..")
TUNING = Tuning(pack_bytes=64 << 10, compute=1, uploads=1)


class Hand:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **time: float) -> None:
        self.at += timedelta(**time)


class Disk:
    """A volume that changes: blocks of seeded noise, text and zeros."""

    def __init__(self, blocks: int, seed: int = 1, short: int = 0) -> None:
        self.random = random.Random(seed)
        self.size = blocks * BLOCK - short
        self.content = bytearray(self.size)
        for block in range(blocks):
            self.write(block)

    def write(self, block: int) -> None:
        kind = self.random.randrange(4)
        data = b"" if kind == 0 else self.random.randbytes(BLOCK // (1 if kind == 1 else 8))
        data = (data * 8)[:BLOCK].ljust(BLOCK, b"\0")
        end = min(self.size, (block + 1) * BLOCK)
        self.content[block * BLOCK : end] = data[: end - block * BLOCK]

    def change(self, count: int) -> None:
        for _ in range(count):
            self.write(self.random.randrange(-(-self.size // BLOCK)))

    def bytes(self) -> bytes:
        return bytes(self.content)


class Snapshot:
    """A source: a disk as it was; with `base` it lists changes only, as EBS does."""

    block_bytes = BLOCK
    readers = 2

    def __init__(self, content: bytes, base: bytes | None = None) -> None:
        self.content, self.base = content, base
        self.size = len(content)
        self.incremental = base is not None
        self.reads = 0

    def piece(self, content: bytes, block: int) -> bytes:
        return content[block * BLOCK : (block + 1) * BLOCK]

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        if self.base is not None and len(self.base) != self.size:
            raise Unrelated("the sizes differ")
        for block in range(start, stop):
            now = self.piece(self.content, block)
            before = self.piece(self.base, block) if self.base is not None else bytes(len(now))
            if now != before:
                yield Ref(block, gone=self.base is not None and not any(now))

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        piece = self.piece(self.content, ref.index)
        into[: len(piece)] = piece
        self.reads += 1
        return len(piece), hashlib.sha256(piece).digest()


class Crash(BaseException):
    """The process died here."""


class Mortal:
    """A store that lets `writes` writes happen, then dies at every call, like the process that holds it.

    With `torn` the fatal write has happened before the process dies.
    """

    def __init__(self, store: MemoryStore, writes: int, torn: bool = False) -> None:
        self._store, self.left, self._torn = store, writes, torn
        self.url = store.url
        self.dead = False

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)

        def call(*arguments: object, **options: object) -> object:
            if self.dead:
                raise Crash
            if name in ("put", "create", "replace", "delete"):
                self.left -= 1
                if self.left < 0:
                    self.dead = True
                    if self._torn:
                        method(*arguments, **options)
                    raise Crash
            return method(*arguments, **options)

        return call


class Faulty:
    """A store whose answers get lost: the queue holds (method, happens) pairs, taken as the methods are called."""

    def __init__(self, store: MemoryStore, faults: list[tuple[str, bool]]) -> None:
        self._store, self.faults = store, faults
        self.url = store.url

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)

        def call(*arguments: object, **options: object) -> object:
            if self.faults and self.faults[0][0] == name:
                _, happens = self.faults.pop(0)
                if happens:
                    method(*arguments, **options)
                raise StoreUnavailable("the answer was lost")
            return method(*arguments, **options)

        return call


def repository(clock: Hand | None = None, store: MemoryStore | None = None) -> Repository:
    clock = clock or Hand()
    return create(store or MemoryStore(clock), KEY, clock)


def content(repo: Repository, generation: object) -> bytes:
    """A generation's bytes, as a restore gives them."""
    sink = MemorySink(generation.size, BLOCK)
    restore(repo, generation, sink, TUNING)
    return bytes(sink.content)


__all__ = ["RepositoryError"]
