"""Manifests: one immutable object for each generation. FORMAT.md section 7.

A manifest is named by a keyed hash of its content, and names its map segments by theirs: whoever holds the identity
of a generation has the proof of every byte in it.
"""

import json
import struct
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workers.repository.clock import instant, stamp
from workers.repository.errors import Damaged, Newer
from workers.repository.names import Pack
from workers.repository.segment import BLOCKS, Place

FORMAT = 1
_ROW = struct.Struct("<HHIII32s")  # map pack, zero, offset, stored length, opened size, SHA-256
_HOLE = 0xFFFF


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """Where a map segment lies: frame bytes in a map pack, and what it opens to."""

    place: Place
    offset: int
    length: int
    size: int
    digest: bytes


@dataclass(frozen=True)
class Generation:
    """One state of a disk. `id` stays the same when compaction writes its manifest anew; `identity` is the manifest's.

    `size` and `block_bytes` in bytes; `base` is the identity of the manifest that unchanged segments came from;
    `replaces` that of the manifest this one stands for; `lost` lists (first block, blocks) that repair gave up;
    `source` is the caller's and is only ever shown or handed back.
    """

    id: str
    lineage: str
    size: int
    block_bytes: int
    taken_at: datetime
    created_at: datetime
    job: str
    segments: tuple[SegmentRef | None, ...]
    base: str | None = None
    replaces: str | None = None
    lost: tuple[tuple[int, int], ...] = ()
    source: dict[str, str] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)
    storage_class: str = ""
    identity: str = ""

    @property
    def blocks(self) -> int:
        """How many blocks the volume has; the last may be shorter."""
        return -(-self.size // self.block_bytes)

    def length(self, block: int) -> int:
        """Bytes of one block."""
        return min(self.block_bytes, self.size - block * self.block_bytes)


def encode_manifest(generation: Generation) -> bytes:
    """JSON with its length in front, then one row for each segment."""
    maps = list(dict.fromkeys(ref.place for ref in generation.segments if ref is not None))
    at = {place: number for number, place in enumerate(maps)}
    facts = {
        "format": FORMAT,
        "generation": generation.id,
        "lineage": generation.lineage,
        "size": generation.size,
        "block_bytes": generation.block_bytes,
        "taken_at": stamp(generation.taken_at),
        "created_at": stamp(generation.created_at),
        "job": generation.job,
        "base": generation.base,
        "replaces": generation.replaces,
        "lost": [list(span) for span in generation.lost],
        "source": generation.source,
        "figures": generation.figures,
        "storage_class": generation.storage_class,
        "maps": [[p.pack.job, p.pack.run, p.pack.number, p.size, p.footer] for p in maps],
        "segments": len(generation.segments),
    }
    text = json.dumps(facts, sort_keys=True).encode()
    rows = [
        _ROW.pack(_HOLE, 0, 0, 0, 0, bytes(32))
        if ref is None
        else _ROW.pack(at[ref.place], 0, ref.offset, ref.length, ref.size, ref.digest)
        for ref in generation.segments
    ]
    return struct.pack("<I", len(text)) + text + b"".join(rows)


def decode_manifest(name: str, payload: bytes, identity: str) -> Generation:
    """Read what `encode_manifest` made. Raises Damaged, Newer."""
    try:
        (length,) = struct.unpack_from("<I", payload)
        facts = json.loads(payload[4 : 4 + length])
        if facts["format"] > FORMAT:
            raise Newer(f"{name} has manifest format {facts['format']}; this program reads up to {FORMAT}.")
        maps = [Place(Pack(job, run, number), size, footer) for job, run, number, size, footer in facts["maps"]]
        segments = _segments(payload, 4 + length, facts["segments"], maps)
        return _generation(facts, segments, identity)
    except (KeyError, IndexError, ValueError, TypeError, struct.error):
        raise Damaged(name, "it is no well-formed manifest") from None


def _segments(payload: bytes, at: int, count: int, maps: list[Place]) -> tuple[SegmentRef | None, ...]:
    if len(payload) != at + count * _ROW.size:
        raise ValueError("segments")
    refs: list[SegmentRef | None] = []
    for number in range(count):
        owner, _, offset, length, size, digest = _ROW.unpack_from(payload, at + number * _ROW.size)
        refs.append(None if owner == _HOLE else SegmentRef(maps[owner], offset, length, size, digest))
    return tuple(refs)


def _generation(facts: dict[str, Any], segments: tuple[SegmentRef | None, ...], identity: str) -> Generation:
    generation = Generation(
        id=facts["generation"],
        lineage=facts["lineage"],
        size=facts["size"],
        block_bytes=facts["block_bytes"],
        taken_at=instant(facts["taken_at"]),
        created_at=instant(facts["created_at"]),
        job=facts["job"],
        segments=segments,
        base=facts["base"],
        replaces=facts["replaces"],
        lost=tuple((first, count) for first, count in facts["lost"]),
        source=facts["source"],
        figures=facts["figures"],
        storage_class=facts["storage_class"],
        identity=identity,
    )
    if len(segments) != -(-generation.blocks // BLOCKS):
        raise ValueError("segments")
    return generation
