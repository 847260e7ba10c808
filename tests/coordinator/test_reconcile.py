"""What was lost on the way goes again: a purged queue, a dead worker, a job without a message."""

from datetime import timedelta

from coordinator.lease import Held, take
from coordinator.reconcile import mend_outbox, reconcile, release_removed_accounts
from tasks.catalog import Account, Job, Outbox, session, transaction
from tasks.catalog.transitions import CLAIMS_BEYOND_ATTEMPTS, claim
from tasks.lanes import Lane
from tasks.states import JobState, PointState, RunState
from tasks.telemetry import Counters
from tests.coordinator.house import MINUTE, House

LOST = timedelta(minutes=2)


def planned(house: House, volumes: int = 3) -> None:
    house.account()
    house.policy()
    house.volumes(volumes)
    house.wished("run", policy="gold")
    house.deliver()
    house.step()


def test_a_queue_purged_in_mid_run_is_a_delay(house: House) -> None:
    planned(house)
    house.queue.messages.clear()
    house.work(MINUTE)
    assert house.points() == []
    house.work(6 * MINUTE)
    assert len(house.points()) == 3
    assert [run.state for run in house.runs()] == [RunState.DONE]
    assert len(house.cloud.calls("create:snapshot")) == 3


def test_every_message_delivered_twice_and_late_changes_nothing(house: House) -> None:
    planned(house)
    twice = house.queue.messages * 2
    house.queue.messages.clear()
    house.clock.advance(MINUTE)
    assert house.deliver(twice) == 3
    house.work(6 * MINUTE)
    house.deliver(twice)
    assert len(house.cloud.calls("create:snapshot")) == 3


def test_where_nobody_works_no_message_is_missing(house: House) -> None:
    planned(house)
    sent = len(house.queue.sent)
    for _ in range(20):
        house.clock.advance(MINUTE)
        house.step()
    assert len(house.queue.sent) == sent


def test_a_dead_workers_job_goes_on_within_its_lease_without_costing_an_attempt(house: House) -> None:
    planned(house, 1)
    ((_, message),) = house.queue.take()
    with session():
        claim(message.job, message.fence, "dead:1:worker", house.clock.timer(), LOST)
    house.clock.advance(LOST + timedelta(seconds=6))
    house.step()
    house.step()
    (job,) = house.jobs()
    assert (job.state, job.attempt, job.claims) == (JobState.QUEUED, 0, 1)
    house.work(2 * MINUTE)
    assert len(house.points()) == 1


def test_a_job_that_kills_whoever_takes_it_ends_and_so_do_its_point_and_its_run(house: House) -> None:
    planned(house, 1)
    with transaction():
        Job.update(claims=99, state=JobState.RUNNING, lease_until_at=house.clock.timer(), point_id=None).where(
            Job.kind == "snapshot"
        ).execute()
    house.clock.advance(MINUTE)
    house.step()
    house.step()
    (job,) = house.jobs()
    assert (job.state, job.error_code) == (JobState.FAILED, "crash-loop")
    assert job.claims > CLAIMS_BEYOND_ATTEMPTS
    assert [run.state for run in house.runs()] == [RunState.FAILED]
    assert house.points(state=PointState.CREATING) == []


def test_a_pending_job_without_a_message_gets_one_and_a_message_without_a_job_goes(house: House) -> None:
    planned(house, 1)
    account = house.jobs()[0].account_id
    at = house.clock.timer()
    columns = {"kind": "check", "lane": str(Lane.DISCOVER), "account": account, "region": "r", "created_at": at}
    with transaction():
        dumb = Job.create(key="a", not_before_at=at + 3 * MINUTE, **columns)
        done = Job.create(key="b", not_before_at=at, state=JobState.DONE, **columns)
        Outbox.create(job=done, lane="discover", account_id=account, ready_at=at, created_at=at)
    with session():
        assert mend_outbox(_held(house), at) == 2
        rows = {row.job_id: row.ready_at for row in Outbox.select()}
    assert rows == {dumb.id: at + 3 * MINUTE}


def _held(house: House, holder: str = "host:1:coordinator") -> Held:
    held = take("sweep", holder, house.clock.timer())
    assert held is not None
    return held


def test_whoever_lost_the_lease_sends_nothing_and_takes_nothing_back(house: House) -> None:
    planned(house, 1)
    mine = _held(house)
    house.clock.advance(10 * MINUTE)
    _held(house, "other")
    house.workers_live()
    with transaction():
        Job.update(state=JobState.RUNNING, lease_until_at=house.clock.timer() - MINUTE).where(
            Job.kind == "discover"
        ).execute()
        Account.update(enabled=False).execute()
        Outbox.delete().execute()
    at = house.clock.timer()
    with session():
        before = list(Job.select().order_by(Job.id).dicts())
        assert reconcile(mine, at, LOST, Counters()) == 0
        assert release_removed_accounts(mine, at) == 0
        assert mend_outbox(mine, at) == 0
        assert list(Job.select().order_by(Job.id).dicts()) == before
