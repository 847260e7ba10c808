"""An orphan becomes a good point where it is as whole as a backup of this catalog (feature C11)."""

from collections.abc import Callable, Iterator

import pytest

from coordinator.expiry import Rule
from coordinator.facts import retention_facts
from coordinator.retention import plan_expiry
from tasks import crash
from tasks.catalog import Point, Policy, Resource, session, transaction
from tasks.catalog.era import begin_era
from tasks.catalog.point import ORPHAN, PARTS_MISSING
from tasks.lanes import Lane
from tasks.states import PointState
from tests.workers.test_orphans import Seeing, poll
from tests.workers.test_rebuild import clouds, of_policy, parts, rebuild, written
from tests.workers.world import AWAY, HOME, START, World
from workers import driver
from workers.orphans import EVERY

__all__ = ["clouds"]


def adopt(world: World, *points: Point, dry_run: bool = False, region: str = HOME) -> dict[str, str]:
    """Why each was not adopted; '' for one that was."""
    spec = {"points": [point.id for point in points], "dry_run": dry_run}
    job = world.job("orphan-adopt", Lane.DISCOVER, run=None, region=region, spec=spec)
    assert world.work(job) == "done"
    return {one["id"]: one["why"] for one in world.row(job).result["orphans"]}


def orphans(world: World, clouds: Seeing, *listed: driver.Tagged) -> list[Point]:
    clouds.listed = listed
    world.clock.advance(EVERY)
    poll(world)
    return written(Point.error_code == ORPHAN)


def test_an_orphan_that_is_complete_becomes_a_good_point_of_its_policy(world: World, clouds: Seeing) -> None:
    made = of_policy("snap-a", device="/dev/sdf", encrypted=True, kms_key_id="key-1")
    (orphan,) = orphans(world, clouds, made)
    assert adopt(world, orphan, dry_run=True) == {f"rp-{orphan.id}": ""}
    assert written(Point.id == orphan.id)[0].state is PointState.FAILED
    assert adopt(world, orphan) == {f"rp-{orphan.id}": ""}
    (point,) = written(Point.id == orphan.id)
    assert (point.state, point.error_code, point.policy_id, point.locked_until_at) == (PointState.GOOD, "", 1, None)
    (part,) = parts(point).values()
    assert (part.state, part.device, part.encrypted, part.kms_key_id) == (PointState.GOOD, "/dev/sdf", 1, "key-1")
    assert adopt(world, orphan) == {f"rp-{orphan.id}": "It is no orphan any more."}


def test_an_orphan_that_is_not_whole_or_that_stands_beside_a_good_point_says_why(world: World, clouds: Seeing) -> None:
    done = world.snapshot_job()
    world.work(done)
    world.poll()
    key = world.row(done).key
    found = orphans(
        world,
        clouds,
        of_policy("snap-broken", job="broken-0", complete=False),
        of_policy("snap-gone", job="gone-0"),
        of_policy("snap-beside", job=f"{key}-0"),
        of_policy("snap-one", job="twice-0"),
        of_policy("snap-two", job="twice-1"),
    )
    clouds.listed = tuple(one for one in clouds.listed if one.external_id != "snap-gone")
    tried = adopt(world, *found, dry_run=True)
    assert adopt(world, *found) == tried
    assert list(tried.values()) == [
        "The cloud does not say that snap-broken is complete.",
        "snap-gone is not there any more, or lost its tags.",
        f"Its job made rp-{world.row(done).point_id}.",
        "",
        "Its job made another point.",
    ]


def test_an_orphan_that_was_made_twice_or_is_to_be_deleted_stays_one_and_says_what_to_do(
    world: World, clouds: Seeing
) -> None:
    marked = {**of_policy("x", job="marked-0").tags, driver.TAG_OUTDATED: "true"}
    twice, outdated = orphans(
        world,
        clouds,
        of_policy("snap-a", job="twice-0"),
        of_policy("snap-again", job="twice-0", source_id="vol-of-snap-a"),
        of_policy("snap-marked", job="marked-0", tags=marked),
    )
    why = adopt(world, twice, outdated)
    assert "snap-again was made a second time" in why[f"rp-{twice.id}"]
    assert "cloud's own tools" in why[f"rp-{twice.id}"]
    assert f"Take {driver.TAG_OUTDATED} off it, and adopt it again." in why[f"rp-{outdated.id}"]
    assert {point.state for point in written(Point.error_code == ORPHAN)} == {PointState.FAILED}
    clouds.listed = tuple(of_policy(one.external_id, job="marked-0") for one in clouds.listed[2:])
    assert adopt(world, outdated) == {f"rp-{outdated.id}": ""}


@pytest.mark.parametrize("own", ["", "asked for by the auditors"])
def test_an_orphan_that_is_adopted_ages_unless_somebody_holds_it(world: World, clouds: Seeing, own: str) -> None:
    """It was held as an orphan, since nobody knew whether it is whole."""
    volumes = [{"id": "vol-of-snap-a", "device": "/dev/xvda"}, {"id": "vol-2", "device": "/dev/sdf"}]
    with transaction():
        begin_era(START)
        Resource.update(attributes={"volumes": volumes}).where(Resource.external_id == "i-1").execute()
    (orphan,) = orphans(world, clouds, of_policy("snap-a"))
    assert orphan.held
    if own:
        with transaction():
            Point.update(held=own).where(Point.id == orphan.id).execute()
    adopt(world, orphan)
    (point,) = written(Point.id == orphan.id)
    assert (point.state, point.held, point.error_code) == (PointState.GOOD, own, PARTS_MISSING)
    with session():
        plan = plan_expiry(retention_facts(Policy.get_by_id(1)), Rule(generations=1), world.clock.now())
    assert (orphan.id in plan.expire) is not bool(own)


def test_a_copy_that_a_rebuilding_left_is_left_by_an_adoption_too(world: World, clouds: Seeing) -> None:
    """One that lacks parts, and one that its source has already."""
    source, other = world.good_point(), world.good_point()
    with transaction():
        same = {"resource": other.resource_id, "policy": other.policy_id, "taken_at": other.taken_at}
        Point.create(**same, account=1, region=AWAY, destination=f"prod/{AWAY}", copy_of=other.id, state="good")
    clouds.listed = tuple(
        of_policy(f"copy-{n}", job=f"copy{n}-0", attributes={"source_snapshot": world.parts(point)[0].external_id})
        for n, point in enumerate((source, other))
    )
    rebuild(world, AWAY)
    held = written(Point.error_code == ORPHAN)
    assert list(adopt(world, *held, region=AWAY).values()) == [
        f"It lacks 1 of the parts of rp-{source.id}.",
        f"rp-{other.id} has a copy there already.",
    ]


@pytest.fixture
def between() -> Iterator[list[Callable[[], None]]]:
    """What is called once an orphan was looked at, and once only."""
    calls: list[Callable[[], None]] = []

    def pass_by(name: str) -> None:
        if name == "rebuild.adopted" and calls:
            calls.pop()()

    crash.listen(pass_by)
    yield calls
    crash.listen(None)


def test_two_adoptions_at_once_make_one_good_point_of_what_one_job_made(
    world: World, clouds: Seeing, between: list[Callable[[], None]]
) -> None:
    """As when `--all` is asked for twice: what the other made good meanwhile counts."""
    names = ("other-0", "twice-0", "twice-1")
    other, one, two = orphans(world, clouds, *(of_policy(f"snap-{job}", job=job) for job in names))
    said: list[dict[str, str]] = []
    between.append(lambda: said.append(adopt(world, one)))
    assert adopt(world, other, one, two) == {
        f"rp-{other.id}": "",
        f"rp-{one.id}": "It is no orphan any more.",
        f"rp-{two.id}": "Its job made another point.",
    }
    assert said == [{f"rp-{one.id}": ""}]
    assert len(written(Point.state == PointState.GOOD, Point.run.is_null())) == 2
