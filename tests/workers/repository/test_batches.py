"""Blocks are hashed one by one on some machines and sixteen at once on others: both ways give the same."""

import time
from dataclasses import replace
from typing import ClassVar

import pytest

from tests.workers.repository.volumes import BLOCK, TUNING, Disk, Hand, Snapshot, repository
from workers.repository.archive import archive
from workers.repository.errors import Damaged, StoreUnavailable
from workers.repository.generations import read_index
from workers.repository.memory import MemoryStore
from workers.repository.names import DATA, PACKS, pack_of
from workers.repository.pack import PackWriter, open_frame, open_pack
from workers.repository.pipeline import Tuning
from workers.repository.repository import Repository
from workers.repository.restore import restore
from workers.repository.source import MemorySink, Ref
from workers.repository.store import PLAIN, Body, Put
from workers.repository.verify import verify

pytestmark = [pytest.mark.unit, pytest.mark.parametrize("batch", [1, 16])]
# More than are hashed one by one at first, and than there are buffers: a reader waits for a worker.
BLOCKS = 700


def tuned(batch: int) -> Tuning:
    return replace(TUNING, batch=batch, pack_bytes=256 << 10)


def test_what_was_archived_is_sound_and_comes_back(batch: int) -> None:
    """From a source that states no checksums, so that nobody notices a digest of another block."""

    class Silent(Snapshot):
        def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
            return super().read(ref, into)[0], None

    repo, disk = repository(), Disk(BLOCKS, short=5)
    generation = archive(repo, "v", Silent(disk.bytes()), repo.clock(), tuning=tuned(batch))
    sink = MemorySink(generation.size, BLOCK)
    restore(repo, generation, sink, tuned(batch))
    assert bytes(sink.content) == disk.bytes()
    assert verify(repo, full=True, tuning=tuned(batch)).sound


@pytest.mark.parametrize("at", [0, 7, 300, BLOCKS - 1])
def test_a_source_that_fails_ends_the_archive_with_its_error(batch: int, at: int) -> None:
    class Failing(Snapshot):
        def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
            if ref.index == at:
                raise StoreUnavailable("gone")
            return super().read(ref, into)

    disk = Disk(BLOCKS)
    disk.content[at * BLOCK] = 1
    repo = repository()
    with pytest.raises(StoreUnavailable, match="gone"):
        archive(repo, "v", Failing(disk.bytes()), repo.clock(), tuning=tuned(batch))
    assert not read_index(repo).generations


def test_a_source_that_never_tells_the_truth_is_refused_while_readers_wait_for_buffers(batch: int) -> None:
    class Liar(Snapshot):
        def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
            length, digest = super().read(ref, into)
            into[0] ^= 1
            return length, digest

    repo = repository()
    with pytest.raises(Damaged, match="checksum"):
        archive(repo, "v", Liar(Disk(BLOCKS).bytes()), repo.clock(), tuning=tuned(batch))


def test_a_frame_whose_tag_is_right_and_whose_content_is_not_is_found_among_its_neighbours(batch: int) -> None:
    """As a program would write it that hashed one block and stored another."""
    clock = Hand()
    store = MemoryStore(clock)
    repo = repository(clock, store)
    noise = Disk(40)
    for block in range(40):
        noise.content[block * BLOCK : (block + 1) * BLOCK] = noise.random.randbytes(BLOCK)
    generation = archive(repo, "v", Snapshot(noise.bytes()), repo.clock(), tuning=tuned(batch))
    name, block = exchanged(repo, store, noise.bytes(), 21)
    found = verify(repo, full=True, tuning=tuned(batch))
    assert [(one.name, one.detail) for one in found.problems] == [(name, "a frame's content does not have its SHA-256")]
    assert found.affected == {generation.id: [(block, 1)]}
    with pytest.raises(Damaged, match="SHA-256"):
        restore(repo, generation, MemorySink(generation.size, BLOCK), tuned(batch))


def exchanged(repo: Repository, store: MemoryStore, disk: bytes, frame: int) -> tuple[str, int]:
    """Write a pack again with one byte of a frame's content changed; its name, and the block that it is."""
    name = next(stat.name for stat in store.list(PACKS) if stat.size > 22 * BLOCK)
    body = store.get(name)[0]
    footer, pack = open_pack(repo.sealer, name, DATA, body), pack_of(name)
    assert pack is not None
    writer = PackWriter(repo.sealer, pack, DATA, bytearray())
    block = -1
    for number, start in enumerate(footer.offsets):
        sealed, digest = memoryview(body)[start : start + footer.lengths[number]], footer.hash(number)
        content = bytearray(open_frame(repo.sealer, name, DATA, sealed, footer.sizes[number], digest))
        if number == frame:
            block = disk.index(content) // BLOCK
            content[5] ^= 1
        writer.add(content, digest)
    store.delete([name])
    store.put(name, bytes(writer.finish()[0]))
    return name, block


def test_readers_get_as_many_buffers_as_are_hashed_at_once_and_no_more_where_it_is_one_by_one(batch: int) -> None:
    """While the store keeps the workers waiting, past the blocks that are hashed one by one at first."""

    class Greedy(Snapshot):
        buffers: ClassVar[dict[int, memoryview]] = {}

        def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
            self.buffers[id(into.obj)] = into
            return super().read(ref, into)

    class Slow(MemoryStore):
        def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
            until = time.monotonic() + 1
            while source.reads > 300 and len(source.buffers) <= 16 and time.monotonic() < until:
                time.sleep(0.01)
            return super().put(name, body, how)

    clock, source = Hand(), Greedy(Disk(BLOCKS).bytes())
    source.buffers.clear()
    repo = repository(clock, Slow(clock))
    archive(repo, "v", source, clock(), tuning=replace(TUNING, batch=batch))
    assert len(source.buffers) > 16 if batch > 1 else len(source.buffers) <= source.readers + 3
