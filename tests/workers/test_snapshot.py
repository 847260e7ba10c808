"""Backing up: once for a wish, whatever is lost on the way."""

from datetime import timedelta

import pytest

from tasks import crash
from tasks.catalog import Resource, session, transaction
from tasks.catalog.transitions import claim, requeue
from tasks.errors import FenceLost, Internal, SnapfleetError, Unavailable
from tasks.states import JobState, OperationState, PointState
from tests.workers.world import LEASE, START, World
from workers.app import work
from workers.handlers import snapshot


def test_a_started_backup_leaves_a_point_parts_operations_and_a_waiting_job(world: World) -> None:
    """Feature 13: nothing is good yet, and everything that the poll needs is written."""
    job = world.snapshot_job()
    assert world.work(job) == "waiting"
    row, point = world.row(job), world.point(job)
    assert (row.state, row.lease_owner, row.lease_until_at) == (JobState.WAITING, "", None)
    assert (point.state, point.destination, point.size_gib, point.taken_at) == (PointState.CREATING, "", 16, START)
    assert [part.source_id for part in world.parts(point)] == ["vol-1-0", "vol-1-1"]
    assert point.attributes["volumes"][0]["id"] == "vol-1-0"
    operations = world.operations(job)
    assert {one.state for one in operations} == {OperationState.RUNNING}
    assert {one.next_poll_at for one in operations} == {START + timedelta(seconds=15)}


def test_everything_made_carries_the_tags_that_find_it_again(world: World) -> None:
    job = world.snapshot_job()
    world.work(job)
    made = world.cloud.of_kind("snapshot")
    assert {one.key for one in made} == {f"{job.key}-0"}
    assert made[0].doc["tags"] == {
        "snapfleet:installation": "inst-1",
        "snapfleet:job": f"{job.key}-0",
        "snapfleet:source": "i-1",
        "snapfleet:run": f"run-{world.run.id}",
        "snapfleet:policy": "gold",
    }


def test_a_second_message_for_a_claimed_job_claims_nothing(world: World) -> None:
    """Promise 2: a message may arrive twice."""
    job = world.snapshot_job()
    world.work(job)
    with session():
        assert claim(job.id, job.fence, "another", world.clock.timer(), LEASE) is None
    assert len(world.cloud.calls("start_backup")) == 1


@pytest.mark.parametrize("error", [Unavailable("The catalog went away."), Internal("A defect.")])
def test_what_began_and_could_not_be_written_down_is_looked_for_no_sooner_than_it_can_be_found(
    world: World, error: SnapfleetError
) -> None:
    """Found by the simulator: tags appear late, and an attempt seconds after a lost commit made the backup again."""

    def lose(point: str) -> None:
        if point == "snapshot.called":
            raise error

    job = world.snapshot_job(retry_wait_s=1)
    crash.listen(lose)
    try:
        world.work(job)
    finally:
        crash.listen(None)
    row = world.row(job)
    assert row.state == JobState.PENDING
    assert row.not_before_at - world.clock.timer() >= timedelta(seconds=world.context.settings.guard_seconds)


def test_an_attempt_that_died_before_its_commit_is_adopted_by_the_next(world: World) -> None:
    """Promise 3: the cloud had begun, the catalog knew nothing; the next attempt finds it by its tag."""
    job = world.snapshot_job()
    first = world.claim(job)
    world.cloud.fault("start_backup", "lost-response")
    assert work(world.context, first) == "retry"
    assert world.row(job).error_code == "unknown-effect"
    world.clock.advance(timedelta(minutes=10))
    assert world.work(job) == "waiting"
    assert len(world.cloud.calls("create:snapshot")) == 2
    assert [point.taken_at for point in world.points()] == [START]


def test_a_backup_begun_late_is_as_old_as_its_own_call(world: World) -> None:
    """An intent that made nothing does not make the point look older than it is."""
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "lost-request")
    world.work(job)
    world.clock.advance(timedelta(minutes=10))
    world.work(job)
    assert [point.taken_at for point in world.points()] == [START + timedelta(minutes=10)]


def test_a_throttled_attempt_costs_no_attempt_and_keeps_its_point(world: World) -> None:
    job = world.snapshot_job()
    for _ in range(5):
        world.cloud.fault("start_backup", "throttle")
        assert world.work(job) == "deferred"
        world.clock.advance(timedelta(minutes=1))
    row = world.row(job)
    # Attempts that came to an end are no sign of a job that kills its worker, however many they are.
    assert (row.state, row.attempt, row.claims, row.error_code) == (JobState.PENDING, 0, 0, "throttled")
    assert world.work(job) == "waiting"
    assert len(world.points()) == 1


def test_what_a_job_made_whose_last_answer_was_lost_goes_with_its_failed_point(world: World) -> None:
    """Nobody else knows of these snapshots: without a row they would be paid for until somebody looks by hand."""
    job = world.snapshot_job(max_attempts=1)
    world.cloud.fault("start_backup", "lost-response")
    assert world.work(job) == "failed"
    point = world.point(job)
    assert (point.state, world.row(job).epoch) == (PointState.FAILED, 1)
    assert {part.external_id for part in world.parts(point)} == {one.id for one in world.cloud.of_kind("snapshot")}
    assert {part.state for part in world.parts(point)} == {PointState.FAILED}


def test_a_failure_is_recorded_though_nobody_can_say_what_was_made(world: World) -> None:
    job = world.snapshot_job(max_attempts=1)
    world.cloud.fault("start_backup", "lost-response")
    world.cloud.fault("find", "bug")
    assert world.work(job) == "failed"
    assert (world.point(job).state, world.row(job).epoch) == (PointState.FAILED, 0)


def test_the_first_call_that_is_refused_is_not_looked_after(world: World) -> None:
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "denied")
    assert world.work(job) == "failed"
    assert not world.cloud.calls("find")


def test_a_quota_that_never_frees_ends_the_job_after_a_day_so_that_somebody_is_told(world: World) -> None:
    """A copy of a chain that is put off for ever would hold up its run and all later copies, and nobody would know."""
    job = world.snapshot_job(max_attempts=2)
    world.cloud.fault("start_backup", "throttle", times=30)
    outcomes = []
    while world.row(job).state is JobState.PENDING:
        outcomes.append(world.work(job))
        world.clock.advance(timedelta(hours=1))
    assert outcomes == ["deferred"] * 24 + ["retry", "failed"]
    assert (world.row(job).error_code, world.point(job).state) == ("throttled", PointState.FAILED)


def test_a_refusal_that_no_retry_cures_fails_the_job_and_its_point(world: World) -> None:
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "denied")
    assert world.work(job) == "failed"
    assert (world.row(job).state, world.row(job).error_code) == (JobState.FAILED, "denied")
    assert (world.point(job).state, world.point(job).error_code) == (PointState.FAILED, "denied")


def test_attempts_run_out(world: World) -> None:
    job = world.snapshot_job(max_attempts=2)
    world.cloud.fault("start_backup", "lost-request", times=2)
    assert [world.work(job), world.work(job)] == ["retry", "failed"]
    assert world.point(job).state is PointState.FAILED


def test_a_defect_is_recorded_by_its_type_alone(world: World) -> None:
    """Feature 32: what an exception says may hold names and secrets."""
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "bug")
    assert world.work(job) == "retry"
    row = world.row(job)
    assert row.error_code == "internal"
    assert "ValueError" in row.error_text
    assert "arn:" not in row.error_text


def test_a_resource_that_is_gone_is_not_called_for(world: World) -> None:
    with transaction():
        Resource.update(gone_at=START).where(Resource.id == world.resource.id).execute()
    job = world.snapshot_job()
    assert world.work(job) == "failed"
    assert world.row(job).error_code == "gone"
    assert not world.cloud.calls()


def test_a_worker_that_was_overtaken_writes_nothing(world: World) -> None:
    """Promise 2: the fence stops a worker that wakes up late, and the new holder adopts what it made."""
    job = world.snapshot_job()
    late = world.claim(job)
    with transaction():
        requeue(world.row(job), world.clock.timer())
    current = world.claim(job)
    with pytest.raises(FenceLost):
        snapshot.run(world.context, late)
    assert not world.points()
    assert work(world.context, current) == "waiting"
    assert len(world.points()) == 1


def test_a_worker_overtaken_during_the_call_writes_nothing_of_it(world: World) -> None:
    """Promise 2: between the intent and the record somebody else took the job."""
    job = world.snapshot_job()
    late = world.claim(job)

    def overtake(method: str) -> None:
        if method == "start_backup" and world.row(job).fence == 1:
            with transaction():
                requeue(world.row(job), world.clock.timer())
            world.claim(job)

    world.cloud.before_call = overtake
    assert work(world.context, late) == "fence-lost"
    assert (world.row(job).state, world.row(job).fence) == (JobState.RUNNING, 2)
    assert not world.operations(job)
    assert [point.state for point in world.points()] == [PointState.CREATING]
    assert not world.parts(world.points()[0])


def test_a_worker_that_was_paused_right_before_the_call_makes_nothing_a_second_time(world: World) -> None:
    """Promise 2: it looked, or did not need to, and was frozen; meanwhile another took over and made the backup."""
    job = world.snapshot_job()
    late = world.claim(job)

    def overtake(method: str) -> None:
        if method == "start_backup" and world.row(job).fence == 1:
            with transaction():
                requeue(world.row(job), world.clock.timer())
            assert world.work(job) == "waiting"

    world.cloud.before_call = overtake
    assert work(world.context, late) == "fence-lost"
    assert len(world.cloud.calls("create:snapshot")) == 2
    assert (world.row(job).state, world.row(job).fence) == (JobState.WAITING, 2)


def test_a_creating_call_is_begun_only_with_a_lease_that_outlasts_it(world: World) -> None:
    """Look-ups that took long have used the lease up: it is renewed first, and nobody takes over during the call."""
    job = world.claim(world.snapshot_job())
    proceed = world.context.proceed(job)
    proceed()
    assert world.row(job).lease_until_at == START + LEASE
    world.clock.advance(LEASE - timedelta(seconds=20))
    proceed()
    assert world.row(job).lease_until_at == world.clock.timer() + LEASE


def test_an_image_knows_its_snapshots_when_it_is_there(world: World) -> None:
    job = world.snapshot_job(spec={"mode": "image"})
    world.work(job)
    assert world.point(job).image_id.startswith("ami-")
    assert not world.parts(world.point(job))
    world.poll()
    point = world.point(job)
    assert (point.state, point.kind, point.size_gib) == (PointState.GOOD, "image", 16)
    assert {part.state for part in world.parts(point)} == {PointState.GOOD}
    assert len(world.parts(point)) == 2
