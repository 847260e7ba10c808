"""The promises of ARCHITECTURE.md, one test each, with the other layers switched off: layers hide each other.

A simulation of such a system (two coordinators, three workers, faults) found that most single layers could be removed
without a failing test, because the next layer caught what the missing one let through.
"""

import threading
from pathlib import Path

import pytest
from peewee import IntegrityError

from coordinator.lease import still_held, take
from coordinator.sweep import plan_cleanups
from coordinator.tick import start_run
from tasks.catalog import Job, Operation, Outbox, Point, Policy, Resource, Run, session, transaction
from tasks.catalog.transitions import claim, finish_job
from tasks.errors import FenceLost
from tasks.messages import JobMessage
from tasks.states import JobState, OperationState, PointState, RunState
from tests.coordinator.house import DAY, HOUR, MINUTE, NIGHTLY, START, House
from workers.app import work


@pytest.fixture
def house(catalog: str, tmp_path: Path) -> House:
    """One coordinator and its workers, on both databases in turn."""
    return House(tmp_path)


def planned(house: House, volumes: int = 1) -> None:
    """A run whose snapshot jobs were published and which nobody has taken yet."""
    house.account()
    house.policy()
    house.volumes(volumes)
    house.wished("run", policy="gold")
    house.deliver()
    house.step()


def claimed(house: House, message: JobMessage) -> Job:
    with session():
        job = claim(message.job, message.fence, "host:1:worker", house.clock.timer(), 2 * MINUTE)
    assert job is not None
    return job


def test_a_slot_is_one_run_by_the_database_alone(house: House) -> None:
    """Promise 1 without tick, locks and schedules: whoever writes the slot again is refused by UNIQUE."""
    house.account()
    policy = house.policy()
    with transaction():
        ids = [start_run(policy, START, START, trigger="schedule") for _ in range(3)]
    assert [number is not None for number in ids] == [True, False, False]
    with pytest.raises(IntegrityError), transaction():
        Run.create(policy=policy, slot_at=START, created_at=START)


def test_a_slot_is_never_lost_when_its_transaction_is(house: House) -> None:
    """Promise 1 without a second coordinator: run and schedule are written together or not at all."""
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.clock.advance(DAY)
    with pytest.raises(ZeroDivisionError), transaction():
        house.step()
        raise ZeroDivisionError
    assert house.runs() == []
    house.step()
    assert len(house.runs()) == 1


def test_of_two_claims_of_one_message_one_wins_by_the_fence_alone(house: House) -> None:
    """Promise 2 without a lease, an outbox or a broker: ten threads with the same message."""
    planned(house)
    ((_, message),) = house.queue.take()
    won: list[Job] = []
    start = threading.Barrier(10)

    def grab() -> None:
        start.wait()
        with session():
            job = claim(message.job, message.fence, "x", house.clock.timer(), MINUTE)
        if job is not None:
            won.append(job)

    threads = [threading.Thread(target=grab) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_the_effect_happens_once_by_adoption_alone(house: House) -> None:
    """Promise 2 without claim and fence: the same attempt runs three times over, its record lost each time."""
    planned(house)
    ((_, message),) = house.queue.take()
    job = claimed(house, message)
    for _ in range(3):
        assert work(house.context, job) == "waiting"
        with transaction():  # as if the record had never been committed
            Operation.delete().execute()
            Job.update(state=JobState.RUNNING).where(Job.id == job.id).execute()
        with session():
            job = Job.get_by_id(job.id)
    assert len(house.cloud.calls("create:snapshot")) == 1


def test_a_worker_that_was_overtaken_writes_nothing_by_the_fence_alone(house: House) -> None:
    """Promise 2 without adoption: the late worker finds out at its first write, before it calls the cloud."""
    planned(house)
    ((_, message),) = house.queue.take()
    late = claimed(house, message)
    with transaction():
        Job.update(fence=Job.fence + 1).where(Job.id == late.id).execute()
    assert work(house.context, late) == "fence-lost"
    assert house.points(state=None) == []
    assert house.cloud.calls("create:snapshot") == []
    with pytest.raises(FenceLost), transaction():
        finish_job(late, house.clock.timer())


def test_a_message_that_never_comes_is_sent_again_by_the_reconciler_alone(house: House) -> None:
    """Promise 2 without the outbox: its row is gone, the queue was purged, the job only says `queued`."""
    planned(house)
    house.queue.messages.clear()
    with transaction():
        Outbox.delete().execute()
    house.work(5 * MINUTE, MINUTE)
    assert len(house.points()) == 1


def test_a_worker_that_dies_is_followed_by_the_lease_alone(house: House) -> None:
    """Promise 3 without its message: nobody will deliver it again, and the lease is what ends."""
    planned(house)
    ((_, message),) = house.queue.take()
    claimed(house, message)
    house.work(9 * MINUTE, MINUTE)
    assert len(house.points()) == 1


def test_what_was_planned_to_go_is_checked_again_where_it_is_deleted(house: House) -> None:
    """Promise 4 without plan and brake: every point is marked by hand, and the last good one stays."""
    planned(house, 2)
    house.work(5 * MINUTE, MINUTE)
    with transaction():
        Point.update(state=PointState.EXPIRING, expire_code="outlived").execute()
    house.work(5 * MINUTE, MINUTE)
    assert len(house.points()) == 2
    assert len(house.cloud.of_kind("snapshot")) == 2


def test_a_pass_that_takes_too_much_is_stopped_by_the_brake_alone(house: House) -> None:
    """Promise 4 without the floor: far above it, and still nothing goes unasked."""
    house.account()
    policy = house.policy(generations=5)
    house.volumes(1)
    for _ in range(5):
        house.wished("run", policy="gold")
        house.work(2 * MINUTE, MINUTE)
    house.clock.advance(HOUR)
    house.step()
    with transaction():
        Policy.update(spec={**policy.spec, "generations": 2}).execute()
    house.clock.advance(HOUR)
    house.work(2 * MINUTE, MINUTE)
    assert len(house.points()) == 5


def test_a_sweeper_that_lost_its_lease_writes_nothing_by_the_fence_alone(house: House) -> None:
    """Promise 4 without expiry: the lease is taken from a sweeper that believes it holds it."""
    account = house.account()
    policy = house.policy()
    (resource,) = house.resources(1, account)
    mine = take("sweep", "a", START)
    assert mine is not None
    house.clock.advance(HOUR)
    assert take("sweep", "b", house.clock.timer()) is not None
    with transaction():
        assert not still_held(mine)
        Point.create(
            resource=resource,
            policy=policy,
            account=account,
            region="us-east-1",
            state=PointState.EXPIRING,
            expire_code="outlived",
            taken_at=START,
        )
    with session():
        assert plan_cleanups(mine, house.clock.timer()) == 0


def test_a_point_is_good_only_when_the_cloud_said_completed(house: House) -> None:
    """Promise 5: not when the call returned, and not while the cloud is still working, however long that takes."""
    planned(house)
    house.cloud.set("answers", 10**6)
    house.work(10 * MINUTE, MINUTE)
    assert [point.state for point in house.points(state=None)] == [PointState.CREATING]
    assert [run.state for run in house.runs()] == [RunState.OPEN]
    house.cloud.set("answers", 0)
    house.work(10 * MINUTE, MINUTE)
    assert [point.state for point in house.points(state=None)] == [PointState.GOOD]


def test_nothing_is_held_while_the_cloud_works(house: House) -> None:
    """Promise 6: a backup under way is a row that waits: no message, no lease, and no connection during a call."""
    from tests.workers.world import no_connection

    house.cloud.before_call = no_connection
    planned(house)
    house.cloud.set("answers", 10**6)
    house.deliver()
    (job,) = house.jobs()
    assert (job.state, job.lease_owner, job.lease_until_at) == (JobState.WAITING, "", None)
    assert house.queue.messages == []
    with session():
        assert [row.state for row in Operation.select()] == [OperationState.RUNNING]
    assert len(house.cloud.calls("start_backup")) == 1


def test_a_message_names_a_job_and_nothing_else(house: House) -> None:
    """Promise 7: what is published holds numbers only, though account, tags and policy have telling names."""
    planned(house)
    with session():
        resource = Resource.get()
    for _, message in house.queue.sent:
        wire = message.to_wire()
        assert all(isinstance(value, int) for name, value in wire.items() if name != "trace"), wire
        assert resource.external_id not in repr(wire)
