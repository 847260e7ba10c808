"""What a silent worker held goes on before its lease ends, as far as that does no harm beside a worker that lives."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.lease import take
from coordinator.publish import publish
from coordinator.reconcile import reconcile
from coordinator.silence import GAP, LOOKS, POLLS_AFTER, Attention
from tasks.catalog import Account, Job, Process, session, transaction
from tasks.catalog.claims import Ended, take_and_end
from tasks.catalog.copy_slots import note_refusal
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.transitions import CLAIMS_BEYOND_ATTEMPTS, add_job, cancel_jobs, claim, disown, renew
from tasks.errors import FenceLost
from tasks.lanes import LANES, Lane
from tasks.states import JobState
from tasks.telemetry import Counters
from tests.coordinator.house import AWAY, House
from workers import fence

DEAD = "host:7:worker"
LEASE, SECOND = LANES[Lane.COPY].lease, timedelta(seconds=1)
LANE_OF = {"poll": Lane.POLL, "copy": Lane.COPY, "snapshot": Lane.SNAPSHOT, "archive": Lane.REPOSITORY}


def report(house: House, owner: str = DEAD) -> None:
    """What a heartbeat writes."""
    at = house.clock.timer()
    row = {"role": "worker", "lanes": [str(lane) for lane in Lane], "started_at": at}
    with transaction():
        Process.insert(name=owner, seen_at=at, **row).on_conflict(
            conflict_target=[Process.name], update={Process.seen_at: at}
        ).execute()


def added(house: House, kind: str, **columns: Any) -> Job:
    columns = {"service": "ec2", "region": AWAY, "slots": int(kind == "copy"), **columns}
    with session():
        known = Account.get_or_none(Account.name == "prod")
    account = known or house.account(settings={"limits": {"copy_slots": {"ec2": 1}}})
    with transaction():
        return add_job(
            lane=LANE_OF.get(kind, Lane.DISCOVER), at=house.clock.timer(), kind=kind, account=account, **columns
        )


def claimed(house: House, kind: str, owner: str = DEAD, **columns: Any) -> Job:
    """A job that `owner` has just begun to work on."""
    made = added(house, kind, **columns)
    with session():
        job = claim(made.id, 0, owner, house.clock.timer(), LEASE)
    assert job is not None
    return job


def swept(house: House, *, attentive: bool = True, lease: timedelta = LEASE) -> int:
    at = house.clock.timer()
    held = take("sweep", "host:1:coordinator", at)
    assert held is not None
    with session():
        return reconcile(held, at, LEASE, Counters(), lease=lease, attentive=attentive)


def now(job: Job) -> Job:
    with session():
        return Job.get_by_id(job.id)


def sent(house: House) -> list[int]:
    """What is published now."""
    house.queue.messages.clear()
    with session():
        publish(house.queue, Counters(), house.clock.timer())
    return [message.job for _, message in house.queue.messages]


@pytest.mark.parametrize("kind", sorted(LOOKS))
def test_a_look_of_a_silent_worker_is_taken_back_at_once(house: House, kind: str) -> None:
    report(house)
    job = claimed(house, kind)
    house.clock.advance(SILENT_AFTER - SECOND)
    assert swept(house) == 0
    house.clock.advance(2 * SECOND)
    assert swept(house, attentive=False) == 0
    assert swept(house) == 1
    assert (now(job).state, now(job).attempt, now(job).claims) == (JobState.PENDING, 0, 1)
    assert sent(house) == [job.id]


def test_a_poll_is_taken_back_after_two_missed_beats_whoever_has_looked_before(house: House) -> None:
    """What has ended in the cloud waits for it, and the copy slots of all that."""
    report(house)
    job = claimed(house, "poll")
    house.clock.advance(POLLS_AFTER - SECOND)
    assert swept(house, attentive=False) == 0
    house.clock.advance(SECOND)
    assert swept(house, attentive=False) == 1
    assert sent(house) == [job.id]


@pytest.mark.parametrize(
    "columns", [{"kind": "snapshot"}, {"kind": "archive"}, {"kind": "poll", "service": "azure-sql"}]
)
def test_what_may_not_be_done_twice_at_a_time_waits_for_the_end_of_its_lease(
    house: House, columns: dict[str, Any]
) -> None:
    report(house)
    job = claimed(house, **columns)
    house.clock.advance(LEASE - SECOND)
    assert swept(house) == 0
    house.clock.advance(2 * SECOND)
    assert swept(house) == 1
    assert now(job).state is JobState.PENDING


def test_a_silent_workers_copy_frees_its_slot_at_once_and_goes_on_when_its_lease_would_have_ended(house: House) -> None:
    """feature C3: the slot goes to another resource's copy; nothing is made sooner, and its chain stays in order."""
    report(house)
    job = claimed(house, "copy", chain="copy:1")
    later = added(house, "copy", chain="copy:1")
    until = now(job).lease_until_at
    house.clock.advance(SILENT_AFTER)
    other = added(house, "copy", chain="copy:2")
    assert sent(house) == []
    assert swept(house) == 1
    row = now(job)
    assert (row.state, row.not_before_at, row.claims, row.attempt) == (JobState.PENDING, until, 1, 0)
    assert sent(house) == [other.id]
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == other.id).execute()
    assert sent(house) == []
    house.clock.advance(until - house.clock.timer())
    assert sent(house) == [job.id]
    assert now(later).state is JobState.PENDING


def test_who_reports_keeps_its_jobs_until_their_lease_ends(house: House) -> None:
    jobs = [claimed(house, kind) for kind in ("copy", "poll")]
    for _ in range(20):
        house.clock.advance(5 * SECOND)
        report(house)
        assert swept(house) == 0
    house.clock.advance(SILENT_AFTER + SECOND)
    report(house)
    assert swept(house) == 2
    assert {now(job).state for job in jobs} == {JobState.PENDING}
    assert now(jobs[0]).not_before_at == house.clock.timer()


def test_who_never_reported_or_took_its_leave_is_silent_only_some_time_after_its_claim(house: House) -> None:
    job = claimed(house, "discover", owner="host:8:worker")
    house.clock.advance(SILENT_AFTER - SECOND)
    assert swept(house) == 0
    house.clock.advance(SECOND)
    assert swept(house) == 1
    assert now(job).state is JobState.PENDING


def test_who_has_the_name_of_a_dead_worker_does_not_speak_for_its_jobs(house: House) -> None:
    """A container that is started again in its place has the same host name and process id."""
    report(house)
    job = claimed(house, "poll")
    with transaction():
        assert disown(DEAD) == 1
    house.clock.advance(SILENT_AFTER)
    report(house)
    assert swept(house) == 1
    assert now(job).state is JobState.PENDING


@pytest.mark.parametrize("again", [False, True], ids=["pending", "with another worker"])
@pytest.mark.parametrize("kind", ["copy", "poll"])
def test_a_worker_that_comes_back_writes_nothing_more(house: House, kind: str, again: bool) -> None:
    report(house)
    mine = claimed(house, kind)
    house.clock.advance(SILENT_AFTER)
    assert swept(house) == 1
    at = house.clock.timer()
    if again:
        with session():
            assert claim(mine.id, mine.fence, "host:9:worker", at, LEASE) is not None
    report(house)
    with transaction():
        assert renew(DEAD, [(mine.id, mine.fence)], at + 2 * LEASE) == 0
        assert take_and_end((), [Ended(mine.id, mine.fence, at, {})]) == ([], set())
    with pytest.raises(FenceLost):
        fence.may_create(mine, at, LEASE)
    with pytest.raises(FenceLost), transaction():
        fence.keep(mine)
    assert now(mine).state is (JobState.RUNNING if again else JobState.PENDING)


def test_a_job_that_kills_whoever_takes_it_keeps_its_lease(house: House) -> None:
    """It ends as failed then, and what its worker may have begun with it."""
    report(house)
    job = claimed(house, "copy")
    with transaction():
        Job.update(claims=job.max_attempts + CLAIMS_BEYOND_ATTEMPTS).where(Job.id == job.id).execute()
    house.clock.advance(LEASE - SECOND)
    assert swept(house) == 0
    house.clock.advance(2 * SECOND)
    assert swept(house) == 1
    assert now(job).error_code == "crash-loop"


def test_what_a_dead_worker_may_have_begun_is_not_cancelled_before_somebody_looked_for_it(house: House) -> None:
    """What the cloud made of it would be found by nobody for a day."""
    report(house)
    begun, fresh = claimed(house, "copy"), added(house, "copy")
    house.clock.advance(SILENT_AFTER)
    assert swept(house) == 1
    with transaction():
        assert cancel_jobs(Job.id.in_([begun.id, fresh.id]), house.clock.timer(), "not wanted") == 1
    assert (now(begun).state, now(fresh).state) == (JobState.PENDING, JobState.CANCELLED)


def test_a_copy_that_a_dead_worker_may_have_begun_is_no_reason_for_fewer_slots(house: House) -> None:
    """It is what the one copy more was refused for."""
    report(house)
    left = claimed(house, "copy")
    house.clock.advance(SILENT_AFTER)
    assert swept(house) == 1
    with transaction():
        assert note_refusal(left.account_id, AWAY, "ec2", house.clock.timer()) == 1


def test_a_new_workers_first_claim_is_its_own_where_leases_are_short(house: House) -> None:
    """It has not reported yet; by the usual length of a lease its own would have begun two minutes ago."""
    short = 30 * SECOND
    made = added(house, "poll")
    with session():
        job = claim(made.id, 0, "host:9:worker", house.clock.timer(), short)
    assert job is not None
    assert swept(house, lease=short) == 0
    house.clock.advance(POLLS_AFTER)
    assert swept(house, lease=short) == 1


def test_a_coordinator_takes_leases_for_as_long_as_the_settings_say(house: House) -> None:
    short = 30 * SECOND
    for one in house.staff:
        one.settings = replace(one.settings, lease_seconds=short.total_seconds())
    made = added(house, "poll")
    with session():
        assert claim(made.id, 0, "host:9:worker", house.clock.timer(), short) is not None
    house.step()
    assert now(made).state is JobState.RUNNING


def test_a_sweep_every_few_seconds_brings_a_dead_workers_poll_back_by_itself(house: House) -> None:
    report(house)
    job = claimed(house, "poll")
    began = house.clock.timer()
    house.step()
    while now(job).state is JobState.RUNNING:
        house.clock.advance(5 * SECOND)
        house.step()
    assert house.clock.timer() - began == POLLS_AFTER


def test_after_a_gap_nobody_is_called_silent_before_all_could_report_again() -> None:
    attention, at = Attention(), datetime(2026, 3, 1, tzinfo=UTC)
    looks = [attention.look(at + n * 5 * SECOND) for n in range(6)]
    assert looks == [False, False, False, False, True, True]
    at += 25 * SECOND + GAP
    assert attention.look(at)
    at += GAP + SECOND
    assert [attention.look(at + n * 10 * SECOND) for n in range(3)] == [False, False, True]
    assert not attention.look(at)  # the clock went back
