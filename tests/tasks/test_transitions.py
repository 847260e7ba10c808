"""The contract of the state changes: compare-and-set under a fence, and an outbox row for whatever may run again."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import errors
from tasks.catalog import (
    Account,
    Job,
    Operation,
    Outbox,
    Part,
    Point,
    Policy,
    Resource,
    database,
    lock_rows,
    session,
    transaction,
)
from tasks.catalog import transitions as t
from tasks.catalog.fields import is_postgres
from tasks.lanes import Lane
from tasks.states import JOB_EDGES, JobState, OperationState, PointState

AT = datetime(2026, 3, 1, tzinfo=UTC)
LEASE = timedelta(minutes=2)


@pytest.fixture
def account(catalog: str) -> Account:
    with transaction():
        return Account.create(name="prod")


def add(account: Account, **columns: object) -> Job:
    with transaction():
        return t.add_job(lane=Lane.SNAPSHOT, at=AT, kind="snapshot", account=account, region="r", **columns)


def claimed(job: Job, owner: str = "one") -> Job:
    with session():
        row = t.claim(job.id, job.fence, owner, AT, LEASE)
    assert row is not None
    return row


def row(job: Job) -> Job:
    with session():
        return Job.get_by_id(job.id)


def outbox(job: Job) -> Outbox | None:
    with session():
        return Outbox.get_or_none(Outbox.job == job.id)


def test_a_new_job_has_its_message_to_come(account: Account) -> None:
    job = add(account, ready_at=AT + timedelta(hours=1))
    entry = outbox(job)
    assert entry is not None
    assert (entry.ready_at, entry.lane, row(job).not_before_at) == (AT + timedelta(hours=1), "snapshot", entry.ready_at)


def test_many_jobs_written_twice_are_there_once_with_one_message_each(account: Account) -> None:
    columns = {"kind": "copy", "lane": "copy", "account": account.id, "region": "r"}
    rows = [{**columns, "key": f"k{number}"} for number in range(1000)]
    with transaction():
        first, second = t.add_jobs(rows, AT), t.add_jobs(rows, AT)
    assert first == second
    with session():
        assert (Job.select().count(), Outbox.select().count()) == (1000, 1000)


def test_a_claim_counts_the_attempt_before_the_work_and_holds_a_lease(account: Account) -> None:
    job = claimed(add(account))
    assert (job.state, job.fence, job.attempt, job.claims) == (JobState.RUNNING, 1, 1, 1)
    assert (job.lease_owner, job.lease_until_at, job.started_at) == ("one", AT + LEASE, AT)


def test_of_many_claims_at_once_one_succeeds(account: Account) -> None:
    """Promise 2, where it is decided."""
    job = add(account)
    start, won = threading.Barrier(6), list[Job]()

    def race(number: int) -> None:
        start.wait()
        with session():
            mine = t.claim(job.id, 0, f"worker-{number}", AT, LEASE)
        if mine is not None:
            won.append(mine)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert row(job).lease_owner == won[0].lease_owner


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.WAITING, JobState.DONE, JobState.FAILED])
def test_a_message_claims_nothing_in_a_state_that_does_not_wait_for_one(account: Account, state: JobState) -> None:
    job = add(account, state=state, error_code="denied" if state is JobState.FAILED else "")
    with session():
        assert t.claim(job.id, 0, "one", AT, LEASE) is None


def test_a_stale_fence_claims_nothing(account: Account) -> None:
    job = add(account, fence=3)
    with session():
        assert t.claim(job.id, 2, "one", AT, LEASE) is None


def test_a_job_published_by_one_and_claimed_meanwhile_stays_claimed(account: Account) -> None:
    """The broker may deliver before the publisher has committed."""
    job = add(account)
    claimed(job)
    with transaction():
        t.mark_published([job.id], AT)
    assert row(job).state is JobState.RUNNING
    assert outbox(job) is None


def test_a_job_that_fails_while_its_message_is_being_confirmed_is_neither_lost_nor_a_deadlock(account: Account) -> None:
    """The publisher holds the outbox row and wants the job; the worker holds the job and wants the outbox row."""
    job = claimed(add(account))
    failing, confirming, broken = threading.Event(), threading.Event(), list[BaseException]()

    def fail() -> None:
        try:
            with transaction():
                Job.update(fence=job.fence).where(Job.id == job.id).execute()
                failing.set()
                confirming.wait(1)
                t.fail_attempt(job, errors.Throttled("Slower."), AT)
        except BaseException as error:
            broken.append(error)

    worker = threading.Thread(target=fail)
    with transaction():
        assert lock_rows(Outbox.select().where(Outbox.job == job.id)).first() is not None
        if is_postgres(database):
            worker.start()
            assert failing.wait(5)
            confirming.set()
        t.mark_published([job.id], AT)
    worker.start() if not worker.ident else None
    worker.join()
    assert not broken
    assert row(job).state is JobState.PENDING
    assert outbox(job) is not None


def test_a_renewal_extends_only_what_the_holder_still_holds(account: Account) -> None:
    mine, taken = claimed(add(account)), claimed(add(account))
    with transaction():
        t.requeue(row(taken), AT)
    claimed(row(taken), "two")
    with transaction():
        changed = t.renew("one", [(mine.id, mine.fence), (taken.id, taken.fence)], AT + 2 * LEASE)
    assert changed == 1
    assert (row(mine).lease_until_at, row(taken).lease_until_at) == (AT + 2 * LEASE, AT + LEASE)


@pytest.mark.parametrize("end", ["start_waiting", "finish_job", "fail_attempt"])
def test_whoever_was_overtaken_can_end_nothing(account: Account, end: str) -> None:
    late = claimed(add(account))
    with transaction():
        t.requeue(row(late), AT)
    claimed(row(late), "two")
    acts = {
        "start_waiting": lambda: t.start_waiting(late),
        "finish_job": lambda: t.finish_job(late, AT),
        "fail_attempt": lambda: t.fail_attempt(late, errors.Transient("x"), AT),
    }
    with pytest.raises(errors.FenceLost), transaction():
        acts[end]()
    assert (row(late).state, row(late).lease_owner) == (JobState.RUNNING, "two")


def test_an_edge_that_does_not_exist_is_a_defect(account: Account) -> None:
    job = add(account, state=JobState.CANCELLED, error_code="cloud-failed")
    for state in JobState:
        assert state not in JOB_EDGES[JobState.CANCELLED]
        with pytest.raises(ValueError, match="no edge"), transaction():
            t.move_job(job, state)


def test_a_failed_attempt_waits_and_has_a_message_to_come(account: Account) -> None:
    job = claimed(add(account, retry_wait_s=600))
    with transaction():
        decision = t.fail_attempt(job, errors.Transient("It broke."), AT)
    assert (decision.again, decision.burns) == (True, True)
    now, entry = row(job), outbox(job)
    assert (now.state, now.attempt, now.epoch, now.error_text) == (JobState.PENDING, 1, 0, "It broke.")
    assert entry is not None
    assert now.not_before_at == entry.ready_at == AT + timedelta(minutes=10)


def test_what_ended_in_the_cloud_gets_a_new_token_even_when_no_attempt_is_left(account: Account) -> None:
    """An operator's requeue must not adopt half a set."""
    job = claimed(add(account, max_attempts=1))
    with transaction():
        t.fail_attempt(job, errors.Invalid("The key is refused.", code="kms-key"), AT, over=True)
    assert (row(job).state, row(job).epoch) == (JobState.FAILED, 1)


def test_a_long_error_is_cut(account: Account) -> None:
    job = claimed(add(account))
    with transaction():
        t.fail_attempt(job, errors.Denied("x" * 5000), AT)
    assert len(row(job).error_text) == t.MAX_TEXT


def test_only_what_has_not_begun_can_be_cancelled(account: Account) -> None:
    waiting, running = add(account), claimed(add(account))
    with transaction():
        assert t.cancel_job(waiting, AT, "not wanted")
        assert not t.cancel_job(running, AT, "too late")
    assert (row(waiting).state, outbox(waiting)) == (JobState.CANCELLED, None)
    with session():
        assert t.claim(waiting.id, 0, "one", AT, LEASE) is None


def test_what_the_cloud_works_for_when_its_job_is_given_up_is_adopted_by_no_later_attempt(account: Account) -> None:
    """Its snapshots belong to the point that fails now; as parts of a second point they would be deleted with it."""
    waiting, pending = claimed(add(account)), add(account)
    with transaction():
        t.start_waiting(waiting)
        assert t.fail_unclaimed(Job.account == account.id, AT, "account-removed", "Its account was removed.") == 2
    assert [(row(job).state, row(job).epoch) for job in (waiting, pending)] == [
        (JobState.FAILED, 1),
        (JobState.FAILED, 0),
    ]


def test_a_requeued_job_is_pending_without_a_lease(account: Account) -> None:
    job = claimed(add(account))
    with transaction():
        t.requeue(job, AT)
    now = row(job)
    assert (now.state, now.lease_owner, now.published_at, now.fence) == (JobState.PENDING, "", None, 1)
    assert outbox(job) is not None


def test_a_queued_job_that_nobody_claimed_gets_another_message_and_a_claimed_one_does_not(account: Account) -> None:
    lost, taken = add(account), add(account)
    with transaction():
        t.mark_published([lost.id, taken.id], AT)
    before = row(taken)
    claimed(row(taken))
    with transaction():
        t.publish_again(row(lost), AT)
        t.publish_again(before, AT)
    assert outbox(lost) is not None
    assert outbox(taken) is None


@pytest.fixture
def point(account: Account) -> Point:
    with transaction():
        policy = Policy.create(name="p", spec={}, created_at=AT, changed_at=AT)
        resource = Resource.create(account=account, region="r", type="volume", external_id="v", found_at=AT, seen_at=AT)
        made = Point.create(resource=resource, policy=policy, account=account, region="r", taken_at=AT)
        Part.create(point=made, external_id="s-1")
        Part.create(point=made, external_id="s-2")
    return made


def test_a_point_moves_along_its_edges_only(point: Point) -> None:
    with transaction():
        assert not t.move_point(point.id, PointState.DELETED)
        assert t.move_point(point.id, PointState.GOOD, completed_at=AT)
        assert not t.move_point(point.id, PointState.FAILED)
        assert t.move_point(point.id, PointState.EXPIRING, expire_code="outlived")
        assert t.move_point(point.id, PointState.DELETED)
        assert not t.move_point(point.id, PointState.GOOD)


def test_parts_move_all_or_those_named(point: Point) -> None:
    with transaction():
        t.move_parts(point.id, PointState.GOOD)
        t.move_parts(point.id, PointState.EXPIRING)
        t.move_parts(point.id, PointState.DELETED, ["s-1"])
    with session():
        states = {part.external_id: part.state for part in Part.select()}
    assert states == {"s-1": PointState.DELETED, "s-2": PointState.EXPIRING}


def test_an_operation_is_closed_once(account: Account) -> None:
    job = add(account)
    with transaction():
        made = Operation.create(
            job=job, account=account, region="r", service="ec2", kind="snapshot", external_id="s", next_poll_at=AT,
            started_at=AT,
        )  # fmt: skip
        assert t.move_operation(made, OperationState.DONE, AT)
        assert not t.move_operation(made, OperationState.FAILED, AT)


_ERRORS = st.sampled_from(
    [errors.Throttled, errors.QuotaReached, errors.Transient, errors.Denied, errors.InUse, errors.CloudFailed]
)


@pytest.mark.unit
@settings(deadline=None)
@given(
    kind=_ERRORS, attempt=st.integers(1, 10), most=st.integers(1, 10), wait=st.integers(0, 3600), age=st.integers(0, 48)
)
def test_the_verdict_ends_for_every_error_that_costs_and_within_a_day_for_one_that_does_not(
    kind: type[errors.SnapfleetError], attempt: int, most: int, wait: int, age: int
) -> None:
    pause, hours = timedelta(seconds=wait), timedelta(hours=age)
    decision = t.verdict(kind("x"), attempt=attempt, max_attempts=most, retry_wait=pause, age=hours)
    if kind.retry is errors.Retry.FREE and hours < t.FREE_FOR:
        assert (decision.again, decision.burns) == (True, False)
    elif kind.retry is errors.Retry.NEVER or attempt >= most:
        assert not decision.again
    else:
        assert (decision.again, decision.burns) == (True, True)
        assert decision.wait >= max(pause, kind.wait)
