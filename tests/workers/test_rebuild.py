"""What the clouds hold with our tag becomes good points of a catalog that knows nothing of it (feature C11)."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from coordinator.facts import retention_facts
from tasks.catalog import Account, Job, Part, Point, Policy, Resource, session, transaction
from tasks.catalog.era import awaits_rebuild, begin_era, place_of, take_over
from tasks.catalog.point import ORPHAN
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.workers.test_orphans import LONG_AGO, Seeing, poll, tagged
from tests.workers.world import AWAY, HOME, START, World
from workers import driver
from workers.app import work
from workers.rebuilding import KEEPER, REST, Tally, sort_out, write_all


@pytest.fixture
def clouds(world: World) -> Seeing:
    made = Seeing(world.cloud)
    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, made))
    return made


def of_policy(name: str, job: str = "old-0", run: str = "run-7", source: str = "i-1", **more: Any) -> driver.Tagged:
    found = tagged(name, job=job, run=run, source=source)
    return driver.Tagged(**{**vars(found), **more})


def rebuild(world: World, region: str = HOME, kind: str = "rebuild") -> Job:
    """A look at one place to its end."""
    with session():
        number = Job.select().where(Job.kind.in_(["rebuild", "rebuild-look"])).count()
    job = world.job(kind, Lane.DISCOVER, run=None, region=region, key=f"{kind}:{region}:{number}")
    assert world.work(job) == "done"
    return world.row(job)


def written(*where: Any) -> list[Point]:
    with session():
        return list(Point.select().where(True, *where).order_by(Point.id))


def parts(point: Point) -> dict[str, Part]:
    with session():
        return {part.source_id: part for part in Part.select().where(Part.point == point.id)}


def test_what_is_complete_is_a_good_point_and_the_rest_a_failed_one_or_left_alone(world: World, clouds: Seeing) -> None:
    young = START - timedelta(hours=1)
    clouds.listed = (
        of_policy("snap-a"),
        of_policy("snap-b", encrypted=True, kms_key_id="key-1", attributes={"default_key": False}),
        of_policy("snap-broken", job="broken-0", complete=False),
        of_policy("snap-running", job="running-0", complete=False, began_at=young),
        of_policy("snap-nobodys", job="restore-0", tags={**tagged("x", job="restore-0").tags, "snapfleet:policy": ""}),
    )
    told = rebuild(world).result
    assert (told["points"], told["failed"], told["running"], told["skipped"]) == (1, 2, 1, [])
    good, *failed = written()
    assert (good.state, good.policy_id, good.destination, good.taken_at) == (PointState.GOOD, 1, "", LONG_AGO)
    assert (good.locked_until_at, good.size_gib) == (START + REST, 16)
    part = parts(good)["vol-of-snap-b"]
    assert (part.encrypted, part.kms_key_id, part.attributes) == (1, "key-1", {"default_key": False, "run": "run-7"})
    assert [(one.state, one.error_code) for one in failed] == [(PointState.FAILED, ORPHAN)] * 2
    assert "is complete" in str(failed[0].warnings)
    assert rebuild(world).result["points"] == 0
    assert len(written()) == 3


def test_a_dry_run_tells_the_same_and_leaves_nothing(world: World, clouds: Seeing) -> None:
    clouds.listed = (of_policy("snap-a"), of_policy("snap-b", job="b-0", complete=False))
    told = rebuild(world, kind="rebuild-look").result
    assert (told["points"], told["failed"], told["dry_run"]) == (1, 1, True)
    assert (told["written"][0]["parts"], told["left"][0]["parts"]) == ("snap-a", "snap-b")
    assert written() == []


def test_of_what_a_job_made_twice_one_is_a_good_point(world: World, clouds: Seeing) -> None:
    """A call that went out again, and an attempt after one that had failed."""
    again = LONG_AGO + timedelta(minutes=1)
    clouds.listed = (
        of_policy("snap-first"),
        of_policy("snap-again", began_at=again, source_id="vol-of-snap-first"),
        of_policy("snap-half", job="retried-0"),
        of_policy("snap-whole", job="retried-1"),
    )
    told = rebuild(world).result
    assert (told["points"], told["failed"]) == (2, 2)
    good = written(Point.state == PointState.GOOD)
    assert {one for point in good for one in parts(point)} == {"vol-of-snap-first", "vol-of-snap-whole"}
    assert {one["parts"]: one["why"] for one in told["left"]} == {
        "snap-again": "It was made twice.",
        "snap-half": "Another attempt of its job made a good point.",
    }


def test_an_attempt_that_ran_during_the_first_rebuilding_is_a_good_point_of_the_second(
    world: World, clouds: Seeing
) -> None:
    """Also where an earlier attempt of its job is known as failed; that one stays until somebody releases it."""
    young = START - timedelta(hours=20)
    failed = of_policy("snap-failed", job="big-0", complete=False)
    clouds.listed = (failed, of_policy("snap-big", job="big-1", complete=False, began_at=young))
    told = rebuild(world).result
    assert (told["points"], told["failed"], told["running"]) == (0, 1, 1)
    clouds.listed = (failed, of_policy("snap-big", job="big-1", began_at=young))
    assert rebuild(world).result["points"] == 1
    states = {next(iter(parts(point))): (point.state, bool(point.held)) for point in written()}
    assert states == {"vol-of-snap-failed": (PointState.FAILED, True), "vol-of-snap-big": (PointState.GOOD, False)}


def test_a_copy_of_only_some_parts_is_no_good_point(world: World, clouds: Seeing) -> None:
    home = (of_policy("snap-a"), of_policy("snap-b"))
    clouds.listed = home
    rebuild(world)
    copied = {"attributes": {"source_snapshot": "snap-a"}, "source_id": ""}
    clouds.listed = (of_policy("copy-a", job="copy-0", **copied),)
    told = rebuild(world, AWAY).result
    assert (told["points"], told["left"][0]["why"]) == (0, f"It lacks 1 of the parts of rp-{written()[0].id}.")


def test_a_point_with_fewer_parts_than_its_resource_has_volumes_takes_no_whole_ones_place(
    world: World, clouds: Seeing
) -> None:
    """What is left of a deletion that had begun looks whole by its tags."""
    volumes = [{"id": "vol-of-snap-a", "device": "/dev/xvda"}, {"id": "vol-of-snap-b", "device": "/dev/sdf"}]
    with transaction():
        Resource.update(attributes={"volumes": volumes}).where(Resource.external_id == "i-1").execute()
    whole = (of_policy("snap-a"), of_policy("snap-b"))
    clouds.listed = (*whole, of_policy("snap-part", job="part-0", source_id="vol-of-snap-a"))
    assert rebuild(world).result["points"] == 2
    with session():
        facts = {fact.id: fact.damaged for fact in retention_facts(Policy.get_by_id(1))}
    found = {point.id: len(parts(point)) for point in written()}
    assert {found[int(number)]: damaged for number, damaged in facts.items()} == {2: False, 1: True}


def test_what_was_made_before_a_catalog_was_put_back_is_an_orphan_that_nothing_deletes(
    world: World, clouds: Seeing
) -> None:
    """It may be a whole backup: retention would let it go as a failed attempt once a later one is good."""
    with transaction():
        begin_era(START)
    clouds.listed = (of_policy("snap-a"), of_policy("snap-late", job="late-0", began_at=START + timedelta(hours=1)))
    world.clock.advance(timedelta(days=2))
    poll(world)
    held = {next(iter(parts(point))): bool(point.held) for point in written(Point.error_code == ORPHAN)}
    assert held == {"vol-of-snap-a": True, "vol-of-snap-late": False}


def test_what_this_catalog_works_on_or_has_made_is_left_to_it(world: World, clouds: Seeing) -> None:
    point, waiting = world.good_point(), world.snapshot_job()
    key = world.row(waiting).key
    clouds.listed = (
        *(of_policy(part.external_id, job="x-0") for part in world.parts(point)),
        of_policy("snap-more", job="x-1"),
        of_policy("snap-open", job=f"{key}-0"),
    )
    told = rebuild(world).result
    assert (told["points"], told["failed"], told["already"]) == (0, 1, 3)
    assert told["left"][0]["why"] == "Its job made another point."


@pytest.mark.parametrize("home_first", [True, False])
def test_a_copy_is_tied_to_its_source_in_whichever_order_they_are_found(
    world: World,
    clouds: Seeing,
    *,
    home_first: bool,
) -> None:
    later = LONG_AGO + timedelta(hours=3)
    home = (of_policy("snap-a", device="/dev/sdf", attributes={"default_key": True, "type": "gp3"}), *image("1"))
    away = (
        of_policy("snap-c", job="copy-0", began_at=later, source_id="", attributes={"source_snapshot": "snap-a"}),
        *image("2", job="copied-0", began_at=later),
    )
    for region, listed in ((HOME, home), (AWAY, away)) if home_first else ((AWAY, away), (HOME, home)):
        clouds.listed = listed
        rebuild(world, region)
    snapshots, images = (written(Point.kind == kind) for kind in ("snapshots", "image"))
    for points in (snapshots, images):
        (source,), (copy,) = ([one for one in points if bool(one.destination) == away] for away in (False, True))
        assert (copy.copy_of_id, copy.taken_at, copy.destination) == (source.id, LONG_AGO, f"prod/{AWAY}")
    (part,) = parts(copied(snapshots)).values()
    assert (part.source_id, part.device) == ("vol-of-snap-a", "/dev/sdf")
    assert part.attributes == {"source_snapshot": "snap-a", "type": "gp3", "run": "run-7"}


def image(name: str, job: str = "image-0", **more: Any) -> list[driver.Tagged]:
    """An image with its snapshot, as one call makes them."""
    made = of_policy(f"ami-{name}", job=job, run="run-8", **{"kind": "image", "source_id": "", **more})
    return [made, of_policy(f"snap-of-{name}", job=job, run="run-8", device="/dev/xvda", **more)]


def copied(points: list[Point]) -> Point:
    return next(one for one in points if one.destination)


def test_a_copy_that_a_warehouse_carried_has_its_sources_name_and_is_a_point_of_its_own(
    world: World, clouds: Seeing
) -> None:
    for region, attributes in ((HOME, {}), (AWAY, {"source_snapshot": "snapfleet-1"})):
        clouds.listed = (of_policy("snapfleet-1", attributes=attributes),)
        assert rebuild(world, region).result["points"] == 1
        assert rebuild(world, region).result["points"] == 0
    source, copy = written()
    assert (copy.copy_of_id, copy.destination) == (source.id, f"prod/{AWAY}")


def test_a_second_copy_of_a_point_that_has_one_there_is_no_good_point(world: World, clouds: Seeing) -> None:
    """As after a catalog was put back from yesterday: the slot ran anew, and so did its copies."""
    source = world.good_point()
    with transaction():
        same = {"resource": source.resource_id, "policy": source.policy_id, "taken_at": source.taken_at}
        Point.create(**same, account=1, region=AWAY, destination=f"prod/{AWAY}", copy_of=source.id, state="good")
    first = world.parts(source)[0].external_id
    clouds.listed = (of_policy("snap-c", job="copy-0", attributes={"source_snapshot": first}),)
    told = rebuild(world, AWAY).result
    assert (told["points"], told["left"][0]["why"]) == (0, f"rp-{source.id} has a copy there already.")


class Asking(Seeing):
    """Tells the tags of some things only when asked for each."""

    slow: tuple[driver.Tagged, ...] = ()
    asked = 0

    def tagged_one_by_one(self, account: driver.Account, region: str, installation: str) -> list[driver.Tagged]:
        self.asked += 1
        return list(self.slow)


def test_what_tells_where_its_source_lies_is_of_that_one_and_is_asked_for_by_a_rebuilding_only(world: World) -> None:
    """Tables have names that any account may use; a copy in a vault names its own by account and region."""
    cloud = Asking(world.cloud)
    world.context = replace(world.context, drivers=dict.fromkeys(world.context.drivers, cloud))
    with transaction():
        other = Account.create(name="other", number="222222222222", regions=[AWAY])
        seen = {"type": "dynamodb", "external_id": "orders", "found_at": START, "seen_at": START}
        here = Resource.create(account=world.account, region=HOME, **seen)
        there = Resource.create(account=other, region=AWAY, **seen)
    cloud.slow = tuple(
        of_policy(f"arn-{source}-{n}", job=f"{source}{n}-0", type="dynamodb", home=home, tags=ours.tags)
        for source in ("orders", "dropped")
        for n, home in enumerate((("111111111111", HOME), ("222222222222", AWAY)))
        for ours in [of_policy("x", job=f"{source}{n}-0", source=source)]
    )
    poll(world)
    assert (cloud.looks, cloud.asked, written(Point.kind == "snapshots", Point.run.is_null())) == (1, 0, [])
    assert (rebuild(world).result["points"], cloud.asked) == (4, 1)
    made = written(Point.run.is_null())
    assert [point.resource_id for point in made if point.resource_id in (here.id, there.id)] == [here.id, there.id]
    assert [point.destination for point in made] == ["", f"prod/{HOME}"] * 2
    with session():
        gone = Resource.select().where(Resource.external_id == "dropped").order_by(Resource.id)
        assert [(one.account_id, one.region) for one in gone] == [(world.account.id, HOME), (other.id, AWAY)]


def test_what_neither_the_estate_nor_its_policies_know_any_more_is_kept(world: World, clouds: Seeing) -> None:
    gone = of_policy("snap-a", type="azure-disk", tags={**tagged("x", policy="dropped", source="/disks/old").tags})
    nothing = of_policy("snap-b", tags=tagged("x", job="y\x00-0", source="").tags)
    clouds.listed = (gone, nothing)
    told = rebuild(world).result
    assert told["skipped"] == ["snap-b: its tags do not say which resource it is of."]
    (point,) = written()
    with session():
        resource, policy = Resource.get_by_id(point.resource_id), Policy.get_by_id(point.policy_id)
    assert (resource.type, resource.external_id, resource.gone_at) == ("azure-disk", "/disks/old", START)
    assert (policy.name, policy.spec, policy.enabled) == ("adopted:tags", {"targets": []}, False)
    assert "Nothing is known of /disks/old" in point.warnings[0]


def test_a_place_is_rebuilt_once_nothing_runs_there_any_more(world: World, clouds: Seeing) -> None:
    place = place_of(world.account.id, HOME, "ec2")
    with transaction():
        take_over(world.clock.now(), world.clock.timer())
    for complete in (False, True):
        clouds.listed = (of_policy("snap-a", complete=complete, began_at=START),)
        rebuild(world)
        with session():
            assert awaits_rebuild(place) is not complete


def test_a_worker_that_is_overtaken_writes_nothing_and_the_next_attempt_all(world: World, clouds: Seeing) -> None:
    clouds.listed = (of_policy("snap-a"),)
    job = world.job("rebuild", Lane.DISCOVER, run=None)
    stale = world.claim(job)
    with transaction():
        Job.update(fence=Job.fence + 1, state=JobState.PENDING, lease_owner="").where(Job.id == job.id).execute()
    assert work(world.context, stale) == "fence-lost"
    assert written() == []
    assert world.work(job) == "done"
    assert len(written()) == 1


def test_what_was_not_whole_is_left_with_all_that_was_made_of_it(world: World, clouds: Seeing) -> None:
    """What had been made a second time was of no row: the next rebuilding took it alone for a whole backup."""
    again = LONG_AGO + timedelta(minutes=1)
    clouds.listed = (
        of_policy("snap-a"),
        of_policy("snap-again", began_at=again, source_id="vol-of-snap-a"),
        of_policy("snap-broken", complete=False),
    )
    assert [rebuild(world).result["points"] for _ in range(2)] == [0, 0]
    assert {part.external_id for part in world.parts(*written())} == {"snap-a", "snap-again", "snap-broken"}


def test_a_copy_is_of_the_nearest_run_before_it_of_its_own_policy(world: World, clouds: Seeing) -> None:
    """A run's name is a row's number, which the catalog after a lost one gives again."""
    with transaction():
        Policy.create(name="silver", spec={}, created_at=START, changed_at=START)
    listed = [("far", 1, "gold"), ("near", 3, "gold"), ("other", 4, "silver"), ("after", 6, "gold")]
    clouds.listed = tuple(
        of_policy(f"snap-{name}", began_at=LONG_AGO + timedelta(hours=hour), tags=made.tags)
        for name, hour, policy in listed
        for made in [tagged("x", job=f"{name}-0", run="run-7", policy=policy)]
    )
    assert rebuild(world).result["points"] == 4
    clouds.listed = (of_policy("copy", job="copy-0", began_at=LONG_AGO + timedelta(hours=5)),)
    assert rebuild(world, AWAY).result["linked"] == 1
    (copy,) = written(Point.copy_of.is_null(False))
    with session():
        assert set(parts(Point.get_by_id(copy.copy_of_id))) == {"vol-of-snap-near"}


@pytest.mark.parametrize(("region", "points"), [(HOME, 1), (AWAY, 2)])
def test_two_that_write_at_once_lose_and_double_nothing(world: World, clouds: Seeing, region: str, points: int) -> None:
    """The same place twice, and two places whose points are the first of the policy that keeps what belongs to none."""
    clouds.listed = (of_policy("snap-a", tags=tagged("x", policy="dropped").tags),)
    first, second = (
        world.claim(world.job("rebuild", Lane.DISCOVER, run=None, region=place, key=f"rebuild:{number}"))
        for number, place in enumerate((HOME, region))
    )
    ended: list[str] = []
    other = threading.Thread(target=lambda: ended.append(work(world.context, second)))
    with transaction():
        some = sort_out(clouds.listed, frozenset(), world.clock.timer())
        write_all(world.context, first, clouds, some, Tally())
        other.start()
        other.join(0.1)
        assert other.is_alive()
    other.join(20)
    assert (ended, len(written())) == (["done"], points)
    with session():
        assert [policy.name for policy in Policy.select().where(Policy.name != "gold")] == [KEEPER]
