"""Sources and sinks of blocks: the one interface between a repository and whatever holds a disk.

A source lists the blocks worth reading, in rising order, and reads one at a time from many threads; a sink takes
blocks in any order from many threads. Azure page ranges fit the same shape: a range read of 4 MiB is eight blocks.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol

from workers.repository.errors import Damaged, RepositoryError

BLOCK_BYTES = 512 << 10
Content = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Ref:
    """A block to be read: its index, and what the source needs to read it ('' when the index is enough).

    `gone` says that the block was data in the base and is zeros now; it is not read.
    """

    index: int
    token: str = ""
    gone: bool = False


class Source(Protocol):
    """A disk at one instant, in blocks of `block_bytes`, `size` bytes in all. `readers` is how many threads it
    likes: one for a local file, many where latency must be hidden.

    `incremental` says that `blocks` lists only what changed since the base; blocks it leaves out are as they were.
    Otherwise blocks that are left out are zeros. Raises RepositoryError's family.
    """

    size: int
    block_bytes: int
    readers: int
    incremental: bool

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        """Blocks in [start, stop), rising."""

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        """Read a block into a buffer of `block_bytes`: its length, and its SHA-256 where the source vouches for one."""


class Sink(Protocol):
    """Where a restore writes. `proves` says that the sink checks every block's SHA-256 itself; a sink that hides
    latency behind many threads has `writers`, how many it likes."""

    proves: bool

    def write(self, index: int, content: Content, digest: bytes) -> None:
        """Write one block; `digest` is its SHA-256. `content` is good until this returns. Blocks that are never
        written must read as zeros."""

    def finish(self) -> None:
        """All blocks are there."""


class FileSource:
    """A file or block device. Holes of a sparse file are not read."""

    def __init__(self, path: Path, block_bytes: int = BLOCK_BYTES, readers: int = 2) -> None:
        self._handle = os.open(path, os.O_RDONLY)
        self.size = os.lseek(self._handle, 0, os.SEEK_END)
        self.block_bytes, self.readers, self.incremental = block_bytes, readers, False

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        at, end = start * self.block_bytes, min(stop * self.block_bytes, self.size)
        while at < end:
            try:
                data = os.lseek(self._handle, at, os.SEEK_DATA)
            except OSError:
                return  # nothing but hole up to the end
            hole = os.lseek(self._handle, data, os.SEEK_HOLE)
            first = max(at, data) // self.block_bytes
            last = -(-min(hole, end) // self.block_bytes)
            yield from (Ref(index) for index in range(first, last))
            at = max(last * self.block_bytes, at + self.block_bytes)

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        at = ref.index * self.block_bytes
        wanted, done = min(self.block_bytes, self.size - at), 0
        while done < wanted:
            got = os.preadv(self._handle, [into[done:wanted]], at + done)
            if not got:
                raise RepositoryError("The file became shorter while it was read.", advice="Archive a snapshot of it.")
            done += got
        return done, None

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


class StreamSource:
    """Bytes that can be read once, in order (a dump, a pipe), of a known size in bytes."""

    def __init__(self, stream: BinaryIO, size: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream, self.size, self.block_bytes = stream, size, block_bytes
        self.readers, self.incremental = 1, False
        self._next = 0

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        if start != self._next:
            raise RepositoryError("A stream is read once, from its beginning.", advice="Start a new archive.")
        for index in range(start, min(stop, -(-self.size // self.block_bytes))):
            yield Ref(index)

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        wanted = min(self.block_bytes, self.size - ref.index * self.block_bytes)
        done = 0
        while done < wanted:
            got = self._stream.read(wanted - done)
            if not got:
                raise RepositoryError("The stream ended before its size.", advice="Give the size it really has.")
            into[done : done + len(got)] = got
            done += len(got)
        self._next = ref.index + 1
        return done, None


class FileSink:
    """A private file, made sparse: blocks that are not written stay holes. It appears under its name when finished;
    with `sync`, not before it would outlast a power cut. `resumed` keeps what an earlier one has written in part."""

    proves = False

    def __init__(
        self, path: Path, size: int, block_bytes: int = BLOCK_BYTES, sync: bool = True, resumed: bool = False
    ) -> None:
        self._sync = sync
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._block_bytes = block_bytes
        flags = os.O_RDWR | os.O_NOFOLLOW | (0 if resumed else os.O_CREAT | os.O_TRUNC)
        self._handle = os.open(self._partial, flags, 0o600)
        os.ftruncate(self._handle, size)

    def write(self, index: int, content: Content, digest: bytes) -> None:  # noqa: ARG002 - the sink's shape
        view, at = memoryview(content), index * self._block_bytes
        while view:
            done = os.pwrite(self._handle, view, at)
            view, at = view[done:], at + done

    def finish(self) -> None:
        if self._sync:
            os.fsync(self._handle)
        os.close(self._handle)
        os.replace(self._partial, self._path)


class MemorySink:
    """Blocks in a buffer: for tests and small volumes."""

    proves = False

    def __init__(self, size: int, block_bytes: int = BLOCK_BYTES) -> None:
        self.content = bytearray(size)
        self._block_bytes = block_bytes

    def write(self, index: int, content: Content, digest: bytes) -> None:  # noqa: ARG002 - the sink's shape
        at = index * self._block_bytes
        if at + len(content) > len(self.content):
            raise Damaged("the generation", "a block lies beyond its end")
        self.content[at : at + len(content)] = content

    def finish(self) -> None:
        return


class StreamSink:
    """A stream that is written once, in order (standard output). Takes one segment's blocks at a time.

    `ordered` tells the restore to hand blocks over in rising order.
    """

    proves = False
    ordered = True

    def __init__(self, stream: BinaryIO, size: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream, self._size, self._block_bytes = stream, size, block_bytes
        self._at = 0
        self._lock = Lock()

    def write(self, index: int, content: Content, digest: bytes) -> None:  # noqa: ARG002 - the sink's shape
        with self._lock:
            self._zeros(index * self._block_bytes)
            self._stream.write(content)
            self._at += len(content)

    def finish(self) -> None:
        self._zeros(self._size)
        self._stream.flush()

    def _zeros(self, until: int) -> None:
        while self._at < until:
            step = min(self._block_bytes, until - self._at)
            self._stream.write(bytes(step))
            self._at += step
