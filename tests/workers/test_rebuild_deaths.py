"""A rebuilding that dies between two of its writings goes on from what is written (feature C11)."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tasks import crash
from tasks.catalog import Job, Point, session
from tasks.errors import Unavailable
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.workers.test_orphans import Seeing, poll, tagged
from tests.workers.test_rebuild import clouds, of_policy, written
from tests.workers.world import World

__all__ = ["clouds"]


@pytest.fixture
def dying() -> Iterator[Callable[[str], None]]:
    """Have the catalog go away at the first pass of a point."""

    def at(point: str) -> None:
        passed: list[str] = []

        def die(name: str) -> None:
            if name == point and not passed:
                passed.append(name)
                raise Unavailable("The catalog went away.")

        crash.listen(die)

    yield at
    crash.listen(None)


def again(world: World, job: Job) -> None:
    """What was put off is done."""
    assert world.row(job).state == JobState.PENDING
    world.clock.advance(timedelta(hours=1))
    assert world.work(job) == "done"


def test_points_that_were_written_before_a_death_are_not_written_twice(
    world: World, clouds: Seeing, dying: Callable[[str], None]
) -> None:
    clouds.listed = tuple(of_policy(f"snap-{number}", job=f"old-{number}-0") for number in range(130))
    dying("rebuild.written")
    job = world.job("rebuild", Lane.DISCOVER, run=None, key="rebuild:once")
    world.work(job)
    assert 0 < len(written()) < 130
    again(world, job)
    assert {point.state for point in written()} == {PointState.GOOD}
    assert len(written()) == 130


def test_orphans_that_were_made_good_before_a_death_stay_good(
    world: World, clouds: Seeing, dying: Callable[[str], None]
) -> None:
    clouds.listed = (tagged("snap-a", job="a-0"), tagged("snap-b", job="b-0"))
    poll(world)
    with session():
        numbers = [point.id for point in Point.select().where(Point.state == PointState.FAILED).order_by(Point.id)]
    assert len(numbers) == 2
    dying("rebuild.adopted")
    job = world.job("orphan-adopt", Lane.DISCOVER, run=None, key="adopt:once", spec={"points": numbers})
    world.work(job)
    states = [point.state for point in written(Point.id.in_(numbers))]
    assert states == [PointState.GOOD, PointState.FAILED]
    again(world, job)
    assert {point.state for point in written(Point.id.in_(numbers))} == {PointState.GOOD}
