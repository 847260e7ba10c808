"""The hot loop of an archive: read, hash, compress, encrypt, upload, all in plain threads.

Every heavy step (socket, SHA-256, zstd, AES-GCM) releases the interpreter's lock, so threads of one process fill
the cores. Readers fill buffers; a worker takes as many of them as there are, up to what `lanes.py` hashes at once, and
takes each all the way. All workers fill one pack: each compresses alone, takes room under a lock, and encrypts into it
beside the others; so neighbours of the volume lie together, and a small job ends in one pack and not in one a thread.
Memory is bounded by buffers whatever the volume's size: (readers + 80) blocks at most, (2 + uploads) packs.

What bounds it (2026-11-23, CPU seconds a GiB of a full archive): zstd level 1 1.7, the kernel's copies and wake-ups
0.35, SHA-256 0.3 (0.65 one by one; EBS's own checksum, so it cannot be another hash), Python 0.25, AES-GCM 0.1: 2.7 in
all, and nothing waits for anything but cores; latency is hidden by readers. Twice as fast again would take a codec that
costs a fifth of zstd (lz4 costs a third, for a quarter more bytes for as long as they are kept), or more cores; a
volume's quota of 1000 reads a second ends it at 500 MiB/s anyway, which two cores exceed. A block's way from the thread
that read it to the one that hashes it, through the third cache, costs 0.05 s a GiB; lanes gain five times that.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import NamedTuple

from workers.repository.batch import batch
from workers.repository.errors import Damaged
from workers.repository.filling import Filling
from workers.repository.fresh import fresh
from workers.repository.lanes import at_once, digests
from workers.repository.names import DATA, Pack
from workers.repository.pack import PACK_BYTES, PackWriter
from workers.repository.repository import Repository
from workers.repository.segment import Part, Place
from workers.repository.source import Ref, Source
from workers.repository.store import PLAIN, Body, Put

# Contents of this job that are known by hash: about 200 bytes each, 26 MB in all, 64 GiB of blocks.
KNOWN_LIMIT = 131_072
# A read whose content does not match the source's own checksum is tried again; the network flips bits.
_READS = 3
# Workers besides one a core: one always waits for the interpreter's lock. Measured 2026-11-23 on two cores: a full
# archive takes 6 % more time without it; two more gain nothing.
_HANDED_ON = 1
# Cores that one process uses at most: a verification or a restore has a pack and 16 blocks for each, 49 MiB, and one or
# two more of these; the engine is to stay below 450 MiB. Five cores archive 1.5 GiB a second.
_CORES = 5
# So many blocks are hashed one by one before many at once: a small job needs neither the library that does that nor 30
# MiB of buffers more. It takes as long (2026-11-23, 223 changed blocks, 0.37 s), where memory is at hand.
_ONE_BY_ONE = 256
# Workers that have buffers for all lanes, besides those in which blocks wait for the next: with more cores than that,
# blocks come too slowly to fill lanes for each. Measured 2026-11-23: without the ones that wait 2 % more time.
_BATCHES = 4
# Room in a pack's buffer for the last block's frame and the footer of a usual number of frames.
_SLACK = 64 << 10
Known = Callable[[int], tuple[Place, int, bytes] | None]


@dataclass(frozen=True)
class Tuning:
    """Knobs with what was measured for them (2 cores, 2026-11): zstd level 1 gives ratio .558 at 656 MiB/s, level 3
    .539 at 425; two uploads hide a store's latency."""

    level: int = 1
    pack_bytes: int = PACK_BYTES
    compute: int = 0  # 0: one a core, up to _CORES
    uploads: int = 2
    batch: int = 0  # blocks that are hashed at once; 0: as many as this processor can

    @property
    def threads(self) -> int:
        """Compute threads."""
        return self.compute or min(os.cpu_count() or 1, _CORES)

    @property
    def at_once(self) -> int:
        """Blocks that are hashed at once."""
        return self.batch or at_once()


@dataclass
class Figures:
    """What a run has done so far, in blocks and bytes."""

    blocks: int = 0
    zero: int = 0
    known: int = 0
    read_bytes: int = 0
    stored_bytes: int = 0
    packs: int = 0


Progress = Callable[[Figures], None]


class Run:
    """One process's work on one job: its packs have names of their own, and contents are stored once."""

    def __init__(
        self,
        repository: Repository,
        job: str,
        source: Source,
        tuning: Tuning,
        how: Put = PLAIN,
        base: Known | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.figures = Figures()
        self._repository, self._job, self._source, self._tuning, self._how = repository, job, source, tuning, how
        self._base, self._progress = base, progress
        self._run = secrets.token_hex(8)
        self._places: dict[int, Place] = {}
        self._known: dict[bytes, int] = {}
        self._turns = [Lock() for _ in range(256)]
        self._next_pack = 0
        self._lock = Lock()
        self._zeros = {source.block_bytes: hashlib.sha256(bytes(source.block_bytes)).digest()}
        self._room = tuning.pack_bytes + source.block_bytes + _SLACK
        self._pack_buffers: SimpleQueue[bytearray | memoryview | None] = SimpleQueue()
        for _ in range(tuning.uploads + 2):  # one that is filled, one whose last frames are being encrypted
            self._pack_buffers.put(None)

    def stretch(self, start: int, stop: int, most: int, halt: Callable[[], bool]) -> Part:
        """Archive blocks from `start` on until `stop`, until `most` blocks were read or until `halt` says so.

        When it returns, every pack the part names is in the store. Raises what the source or store raised.
        """
        return _Stretch(self, self._source.blocks(start, stop), start, stop, most, halt).result()

    def new_pack(self) -> PackWriter:
        """An empty pack with a buffer; waits for one when all are being uploaded."""
        buffer = self._pack_buffers.get()
        with self._lock:
            number, self._next_pack = self._next_pack, self._next_pack + 1
        pack = Pack(self._job, self._run, number)
        try:
            return PackWriter(self._repository.sealer, pack, DATA, buffer or fresh(self._room), self._tuning.level)
        except BaseException:  # no memory: who waits for a buffer is to learn what happened, and not to wait for ever
            self._pack_buffers.put(buffer)
            raise

    def give_back(self, buffer: bytearray | memoryview) -> None:
        """Return a pack's buffer for the next."""
        self._pack_buffers.put(buffer)

    def upload(self, writer: PackWriter, buffer: Body, footer: int) -> None:
        """Put a finished pack and note its place."""
        self._repository.store.put(writer.pack.name(DATA), buffer, self._how)
        with self._lock:
            self._places[writer.pack.number] = Place(writer.pack, len(buffer), footer)
            self.figures.packs += 1
            self.figures.stored_bytes += len(buffer)
        if self._progress is not None:
            self._progress(self.figures)

    def place(self, number: int) -> Place:
        """Where pack `number` lies, once it is uploaded."""
        return self._places[number]

    def count(self, length: int, zero: bool, known: bool) -> None:
        """Note a block that was read."""
        with self._lock:
            figures = self.figures
            figures.blocks += 1
            figures.read_bytes += length
            figures.zero += zero
            figures.known += known

    def remember(self, digest: bytes, location: int) -> None:
        """Note where a content is."""
        if len(self._known) < KNOWN_LIMIT:
            self._known[digest] = location

    def turn_of(self, digest: bytes) -> Lock:
        """Held by whoever stores a content, or one of each 256 others: equal ones that were read at the same time are
        stored once."""
        return self._turns[digest[0]]

    def location(self, digest: bytes) -> int | None:
        """Where this run has stored a content."""
        return self._known.get(digest)

    def look_up(self, index: int, digest: bytes) -> "int | tuple[Place, int] | None":
        """Where a content is already: as a location of this run, or as a place of the base; None when it is new."""
        location = self.location(digest)
        if location is not None:
            return location
        found = self._base(index) if self._base is not None else None
        return (found[0], found[1]) if found is not None and found[2] == digest else None

    def is_zero(self, length: int, digest: bytes) -> bool:
        """Whether the content of `length` bytes with this digest is all zeros."""
        if length not in self._zeros:
            self._zeros[length] = hashlib.sha256(bytes(length)).digest()
        return self._zeros[length] == digest

    def checked(
        self, ref: Ref, view: memoryview, length: int, vouched: bytes | None, digest: bytes
    ) -> tuple[int, bytes]:
        """Length and SHA-256 of a block that has `digest`, read again while that is not what the source vouches for."""
        left = _READS
        while vouched is not None and vouched != digest:
            left -= 1
            if not left:
                raise Damaged(f"block {ref.index} of the source", "it does not have the checksum the source states")
            length, vouched = self._source.read(ref, view)
            digest = hashlib.sha256(view[:length]).digest()
        return length, digest

    @property
    def readers(self) -> int:
        """Threads that read."""
        return max(1, self._source.readers)

    @property
    def tuning(self) -> Tuning:
        """The knobs."""
        return self._tuning

    @property
    def source(self) -> Source:
        """What is archived."""
        return self._source


class _Block(NamedTuple):
    """A block that was read: the first `length` bytes of `view`, and their SHA-256 as the source states it."""

    ref: Ref
    view: memoryview
    length: int
    vouched: bytes | None


class _Stretch:
    """The threads of one stretch. The first error stops readers and workers; uploads drain, so that nothing hangs.

    A worker never waits for more blocks than one: few are hashed one by one, many at once, and many there are when the
    cores are what is short. The first are taken one by one.
    """

    def __init__(
        self, run: Run, refs: Iterator[Ref], start: int, stop: int, most: int, halt: Callable[[], bool]
    ) -> None:
        self._run, self._refs, self._start, self._stop = run, refs, start, stop
        self._left, self._halt = most, halt
        self._end = stop
        self._turn, self._lock = Lock(), Lock()
        self._failed = Event()
        self._error: BaseException | None = None
        self._rows: list[tuple[int, int | tuple[Place, int] | None]] = []
        self._packs: SimpleQueue[PackWriter | None] = SimpleQueue()
        self._filling = Filling(run.new_pack, run.tuning.level, run.tuning.pack_bytes, self._packs)
        self._workers = run.tuning.threads + _HANDED_ON
        self._at_once, self._ahead = 1, _ONE_BY_ONE
        self._read: SimpleQueue[_Block | None] = SimpleQueue()
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()  # None wakes who waits for one
        self._to_make = run.readers + self._workers

    def result(self) -> Part:
        """Run all threads to their end; the rows they found."""
        run = self._run
        try:
            readers = _started(self._read_all, run.readers)
            workers = _started(self._work, self._workers)
            uploaders = _started(self._upload, run.tuning.uploads)
            _joined(readers)
            self._read.put(None)
            _joined(workers)
            self._filling.close()
            self._end_uploads()
            _joined(uploaders)
        except BaseException as error:  # interrupted, or no more threads: those that run are not to wait for ever
            self._fail(error)
            self._read.put(None)
            self._end_uploads()
            raise
        if self._error is not None:
            raise self._error
        return self._part()

    def _end_uploads(self) -> None:
        for _ in range(self._run.tuning.uploads):
            self._packs.put(None)

    def _part(self) -> Part:
        part = Part(self._start, self._end)
        for index, where in sorted(self._rows, key=lambda row: row[0]):
            if where is None:
                part.add(index, None, 0)
            elif isinstance(where, tuple):
                part.add(index, *where)
            else:
                part.add(index, self._run.place(where >> 16), where & 0xFFFF)
        return part

    def _next(self) -> Ref | None:
        with self._turn:
            if self._failed.is_set() or self._end != self._stop:
                return None
            ref = next(self._refs, None)
            if ref is None:
                return None
            if self._left <= 0 or (self._left % 64 == 0 and self._halt()):
                if ref.index > self._start:
                    self._end = ref.index
                    return None
                self._left = 1  # at least one block, so that every stretch gets further
            self._left -= 1
            self._ahead -= 1
            if not self._ahead:
                self._many()
            return ref

    def _many(self) -> None:
        """From now on blocks are hashed many at once, and there are buffers for as many."""
        self._at_once = self._run.tuning.at_once
        with self._lock:
            self._to_make += max(0, self._at_once * (min(self._workers, _BATCHES) + 1) - self._workers)

    def _read_all(self) -> None:
        """Read blocks as long as there are any. A source that likes one reader is read in order."""
        batch()
        try:
            while (ref := self._next()) is not None:
                view = self._buffer()
                if view is None:
                    return
                self._read.put(_Block(ref, view, *((0, None) if ref.gone else self._run.source.read(ref, view))))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._fail(error)

    def _buffer(self) -> memoryview | None:
        """A buffer for a block, one that was used before if there is one; None after a failure."""
        with suppress(Empty):
            return self._free.get_nowait()
        with self._lock:
            made = self._to_make > 0
            self._to_make -= made
        return memoryview(bytearray(self._run.source.block_bytes)) if made else self._free.get()

    def _work(self) -> None:
        batch()
        rows: list[tuple[int, int | tuple[Place, int] | None]] = []
        try:
            while (blocks := self._next_blocks()) and not self._failed.is_set():
                found = iter(digests([block.view[: block.length] for block in blocks if not block.ref.gone]))
                for block in blocks:
                    if self._failed.is_set():
                        break
                    rows.append((block.ref.index, None if block.ref.gone else self._keep(block, next(found))))
                    self._free.put(block.view)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._fail(error)
        with self._lock:
            self._rows.extend(rows)

    def _next_blocks(self) -> list[_Block]:
        """What was read, at least one block unless nothing is left, and at most as many as are hashed at once."""
        blocks: list[_Block] = []
        with suppress(Empty):
            block = self._read.get()
            while block is not None:
                blocks.append(block)
                if len(blocks) == self._at_once:
                    return blocks
                block = self._read.get_nowait()
            self._read.put(None)  # the end, for each that asks
        return blocks

    def _keep(self, block: _Block, digest: bytes) -> int | tuple[Place, int] | None:
        """Where a block's content is now: None for zeros."""
        run = self._run
        length, digest = run.checked(*block, digest)
        zero = run.is_zero(length, digest)
        found = None if zero else run.look_up(block.ref.index, digest)
        if zero or found is not None:
            run.count(length, zero, found is not None)
            return found
        location, known = self._stored(block.view[:length], digest)
        run.count(length, zero, known)
        return location

    def _stored(self, content: memoryview, digest: bytes) -> tuple[int, bool]:
        """Where a new content is now, and whether another worker has stored it since it was looked for."""
        run = self._run
        with run.turn_of(digest):
            location = run.location(digest)
            if location is not None:
                return location, True
            location = self._filling.add(content, digest)
            run.remember(digest, location)
            return location, False

    def _upload(self) -> None:
        batch()
        while (writer := self._packs.get()) is not None:
            try:
                if not self._failed.is_set():
                    buffer, footer = writer.finish()
                    self._run.upload(writer, buffer, footer)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._fail(error)
            self._run.give_back(writer.buffer)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._failed.set()
        for _ in range(self._run.readers):  # who waits for a buffer learns of it
            self._free.put(None)


def _started(act: Callable[[], None], count: int) -> list[Thread]:
    threads = [Thread(target=act, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _joined(threads: list[Thread]) -> None:
    for thread in threads:
        thread.join()
