"""A process may die between any two writes: what was committed stays whole, the rest is cleared away."""

from datetime import timedelta

import pytest

from tests.workers.repository.volumes import KEY, TUNING, Crash, Disk, Hand, Mortal, Snapshot, content, repository
from workers.repository.archive import archive
from workers.repository.compact import compact, plan_compaction
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.memory import MemoryStore
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import open_repository
from workers.repository.verify import verify

NOW = Margins(timedelta(0), timedelta(0))


def history(store: MemoryStore, clock: Hand, generations: int = 3) -> tuple[list[bytes], bytes]:
    """A repository with some generations of one disk; their contents, and the disk a change later."""
    repo = repository(clock, store)
    disk, base, before, contents = Disk(120), None, None, []
    for _ in range(generations):
        contents.append(disk.bytes())
        base = archive(repo, "v", Snapshot(contents[-1], before), clock(), base, tuning=TUNING)
        before = contents[-1]
        disk.change(60)
        clock.pass_by(hours=1)
    return contents, disk.bytes()


def check(store: MemoryStore, clock: Hand, wanted: list[bytes]) -> None:
    """Every generation that counts restores, verification finds nothing, and pruning leaves no garbage."""
    repo = open_repository(store, KEY, clock=clock)
    found = [content(repo, g) for g in read_index(repo).generations]
    assert found == wanted[: len(found)] or found == wanted[-len(found) :]
    assert verify(repo, full=True).sound
    clock.pass_by(days=3)
    execute_prune(repo, plan_prune(repo, [], NOW))
    execute_prune(repo, plan_prune(repo, [], NOW))
    assert verify(repo, full=True).sound
    after = plan_prune(repo, [], NOW)
    assert not after.delete
    assert [content(repo, g) for g in read_index(repo).generations] == found


@pytest.mark.parametrize("torn", [False, True])
def test_an_archive_that_dies_at_any_write_harms_nothing(torn: bool) -> None:
    for writes in range(40):
        clock = Hand()
        store = MemoryStore(clock)
        contents, now = history(store, clock, 2)
        mortal = Mortal(store, writes, torn)
        repo = open_repository(mortal, KEY, clock=clock)
        base = read_index(repo).generations[-1]
        try:
            archive(repo, "v", Snapshot(now, contents[-1]), clock(), base, tuning=TUNING)
        except Crash:
            check(store, clock, [*contents, now])
            continue
        check(store, clock, [*contents, now])
        assert writes > 4
        return
    raise AssertionError("the archive never came to its end")


@pytest.mark.parametrize("torn", [False, True])
def test_a_pruning_that_dies_at_any_write_harms_nothing(torn: bool) -> None:
    for writes in range(60):
        clock = Hand()
        store = MemoryStore(clock)
        contents, _ = history(store, clock, 4)
        oldest = [g.id for g in read_index(open_repository(store, KEY, clock=clock)).generations[:2]]
        repo = open_repository(Mortal(store, writes, torn), KEY, clock=clock)
        try:
            execute_prune(repo, plan_prune(repo, oldest, NOW))
        except Crash:
            check(store, clock, contents)
            continue
        check(store, clock, contents[2:])
        assert writes > 5
        return
    raise AssertionError("the pruning never came to its end")


@pytest.mark.parametrize("torn", [False, True])
def test_a_compaction_that_dies_at_any_write_harms_nothing(torn: bool) -> None:
    for writes in range(60):
        clock = Hand()
        store = MemoryStore(clock)
        contents, _ = history(store, clock, 5)
        whole = open_repository(store, KEY, clock=clock)
        execute_prune(whole, plan_prune(whole, [g.id for g in read_index(whole).generations[:3]], NOW))
        plan = plan_compaction(whole, threshold=0.9, least=1)
        assert plan.packs
        repo = open_repository(Mortal(store, writes, torn), KEY, clock=clock)
        try:
            report = compact(repo, plan, read_index(whole).generations)
        except Crash:
            check(store, clock, contents[3:])
            continue
        assert report.generations
        check(store, clock, contents[3:])
        assert writes > 4
        return
    raise AssertionError("the compaction never came to its end")
