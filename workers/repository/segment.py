"""The block map: where each block of a volume lies. FORMAT.md section 6.

A volume's map is cut into segments of 32 768 blocks (16 GiB of 512 KiB blocks), each with a pack table of its own
and two columns of 16 bits a block, so that an unchanged segment is shared between generations by reference and a
segment in memory has 0.2 MB whatever the volume's size. Measured 2026-11: 1.2 bytes a block in the store when
fresh, 2.2 after thirty days of scattered 2 % changes: 154 to 277 MiB for a full volume of 64 TiB.

A *part* is the same for a stretch of work: the rows of the blocks that one run of a job has read so far.
"""

import struct
from array import array
from dataclasses import dataclass, field

from workers.repository.errors import Damaged
from workers.repository.names import Pack

BLOCKS = 32_768
ZERO = 0xFFFF  # in a pack column: the block is all zeros
_SEGMENT = struct.Struct("<QIHHI")  # first block, blocks, runs, zero, packs
_PART = struct.Struct("<QQIHHI")  # start, stop, rows, runs, zero, packs
_RUN = struct.Struct("<16s8s")


@dataclass(frozen=True, slots=True)
class Place:
    """A pack with what a reader must know before it asks for it: size and length of the sealed footer, bytes."""

    pack: Pack
    size: int
    footer: int


@dataclass
class Table:
    """The packs that a segment or part names; an entry's position is its number there."""

    places: list[Place] = field(default_factory=list)
    _numbers: dict[Pack, int] = field(default_factory=dict)

    def number(self, place: Place) -> int:
        """The number of a pack, entered when it is new."""
        found = self._numbers.get(place.pack)
        if found is None:
            found = self._numbers[place.pack] = len(self.places)
            self.places.append(place)
        return found

    def encode(self) -> tuple[int, bytes]:
        """The number of runs, then runs and columns as bytes."""
        runs = list(dict.fromkeys((place.pack.job, place.pack.run) for place in self.places))
        at = {run: number for number, run in enumerate(runs)}
        columns = (
            array("H", [at[place.pack.job, place.pack.run] for place in self.places]),
            array("I", [place.pack.number for place in self.places]),
            array("I", [place.size for place in self.places]),
            array("I", [place.footer for place in self.places]),
        )
        names = b"".join(_RUN.pack(bytes.fromhex(job), bytes.fromhex(run)) for job, run in runs)
        return len(runs), names + b"".join(column.tobytes() for column in columns)


def _table(name: str, payload: bytes, at: int, runs: int, packs: int) -> tuple[list[Place], int]:
    names = []
    for _ in range(runs):
        job, run = _RUN.unpack_from(payload, at)
        names.append((job.hex(), run.hex()))
        at += _RUN.size
    owner, at = _column("H", payload, at, packs)
    number, at = _column("I", payload, at, packs)
    size, at = _column("I", payload, at, packs)
    footer, at = _column("I", payload, at, packs)
    if any(entry >= runs for entry in owner):
        raise Damaged(name, "its pack table names a run that it does not have")
    places = [Place(Pack(*names[owner[i]], number[i]), size[i], footer[i]) for i in range(packs)]
    return places, at


def _column(code: str, payload: bytes, at: int, count: int) -> tuple["array[int]", int]:
    values = array(code)
    end = at + count * values.itemsize
    values.frombytes(payload[at:end])
    return values, end


def _expected(base: int, runs: int, packs: int, rows: int, row_bytes: int) -> int:
    return base + runs * _RUN.size + packs * 14 + rows * row_bytes


@dataclass
class Segment:
    """The map of the blocks from `first` on; `pack` and `frame` have one entry a block."""

    first: int
    pack: "array[int]"
    frame: "array[int]"
    table: Table = field(default_factory=Table)

    @classmethod
    def empty(cls, first: int, blocks: int) -> "Segment":
        """All zeros."""
        return cls(first, array("H", [ZERO]) * blocks, array("H", [0]) * blocks)

    def __len__(self) -> int:
        return len(self.pack)

    def set(self, block: int, place: Place | None, frame: int) -> None:
        """Say where a block lies; None: it is all zeros."""
        self.pack[block - self.first] = ZERO if place is None else self.table.number(place)
        self.frame[block - self.first] = frame if place is not None else 0

    def get(self, block: int) -> tuple[Place, int] | None:
        """Where a block lies: pack and frame; None when it is all zeros."""
        number = self.pack[block - self.first]
        return None if number == ZERO else (self.table.places[number], self.frame[block - self.first])

    def is_empty(self) -> bool:
        """Whether every block is zeros; such a segment is not stored."""
        return self.pack.count(ZERO) == len(self.pack)

    def compact(self) -> "Segment":
        """The same map without packs that no block names any more."""
        table = Table()
        renumber = {n: table.number(self.table.places[n]) for n in dict.fromkeys(self.pack) if n != ZERO}
        pack = self.pack
        if any(old != new for old, new in renumber.items()):  # mostly they are numbered as they come
            renumber[ZERO] = ZERO
            pack = array("H", map(renumber.__getitem__, pack))
        return Segment(self.first, pack[:], self.frame[:], table)

    def by_pack(self) -> dict[Place, list[tuple[int, int]]]:
        """(frame, block) pairs of each pack, in order of the frames: how a restore reads."""
        found: dict[Place, list[tuple[int, int]]] = {}
        lists: list[list[tuple[int, int]] | None] = [None] * len(self.table.places)
        for i, number in enumerate(self.pack):
            if number != ZERO:
                rows = lists[number]
                if rows is None:
                    rows = lists[number] = found[self.table.places[number]] = []
                rows.append((self.frame[i], self.first + i))
        for rows in found.values():
            rows.sort()
        return found

    def encode(self) -> bytes:
        """As FORMAT.md section 6 lays it out; packs without blocks are left out."""
        lean = self.compact()
        runs, table = lean.table.encode()
        head = _SEGMENT.pack(lean.first, len(lean), runs, 0, len(lean.table.places))
        return head + table + lean.pack.tobytes() + lean.frame.tobytes()


def decode_segment(name: str, payload: bytes) -> Segment:
    """Read what `Segment.encode` made. Raises Damaged."""
    if len(payload) < _SEGMENT.size:
        raise Damaged(name, "a map segment is too short")
    first, blocks, runs, _, packs = _SEGMENT.unpack_from(payload)
    if blocks > BLOCKS or len(payload) != _expected(_SEGMENT.size, runs, packs, blocks, 4):
        raise Damaged(name, "a map segment has the wrong length")
    places, at = _table(name, payload, _SEGMENT.size, runs, packs)
    pack, at = _column("H", payload, at, blocks)
    frame, _ = _column("H", payload, at, blocks)
    if any(number >= packs for number in set(pack) - {ZERO}):
        raise Damaged(name, "a map segment names a pack that its table does not have")
    return Segment(first, pack, frame, _filled(places))


def _filled(places: list[Place]) -> Table:
    return Table(places, {place.pack: number for number, place in enumerate(places)})


@dataclass
class Part:
    """What a run of a job found for the blocks from `start` to before `stop`; blocks it does not name are as in
    the base, or zeros where there is no base."""

    start: int
    stop: int
    block: "array[int]" = field(default_factory=lambda: array("I"))
    pack: "array[int]" = field(default_factory=lambda: array("H"))
    frame: "array[int]" = field(default_factory=lambda: array("H"))
    table: Table = field(default_factory=Table)

    def add(self, block: int, place: Place | None, frame: int) -> None:
        """Note where a block lies; None: it is all zeros now."""
        self.block.append(block - self.start)
        self.pack.append(ZERO if place is None else self.table.number(place))
        self.frame.append(frame if place is not None else 0)

    def encode(self) -> bytes:
        """As FORMAT.md section 7 lays it out."""
        runs, table = self.table.encode()
        head = _PART.pack(self.start, self.stop, len(self.block), runs, 0, len(self.table.places))
        return head + table + self.block.tobytes() + self.pack.tobytes() + self.frame.tobytes()


def decode_part(name: str, payload: bytes) -> Part:
    """Read what `Part.encode` made. Raises Damaged."""
    if len(payload) < _PART.size:
        raise Damaged(name, "it is too short for a part")
    start, stop, rows, runs, _, packs = _PART.unpack_from(payload)
    if stop <= start or len(payload) != _expected(_PART.size, runs, packs, rows, 8):
        raise Damaged(name, "it has the wrong length for a part")
    places, at = _table(name, payload, _PART.size, runs, packs)
    block, at = _column("I", payload, at, rows)
    pack, at = _column("H", payload, at, rows)
    frame, _ = _column("H", payload, at, rows)
    if any(number >= packs for number in set(pack) - {ZERO}) or any(offset >= stop - start for offset in block):
        raise Damaged(name, "a part names a pack or a block that it does not have")
    return Part(start, stop, block, pack, frame, _filled(places))
