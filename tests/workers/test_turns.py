"""Copies of one disk go one at a time in the order of its snapshots, also when it is protected alone and by its machine
(feature 47)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog import Job, Part, Point, Resource, session, transaction
from tasks.catalog.transitions import fail_attempt
from tasks.chains import copy_chain
from tasks.errors import Impossible, SnapfleetError
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.fakes.driver import FakeDriver
from tests.workers.world import START, World
from workers.driver import TAKEN_AT, OutOfTurn, Started
from workers.turns import STILL_MADE_FOR, NotItsTurn, OneUnderWay, Turn, await_turn, goes_first, judge_refusal

ELSEWHERE = "prod/northeurope"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.frozensets(st.sampled_from("abc"), min_size=1), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_of_all_copies_of_a_disk_one_has_its_turn_and_it_is_the_oldest(found: list[Any]) -> None:
    turns = [
        Turn(n, dict.fromkeys(disks, START + timedelta(hours=at)), begun) for n, (at, disks, begun) in enumerate(found)
    ]
    waiting = [one for one in turns if not one.begun]
    free = [one for one in waiting if goes_first(one, [other for other in turns if other is not one]) is None]
    for one in free:
        assert not [other for other in turns if other.begun and set(other.disks or ()) & set(one.disks or ())]
        assert not [other for other in waiting if other.is_older(one)]
    if len(waiting) == len(turns):
        assert min(turns, key=lambda one: (min((one.disks or {}).values()), one.point)) in free, "nobody waits for ever"


@settings(deadline=None)
@given(*[st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), min_size=1)] * 2)
def test_of_two_copies_with_a_common_disk_one_is_the_older_whatever_their_other_disks(
    some: dict[str, int], others: dict[str, int]
) -> None:
    one, another = (
        Turn(n, {disk: START + timedelta(seconds=at) for disk, at in disks.items()})
        for n, disks in enumerate((some, others))
    )
    assert one.is_older(another) + another.is_older(one) == bool(some.keys() & others.keys())


class Estate:
    """A machine with two disks, of which one is protected alone as well."""

    def __init__(self, world: World) -> None:
        self.world, self.minutes = world, 0
        self.machine = self._resource("azure-vm", "/vm/a")
        self.disk = self._resource("azure-disk", "/disk/a-0", parent_id="/vm/a")
        self.other = self._resource("azure-disk", "/disk/b-0", parent_id="/vm/b")

    def _resource(self, kind: str, name: str, **more: Any) -> Resource:
        place = {"account": self.world.account, "region": "westeurope", "type": kind, "external_id": name}
        with transaction():
            return Resource.create(**place, found_at=START, seen_at=START, **more)

    def point(
        self,
        resource: Resource,
        *disks: str,
        state: PointState = PointState.GOOD,
        begun: int | None = None,
        **more: Any,
    ) -> Point:
        """Taken a minute after the one before; `begun`: when the cloud began the last disk's snapshot, in seconds after
        the test's time, each other disk's one before."""
        self.minutes += 1
        taken = self.world.clock.now() + timedelta(minutes=self.minutes) - timedelta(hours=2)
        columns: dict[str, Any] = {"policy": self.world.policy, "account": self.world.account, "region": "westeurope"}
        with transaction():
            made = Point.create(**{"resource": resource, "taken_at": taken, "state": state, **columns, **more})
            for number, disk in enumerate(reversed(disks)):
                learnt = {} if begun is None else {TAKEN_AT: str(START + timedelta(seconds=begun - number))}
                Part.create(point=made, external_id=f"/snap/{made.id}{disk}", source_id=disk, attributes=learnt)
        return made

    def copied(self, source: Point, *disks: str, **more: Any) -> Point:
        """The copy of a point, which lies elsewhere."""
        away: dict[str, Any] = {
            "region": "northeurope",
            "destination": ELSEWHERE,
            "copy_of": source,
            "taken_at": source.taken_at,
        }
        return self.point(source.resource, *disks, **away, **more)

    def copy(self, source: Point, place: str = ELSEWHERE, **columns: Any) -> Job:
        chain = copy_chain(source.resource_id, place, in_order=True)
        spec = {"point": source.id, "destination": place}
        columns |= {"region": "northeurope", "service": "azure-compute", "resource": source.resource_id}
        return self.world.job("copy", Lane.COPY, chain=chain, spec=spec, **columns)

    def waits(self, job: Job) -> bool:
        with session():
            try:
                await_turn(job, Point.get_by_id(job.spec["point"]), self.world.clock)
            except NotItsTurn:
                return True
        return False


@pytest.fixture
def estate(world: World) -> Estate:
    return Estate(world)


def test_a_copy_of_a_disk_waits_for_the_older_one_of_its_machine_and_for_no_younger_one(estate: Estate) -> None:
    old = estate.copy(estate.point(estate.machine, "/disk/a-0", "/disk/a-1"))
    young = estate.copy(estate.point(estate.disk, "/disk/a-0"), priority=1000)
    foreign = estate.copy(estate.point(estate.other, "/disk/b-0"))
    assert [estate.waits(one) for one in (old, young, foreign)] == [False, True, False]
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == old.id).execute()
    assert not estate.waits(young)


def test_an_older_copy_waits_while_a_younger_one_is_under_way_and_excluded_disks_do_not_count(estate: Estate) -> None:
    without = estate.copy(estate.point(estate.machine, "/disk/a-1"))
    young = estate.copy(estate.point(estate.disk, "/disk/a-0"))
    assert not estate.waits(young), "the older one has another disk"
    with transaction():
        Job.update(state=JobState.WAITING).where(Job.id == young.id).execute()
    assert not estate.waits(without)
    both = estate.copy(estate.point(estate.machine, "/disk/a-0", "/disk/a-1"))
    assert estate.waits(both)


def test_a_copy_waits_a_while_for_an_older_snapshot_that_is_still_being_made(estate: Estate) -> None:
    estate.minutes = 118
    being_made = estate.point(estate.machine, state=PointState.CREATING)
    estate.world.job("snapshot", Lane.SNAPSHOT, resource=estate.machine, point_id=being_made.id)
    young = estate.copy(estate.point(estate.disk, "/disk/a-0"))
    assert estate.waits(young)
    estate.world.clock.advance(STILL_MADE_FOR)
    assert not estate.waits(young), "one disk that hangs keeps no copy back for ever"


def test_a_failed_copy_that_is_wanted_again_after_a_younger_one_went_is_refused(estate: Estate) -> None:
    late, young = (estate.point(estate.disk, "/disk/a-0") for _ in range(2))
    estate.copied(young, "/disk/a-0")
    with pytest.raises(Impossible, match=f"rp-{young.id}"):
        estate.waits(estate.copy(late))


def test_a_machines_late_copy_is_refused_when_a_younger_one_of_a_disk_went_alone(estate: Estate) -> None:
    late = estate.point(estate.machine, "/disk/a-0", "/disk/a-1")
    foreign = estate.point(estate.machine, "/disk/a-1")
    young = estate.point(estate.disk, "/disk/a-0")
    estate.copied(young, "/disk/a-0")
    with pytest.raises(Impossible, match=f"rp-{young.id}") as caught:
        estate.waits(estate.copy(late))
    assert caught.value.code == "out-of-order"
    assert not estate.waits(estate.copy(foreign)), "that is another disk"


def test_turns_go_by_when_the_cloud_began_each_snapshot_and_not_by_when_it_was_asked_for(estate: Estate) -> None:
    """A machine's disks are taken one after the other: a disk's own snapshot, asked for later, may come before."""
    machine = estate.copy(estate.point(estate.machine, "/disk/a-1", "/disk/a-0", begun=5))
    alone = estate.point(estate.disk, "/disk/a-0", begun=1)
    assert estate.waits(machine) is False, "nobody wants the other one yet"
    disk = estate.copy(alone)
    assert (estate.waits(machine), estate.waits(disk)) == (True, False)
    with transaction():
        Job.update(state=JobState.DONE).where(Job.id == disk.id).execute()
    estate.copied(alone, "/disk/a-0", begun=1)
    assert not estate.waits(machine), "what lies there is older, whatever the points say"


def test_a_snapshot_still_being_made_may_hold_an_older_one_though_its_point_is_younger(estate: Estate) -> None:
    """A backup that was throttled half way is as young as its last attempt; what it had begun is older."""
    estate.minutes = 118
    young = estate.copy(estate.point(estate.disk, "/disk/a-0", begun=3))
    being_made = estate.point(estate.machine, state=PointState.CREATING)
    estate.world.job("snapshot", Lane.SNAPSHOT, resource=estate.machine, point_id=being_made.id)
    assert estate.waits(young)


class TestRefusals:
    """What becomes of a copy that the cloud refuses for another one of the disk."""

    ORDER, BUSY = OutOfTurn("Copied in order only.", too_late=True), OutOfTurn("One at a time.")

    def told(self, estate: Estate, job: Job, refused: OutOfTurn) -> SnapfleetError | None:
        with session():
            try:
                judge_refusal(job, Point.get_by_id(job.spec["point"]), refused, estate.world.clock)
            except SnapfleetError as error:
                return error
        return None

    def test_it_waits_while_a_copy_of_the_disk_is_under_way_wherever_that_goes(self, estate: Estate) -> None:
        taken = estate.point(estate.disk, "/disk/a-0")
        job, other = estate.copy(taken, fence=2), estate.copy(taken, "prod/uksouth", state=JobState.WAITING)
        for refused in (self.ORDER, self.BUSY):
            assert type(self.told(estate, job, refused)) is OneUnderWay
        with transaction():
            Job.update(state=JobState.DONE).where(Job.id == other.id).execute()
        assert self.told(estate, job, self.BUSY) is None, "it stands, and costs an attempt"

    def test_for_the_order_it_is_impossible_when_nothing_is_under_way_or_due(self, estate: Estate) -> None:
        job = estate.copy(estate.point(estate.machine, "/disk/a-0"), fence=2)
        told = self.told(estate, job, self.ORDER)
        assert isinstance(told, Impossible)
        assert told.code == "out-of-order"
        assert "younger" in told.text

    def test_the_first_refusal_of_all_costs_an_attempt_so_that_what_it_began_is_looked_for(
        self, estate: Estate
    ) -> None:
        assert self.told(estate, estate.copy(estate.point(estate.machine, "/disk/a-0"), fence=1), self.ORDER) is None

    def test_one_that_has_become_due_before_it_goes_first(self, estate: Estate) -> None:
        estate.copy(estate.point(estate.machine, "/disk/a-0"))
        young = estate.copy(estate.point(estate.disk, "/disk/a-0"), fence=2)
        assert type(self.told(estate, young, self.ORDER)) is NotItsTurn


class Refusing(FakeDriver):
    """Says of every copy that a younger one lies there."""

    def start_copy(self, *_: object) -> Started:
        raise TestRefusals.ORDER


def test_a_copy_that_the_cloud_refuses_for_its_order_ends_with_its_second_attempt_and_says_why(world: World) -> None:
    source = world.good_point()
    spec = {"point": source.id, "destination": ELSEWHERE}
    job = world.job("copy", Lane.COPY, region="northeurope", resource=world.resource, spec=spec, max_attempts=9)
    world.context = replace(world.context, drivers={"instance": Refusing(world.cloud)})
    assert [world.work(job), world.work(job)] == ["retry", "failed"]
    assert world.row(job).error_code == "out-of-order"


def test_waiting_costs_no_attempt_for_days_while_the_cloud_copies_and_a_day_after_it(estate: Estate) -> None:
    """A first full copy of a machine takes longer than the day for which waiting is free otherwise."""
    world = estate.world
    full = estate.copy(estate.point(estate.machine, "/disk/a-0"), state=JobState.WAITING)
    source = estate.point(estate.disk, "/disk/a-0")
    job = estate.copy(source, max_attempts=1)
    for state, hours, again in (
        (JobState.WAITING, 0, True),
        (JobState.WAITING, 30, True),
        (JobState.PENDING, 1, True),  # the wait counts from here
        (JobState.PENDING, 23, True),
        (JobState.PENDING, 2, False),
    ):
        world.clock.advance(timedelta(hours=hours))
        with transaction():
            Job.update(state=state).where(Job.id == full.id).execute()
        claimed = world.claim(job)
        with session(), pytest.raises(NotItsTurn) as caught:
            await_turn(claimed, source, world.clock)
        with transaction():
            assert fail_attempt(claimed, caught.value, world.clock.timer()).again is again
