"""Pruning: a plan that can be refused, grace, what is still needed, locks, cold classes, silent jobs; compaction."""

from datetime import timedelta
from typing import Any

import pytest

from tests.workers.repository.volumes import BLOCK, KEY, TUNING, Disk, Hand, Snapshot, content, repository
from workers.repository.archive import archive, archive_slice, commit_archive, start_archive
from workers.repository.cold import execute_move, lockable, plan_move
from workers.repository.compact import compact, plan_compaction
from workers.repository.errors import AccessRefused, Archived, Fenced, Unsuitable
from workers.repository.generations import manifest_name, read_index
from workers.repository.liveness import Margins
from workers.repository.manifest import Generation
from workers.repository.names import DATA
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import Repository
from workers.repository.restore import start_retrieval
from workers.repository.store import Put, Thaw
from workers.repository.verify import verify

pytestmark = pytest.mark.unit

AT_ONCE = Margins(timedelta(0), timedelta(days=1))


def chain(count: int, how: Put = Put(), change: int = 40) -> tuple[Repository, Hand, dict[str, bytes]]:  # noqa: B008
    clock, disk = Hand(), Disk(150)
    repo = repository(clock)
    contents, base, before = {}, None, None
    for _ in range(count):
        now = disk.bytes()
        base = archive(repo, "v", Snapshot(now, before), clock(), base, how, TUNING)
        contents[base.id], before = now, now
        disk.change(change)
        clock.pass_by(hours=1)
    return repo, clock, contents


def generations(repo: Repository) -> list[Generation]:
    return read_index(repo).generations


def size(repo: Repository) -> int:
    return sum(stat.size for stat in repo.store.list("packs/"))


def test_a_plan_changes_nothing_and_says_what_would_go() -> None:
    repo, _, contents = chain(4)
    before = {stat.name: stat.size for stat in repo.store.list("")}
    oldest = [g.id for g in generations(repo)[:2]]
    plan = plan_prune(repo, oldest, AT_ONCE)
    assert {stat.name: stat.size for stat in repo.store.list("")} == before
    assert {g.id for g in plan.expire.values()} == set(oldest)
    assert plan.freed == sum(before[name] for name in plan.delete) > 0
    report = execute_prune(repo, plan)
    assert report.deleted == plan.delete
    assert [g.id for g in generations(repo)] == [job for job in contents if job not in oldest]


def test_what_retention_lets_go_is_hidden_at_once_and_deleted_after_the_grace() -> None:
    repo, clock, _ = chain(3, change=2000)
    before = size(repo)
    oldest = generations(repo)[0].id
    margins = Margins(timedelta(days=1), timedelta(days=1))
    execute_prune(repo, plan_prune(repo, [oldest], margins))
    assert len(generations(repo)) == 2
    assert size(repo) == before
    clock.pass_by(hours=23)
    assert not plan_prune(repo, [], margins).delete
    assert plan_prune(repo, [], margins).later > 0
    clock.pass_by(hours=2)
    execute_prune(repo, plan_prune(repo, [], margins))
    assert size(repo) < before
    assert verify(repo, full=True).sound


def test_only_what_was_in_the_plan_is_deleted() -> None:
    repo, _, _ = chain(4)
    plan = plan_prune(repo, [generations(repo)[0].id], AT_ONCE)
    later = plan_prune(repo, [generations(repo)[1].id], AT_ONCE)
    execute_prune(repo, plan_prune(repo, [g.id for g in generations(repo)[:2]], Margins(timedelta(days=9))))
    report = execute_prune(repo, plan)
    assert set(report.deleted) <= set(plan.delete)
    assert not set(report.deleted) & (set(later.delete) - set(plan.delete))


def test_a_base_that_a_living_job_builds_on_outlasts_its_retention() -> None:
    """feature C9: the job commits, and what it took over from its base is there."""
    repo, clock, contents = chain(2)
    base = generations(repo)[-1]
    disk = Disk(150, seed=9)
    disk.content[: 100 * BLOCK] = contents[base.id][: 100 * BLOCK]
    source = Snapshot(disk.bytes(), contents[base.id])
    job = start_archive(repo, "v", source, base)
    execute_prune(repo, plan_prune(repo, list(contents), AT_ONCE))
    execute_prune(repo, plan_prune(repo, [], AT_ONCE))
    done = archive_slice(repo, job, source, tuning=TUNING, inline=True)
    generation = commit_archive(repo, job, clock(), done.parts)
    assert content(repo, generation) == disk.bytes()
    assert verify(repo, full=True).sound


def test_a_job_that_is_silent_for_too_long_is_given_up_and_its_packs_go() -> None:
    repo, clock, _ = chain(1)
    before = size(repo)
    disk = Disk(100, seed=3)
    job = start_archive(repo, "w", Snapshot(disk.bytes()))
    done = archive_slice(repo, job, Snapshot(disk.bytes()), tuning=TUNING, inline=True)
    margins = Margins(timedelta(hours=1), timedelta(hours=12))
    assert not plan_prune(repo, [], margins).revoke
    clock.pass_by(hours=13)
    plan = plan_prune(repo, [], margins)
    assert plan.revoke == (job.id,)
    assert execute_prune(repo, plan).revoked == [job.id]
    with pytest.raises(Fenced):
        commit_archive(repo, job, clock(), done.parts)
    clock.pass_by(hours=2)
    execute_prune(repo, plan_prune(repo, [], margins))
    assert size(repo) == before


def test_a_worker_that_says_it_is_alive_is_not_given_up() -> None:
    repo, clock, _ = chain(1)
    disk = Disk(100, seed=3)
    job = start_archive(repo, "w", Snapshot(disk.bytes()))
    clock.pass_by(hours=11)
    repo.leases.renew(job.lease)
    clock.pass_by(hours=11)
    assert not plan_prune(repo, [], Margins(timedelta(0), timedelta(hours=12))).revoke


def test_locked_packs_stay_with_the_reason_and_go_when_the_lock_is_over() -> None:
    """feature C20: a lock is extended over everything a generation needs, also what opens it; deletion waits for it."""
    repo, clock, contents = chain(2)
    names = lockable(repo, generations(repo), KEY)
    assert {"repository.json", f"keys/{repo.key_slots()[0]}"} < set(names)
    for name in names:
        repo.store.extend_lock(name, clock() + timedelta(days=30))
    report = execute_prune(repo, plan_prune(repo, list(contents), AT_ONCE))
    assert report.kept
    assert all("locked" in reason for reason in report.kept.values())
    assert not any(name.startswith("leases/") for name in report.kept)
    clock.pass_by(days=31)
    execute_prune(repo, plan_prune(repo, [], AT_ONCE))
    assert size(repo) == 0
    assert not list(repo.store.list("generations/"))


def test_a_lease_that_the_store_keeps_keeps_its_tombstones() -> None:
    """Under a legal hold, or a bucket's own retention: else it would name a generation that was lost."""
    repo, clock, contents = chain(1)
    (lease,) = (stat.name for stat in repo.store.list("leases/"))
    repo.store.extend_lock(lease, clock() + timedelta(days=30))
    execute_prune(repo, plan_prune(repo, list(contents), AT_ONCE))
    assert not list(repo.store.list("packs/"))
    assert verify(repo).sound
    clock.pass_by(days=31)
    execute_prune(repo, plan_prune(repo, [], AT_ONCE))
    assert not [stat.name for stat in repo.store.list("") if stat.name.startswith(("leases/", "tombs/"))]


def test_cold_packs_are_spared_until_their_billed_time_is_over() -> None:
    repo, clock, contents = chain(2, Put(storage_class="GLACIER"))
    plan = plan_prune(repo, list(contents), AT_ONCE)
    assert set(plan.early.values()) == {90}
    spared = plan_prune(repo, list(contents), AT_ONCE, spare_early=True)
    assert not set(spared.delete) & set(plan.early)
    clock.pass_by(days=91)
    assert not plan_prune(repo, list(contents), AT_ONCE).early


def test_a_cold_generation_is_retrieved_by_asking_and_the_next_archive_needs_no_retrieval() -> None:
    repo, clock, contents = chain(2, Put(storage_class="DEEP_ARCHIVE"))
    base = generations(repo)[-1]
    disk = Disk(150, seed=5)
    after = archive(
        repo, "v", Snapshot(disk.bytes(), contents[base.id]), clock(), base, Put(storage_class="GLACIER"), TUNING
    )
    with pytest.raises(Archived):
        content(repo, after)
    assert set(start_retrieval(repo, after, 3).values()) == {Thaw.UNDERWAY}
    clock.pass_by(hours=6)
    assert set(start_retrieval(repo, after, 3).values()) == {Thaw.READY}
    assert content(repo, after) == disk.bytes()
    assert verify(repo).sound


def test_old_generations_move_to_a_cold_class_without_what_newer_ones_share() -> None:
    """feature 83: only packs that nothing newer uses are moved."""
    repo, _, contents = chain(3, change=10)
    old = generations(repo)[:1]
    plan = plan_move(repo, old, generations(repo), "GLACIER")
    assert plan.shared > 0
    moved_all = plan_move(repo, generations(repo), generations(repo), "GLACIER")
    assert moved_all.shared == 0
    assert execute_move(repo, plan) == {}
    newest = generations(repo)[-1]
    assert content(repo, newest) == contents[newest.id]
    with pytest.raises(Unsuitable):
        plan_move(repo, old, old, "CHEAPEST")


def test_compaction_frees_what_is_dead_in_packs_and_every_generation_stays() -> None:
    repo, _, contents = chain(6, change=70)
    execute_prune(repo, plan_prune(repo, [g.id for g in generations(repo)[:4]], AT_ONCE))
    before = size(repo)
    plan = plan_compaction(repo, 0.8, 1)
    assert plan.freed > 0
    report = compact(repo, plan, generations(repo))
    assert report.moved == plan.moved
    execute_prune(repo, plan_prune(repo, [], AT_ONCE))
    assert size(repo) <= before - plan.freed * 0.9
    assert {g.id: content(repo, g) for g in generations(repo)} == {g.id: contents[g.id] for g in generations(repo)}
    assert len(generations(repo)) == 2
    assert verify(repo, full=True).sound


def test_a_locked_pack_is_left_with_the_end_of_its_lock_and_compacted_when_that_is_over() -> None:
    """feature C20: each pack by its own lock; what is written anew is locked as it is asked for."""
    repo, clock, _ = chain(6, change=70)
    execute_prune(repo, plan_prune(repo, [g.id for g in generations(repo)[:4]], AT_ONCE))
    every = plan_compaction(repo, 0.8, 1)
    (packs,) = every.packs.values()
    assert len(packs) > 1
    first, *others = [place.pack.name(DATA) for place in packs]
    until = clock() + timedelta(days=30)
    repo.store.extend_lock(first, until)
    plan = plan_compaction(repo, 0.8, 1)
    assert plan.locked == {first: until}
    assert sorted(place.pack.name(DATA) for place in plan.packs["v"]) == sorted(others)
    assert plan.freed + plan.held == every.freed
    later = clock() + timedelta(days=60)
    compact(repo, plan, generations(repo), Put(retain_until=later))
    written = [f"{folder}{g.job}" for g in generations(repo) for folder in ("packs/", "maps/")]
    names = [stat.name for stat in repo.store.list("") if stat.name.startswith(tuple(written))]
    names += [manifest_name(repo, g) for g in generations(repo)]
    store: Any = repo.store
    assert {store.locked_until(name) for name in names} == {later}
    assert list(plan_compaction(repo, 0.8, 1).locked) == [first]
    clock.pass_by(days=31)
    (packs,) = plan_compaction(repo, 0.8, 1).packs.values()
    assert [place.pack.name(DATA) for place in packs] == [first]


def test_where_locks_may_not_be_read_nothing_is_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """feature C20: AWS leaves locks out of a HEAD for whoever lacks the right (HeadObject, S3 API reference)."""
    repo, _, _ = chain(6, change=70)
    execute_prune(repo, plan_prune(repo, [g.id for g in generations(repo)[:4]], AT_ONCE))

    def refuse(name: str) -> None:
        raise AccessRefused(f"Whether {name} is locked may not be read.")

    monkeypatch.setattr(repo.store, "locked_until", refuse)
    with pytest.raises(AccessRefused):
        plan_compaction(repo, 0.8, 1)


def test_packs_that_are_mostly_alive_are_left_alone() -> None:
    repo, _, _ = chain(3, change=3)
    assert not plan_compaction(repo).packs


def test_what_others_put_below_the_prefix_is_told_and_never_deleted() -> None:
    repo, clock, contents = chain(2)
    for name in ("packs/readme.txt", "packs/a/b/c", "maps/stray"):
        repo.store.put(name, b"not ours")
    clock.pass_by(days=9)
    execute_prune(repo, plan_prune(repo, list(contents), AT_ONCE))
    assert {"packs/readme.txt", "packs/a/b/c", "maps/stray"} <= {stat.name for stat in repo.store.list("")}
    assert {problem.kind for problem in verify(repo).problems} == {"unexpected"}
