"""Reading a generation back: into a file, a stream or a new snapshot; whole packs where they pay, ranges otherwise.

Each thread fetches a pack into memory of its own, decrypts, decompresses and proves its blocks, and hands them to the
sink, or to writers where the sink hides latency behind many. Each pack is asked for once in a segment of the volume;
memory is a few packs whatever the volume's size.

What bounds it (2026-11-22, share of CPU seconds, to a file in memory): the kernel's copy into the file two fifths,
decompression a fifth, SHA-256 a tenth (a fifth where it is done one by one: 8 % more time, 2026-11-23). To a snapshot
EBS itself checks SHA-256, and nothing is hashed here. Twice as fast again would take memory that is there already: what
a virtual machine's host must give anew costs five times the copy.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from workers.repository.errors import Damaged
from workers.repository.manifest import Generation
from workers.repository.names import DATA
from workers.repository.pack import Buffer, Footer, disproved, open_frame, open_into, open_pack, proved
from workers.repository.pipeline import Tuning
from workers.repository.repository import Repository
from workers.repository.segment import BLOCKS, Place
from workers.repository.source import Sink
from workers.repository.store import Thaw, read_into

# Two wanted frames that are closer than this are read as one range: 1 MiB takes less time than a request's latency.
GAP = 1 << 20
# A footer has 35 to 40 bytes for each frame: enough to guess how many frames a pack has before it is read.
FOOTER_ROW = 37
# Packs that are on their way while every core has one to open: S3 gives some 90 MB/s a connection.
_AHEAD = 2
# Blocks that wait for a writer of the sink, beside those that are being written.
_WAITING = 16
Rows = list[tuple[int, int]]


@dataclass
class Restored:
    """What a restore has done: blocks and bytes written, requests and bytes read from the store."""

    blocks: int = 0
    written_bytes: int = 0
    reads: int = 0
    read_bytes: int = 0


@dataclass(frozen=True)
class Piece:
    """A range of a pack in memory: which frames are wanted, and for which blocks."""

    place: Place
    footer: Footer
    start: int
    content: Any
    rows: Rows


def restore(
    repository: Repository,
    generation: Generation,
    sink: Sink,
    tuning: Tuning | None = None,
    first: int = 0,
    stop: int | None = None,
    figures: Restored | None = None,
) -> Restored:
    """Write blocks [first, stop) of a generation to a sink and finish it. Blocks of zeros are not written.

    Raises Damaged, Missing, Archived naming the object; the sink is not finished then.
    """
    stop = generation.blocks if stop is None else stop
    figures = figures if figures is not None else Restored()
    if getattr(sink, "ordered", False):
        _restore_in_order(repository, generation, sink, first, stop, figures)
    else:
        _Restore(repository, generation, sink, tuning or Tuning(), figures).run(first, stop)
    sink.finish()
    return figures


def packs_of(repository: Repository, generation: Generation, first: int = 0, stop: int | None = None) -> dict[str, int]:
    """Names and sizes in bytes of all packs that a restore of blocks [first, stop) reads: what to retrieve first."""
    found: dict[str, int] = {}
    for place, _ in _wanted(repository, generation, first, generation.blocks if stop is None else stop):
        found[place.pack.name(DATA)] = place.size
    return found


def data_bytes(repository: Repository, generation: Generation) -> int:
    """Bytes that a restore writes, to within a block: what a sparse file of the generation takes. Reads its map."""
    return generation.block_bytes * sum(len(rows) for _, rows in _wanted(repository, generation, 0, generation.blocks))


def start_retrieval(repository: Repository, generation: Generation, days: int, tier: str = "Bulk") -> dict[str, Thaw]:
    """Ask for a generation's archived packs to become readable; returns at once. Call again to learn how far it is:
    when every state is READY, restore."""
    return repository.store.thaw(packs_of(repository, generation), days, tier)


def _wanted(repository: Repository, generation: Generation, first: int, stop: int) -> Iterator[tuple[Place, Rows]]:
    for number in range(first // BLOCKS, -(-stop // BLOCKS)):
        if generation.segments[number] is None:
            continue
        segment = repository.segment(generation, number)
        for place, rows in segment.by_pack().items():
            inside = [row for row in rows if first <= row[1] < stop]
            if inside:
                yield place, inside


def pieces(repository: Repository, place: Place, rows: Rows, into: Buffer | None = None) -> Iterator[Piece]:
    """Read what is wanted of one pack: all when half is wanted, else ranges. With `into` a piece's content lies there,
    and is good until the next. Raises Missing, Archived, Damaged."""
    name = place.pack.name(DATA)

    def read(start: int, length: int) -> Any:
        if into is None:
            return repository.store.read(name, start, length)
        return read_into(repository.store, name, start, into.view(length))

    if 2 * len(rows) * FOOTER_ROW >= place.footer:
        content = read(0, place.size)
        if len(content) != place.size:
            raise Damaged(name, f"it has {len(content)} bytes and should have {place.size}")
        footer = open_pack(repository.sealer, name, DATA, content)
        repository.keep_footer(name, footer)
        _inside(name, footer, rows)
        yield Piece(place, footer, 0, content, rows)
        return
    footer = repository.footer(place)
    _inside(name, footer, rows)
    for group in _close(footer, rows):
        start = footer.offsets[group[0][0]]
        end = footer.offsets[group[-1][0]] + footer.lengths[group[-1][0]]
        content = read(start, end - start)
        if len(content) != end - start:
            raise Damaged(name, "it is truncated")
        yield Piece(place, footer, start, content, group)


def _inside(name: str, footer: Footer, rows: Rows) -> None:
    if rows[-1][0] >= len(footer):
        raise Damaged(name, "the map names a frame that it does not have")


def _close(footer: Footer, rows: Rows) -> Iterator[Rows]:
    group: Rows = []
    for row in rows:
        if group and footer.offsets[row[0]] - footer.offsets[group[-1][0]] - footer.lengths[group[-1][0]] > GAP:
            yield group
            group = []
        group.append(row)
    yield group


def blocks_of(repository: Repository, generation: Generation, piece: Piece, prove: bool) -> Iterator[tuple[int, bytes]]:
    """The blocks in a piece, opened; with `prove` the SHA-256 is computed too. Raises Damaged, Newer."""
    name = piece.place.pack.name(DATA)
    opener = proved if prove else open_frame
    for frame, block in piece.rows:
        sealed, size = _sealed(generation, piece, frame, block)
        yield block, opener(repository.sealer, name, DATA, sealed, size, piece.footer.hash(frame))


def _sealed(generation: Generation, piece: Piece, frame: int, block: int) -> tuple[memoryview, int]:
    """A frame of a piece, and the size it opens to. Raises Damaged when the block has another."""
    start = piece.footer.offsets[frame] - piece.start
    size = piece.footer.sizes[frame]
    if size != generation.length(block):
        name = piece.place.pack.name(DATA)
        raise Damaged(name, f"frame {frame} has {size} bytes, block {block} needs {generation.length(block)}")
    return memoryview(piece.content)[start : start + piece.footer.lengths[frame]], size


_Opened = tuple[int, memoryview, bytes, Buffer]


class _Restore:
    """The threads of a restore; the first error stops all, and is raised by `run`."""

    def __init__(
        self, repository: Repository, generation: Generation, sink: Sink, tuning: Tuning, figures: Restored
    ) -> None:
        self._repository, self._generation, self._sink, self._figures = repository, generation, sink, figures
        self._threads = tuning.threads + _AHEAD
        self._writers = int(getattr(sink, "writers", 0))
        self._turn, self._lock = Lock(), Lock()
        self._failed = Event()
        self._error: BaseException | None = None
        self._opened: SimpleQueue[_Opened | None] = SimpleQueue()
        self._buffers: SimpleQueue[Buffer] = SimpleQueue()
        self._at_once = 1 if sink.proves else tuning.at_once
        for _ in range(self._threads * self._at_once + (self._writers + _WAITING if self._writers else 0)):
            self._buffers.put(Buffer())

    def run(self, first: int, stop: int) -> None:
        """Restore blocks [first, stop)."""
        wanted = _wanted(self._repository, self._generation, first, stop)
        threads = [Thread(target=self._read, args=(wanted,), daemon=True) for _ in range(self._threads)]
        writers = [Thread(target=self._write, daemon=True) for _ in range(self._writers)]
        for thread in threads + writers:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in writers:
            self._opened.put(None)
        for thread in writers:
            thread.join()
        if self._error is not None:
            raise self._error

    def _read(self, wanted: Iterator[tuple[Place, Rows]]) -> None:
        memory = Buffer()
        try:
            while not self._failed.is_set():
                with self._turn:
                    item = next(wanted, None)
                if item is None:
                    return
                for piece in pieces(self._repository, *item, memory):
                    with self._lock:
                        self._figures.reads += 1
                        self._figures.read_bytes += len(piece.content)
                    self._open(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._fail(error)

    def _open(self, piece: Piece) -> None:
        """Open a piece's blocks, prove them unless the sink does, and hand them on."""
        for start in range(0, len(piece.rows), self._at_once):
            if self._failed.is_set():
                return
            opened = [self._opened_one(piece, *row) for row in piece.rows[start : start + self._at_once]]
            if not self._sink.proves:
                name, hashes = piece.place.pack.name(DATA), [digest for _, _, digest, _ in opened]
                if wrong := disproved(name, [content for _, content, _, _ in opened], hashes):
                    raise wrong[min(wrong)]
            for one in opened:
                if self._writers:
                    self._opened.put(one)
                else:
                    self._one(*one)
                    self._buffers.put(one[3])

    def _opened_one(self, piece: Piece, frame: int, block: int) -> _Opened:
        name, digest = piece.place.pack.name(DATA), piece.footer.hash(frame)
        sealed, size = _sealed(self._generation, piece, frame, block)
        buffer = self._buffers.get()
        return block, open_into(self._repository.sealer, name, DATA, sealed, size, digest, buffer), digest, buffer

    def _write(self) -> None:
        while (item := self._opened.get()) is not None:
            try:
                if not self._failed.is_set():
                    self._one(*item)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._fail(error)
            self._buffers.put(item[3])

    def _one(self, block: int, content: memoryview, digest: bytes, _: Buffer) -> None:
        self._sink.write(block, content, digest)
        with self._lock:
            self._figures.blocks += 1
            self._figures.written_bytes += len(content)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._failed.set()


def _restore_in_order(
    repository: Repository, generation: Generation, sink: Sink, first: int, stop: int, figures: Restored
) -> None:
    """Block by block, for sinks that cannot seek: slower, one core; four packs are kept."""
    kept: OrderedDict[Place, Piece] = OrderedDict()
    for number in range(first // BLOCKS, -(-stop // BLOCKS)):
        if generation.segments[number] is None:
            continue
        segment = repository.segment(generation, number)
        by_pack = segment.by_pack()
        for block in range(max(first, segment.first), min(stop, segment.first + len(segment))):
            found = segment.get(block)
            if found is None:
                continue
            place, frame = found
            if place not in kept:
                kept[place] = _whole(repository, place, by_pack[place])
                figures.reads += 1
                figures.read_bytes += place.size
                if len(kept) > 4:
                    kept.popitem(last=False)
            kept.move_to_end(place)
            whole = kept[place]
            one = Piece(place, whole.footer, 0, whole.content, [(frame, block)])
            for index, content in blocks_of(repository, generation, one, not sink.proves):
                sink.write(index, content, whole.footer.hash(frame))
                figures.blocks += 1
                figures.written_bytes += len(content)


def _whole(repository: Repository, place: Place, rows: Rows) -> Piece:
    name = place.pack.name(DATA)
    content = repository.store.read(name, 0, place.size)
    if len(content) != place.size:
        raise Damaged(name, f"it has {len(content)} bytes and should have {place.size}")
    footer = open_pack(repository.sealer, name, DATA, content)
    _inside(name, footer, rows)
    return Piece(place, footer, 0, content, rows)
