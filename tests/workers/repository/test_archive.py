"""Archives and restores: full, incremental, split over workers, resumed, deduplicated."""

import io
import os
import threading
from collections.abc import Iterator

import pytest

from tests.workers.repository.volumes import BLOCK, TUNING, Disk, Hand, Snapshot, content, repository
from workers.repository.archive import (
    archive,
    archive_slice,
    commit_archive,
    resume_archive,
    start_archive,
)
from workers.repository.errors import Damaged, Fenced, RepositoryError, StoreUnavailable
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.memory import MemoryStore
from workers.repository.names import PACKS, PARTS
from workers.repository.pipeline import Tuning
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.restore import restore
from workers.repository.source import FileSource, MemorySink, Ref, StreamSink, StreamSource

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("short", [0, 1, BLOCK - 1])
def test_a_full_archive_comes_back_byte_for_byte(short: int) -> None:
    """Whatever the size, the last block included."""
    clock, disk = Hand(), Disk(300, short=short)
    repo = repository(clock)
    generation = archive(repo, "vol-1", Snapshot(disk.bytes()), clock(), tuning=TUNING)
    assert content(repo, generation) == disk.bytes()
    assert generation.figures["read_bytes"] > 0
    assert [g.id for g in read_index(repo).generations] == [generation.id]


def test_a_chain_of_incrementals_restores_every_generation_and_stores_only_what_changed() -> None:
    """feature 82: the first archive of a chain is full, the later ones are incremental."""
    clock, disk = Hand(), Disk(400)
    repo = repository(clock)
    taken = []
    base, before = None, None
    for _ in range(6):
        now = disk.bytes()
        base = archive(repo, "vol-1", Snapshot(now, before), clock(), base, tuning=TUNING)
        taken.append((base, now))
        before = now
        disk.change(9)
        clock.pass_by(hours=1)
    for generation, wanted in taken:
        assert content(repo, generation) == wanted
    assert all(g.figures["blocks"] <= 9 for g, _ in taken[1:])
    assert [g.base for g, _ in taken[1:]] == [g.identity for g, _ in taken[:-1]]


def test_a_block_that_became_zeros_is_zeros_in_the_next_generation() -> None:
    clock, disk = Hand(), Disk(50)
    repo = repository(clock)
    first = disk.bytes()
    base = archive(repo, "vol-1", Snapshot(first), clock(), tuning=TUNING)
    disk.content[: 20 * BLOCK] = bytes(20 * BLOCK)
    second = archive(repo, "vol-1", Snapshot(disk.bytes(), first), clock(), base, tuning=TUNING)
    assert content(repo, second) == disk.bytes()
    assert content(repo, base) == first


def test_a_source_without_change_lists_stores_nothing_twice(tmp_path: object) -> None:
    """A file is compared with its base by content; a shrinking set of blocks becomes holes."""
    clock, disk = Hand(), Disk(200)
    repo = repository(clock)
    path = tmp_path / "disk"
    path.write_bytes(disk.bytes())
    first = archive(repo, "file", FileSource(path, BLOCK), clock(), tuning=TUNING)
    disk.content[: 50 * BLOCK] = bytes(50 * BLOCK)
    disk.write(120)
    path.write_bytes(disk.bytes())
    second = archive(repo, "file", FileSource(path, BLOCK), clock(), first, tuning=TUNING)
    assert content(repo, second) == disk.bytes()
    assert second.figures["stored_bytes"] < BLOCK * 2


def test_equal_blocks_are_stored_once() -> None:
    repo, disk = repository(), Disk(1)
    disk.content = bytearray(b"same" * (BLOCK // 4)) * 200
    generation = archive(repo, "v", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)
    assert (generation.figures["known"], generation.figures["blocks"]) == (199, 200)
    assert content(repo, generation) == disk.bytes()


def test_slices_of_one_volume_become_one_generation() -> None:
    """Three workers take a range each, in any order, and anyone commits."""
    clock, disk = Hand(), Disk(600)
    repo = repository(clock)
    job = start_archive(repo, "vol-1", Snapshot(disk.bytes()))
    for start, stop in ((400, 600), (0, 200), (200, 400)):
        worker = resume_archive(repo, job.id)
        done = archive_slice(repo, worker, Snapshot(disk.bytes()), start, stop, tuning=TUNING, stretch=64)
        assert done.finished
    generation = commit_archive(repo, resume_archive(repo, job.id), clock())
    again = commit_archive(repo, resume_archive(repo, job.id), clock())
    assert generation.identity == again.identity
    assert content(repo, generation) == disk.bytes()
    assert not list(repo.store.list(PARTS))


def test_a_slice_whose_worker_was_killed_is_resumed_where_its_last_part_ends() -> None:
    clock, disk = Hand(), Disk(600)
    repo = repository(clock)
    source = Snapshot(disk.bytes())
    job = start_archive(repo, "vol-1", source)
    calls = iter([False] * 6 + [True] * 1000)
    first = archive_slice(repo, job, source, halt=lambda: next(calls), tuning=TUNING, stretch=64)
    assert not first.finished
    read = source.reads
    second = archive_slice(repo, resume_archive(repo, job.id), source, tuning=TUNING, stretch=64)
    assert second.finished
    total = sum(1 for _ in source.blocks(0, 600))
    assert 0 < read < total
    assert source.reads == total
    assert content(repo, commit_archive(repo, job, clock())) == disk.bytes()


def test_two_workers_on_one_slice_do_no_harm() -> None:
    clock, disk = Hand(), Disk(300)
    repo = repository(clock)
    source = Snapshot(disk.bytes())
    job = start_archive(repo, "vol-1", source)
    one = archive_slice(repo, job, source, 0, 300, tuning=TUNING, inline=True)
    archive_slice(repo, job, source, 0, 300, tuning=TUNING, stretch=64)
    generation = commit_archive(repo, job, clock(), one.parts)
    assert content(repo, generation) == disk.bytes()


def test_a_commit_without_all_parts_is_refused() -> None:
    repo, disk = repository(), Disk(100)
    job = start_archive(repo, "v", Snapshot(disk.bytes()))
    archive_slice(repo, job, Snapshot(disk.bytes()), 0, 50, tuning=TUNING)
    with pytest.raises(RepositoryError, match="from 50 on"):
        commit_archive(repo, job, repo.clock())
    assert read_index(repo).generations == []


def test_a_base_of_another_size_makes_a_full_archive_and_says_so() -> None:
    clock, disk = Hand(), Disk(100)
    repo = repository(clock)
    base = archive(repo, "v", Snapshot(disk.bytes()), clock(), tuning=TUNING)
    bigger = Disk(120)
    job = start_archive(repo, "v", Snapshot(bigger.bytes()), base)
    assert job.base is None
    assert "bytes" in job.why_full


def test_a_base_with_blocks_of_another_size_makes_a_full_archive_and_says_so() -> None:
    """A format that changed is no reason to fail, and none to mix."""
    repo = repository()
    disk = Disk(20)
    base = archive(repo, "v", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)
    source = Snapshot(disk.bytes())
    source.block_bytes = 2 * BLOCK
    started = start_archive(repo, "v", source, base)
    assert (started.base, "blocks of another size" in started.why_full) == (None, True)


def test_a_base_that_was_pruned_makes_a_full_archive_and_says_so() -> None:
    clock, disk = Hand(), Disk(100)
    repo = repository(clock)
    first = disk.bytes()
    base = archive(repo, "v", Snapshot(first), clock(), tuning=TUNING)
    clock.pass_by(days=2)
    execute_prune(repo, plan_prune(repo, [base.id], Margins(clock.at - clock.at, clock.at - clock.at)))
    job = start_archive(repo, "v", Snapshot(disk.bytes(), first), base)
    assert job.base is None
    assert "gone" in job.why_full
    with pytest.raises(RepositoryError, match="needs a base"):
        archive_slice(repo, job, Snapshot(disk.bytes(), first), tuning=TUNING)


def test_a_job_that_was_given_up_can_never_commit() -> None:
    clock, disk = Hand(), Disk(100)
    repo = repository(clock)
    job = start_archive(repo, "v", Snapshot(disk.bytes()))
    done = archive_slice(repo, job, Snapshot(disk.bytes()), tuning=TUNING, inline=True)
    repo.leases.revoke(repo.leases.read(job.id))
    with pytest.raises(Fenced):
        commit_archive(repo, job, clock(), done.parts)
    assert read_index(repo).generations == []


def test_a_source_that_lies_about_its_checksum_is_read_again_and_then_refused() -> None:
    repo, disk = repository(), Disk(20)

    class Liar(Snapshot):
        lies = 1

        def read(self, ref: object, into: memoryview) -> tuple[int, bytes | None]:
            length, digest = super().read(ref, into)
            if self.lies:
                self.lies -= 1
                into[0] ^= 1
            return length, digest

    source = Liar(disk.bytes())
    assert content(repo, archive(repo, "v", source, repo.clock(), tuning=TUNING)) == disk.bytes()
    source.lies = 1000
    with pytest.raises(Damaged, match="checksum"):
        archive(repo, "v", source, repo.clock(), tuning=TUNING)


def test_streams_go_in_and_come_out() -> None:
    repo, disk = repository(), Disk(250, short=77)
    source = StreamSource(io.BytesIO(disk.bytes()), disk.size, BLOCK)
    generation = archive(repo, "dump", source, repo.clock(), tuning=TUNING)
    out = io.BytesIO()
    restore(repo, generation, StreamSink(out, generation.size, BLOCK))
    assert out.getvalue() == disk.bytes()


def test_a_range_of_blocks_is_restored_alone_with_ranged_reads() -> None:
    repo, disk = repository(), Disk(600)
    generation = archive(repo, "v", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)
    sink = MemorySink(generation.size, BLOCK)
    figures = restore(repo, generation, sink, TUNING, 100, 110)
    assert bytes(sink.content[100 * BLOCK : 110 * BLOCK]) == disk.bytes()[100 * BLOCK : 110 * BLOCK]
    assert not any(sink.content[: 100 * BLOCK])
    assert figures.blocks <= 10


def test_the_store_learns_neither_names_nor_contents() -> None:
    repo, disk = repository(), Disk(30)
    disk.content[:BLOCK] = b"very secret text".ljust(BLOCK, b".")
    archive(repo, "vol-very-secret", Snapshot(disk.bytes()), repo.clock(), tuning=TUNING)
    store = repo.store
    assert isinstance(store, MemoryStore)
    everything = b"".join(stat.name.encode() + store.get(stat.name)[0] for stat in store.list(""))
    assert b"very" not in everything
    assert b"very" in disk.bytes()
    assert any(stat.name.startswith(PACKS) for stat in store.list(""))


def test_many_threads_fill_one_pack_after_the_other() -> None:
    """Only the last pack of a run is not full, however many compute."""
    clock, disk = Hand(), Disk(300)
    repo = repository(clock)
    tuning = Tuning(pack_bytes=8 * BLOCK, compute=8, uploads=2)
    generation = archive(repo, "v", Snapshot(disk.bytes()), clock(), tuning=tuning)
    sizes = [stat.size for stat in repo.store.list(PACKS)]
    assert len(sizes) > 3
    assert sum(size < 8 * BLOCK for size in sizes) <= 1
    assert content(repo, generation) == disk.bytes()


class Slow:
    """A sink that hides latency behind writers, and fails at one block when told to."""

    proves, writers = True, 6

    def __init__(self, size: int, fails_at: int = -1) -> None:
        self.memory, self.fails_at = MemorySink(size, BLOCK), fails_at
        self.threads: set[str] = set()
        self.finished = False

    def write(self, index: int, content: bytes | memoryview, digest: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        threading.Event().wait(0.001)
        if index == self.fails_at:
            raise StoreUnavailable("gone")
        self.memory.write(index, content, digest)

    def finish(self) -> None:
        self.finished = True


def test_the_threads_of_an_archive_displace_nobody_and_their_caller_stays_as_it_was() -> None:
    seen: set[int] = set()

    class Watched(Snapshot):
        def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
            seen.add(os.sched_getscheduler(0))
            return super().read(ref, into)

    clock, disk = Hand(), Disk(20)
    archive(repository(clock), "vol-1", Watched(disk.bytes()), clock(), tuning=TUNING)
    assert seen == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_sink_with_latency_gets_the_writers_it_likes_and_its_error_ends_the_restore() -> None:
    clock, disk = Hand(), Disk(300)
    repo = repository(clock)
    wanted = disk.bytes()
    generation = archive(repo, "v", Snapshot(wanted), clock(), tuning=TUNING)
    sink = Slow(generation.size)
    figures = restore(repo, generation, sink, TUNING)
    assert bytes(sink.memory.content) == wanted
    assert sink.finished
    assert len(sink.threads) > 1
    assert figures.written_bytes > 0
    broken = Slow(generation.size, fails_at=next(b for b in range(300) if any(wanted[b * BLOCK : (b + 1) * BLOCK])))
    with pytest.raises(StoreUnavailable):
        restore(repo, generation, broken, TUNING)
    assert not broken.finished


class Huge:
    """64 TiB with a few blocks written, or changed."""

    size, block_bytes, readers = 64 << 40, 512 << 10, 1

    def __init__(self, written: list[int], incremental: bool) -> None:
        self._written, self.incremental = written, incremental

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        yield from (Ref(index) for index in self._written if start <= index < stop)

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        into[:8] = ref.index.to_bytes(8, "big")
        return self.block_bytes, None


def test_the_maps_of_a_volume_of_64_tib_stay_small_and_a_change_writes_only_its_own_part_of_them() -> None:
    """A generation costs a manifest of 200 KB at most, and 130 KB for each 16 GiB in which something changed."""
    repo = repository()
    blocks = [0, 70_000_000, (64 << 40) // (512 << 10) - 1]
    base = archive(repo, "v", Huge(blocks, False), repo.clock())
    before = {stat.name for stat in repo.store.list("")}
    newer = archive(repo, "v", Huge(blocks[1:2], True), repo.clock(), base)
    added = {stat.name: stat.size for stat in repo.store.list("") if stat.name not in before}
    assert sum(added.values()) < 400_000
    changed = [n for n, (one, two) in enumerate(zip(base.segments, newer.segments, strict=True)) if one != two]
    assert changed == [70_000_000 // 32_768]
    assert max(stat.size for stat in repo.store.list("generations/")) < 200_000
