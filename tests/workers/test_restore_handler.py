"""Restore steps and their undoing: what was made is known before anything else is."""

import pytest

from tasks.catalog import Creation, Job, Point, Restore, RestoreStep, session, transaction
from tasks.lanes import Lane
from tasks.states import JobState, RestoreState
from tests.workers.world import World
from workers.driver import TAG_JOB


@pytest.fixture
def restore(world: World) -> Restore:
    """A running restore of a good point with two steps."""
    point = world.good_point()
    with transaction():
        row = Restore.create(
            point=point.id,
            request={},
            plan={},
            requested_by="me",
            created_at=world.clock.timer(),
            state=RestoreState.RUNNING,
        )
        for number, kind in enumerate(("create-volume", "tag-resources")):
            RestoreStep.create(restore=row, number=number, name=f"step-{number}", kind=kind, params={})
    return row


def step(world: World, restore: Restore, number: int, kind: str, **columns: object) -> Job:
    snapshot = world.parts(Point.get_by_id(restore.point_id))[0].external_id if kind == "create-volume" else None
    params = {"snapshot_id": snapshot} if snapshot else {}
    spec = {"step": number, "kind": kind, "params": params}
    return world.job("restore-step", Lane.RESTORE, run=None, restore_id=restore.id, spec=spec, **columns)


def state(restore: Restore, number: int) -> RestoreStep:
    with session():
        return RestoreStep.get(RestoreStep.restore == restore.id, RestoreStep.number == number)


def creations(restore: Restore) -> list[Creation]:
    with session():
        return list(Creation.select().where(Creation.restore == restore.id).order_by(Creation.id))


@pytest.fixture
def made(world: World, restore: Restore) -> Job:
    """The first step, begun."""
    with session():
        job = step(world, restore, 0, "create-volume")
    assert world.work(job) == "waiting"
    return job


def test_what_a_step_made_is_recorded_before_the_next_call(world: World, restore: Restore, made: Job) -> None:
    """Promise 3 for restores: an undo finds everything."""
    volume = world.cloud.of_kind("volume")[-1].id
    assert [(one.kind, one.external_id, one.step) for one in creations(restore)] == [("volume", volume, "step-0")]
    assert state(restore, 0).outputs == {"volume_id": volume}
    assert state(restore, 0).state is JobState.WAITING
    assert not [call for call in world.cloud.calls("start_restore") if call.subject == "tag-resources"]


def test_a_step_is_done_when_the_cloud_says_so_with_what_it_made_known(
    world: World, restore: Restore, made: Job
) -> None:
    world.poll()
    assert (world.row(made).state, state(restore, 0).state) == (JobState.DONE, JobState.DONE)
    assert state(restore, 0).outputs["volume_id"].startswith("vol-")


def test_a_step_that_begins_nothing_is_done_at_once(world: World, restore: Restore) -> None:
    with session():
        job = step(world, restore, 1, "tag-resources")
    assert world.work(job) == "done"
    assert (state(restore, 1).state, state(restore, 1).outputs) == (JobState.DONE, {"done": "tag-resources"})


def test_what_a_later_step_takes_away_is_not_called_made_any_more(world: World, restore: Restore, made: Job) -> None:
    """A temporary volume or image: an undo has nothing to do with it, and nobody is told to look for it."""
    world.poll()
    volume = creations(restore)[0].external_id
    with session():
        job = step(world, restore, 1, "delete-volume")
    with transaction():
        Job.update(spec={"step": 1, "kind": "delete-volume", "params": {"volume_id": volume}}).where(
            Job.id == job.id
        ).execute()
    assert world.work(job) == "done"
    assert [one.removed_at for one in creations(restore)] == [world.clock.timer()]


def test_a_step_whose_answer_was_lost_makes_nothing_twice(world: World, restore: Restore) -> None:
    with session():
        job = step(world, restore, 0, "create-volume")
    world.cloud.fault("start_restore", "lost-response")
    assert world.work(job) == "retry"
    assert state(restore, 0).state is JobState.PENDING
    assert world.work(job) == "waiting"
    assert len(world.cloud.calls("create:volume")) == 1
    assert len(creations(restore)) == 1


def test_a_step_that_fails_for_good_records_what_it_may_have_made(world: World, restore: Restore) -> None:
    """The answer was lost and no attempt is left: what carries the step's key is looked up for the undo."""
    with session():
        job = step(world, restore, 0, "create-volume", max_attempts=1)
    world.cloud.fault("start_restore", "lost-response")
    assert world.work(job) == "failed"
    assert state(restore, 0).state is JobState.FAILED
    volume = world.cloud.of_kind("volume")[-1].id
    assert [(one.kind, one.external_id) for one in creations(restore)] == [("volume", volume)]


def test_a_step_that_the_cloud_failed_is_failed_and_its_point_stays_good(world: World, restore: Restore) -> None:
    with session():
        job = step(world, restore, 0, "create-volume", max_attempts=1)
    world.cloud.fault("start_restore", "error-state")
    world.work(job)
    world.poll()
    assert (world.row(job).state, state(restore, 0).state) == (JobState.FAILED, JobState.FAILED)
    with session():
        assert Point.get_by_id(restore.point_id).completed_at is not None


def test_an_undo_removes_all_that_was_made_and_says_so(world: World, restore: Restore, made: Job) -> None:
    volume = creations(restore)[0].external_id
    undo = world.job("restore-undo", Lane.RESTORE, run=None, restore_id=restore.id)
    assert world.work(undo) == "done"
    assert world.cloud.get(volume) is None
    assert creations(restore)[0].removed_at == world.clock.timer()


def test_an_undo_leaves_what_another_restore_made_under_the_same_name(
    world: World, restore: Restore, made: Job
) -> None:
    """feature 66: a cloud that goes by names gives them out again."""
    volume = world.cloud.get(creations(restore)[0].external_id)
    assert volume is not None
    volume.doc["tags"][TAG_JOB] = "another-0"
    world.cloud.put(volume)
    undo = world.job("restore-undo", Lane.RESTORE, run=None, restore_id=restore.id)
    assert world.work(undo) == "failed"
    assert world.cloud.get(volume.id) is not None
    assert creations(restore)[0].removed_at is None


def test_an_undo_that_was_repeated_calls_for_nothing(world: World, restore: Restore, made: Job) -> None:
    for _ in range(2):
        undo = world.job("restore-undo", Lane.RESTORE, run=None, restore_id=restore.id)
        assert world.work(undo) == "done"
    assert len(world.cloud.calls("undo_restore")) == 1


def test_an_undo_that_the_cloud_refused_is_tried_again(world: World, restore: Restore, made: Job) -> None:
    undo = world.job("restore-undo", Lane.RESTORE, run=None, restore_id=restore.id)
    world.cloud.fault("undo_restore", "throttle")
    assert world.work(undo) == "deferred"
    assert creations(restore)[0].removed_at is None
    assert world.work(undo) == "done"
