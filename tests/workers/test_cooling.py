"""An export on its way to a cold class: in slices, held against cleanup meanwhile, and told when it is over."""

from collections.abc import Callable

import pytest

from tasks import errors
from tasks.catalog import Job, Point, transaction
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.fakes.driver import FakeDriver
from tests.workers.world import World
from workers import driver
from workers.cooling import Cooled
from workers.handlers.cleanup import guarded


class Mover(FakeDriver):
    """Moves two objects a slice, until there are none."""

    left = 5
    note = ""
    classes: frozenset[str] = frozenset()

    def cool_export(
        self,
        point: driver.Point,
        part: driver.Part,
        storage_class: str,
        late: Callable[[], bool],
        proceed: Callable[[], None],
    ) -> Cooled:
        with self._call("cool", point.account.name, point.region, part.external_id):
            assert not late()
        proceed()
        self.classes |= {storage_class}
        moved = min(2, self.left)
        self.left -= moved
        return Cooled(moved, moved * 10, 0, self.note, ended=not self.left)


@pytest.fixture
def mover(world: World) -> Mover:
    made = Mover(world.cloud)
    world.context.drivers["instance"] = made  # type: ignore[index]
    return made


def cold(world: World, point: Point) -> Job:
    return world.job("export-cold", Lane.REPOSITORY, resource=world.resource, point_id=point.id,
                     spec={"class": "GLACIER"}, max_attempts=2)  # fmt: skip


def test_an_export_is_moved_slice_by_slice_and_its_parts_say_where_they_lie(world: World, mover: Mover) -> None:
    """Feature 42: each slice is a message of its own; what was moved adds up."""
    point = world.good_point()
    mover.left, mover.note = 6, "acme keeps versions."
    job = cold(world, point)
    for _ in range(2):
        world.work(job)
        assert world.row(job).state is JobState.PENDING
    with transaction():  # retention wants it: the move is not over
        Point.update(state=PointState.EXPIRING, expire_code="outlived").where(Point.id == point.id).execute()
        assert guarded(world.context, [point.id]) == []
        assert Point.get_by_id(point.id).expire_text == "Kept: a copy, an archive or a restore still needs it."
    assert world.work(job) == "done"
    done = world.row(job)
    parts = len(world.parts(point))
    assert (done.state, mover.left, mover.classes) == (JobState.DONE, 0, {"GLACIER"})
    assert done.result["moved"] >= 6
    assert done.warnings == ["acme keeps versions."]
    assert [one.attributes["storage_class"] for one in world.parts(point)] == ["GLACIER"] * parts


def test_a_move_that_was_refused_fails_and_one_of_nothing_ends(world: World, mover: Mover) -> None:
    """Feature 31: a throttle burns no attempt; an export that is gone is not looked for again."""
    point = world.good_point()
    job = cold(world, point)
    world.cloud.fault("cool", "throttle")
    world.work(job)
    assert (world.row(job).state, world.row(job).attempt) == (JobState.PENDING, 0)
    world.cloud.fault("cool", "denied")
    world.work(job)
    assert (world.row(job).state, world.row(job).error_code) == (JobState.FAILED, "denied")
    with transaction():
        Point.update(state=PointState.DELETED, expire_code="outlived").where(Point.id == point.id).execute()
    again = world.job("export-cold", Lane.REPOSITORY, resource=world.resource, point_id=point.id, spec={"class": "X"})
    world.work(again)
    assert world.row(again).error_code == errors.Gone.code


def test_a_type_without_exports_is_refused(world: World) -> None:
    job = cold(world, world.good_point())
    world.work(job)
    assert (world.row(job).state, world.row(job).error_code) == (JobState.FAILED, "impossible")
