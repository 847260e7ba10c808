"""Deleting what was marked: every guard by itself, with nothing else in the way of the deletion."""

from datetime import timedelta
from typing import Any

import pytest

from tasks.catalog import Account, Job, Point, Restore, RestoreStep, session, transaction
from tasks.lanes import Lane
from tasks.states import JobState, PointState, RestoreState
from tests.workers.world import AWAY, START, World


def cleanup(world: World, *points: Point) -> Job:
    return world.job("cleanup", Lane.CLEANUP, run=None, spec={"points": [point.id for point in points]}, max_attempts=5)


def now(point: Point) -> Point:
    with session():
        return Point.get_by_id(point.id)


@pytest.fixture
def old(world: World) -> Point:
    """A marked point with a newer good one beside it: nothing speaks against its deletion."""
    point = world.good_point()
    world.good_point()
    return world.expiring(point)


def change(point: Point, **columns: Any) -> None:
    with transaction():
        Point.update(**columns).where(Point.id == point.id).execute()


def test_a_marked_point_is_deleted_with_all_its_parts(world: World, old: Point) -> None:
    job = cleanup(world, old)
    assert world.work(job) == "done"
    assert (now(old).state, now(old).deleted_at) == (PointState.DELETED, world.clock.timer())
    assert {part.state for part in world.parts(old)} == {PointState.DELETED}
    assert len(world.cloud.of_kind("snapshot")) == 2


def test_what_is_not_marked_is_not_deleted_whoever_asks(world: World) -> None:
    point = world.good_point()
    world.good_point()
    assert world.work(cleanup(world, point)) == "done"
    assert now(point).state is PointState.GOOD
    assert not world.cloud.calls("delete")


def _hold(world: World, point: Point) -> None:
    change(point, held="legal hold 12")


def _lock(world: World, point: Point) -> None:
    change(point, locked_until_at=world.clock.now() + timedelta(days=1))


def _copying(world: World, point: Point) -> None:
    world.job("copy", Lane.COPY, region=AWAY, resource=world.resource, spec={"point": point.id})


def _half_copied(world: World, point: Point) -> None:
    with transaction():
        Point.create(
            resource=world.resource,
            policy=world.policy,
            account=world.account,
            region=AWAY,
            destination="prod/x",
            copy_of=point.id,
            taken_at=START,
        )


def _lent(world: World, point: Point) -> None:
    with transaction():
        Point.create(
            resource=world.resource,
            policy=world.policy,
            account=world.account,
            region=AWAY,
            destination="vault/x",
            kind="share",
            state=PointState.GOOD,
            copy_of=point.id,
            taken_at=START,
        )


def _worked_on(world: World, point: Point) -> None:
    world.job("verify", Lane.REPOSITORY, point_id=point.id)


def _restoring(world: World, point: Point) -> None:
    with transaction():
        Restore.create(
            point=point.id, request={}, plan={}, requested_by="me", created_at=START, state=RestoreState.RUNNING
        )


def _image_of_later_points(world: World, point: Point) -> None:
    change(point, image_id="ami-1")


def _launched_from(world: World, point: Point) -> None:
    change(point, image_id="ami-1")
    with transaction():
        newer = Point.select().where(Point.id != point.id).get()
        Point.update(image_id="ami-2").where(Point.id == newer.id).execute()
        restore = Restore.create(
            point=newer.id, request={}, plan={}, requested_by="me", created_at=START, state=RestoreState.RUNNING
        )
        params = {"image_id": "ami-1"}
        RestoreStep.create(restore=restore, number=0, name="run", kind="run-instance", params=params)


@pytest.mark.parametrize(
    ("guard", "word"),
    [
        (_hold, "held"),
        (_lock, "locked"),
        (_copying, "needs it"),
        (_half_copied, "needs it"),
        (_lent, "needs it"),
        (_worked_on, "needs it"),
        (_restoring, "needs it"),
        (_image_of_later_points, "needs it"),
        (_launched_from, "needs it"),
    ],
)
def test_each_guard_alone_keeps_the_point_and_says_why(world: World, old: Point, guard: Any, word: str) -> None:
    """Promise 4: checked again in the transaction that lets the deletion go ahead."""
    guard(world, old)
    assert world.work(cleanup(world, old)) == "done"
    assert (now(old).state, now(old).expire_code) == (PointState.GOOD, "")
    assert word in now(old).expire_text
    assert not world.cloud.calls("delete")


def test_the_last_good_point_of_a_line_stays(world: World) -> None:
    """Promise 4, the floor: a newer attempt that failed is no good point."""
    only = world.good_point()
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "denied")
    world.work(job)
    world.expiring(only)
    assert world.work(cleanup(world, only)) == "done"
    assert now(only).state is PointState.GOOD
    assert "last good" in now(only).expire_text
    assert not world.cloud.calls("delete")


def test_of_a_line_whose_points_are_all_marked_the_newest_stays(world: World) -> None:
    points = [world.expiring(world.good_point()) for _ in range(3)]
    assert world.work(cleanup(world, *points)) == "done"
    assert [now(point).state for point in points] == [PointState.DELETED, PointState.DELETED, PointState.GOOD]


def test_a_copy_elsewhere_is_no_floor_for_the_place_itself(world: World) -> None:
    source = world.good_point()
    spec = {"point": source.id, "destination": f"prod/{AWAY}", "role": "copy"}
    world.work(world.job("copy", Lane.COPY, region=AWAY, resource=world.resource, spec=spec))
    world.poll(region=AWAY)
    world.expiring(source)
    world.work(cleanup(world, source))
    assert now(source).state is PointState.GOOD


def test_a_failed_attempt_needs_no_floor(world: World) -> None:
    job = world.snapshot_job(max_attempts=1)
    world.cloud.fault("start_backup", "error-state")
    world.work(job)
    world.poll()
    failed = world.expiring(world.point(job), "failed")
    assert world.work(cleanup(world, failed)) == "done"
    assert now(failed).state is PointState.DELETED
    assert not world.cloud.of_kind("snapshot")


def test_a_refused_failed_point_goes_back_to_failed(world: World) -> None:
    job = world.snapshot_job()
    world.cloud.fault("start_backup", "denied")
    world.work(job)
    failed = world.expiring(world.point(job), "failed")
    _hold(world, failed)
    world.work(cleanup(world, failed))
    assert now(failed).state is PointState.FAILED


def test_a_worker_that_died_after_the_deletion_leaves_nothing_undone(world: World, old: Point) -> None:
    """Promise 3: already gone is success."""
    for part in world.parts(old):
        world.cloud.remove(part.external_id)
    assert world.work(cleanup(world, old)) == "done"
    assert now(old).state is PointState.DELETED


def test_an_account_that_may_not_delete_is_tagged_instead(world: World, old: Point) -> None:
    """Feature 24: the account's own administrators delete what is outdated."""
    with transaction():
        Account.update(may_delete=False).where(Account.id == world.account.id).execute()
    assert world.work(cleanup(world, old)) == "done"
    assert (now(old).state, now(old).deleted_at) == (PointState.OUTDATED, None)
    tagged = [one for one in world.cloud.of_kind("snapshot") if one.doc["tags"].get("snapfleet:outdated")]
    assert {one.id for one in tagged} == {part.external_id for part in world.parts(old)}


def test_what_the_cloud_keeps_stays_marked_and_is_tried_again(world: World, old: Point) -> None:
    keeper = world.cloud.of_kind("snapshot")[0]
    world.cloud.put(type(keeper)("ami-x", "image", "prod", "us-east-1", "", {"snapshots": [keeper.id], "tags": {}}))
    job = cleanup(world, old)
    assert world.work(job) == "retry"
    assert (now(old).state, now(old).error_code) == (PointState.EXPIRING, "in-use")
    assert sorted(part.state for part in world.parts(old)) == [PointState.DELETED, PointState.EXPIRING]
    world.cloud.remove("ami-x")
    assert world.work(job) == "done"
    assert now(old).state is PointState.DELETED


def test_a_deletion_that_only_people_can_enable_is_tried_seldom(world: World, old: Point) -> None:
    for part in world.parts(old):
        thing = world.cloud.get(part.external_id)
        assert thing is not None
        thing.doc["tags"] = {}
        world.cloud.put(thing)
    job = cleanup(world, old)
    assert world.work(job) == "retry"
    assert (world.row(job).state, world.row(job).error_code) == (JobState.PENDING, "not-ours")
    assert world.row(job).not_before_at >= world.clock.timer() + timedelta(hours=1)
    assert len(world.cloud.of_kind("snapshot")) == 4
