"""Asking in groups, concluding once, and one unit for all volumes of a machine."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tasks.catalog import (
    Account,
    CopySlots,
    Job,
    Operation,
    Outbox,
    Part,
    close_catalog,
    database,
    session,
    transaction,
)
from tasks.catalog.fields import is_postgres
from tasks.lanes import Lane
from tasks.states import JobState, OperationState, PointState
from tests.fakes.driver import FakeDriver
from tests.workers.world import AWAY, World
from workers import driver, points
from workers.handlers import poll


@pytest.mark.parametrize("together", [True, False])
def test_what_the_cloud_tells_of_a_part_in_the_end_is_kept_with_it(world: World, together: bool) -> None:
    """feature 28: of an Azure snapshot its family, and the unique id of the disk that it was taken of."""
    job = world.snapshot_job()
    world.work(job)
    rows, before = world.operations(job), world.parts(world.point(job))
    told = {row.external_id: {"attributes": {"family_id": f"of-{row.external_id}"}} for row in rows}
    waiting = world.row(job)
    with transaction():
        if together:
            points.close_good_all(world.context, {job.id: waiting}, {job.id: list(told.items())})
        else:
            for row in rows:
                row.detail = told[row.external_id]
            points.close_good(world.context, waiting, rows)
    for old, new in zip(before, world.parts(world.point(job)), strict=True):
        assert new.attributes == {**old.attributes, "family_id": f"of-{new.external_id}"}
        assert new.state is PointState.GOOD


def test_one_poll_asks_about_everything_at_a_place_in_one_call(world: World) -> None:
    """Promise 6: hundreds of operations, one question."""
    jobs = [world.snapshot_job(resource=world.new_resource(f"i-{number}")) for number in range(10, 15)]
    for job in jobs:
        world.work(job)
    world.poll()
    assert [call.subject for call in world.cloud.calls("progress")] == ["10"]
    assert {world.row(job).state for job in jobs} == {JobState.DONE}
    assert {world.point(job).state for job in jobs} == {PointState.GOOD}


def test_what_is_still_running_is_asked_again_later_and_no_sooner(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    world.cloud.set("answers", 2)
    world.poll()
    assert {(one.percent, one.polls, one.state) for one in world.operations(job)} == {(50, 1, OperationState.RUNNING)}
    assert world.row(job).state is JobState.WAITING
    world.poll(after=timedelta(seconds=5))
    assert len(world.cloud.calls("progress")) == 1
    world.poll()
    world.poll()
    assert world.point(job).state is PointState.GOOD
    assert {part.state for part in world.parts(world.point(job))} == {PointState.GOOD}


def test_a_poll_takes_along_what_is_due_within_half_of_the_shortest_pause_and_nothing_later(world: World) -> None:
    """Machines whose backups begin one after the other are asked about together: questions grow with time."""
    early, late = world.snapshot_job(), world.snapshot_job(resource=world.new_resource("i-late"))
    world.work(early)
    world.clock.advance(timedelta(seconds=7))
    world.work(late)
    much_later = world.snapshot_job(resource=world.new_resource("i-later"))
    world.clock.advance(timedelta(seconds=3))
    world.work(much_later)
    world.poll(after=timedelta(seconds=5))
    assert [world.row(job).state for job in (early, late)] == [JobState.DONE, JobState.DONE]
    assert world.row(much_later).state is JobState.WAITING
    assert len(world.cloud.calls("progress")) == 1


def test_a_point_is_good_only_when_the_last_of_its_parts_is_done(world: World) -> None:
    """Promise 5."""
    job = world.snapshot_job()
    world.work(job)
    slow = world.operations(job)[1]
    with session():
        Operation.update(next_poll_at=world.clock.timer() + timedelta(hours=1)).where(Operation.id == slow.id).execute()
    world.poll()
    assert [one.state for one in world.operations(job)] == [OperationState.DONE, OperationState.RUNNING]
    assert (world.row(job).state, world.point(job).state) == (JobState.WAITING, PointState.CREATING)
    world.poll(after=timedelta(hours=2))
    assert (world.row(job).state, world.point(job).state) == (JobState.DONE, PointState.GOOD)


def test_one_failed_volume_fails_the_set_and_the_retry_is_a_new_set_with_a_new_point(world: World) -> None:
    """Feature 13: the volumes of a machine are one unit; what half failed is never patched up."""
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "error-state")
    world.work(job)
    world.poll()
    first, row = world.point(job), world.row(job)
    assert (first.state, first.error_code) == (PointState.FAILED, "cloud-failed")
    assert (row.state, row.epoch, row.attempt) == (JobState.PENDING, 1, 1)
    world.clock.advance(timedelta(minutes=10))
    world.work(job)
    world.poll()
    second = world.point(job)
    assert (second.state, world.row(job).state) == (PointState.GOOD, JobState.DONE)
    assert second.id != first.id
    ids = [{part.external_id for part in world.parts(point)} for point in (first, second)]
    assert ids[0].isdisjoint(ids[1])
    assert {one.key for one in world.cloud.of_kind("snapshot")} == {f"{job.key}-0", f"{job.key}-1"}


def test_a_set_that_failed_while_nobody_knew_of_it_goes_with_a_failed_point(world: World) -> None:
    """Promise 3: an attempt died between its call and its commit and the cloud failed what it had begun. The next
    attempt records the remains, so that cleanup deletes them, and only the one after that makes a new set."""
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "lost-response")
    world.work(job)
    remains = world.cloud.of_kind("snapshot")
    for one in remains:
        world.cloud.put(replace(one, doc={**one.doc, "fate": "error"}))
    world.clock.advance(timedelta(minutes=10))
    world.work(job)
    world.poll()
    failed = world.point(job)
    assert (failed.state, world.row(job).epoch) == (PointState.FAILED, 1)
    assert {part.external_id for part in world.parts(failed)} == {one.id for one in remains}
    world.clock.advance(timedelta(minutes=10))
    world.work(job)
    world.poll()
    assert world.point(job).state is PointState.GOOD
    with session():
        recorded = {part.external_id for part in Part.select()}
    assert recorded == {one.id for one in world.cloud.of_kind("snapshot")}


def test_a_set_that_failed_for_good_is_not_adopted_by_an_operators_requeue(world: World) -> None:
    job = world.snapshot_job(max_attempts=1)
    world.cloud.fault("start_backup", "error-state")
    world.work(job)
    world.poll()
    assert (world.row(job).state, world.row(job).epoch) == (JobState.FAILED, 1)


def test_a_snapshot_that_somebody_deleted_is_made_again(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    for part in world.parts(world.point(job)):
        world.cloud.remove(part.external_id)
    world.poll()
    assert world.point(job).state is PointState.LOST
    assert (world.row(job).state, world.row(job).epoch) == (JobState.PENDING, 1)
    world.work(job)
    world.poll()
    assert world.point(job).state is PointState.GOOD


def test_a_set_of_which_one_snapshot_was_deleted_is_failed_so_that_the_rest_is_cleaned_up(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    point = world.point(job)
    world.cloud.remove(world.parts(point)[0].external_id)
    world.poll()
    assert world.point(job).state is PointState.FAILED


@pytest.mark.parametrize("fault", ["lost-request", "bug", "sealed"])
def test_a_failing_cloud_is_not_asked_again_at_once(world: World, fault: str) -> None:
    """The next question is put off before the poll fails, else the coordinator would wake it every second: also when
    it fails on a defect, or on an account whose secret does not open."""
    job = world.snapshot_job()
    world.work(job)
    if fault == "sealed":
        with transaction():
            Account.update(external_id_sealed="not sealed").execute()
    else:
        world.cloud.fault("progress", fault)
    assert world.poll() == "failed"
    assert {one.next_poll_at for one in world.operations(job)} == {world.clock.timer() + timedelta(seconds=15)}
    assert world.row(job).state is JobState.WAITING


def test_an_operation_of_a_job_that_waits_no_more_is_not_asked_about(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    with session():
        Job.update(state=JobState.FAILED, error_code="denied").where(Job.id == job.id).execute()
    world.poll()
    assert not world.cloud.calls("progress")


def test_two_polls_that_race_conclude_a_job_once(world: World) -> None:
    """Promise 2: both see the same answers; one of them closes the job, and the figures count it once."""
    jobs = [world.snapshot_job(resource=world.new_resource(f"i-{number}", volumes=3)) for number in range(20, 26)]
    for job in jobs:
        world.work(job)
    world.clock.advance(timedelta(minutes=10))
    with session():
        rows = list(Operation.select().order_by(Operation.id))
        account = world.context.account(rows[0].account)
        asked = [poll._value(account, row) for row in rows]
    answers = list(zip(rows, world.context.drivers["instance"].progress(asked), strict=True))
    start, failures = threading.Barrier(2), list[BaseException]()

    def conclude() -> None:
        start.wait()
        try:
            poll._write(world.context, answers)
        except BaseException as error:
            failures.append(error)

    racers = [threading.Thread(target=conclude) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert not failures
    assert {world.row(job).state for job in jobs} == {JobState.DONE}
    counted = world.context.counters._added
    completed = sum(value for (name, _), value in counted.items() if name == "snapfleet_points_completed_total")
    assert completed == len(jobs)


def test_answers_about_halves_of_a_job_that_arrive_together_still_conclude_it(world: World) -> None:
    """On PostgreSQL two transactions do not see each other's closings; the job's lock, or the next poll, makes up."""
    job = world.snapshot_job()
    world.work(job)
    world.clock.advance(timedelta(minutes=10))
    with session():
        rows = list(Operation.select().order_by(Operation.id))
        account = world.context.account(rows[0].account)
        asked = [poll._value(account, row) for row in rows]
    answers = list(zip(rows, world.context.drivers["instance"].progress(asked), strict=True))
    start = threading.Barrier(2)

    def write(half: int) -> None:
        start.wait()
        poll._write(world.context, [answers[half]])

    racers = [threading.Thread(target=write, args=(half,)) for half in (0, 1)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    world.poll()
    assert (world.row(job).state, world.point(job).state) == (JobState.DONE, PointState.GOOD)


def _answered(world: World, job: Job) -> poll.Answers:
    """The job's operations with what the cloud says now, as a poll holds them before it writes."""
    rows = world.operations(job)
    with session():
        asked = [poll._value(world.context.account(row.account), row) for row in rows]
    return list(zip(rows, world.context.drivers["instance"].progress(asked), strict=True))


def test_an_answer_that_comes_late_does_not_make_good_what_another_poll_found_failed(world: World) -> None:
    """Promise 5: a slow poll was told "completed" about both volumes; a later one found one of them gone meanwhile."""
    job = world.snapshot_job()
    world.work(job)
    world.clock.advance(timedelta(minutes=10))
    late = _answered(world, job)
    lost = world.operations(job)[0]
    world.cloud.remove(lost.external_id)
    world.cloud.set("answers", 5)
    poll._write(world.context, _answered(world, job))
    assert [one.state for one in world.operations(job)] == [OperationState.GONE, OperationState.RUNNING]
    poll._write(world.context, late)
    assert (world.row(job).state, world.point(job).state) == (JobState.PENDING, PointState.FAILED)


def test_a_waiting_job_without_operations_is_never_taken_for_good(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    world.clock.advance(timedelta(minutes=10))
    answers = _answered(world, job)
    with session():
        Operation.delete().where(Operation.job == job.id).execute()
    poll._write(world.context, answers)
    assert (world.row(job).state, world.point(job).state) == (JobState.WAITING, PointState.CREATING)


def test_no_connection_outlives_a_poll(world: World) -> None:
    """Promise 6, for the pool: everything that was taken is given back."""
    job = world.snapshot_job()
    world.work(job)
    world.poll()
    assert database.is_closed()
    close_catalog()
    if is_postgres(database):
        assert not database.obj._in_use


def copy_job(world: World, source: Any, **columns: Any) -> Job:
    spec = {"point": source.id, "destination": f"prod/{AWAY}"}
    return world.job("copy", Lane.COPY, resource=world.resource, spec=spec, region=AWAY, slots=2, **columns)


def test_while_copies_wait_for_a_slot_those_that_run_are_asked_about_at_the_shortest_pause(world: World) -> None:
    """feature C3: a slot that came free is taken within one poll, however long the copy has run."""
    source = world.good_point()

    class Patient(FakeDriver):
        def progress(self, operations: Sequence[driver.Operation]) -> list[driver.Progress]:
            return [replace(one, ask_again=timedelta(minutes=5)) for one in super().progress(operations)]

    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, Patient(world.cloud)))
    world.copies_run_on()
    running = copy_job(world, source)
    world.work(running)
    with transaction():
        Outbox.delete().execute()  # as publishing does
    waits: list[timedelta] = []
    for waiting in (False, True):
        if waiting:
            copy_job(world, source)
        world.poll(after=timedelta(hours=1), region=AWAY)
        at = world.clock.timer()
        waits.append(max(row.next_poll_at for row in world.operations(running)) - at)
    assert waits == [timedelta(minutes=5), world.context.settings.poll_floor]


def test_copies_of_others_are_counted_now_and_then(world: World) -> None:
    """feature C3: what runs there and does not carry our tag takes slots from us; one look in two minutes."""
    looks: list[tuple[str, str]] = []

    class Seeing(FakeDriver):
        def copies_of_others(self, account: driver.Account, region: str, installation: str) -> int:
            looks.append((region, installation))
            return 7

    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, Seeing(world.cloud)))
    source = world.good_point()
    world.copies_run_on()
    world.work(copy_job(world, source))
    for _ in range(3):
        world.poll(after=timedelta(seconds=50), region=AWAY)
    assert looks == [(AWAY, "inst-1")]
    world.poll(after=timedelta(seconds=50), region=AWAY)
    assert len(looks) == 2
    with session():
        (row,) = CopySlots.select()
    assert (row.account_id, row.region, row.service, row.others) == (world.account.id, AWAY, "ec2", 7)
