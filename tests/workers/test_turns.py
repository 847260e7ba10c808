"""Copies of one disk go one at a time in the order of its snapshots, also when it is protected alone and by its machine
(feature 47)."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog import Job, Part, Point, Resource, session, transaction
from tasks.chains import copy_chain
from tasks.errors import Impossible
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.workers.world import START, World
from workers.turns import STILL_MADE_FOR, NotItsTurn, Turn, await_turn, goes_first

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
    turns = [Turn(n, START + timedelta(hours=at), disks, begun) for n, (at, disks, begun) in enumerate(found)]
    waiting = [one for one in turns if not one.begun]
    free = [one for one in waiting if goes_first(one, [other for other in turns if other is not one]) is None]
    for one in free:
        older = [other for other in waiting if (other.taken_at, other.point) < (one.taken_at, one.point)]
        assert not [other for other in turns if other.begun and other.disks & one.disks]
        assert not [other for other in older if other.disks & one.disks]
    if len(waiting) == len(turns):
        assert min(turns, key=lambda one: (one.taken_at, one.point)) in free, "nobody waits for ever"


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

    def point(self, resource: Resource, *disks: str, state: PointState = PointState.GOOD) -> Point:
        """Taken a minute after the one before."""
        self.minutes += 1
        taken = self.world.clock.now() + timedelta(minutes=self.minutes) - timedelta(hours=2)
        columns = {"policy": self.world.policy, "account": self.world.account, "region": "westeurope"}
        with transaction():
            made = Point.create(resource=resource, taken_at=taken, state=state, **columns)
            for disk in disks:
                Part.create(point=made, external_id=f"/snap/{made.id}{disk}", source_id=disk)
        return made

    def copy(self, source: Point, **columns: Any) -> Job:
        chain = copy_chain(source.resource_id, ELSEWHERE, in_order=True)
        spec = {"point": source.id, "destination": ELSEWHERE}
        place = {"region": "northeurope", "service": "azure-compute", "resource": source.resource_id}
        return self.world.job("copy", Lane.COPY, chain=chain, spec=spec, **place, **columns)

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
    with transaction():
        Point.create(
            resource=estate.disk, policy=estate.world.policy, account=estate.world.account, region="northeurope",
            destination=ELSEWHERE, copy_of=young, taken_at=young.taken_at, state=PointState.GOOD,
        )  # fmt: skip
    with pytest.raises(Impossible, match=f"rp-{young.id}"):
        estate.waits(estate.copy(late))
