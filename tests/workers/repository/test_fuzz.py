"""A decoder meets mutated objects: it refuses, in bounded time and memory, or gives what was written."""

import hashlib
import random
import struct
import time
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.repository.volumes import Hand
from workers.repository.crypt import FOOTER, Sealer, unpacked
from workers.repository.errors import Damaged, Newer, RepositoryError
from workers.repository.fresh import fresh
from workers.repository.manifest import Generation, SegmentRef, decode_manifest, encode_manifest
from workers.repository.names import DATA, Pack
from workers.repository.pack import PackWriter, decode_footer, encode_footer, open_pack, proved
from workers.repository.segment import Part, Place, Segment, decode_part, decode_segment

SEALER = Sealer(bytes(range(32)))
JOB, RUN = "ab" * 16, "cd" * 8
PLACES = [Place(Pack(JOB, RUN, number), 1000 + number, 80) for number in range(3)]
# Mutations of each of seven kinds: 105 000 in all.
ROUNDS = 15_000


def samples() -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """One sound payload of each kind with its decoder; nothing authenticates these, so decoders stand alone."""
    segment = Segment.empty(0, 64)
    part = Part(5, 90)
    for block in range(40):
        segment.set(block, PLACES[block % 3], block)
        part.add(5 + block, PLACES[block % 3] if block % 5 else None, block)
    ref = SegmentRef(PLACES[0], 16, 300, 500, bytes(32))
    at = Hand()()
    generation = Generation(JOB, "vol", 64 * 4096, 4096, at, at, JOB, (ref,), source={"a": "b"})
    writer = PackWriter(SEALER, PLACES[0].pack, DATA, bytearray())
    for number in range(4):
        data = bytes([number]) * 4096
        writer.add(data, hashlib.sha256(data).digest())
    pack, _ = writer.finish()

    def whole(body: bytes) -> object:
        name = PLACES[0].pack.name(DATA)
        footer = open_pack(SEALER, name, DATA, body)
        rows = zip(footer.offsets, footer.lengths, footer.sizes, range(len(footer)), strict=True)
        return [proved(SEALER, name, DATA, body[o : o + n], size, footer.hash(i)) for o, n, size, i in rows]

    return {
        "segment": (segment.encode(), lambda b: decode_segment("s", b)),
        "part": (part.encode(), lambda b: decode_part("p", b)),
        "manifest": (encode_manifest(generation), lambda b: decode_manifest("m", b, "x")),
        "footer": (encode_footer([70, 80], [1, 2], [bytes(32)] * 2), lambda b: decode_footer("f", b)),
        "sealed": (SEALER.seal(FOOTER, "n", b"payload" * 9), lambda b: SEALER.open(FOOTER, "n", b)),
        "pack": (bytes(pack), whole),
        "zstd": (zstandard.compress(b"text" * 99), lambda b: unpacked("z", b, 1 << 16)),
    }


def mutated(body: bytes, at: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(at.choice((1, 1, 2, 8))):
        where = at.randrange(len(changed) + 1)
        match at.randrange(5):
            case 0 if changed:
                changed[where % len(changed)] ^= 1 << at.randrange(8)
            case 1:
                del changed[where : where + at.randrange(1, 40)]
            case 2:
                changed[where:where] = at.randbytes(at.randrange(1, 40))
            case 3 if len(changed) > 8:
                where %= len(changed) - 4
                changed[where : where + 4] = struct.pack("<I", at.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)))
            case _:
                other = at.randrange(len(changed) + 1)
                changed[where : where + 16] = changed[other : other + 16]
    return bytes(changed)


@pytest.mark.parametrize("kind", sorted(samples()))
def test_mutated_objects_are_refused_or_read_as_something_well_formed(kind: str) -> None:
    body, decode = samples()[kind]
    original = decode(body)
    at = random.Random(kind)
    refused, started = 0, time.monotonic()
    for _ in range(ROUNDS):
        try:
            result = decode(mutated(body, at))
        except RepositoryError:
            refused += 1
        else:
            if kind in ("sealed", "pack"):
                assert result == original  # authenticated: only what was written comes back
    assert refused > ROUNDS // 10
    assert time.monotonic() - started < 120


def test_a_bomb_does_not_expand() -> None:
    bomb = zstandard.compress(bytes(1 << 26))
    assert len(bomb) < 10_000
    with pytest.raises(Damaged, match="expand"):
        unpacked("b", bomb, 1 << 20)


@given(
    st.lists(st.tuples(st.integers(0, 299), st.integers(0, 40), st.integers(0, 65534)), max_size=300),
    st.integers(1, 300),
)
@settings(deadline=None, max_examples=60)
def test_a_segment_comes_back_as_it_was_whatever_was_set(rows: list[tuple[int, int, int]], blocks: int) -> None:
    segment = Segment.empty(32_768, blocks)
    wanted: dict[int, tuple[Place, int] | None] = {}
    for offset, number, frame in rows:
        if offset < blocks:
            place = None if number == 40 else Place(Pack(JOB, f"{number % 3:016x}", number), 10 + number, number)
            segment.set(32_768 + offset, place, frame)
            wanted[offset] = None if place is None else (place, frame)
    again = decode_segment("s", segment.encode())
    assert {offset: again.get(32_768 + offset) for offset in range(blocks)} == {
        offset: wanted.get(offset) for offset in range(blocks)
    }
    assert again.encode() == segment.encode()
    listed = {(place, frame, block) for place, entries in again.by_pack().items() for frame, block in entries}
    assert listed == {(*found, 32_768 + offset) for offset, found in wanted.items() if found is not None}


@given(st.lists(st.tuples(st.integers(0, 499), st.integers(0, 9), st.integers(0, 65534)), max_size=200))
@settings(deadline=None, max_examples=60)
def test_a_part_comes_back_as_it_was(rows: list[tuple[int, int, int]]) -> None:
    part = Part(100, 600)
    for offset, number, frame in rows:
        part.add(100 + offset, None if number == 9 else Place(Pack(JOB, RUN, number), 5, 6), frame)
    again = decode_part("p", part.encode())
    assert (again.start, again.stop, again.block, again.pack, again.frame) == (
        100,
        600,
        part.block,
        part.pack,
        part.frame,
    )
    assert again.table.places == part.table.places


@given(st.binary(min_size=1, max_size=5000), st.binary(min_size=1, max_size=5000))
@settings(deadline=None, max_examples=60)
def test_contents_of_any_kind_come_out_of_a_pack_and_of_a_pack_they_were_moved_to(one: bytes, other: bytes) -> None:
    digests = [hashlib.sha256(body).digest() for body in (one, other)]
    writer = PackWriter(SEALER, PLACES[0].pack, DATA, bytearray())
    for body, digest in zip((one, other), digests, strict=True):
        writer.add(body, digest)
    packed, _ = writer.finish()
    footer = open_pack(SEALER, PLACES[0].pack.name(DATA), DATA, packed)
    second = PackWriter(SEALER, PLACES[1].pack, DATA, bytearray())
    for i in (1, 0):
        second.move(
            bytes(packed[footer.offsets[i] : footer.offsets[i] + footer.lengths[i]]), footer.sizes[i], footer.hash(i)
        )
    moved, _ = second.finish()
    name = PLACES[1].pack.name(DATA)
    again = open_pack(SEALER, name, DATA, moved)
    frames = [bytes(moved[o : o + n]) for o, n in zip(again.offsets, again.lengths, strict=True)]
    opened = [proved(SEALER, name, DATA, f, again.sizes[i], again.hash(i)) for i, f in enumerate(frames)]
    assert opened == [other, one]
    with pytest.raises((Damaged, Newer)):
        open_pack(SEALER, PLACES[0].pack.name(DATA), DATA, moved)


def test_a_pack_in_memory_that_cannot_grow_ends_before_its_footer_has_no_room() -> None:
    room = fresh(20_000)
    writer = PackWriter(SEALER, PLACES[0].pack, DATA, room)
    count = 0
    while writer.fits(64):
        body = count.to_bytes(64, "little")
        digest = hashlib.sha256(body).digest()
        number, start = writer.reserve(len(body), len(body), digest)
        writer.fill(number, start, body, 1, digest)
        count += 1
    packed, _ = writer.finish()
    footer = open_pack(SEALER, PLACES[0].pack.name(DATA), DATA, packed)
    assert len(footer) == count > 20_000 // 160
    assert 18_000 < len(packed) <= 20_000  # a footer compresses a little
