"""What the cloud holds and no row knows is found, told of, and let go by the usual guards (feature C11)."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from admin.orphans import list_orphans
from tasks.catalog import Meta, Point, Policy, session, transaction
from tasks.catalog.era import mark_rebuilt, place_of, take_over
from tasks.catalog.point import ORPHAN
from tasks.catalog.transitions import move_point
from tasks.errors import Throttled
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.fakes.driver import FakeDriver
from tests.workers.world import AWAY, HOME, START, World
from workers import driver
from workers.orphans import EVERY, GRACE

LONG_AGO = START - GRACE - timedelta(hours=1)


class Seeing(FakeDriver):
    """The fake driver, whose cloud lists by tag what it is told."""

    listed: tuple[driver.Tagged, ...] = ()
    looks = 0
    throttled = False

    def tagged(self, account: driver.Account, region: str, installation: str) -> list[driver.Tagged]:
        assert (account.name, installation) == ("prod", "inst-1")
        self.looks += 1
        if self.throttled:
            raise Throttled("Slow down.")
        return [one for one in self.listed if region in (HOME, AWAY)]


@pytest.fixture
def seeing(world: World) -> Seeing:
    made = Seeing(world.cloud)
    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, made))
    return made


def tagged(name: str, began_at: datetime = LONG_AGO, **tags: str) -> driver.Tagged:
    given = {"job": "gone-0", "source": "i-1", "policy": "gold", **tags}
    ours = {f"snapfleet:{key}": value for key, value in given.items()}
    kind = "volume" if given["source"].startswith("vol-") else "instance"
    return driver.Tagged("snapshot", name, began_at, ours, f"vol-of-{name}", 8, type=kind)


def poll(world: World, region: str = HOME, **columns: object) -> None:
    """A poll with something to ask about, as one that looks for orphans has."""
    world.work(world.snapshot_job(**columns))
    world.poll(region=region)


def test_what_no_row_knows_becomes_a_failed_point_with_its_parts(world: World, seeing: Seeing) -> None:
    seeing.listed = (tagged("snap-a", job="gone-0"), tagged("snap-b", job="gone-0"))
    poll(world)
    (row,) = list_orphans()
    assert (row["resource"], row["policy"], row["holds"], row["size_gib"]) == ("i-1", "gold", "snap-a, snap-b", 16)
    with session():
        point = Point.get(Point.error_code == ORPHAN)
    assert (point.state, point.destination, point.taken_at) == (PointState.FAILED, "", LONG_AGO)
    assert {part.state for part in world.parts(point)} == {PointState.FAILED}


def test_what_the_catalog_knows_or_somebody_may_still_adopt_is_no_orphan(world: World, seeing: Seeing) -> None:
    """Known parts, what is younger than a day, and what an unfinished job made."""
    good = world.good_point()
    waiting = world.snapshot_job()
    seeing.listed = (
        *(tagged(part.external_id) for part in world.parts(good)),
        tagged("snap-young", START - timedelta(hours=2)),
        tagged("snap-open", job=f"{waiting.key}-0/vol-1"),
    )
    poll(world)
    assert list_orphans() == []
    assert world.row(waiting).state is JobState.PENDING


def test_one_look_a_day_at_each_place_and_none_that_spoils_a_poll(world: World, seeing: Seeing) -> None:
    seeing.throttled = True
    poll(world)
    poll(world)
    assert seeing.looks == 1
    world.clock.advance(EVERY)
    poll(world)
    assert seeing.looks == 2
    with session():
        assert Point.select().where(Point.state == PointState.GOOD).count() == 3
        assert Meta.get(Meta.key == f"orphans:{world.account.id}:{HOME}:ec2").value


def test_a_copy_that_nobody_knows_is_a_point_of_its_destination(world: World, seeing: Seeing) -> None:
    source = world.good_point()
    seeing.listed = (tagged("snap-copy"),)
    spec = {"point": source.id, "destination": f"prod/{AWAY}"}
    world.work(world.job("copy", Lane.COPY, region=AWAY, resource=world.resource, spec=spec, slots=2))
    world.poll(region=AWAY)
    with session():
        point = Point.get(Point.error_code == ORPHAN)
    assert (point.region, point.destination, point.resource_id) == (AWAY, f"prod/{AWAY}", world.resource.id)


def test_what_belongs_to_no_policy_any_more_is_kept_by_one_that_never_runs(world: World, seeing: Seeing) -> None:
    seeing.listed = (tagged("snap-x", policy="forgotten", source="vol-77"), tagged("snap-y", source="", job="other-0"))
    poll(world)
    (row,) = list_orphans()
    assert (row["resource"], row["policy"], row["holds"]) == ("vol-77", "adopted:orphans", "snap-x")
    with session():
        keeper = Policy.get(Policy.name == "adopted:orphans")
    assert (keeper.enabled, keeper.deleted_at is not None) == (False, True)


def test_an_orphan_that_cleanup_deleted_is_listed_only_on_request(world: World, seeing: Seeing) -> None:
    seeing.listed = (tagged("snap-a"),)
    poll(world)
    with transaction():
        point = Point.get(Point.error_code == ORPHAN)
        assert move_point(point.id, PointState.EXPIRING, expire_code="outlived")
        assert move_point(point.id, PointState.DELETED)
    assert list_orphans() == []
    assert [row["id"] for row in list_orphans(every=True)] == [f"rp-{point.id}"]
    poll(world)
    world.clock.advance(EVERY)
    poll(world)
    assert len(list_orphans(every=True)) == 1  # what the catalog has deleted it knows


def test_what_a_lost_catalog_made_is_no_orphan_before_its_place_was_rebuilt(world: World, seeing: Seeing) -> None:
    """feature C11: the first good backup would have all of it deleted as failed attempts."""
    seeing.listed = (tagged("snap-a"),)
    with transaction():
        take_over(world.clock.now(), world.clock.timer())
    poll(world)
    assert list_orphans() == []
    with transaction():
        mark_rebuilt(place_of(world.account.id, HOME, "ec2"), world.clock.timer())
    world.clock.advance(EVERY)
    poll(world)
    assert len(list_orphans()) == 1
