"""Threads that write together get their own answers, and nothing counts before it is committed."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tasks.catalog import Job, database, session, transaction
from tasks.catalog.claims import Ended, Wanted, take_and_end
from tasks.catalog.fields import is_postgres
from tasks.errors import FenceLost, Unavailable
from tasks.states import JobState
from tests.services import wait_until
from tests.workers.world import LEASE, World
from workers import together


@pytest.mark.unit
def test_whoever_comes_while_one_writes_is_written_together_next() -> None:
    sizes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def act(wishes: Sequence[int]) -> list[int]:
        sizes.append(len(wishes))
        begun.set()
        go_on.wait(10)
        return [wish * 2 for wish in wishes]

    gather = together.Gather(act)
    with ThreadPoolExecutor(21) as threads:
        first = threads.submit(gather, 0)
        begun.wait(10)
        others = [threads.submit(gather, n) for n in range(1, 21)]
        while len(gather._waiting) < 20:
            threading.Event().wait(0.001)
        go_on.set()
        assert [one.result(10) for one in (first, *others)] == [n * 2 for n in range(21)]
    assert sizes == [1, 20]


@pytest.mark.unit
def test_a_wish_that_cannot_be_written_spoils_nothing_for_its_company() -> None:
    """What a job found out, and no database takes, ends that job's attempt alone."""
    begun, go_on = threading.Event(), threading.Event()

    def act(wishes: Sequence[int]) -> list[int]:
        begun.set()
        go_on.wait(10)
        if -1 in wishes:
            raise ValueError("no")
        return list(wishes)

    gather = together.Gather(act)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(gather, 0)
        begun.wait(10)
        others = [threads.submit(gather, wish) for wish in (1, -1, 2)]
        while len(gather._waiting) < 3:
            threading.Event().wait(0.001)
        go_on.set()
        assert [first.result(10), others[0].result(10), others[2].result(10)] == [0, 1, 2]
        assert isinstance(others[1].exception(10), ValueError)


@pytest.mark.unit
def test_each_of_many_threads_gets_its_own_answer() -> None:
    gather = together.Gather(lambda wishes: [-wish for wish in wishes])

    def ask(thread: int) -> bool:
        return all(gather(thread * 1000 + n) == -(thread * 1000 + n) for n in range(300))

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(16)))


@pytest.mark.unit
def test_a_failure_is_everybodys_and_the_next_ones_go_on() -> None:
    def act(wishes: Sequence[int]) -> list[int]:
        if -1 in wishes:
            raise Unavailable("The catalog went away.")
        return list(wishes)

    gather = together.Gather(act)
    with pytest.raises(Unavailable):
        gather(-1)
    assert gather(3) == 3


def test_jobs_are_claimed_together_each_once(world: World) -> None:
    """Promise 2 where it is batched: ten messages for one job, and a stale one, claim it once."""
    first, second, third = (world.snapshot_job(key=f"k{n}") for n in range(3))
    at = world.clock.timer()

    def wanted(job: Job, fence: int = 0) -> Wanted:
        return Wanted(job.id, fence, "host:1:worker", at, LEASE)

    with transaction():
        Job.update(fence=4).where(Job.id == third.id).execute()
        messages = [*[wanted(first)] * 10, wanted(second), wanted(third, fence=3), wanted(third, fence=4)]
        got, _ = take_and_end(messages, ())
    assert [row and row.id for row in got] == [first.id, *[None] * 9, second.id, None, third.id]
    assert [(row.state, row.attempt, row.claims) for row in got if row] == [(JobState.RUNNING, 1, 1)] * 3
    assert {row.lease_until_at for row in got if row} == {at + LEASE}
    with transaction():
        assert take_and_end([wanted(first), wanted(first, fence=1)], ()) == ([None, None], set())


def test_one_turn_ends_what_is_done_and_takes_what_is_next(world: World) -> None:
    done, overtaken = world.claim(world.snapshot_job(key="k1")), world.claim(world.snapshot_job(key="k2"))
    fresh, stale = world.snapshot_job(key="k3"), world.snapshot_job(key="k4")
    at = world.clock.timer() + timedelta(seconds=5)
    with transaction():
        Job.update(fence=2).where(Job.id == overtaken.id).execute()
        wanted = [Wanted(one.id, fence, "host:1:worker", at, LEASE) for one, fence in ((stale, 1), (fresh, 0))]
        jobs, ended = take_and_end(wanted, [Ended(overtaken.id, 1, at, {}), Ended(done.id, 1, at, {"asked": 3})])
    assert ([job and job.id for job in jobs], ended) == ([None, fresh.id], {done.id})
    states = [world.row(one).state for one in (done, overtaken, fresh, stale)]
    assert states == [JobState.DONE, JobState.RUNNING, JobState.RUNNING, JobState.PENDING]
    assert world.row(done).result == {"asked": 3}


def test_what_was_taken_over_is_not_finished_and_its_company_is(world: World) -> None:
    mine, overtaken = world.claim(world.snapshot_job(key="k1")), world.claim(world.snapshot_job(key="k2"))
    at = world.clock.timer() + timedelta(seconds=5)
    with transaction():
        Job.update(fence=2).where(Job.id == overtaken.id).execute()
        ended = [Ended(mine.id, 1, at, {"asked": 3}), Ended(overtaken.id, 1, at, {})]
        assert take_and_end((), ended) == ([], {mine.id})
    row = world.row(mine)
    assert (row.state, row.result, row.finished_at, row.lease_owner) == (JobState.DONE, {"asked": 3}, at, "")
    assert world.row(overtaken).state is JobState.RUNNING
    with pytest.raises(FenceLost):
        together.finish(overtaken, at, {})
    with session():
        assert Job.select().where(Job.state == JobState.DONE).count() == 1


def test_a_claim_that_loses_a_deadlock_against_the_publisher_is_made_once_more(world: World) -> None:
    """A message that arrives before its publisher has committed is not lost for it, and its job not late."""
    jobs = sorted(world.snapshot_job().id for _ in range(2))
    if not is_postgres(database):
        return  # SQLite has one writer at a time
    held, claiming = threading.Event(), threading.Event()

    def publisher() -> None:
        with transaction():
            database.execute_sql("set local deadlock_timeout = '20s'")  # so that the claim is the one to give way
            Job.update(published_at=world.clock.timer()).where(Job.id == jobs[1]).execute()
            held.set()
            claiming.wait(10)
            Job.update(published_at=world.clock.timer()).where(Job.id == jobs[0]).execute()

    def claim() -> list[Job]:
        owner, at = world.context.owner, world.clock.timer()
        got = together._turn([Wanted(number, 0, owner, at, LEASE) for number in jobs])
        return [job for job in got if isinstance(job, Job)]

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(publisher)
        assert held.wait(10)
        mine = threads.submit(claim)
        wait_until(_waits_for_a_lock)
        claiming.set()
        other.result(20)
        assert [job.id for job in mine.result(20)] == jobs


def _waits_for_a_lock() -> bool:
    with session():
        query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return bool(database.execute_sql(query).fetchone()[0])
