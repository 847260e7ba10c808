"""Points whose snapshots somebody else deleted are found, told of, and good again when they come back (feature C11)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from admin.drift import list_drift
from admin.forecast import why_point
from coordinator.alerts import evaluate
from tasks.catalog import Alert, Point, session, transaction
from tasks.catalog.point import DELETED_ELSEWHERE
from tasks.catalog.transitions import move_point
from tasks.errors import Throttled
from tasks.states import PointState
from tests.fakes.driver import FakeDriver
from tests.workers.world import HOME, World
from workers import driver
from workers.missing import GRACE
from workers.orphans import EVERY

LATER = max(EVERY, GRACE) + timedelta(hours=1)


class Seeing(FakeDriver):
    """The fake driver, whose cloud holds what was made there less what somebody deleted or took the tags off."""

    deleted: frozenset[str] = frozenset()
    untagged: frozenset[str] = frozenset()
    empty = False  # somebody deleted everything
    refused = False
    asked: list[str]
    clock_at: datetime
    meanwhile: Callable[[], None] = staticmethod(lambda: None)  # what somebody else does during the question

    def tagged(self, account: driver.Account, region: str, installation: str) -> list[driver.Tagged]:
        """Of this cloud nothing is an orphan."""
        hidden = self.deleted | self.untagged
        snapshots = [] if self.empty else [one for one in self.cloud.of_kind("snapshot") if one.id not in hidden]
        return [driver.Tagged("snapshot", one.id, self.clock_at, one.doc["tags"]) for one in snapshots]

    def present(self, account: driver.Account, region: str, parts: Sequence[driver.Part]) -> driver.Presence:
        assert (account.name, region) == ("prod", HOME)
        if self.refused:
            raise Throttled("Slow down.")
        self.asked = [one.external_id for one in parts]
        self.meanwhile()
        return {one: {} for one in self.asked if not self.empty and one not in self.deleted}


@pytest.fixture
def seeing(world: World) -> Seeing:
    made = Seeing(world.cloud)
    made.asked, made.clock_at = [], world.clock.timer()
    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, made))
    return made


def look(world: World, after: timedelta = LATER) -> None:
    """A day later, a poll that has something to ask about."""
    world.clock.advance(after)
    with transaction():
        run = world.new_run()
    world.work(world.snapshot_job(run=run))
    world.poll()


def now(world: World, point: Point) -> Point:
    with session():
        return Point.get_by_id(point.id)


def test_a_point_of_which_a_snapshot_is_gone_is_lost_and_says_which(world: World, seeing: Seeing) -> None:
    point, other = world.good_point(), world.good_point()
    gone, stays = (part.external_id for part in world.parts(point))
    seeing.deleted = frozenset({gone})
    look(world)
    row = now(world, point)
    assert (row.state, row.error_code) == (PointState.LOST, DELETED_ELSEWHERE)
    assert row.error_text == f"Somebody else deleted {gone} in the cloud."
    assert {one.external_id: one.state for one in world.parts(row)} == {gone: PointState.LOST, stays: PointState.GOOD}
    assert now(world, other).state is PointState.GOOD
    assert seeing.asked == [gone]
    assert why_point(f"rp-{point.id}", world.clock.now())["reasons"][0]["text"] == row.error_text


def test_an_alert_names_what_was_deleted_until_it_is_there_again(world: World, seeing: Seeing) -> None:
    point = world.good_point()
    seeing.deleted = frozenset(one.external_id for one in world.parts(point))
    look(world)
    for _ in range(2):  # rounds between two looks at what is lost leave the alert alone
        evaluate(world.clock)
        world.clock.advance(timedelta(seconds=5))
    with session():
        (alert,) = Alert.select().where(Alert.key == "points-lost:gold")
    assert (alert.severity, alert.cleared_at) == ("critical", None)
    assert alert.text.startswith(f"rp-{point.id} of i-1. Somebody else deleted ")
    seeing.deleted = frozenset()
    look(world)
    evaluate(world.clock)
    with session():
        assert Alert.get(Alert.key == "points-lost:gold").cleared_at is not None
    back = now(world, point)
    assert (back.state, back.error_code, back.error_text, back.deleted_at) == (PointState.GOOD, "", "", None)
    assert {one.state for one in world.parts(back)} == {PointState.GOOD}


def test_what_lost_only_its_tags_stays_good_and_what_is_listed_is_not_asked_for(world: World, seeing: Seeing) -> None:
    point = world.good_point()
    look(world)
    assert seeing.asked == []
    seeing.untagged = frozenset(one.external_id for one in world.parts(point))
    look(world)
    assert set(seeing.asked) == seeing.untagged
    assert now(world, point).state is PointState.GOOD


def test_a_young_point_and_one_that_is_being_deleted_are_left_alone(world: World, seeing: Seeing) -> None:
    old, going = world.good_point(), world.good_point()
    with transaction():
        assert move_point(going.id, PointState.EXPIRING, expire_code="outlived")
    world.clock.advance(GRACE / 2)
    young = world.good_point()
    seeing.empty = True
    look(world, LATER - GRACE / 2)
    states = [now(world, point).state for point in (old, going, young)]
    assert states == [PointState.LOST, PointState.EXPIRING, PointState.GOOD]


def test_of_two_looks_that_overlap_the_later_undoes_nothing(world: World, seeing: Seeing) -> None:
    """feature C11: a point that is back, and that retention has marked since, is on its way out."""
    point = world.good_point()
    seeing.deleted = frozenset(one.external_id for one in world.parts(point))
    look(world)

    def overtaken() -> None:
        with transaction():
            move_point(point.id, PointState.GOOD)
            assert move_point(point.id, PointState.EXPIRING, expire_code="outlived")

    seeing.untagged, seeing.deleted, seeing.meanwhile = seeing.deleted, frozenset(), overtaken  # so it is asked for
    look(world)
    assert now(world, point).state is PointState.EXPIRING


def test_a_point_that_retention_marks_during_the_look_keeps_its_parts(world: World, seeing: Seeing) -> None:
    """feature C11: a guard of the cleanup may bring it back, with what a restore needs of it."""
    point = world.good_point()

    def marked() -> None:
        with transaction():
            assert move_point(point.id, PointState.EXPIRING, expire_code="outlived")

    seeing.deleted, seeing.meanwhile = frozenset(one.external_id for one in world.parts(point)), marked
    look(world)
    assert {one.state for one in world.parts(now(world, point))} == {PointState.GOOD}


def test_a_cloud_that_does_not_answer_loses_nothing(world: World, seeing: Seeing) -> None:
    point = world.good_point()
    seeing.deleted, seeing.refused = frozenset(one.external_id for one in world.parts(point)), True
    look(world)
    assert now(world, point).state is PointState.GOOD
    seeing.refused = False
    look(world)
    assert now(world, point).state is PointState.LOST


def test_an_image_that_was_deregistered_is_a_lost_point_though_its_snapshots_are_there(
    world: World, seeing: Seeing
) -> None:
    point = world.good_point()
    with transaction():
        Point.update(kind="image", image_id="ami-1").where(Point.id == point.id).execute()
    seeing.deleted = frozenset({"ami-1"})
    look(world)
    assert now(world, point).error_text == "Somebody else deleted ami-1 in the cloud."
    seeing.deleted = frozenset()
    look(world)
    assert now(world, point).state is PointState.GOOD


def drifted(world: World) -> dict[str, Any]:
    """What is to be put back, by the alert that tells of it; nothing when there is none."""
    world.clock.advance(timedelta(minutes=2))
    evaluate(world.clock)
    with session():
        raised = [one.text for one in Alert.select().where(Alert.open_key.is_null(False)) if "tags" in one.key]
    listed = {one["holds"]: one["tags"] for one in list_drift()}
    assert len(raised) == bool(listed)
    assert all(next(iter(listed)) in text for text in raised)
    return listed


def test_what_somebody_took_the_tags_off_is_told_with_what_to_put_back_until_it_is_back(
    world: World, seeing: Seeing
) -> None:
    """feature C11: nothing deletes it once its point has aged, not even of a point that is marked already."""
    point, marked = world.good_point(), world.good_point()
    look(world)
    assert drifted(world) == {}
    with transaction():
        assert move_point(marked.id, PointState.EXPIRING, expire_code="outlived")
    bare = [part.external_id for one in (point, marked) for part in world.parts(one)]
    seeing.untagged = frozenset(bare)
    look(world)
    wanted = {driver.TAG_INSTALLATION: "inst-1", driver.TAG_SOURCE: "i-1"}
    assert {one: {**tags, driver.TAG_JOB: ""} for one, tags in drifted(world).items()} == {
        one: {**wanted, driver.TAG_JOB: ""} for one in bare
    }
    seeing.untagged = frozenset()
    look(world)
    assert drifted(world) == {}


def test_a_tag_of_another_resource_or_job_is_told_and_one_of_another_attempt_is_none(
    world: World, seeing: Seeing
) -> None:
    point = world.good_point()
    things = {one.id: one for one in world.cloud.of_kind("snapshot")}
    first, second = (things[part.external_id] for part in world.parts(point))
    token = first.doc["tags"][driver.TAG_JOB]
    first.doc["tags"][driver.TAG_JOB] = f"{token.rpartition('-')[0]}-7/vol-1"
    world.cloud.put(first)
    look(world)
    assert drifted(world) == {}
    first.doc["tags"][driver.TAG_SOURCE], second.doc["tags"][driver.TAG_JOB] = "i-2", "somebody's"
    for one in (first, second):
        world.cloud.put(one)
    look(world)
    assert drifted(world) == {first.id: {driver.TAG_SOURCE: "i-1"}, second.id: {driver.TAG_JOB: token}}
    with transaction():  # what is gone is nothing that anybody can tag
        move_point(point.id, PointState.LOST, error_code=DELETED_ELSEWHERE, deleted_at=world.clock.timer())
    assert drifted(world) == {}


class Blind(Seeing):
    """A cloud that lists nothing by tag, and tells no tags."""

    tagged = None  # type: ignore[assignment]

    def present(self, account: driver.Account, region: str, parts: Sequence[driver.Part]) -> driver.Presence:
        return dict.fromkeys(super().present(account, region, parts))


def test_where_nothing_is_listed_by_tag_each_point_is_asked_for(world: World) -> None:
    """feature C11: DynamoDB, EFS and DocumentDB. Of their tags nothing is judged."""
    blind = Blind(world.cloud)
    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, blind))
    point, other = world.good_point(), world.good_point()
    blind.deleted = frozenset(one.external_id for one in world.parts(point))
    look(world)
    assert [now(world, one).state for one in (point, other)] == [PointState.LOST, PointState.GOOD]
    assert drifted(world) == {}
