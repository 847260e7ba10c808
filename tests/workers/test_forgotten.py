"""Access to blocks that a dead worker left open is found after a look, and what is in use is spared (feature 28)."""

from datetime import timedelta
from typing import Any

import pytest

from tasks.catalog import Job, Transfer, session, transaction
from tasks.errors import Throttled
from tasks.lanes import Lane
from tasks.states import JOB_TERMINAL, JobState
from tests.workers.world import World
from workers.driver import Account
from workers.forgotten import LATELY


class Shutter:
    """A driver that has rights to take back; everything else is the fake's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: list[tuple[str, frozenset[str]]] = []
        self.throttled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def shut_forgotten(self, account: Account, region: str, in_use: frozenset[str]) -> list[str]:
        self.asked.append((region, in_use))
        if self.throttled:
            raise Throttled("Slow down.")
        return ["snap-left"]


@pytest.fixture
def shutter(world: World) -> Shutter:
    drivers: Any = world.context.drivers
    made = Shutter(drivers["volume"])
    for name in ("volume", "instance"):
        drivers[name] = made
    return made


def look(world: World) -> Job:
    key = f"discover:{world.clock.timer().isoformat()}"
    spec = {"types": ["instance", "volume"]}
    return world.job("discover", Lane.DISCOVER, run=None, spec=spec, key=key, max_attempts=1)


def transfer(world: World, key: str, snapshot: str, state: JobState) -> None:
    job = world.job("archive", Lane.REPOSITORY, key=key)
    with transaction():
        at = world.clock.timer()
        ended = {"finished_at": at, "error_code": "denied"} if state in JOB_TERMINAL else {}
        Job.update(state=state, **ended).where(Job.id == job.id).execute()
        Transfer.create(job=job.id, volume=snapshot, snapshot_id=snapshot, started_at=at, changed_at=at)


def test_a_look_shuts_what_was_left_and_names_what_is_in_use(world: World, shutter: Shutter) -> None:
    transfer(world, "dead", "snap-left", JobState.FAILED)
    transfer(world, "alive", "snap-used", JobState.WAITING)
    assert world.work(look(world)) == "done"
    assert [names for _, names in shutter.asked] == [frozenset({"snap-used"})]


def test_where_no_blocks_were_moved_lately_nothing_is_asked(world: World, shutter: Shutter) -> None:
    assert world.work(look(world)) == "done"
    transfer(world, "dead", "snap-left", JobState.FAILED)
    world.clock.advance(LATELY + timedelta(minutes=1))
    assert world.work(look(world)) == "done"
    assert shutter.asked == []


def test_a_look_is_good_although_nothing_could_be_shut(world: World, shutter: Shutter) -> None:
    transfer(world, "dead", "snap-left", JobState.FAILED)
    shutter.throttled = True
    assert world.work(look(world)) == "done"
    assert len(shutter.asked) == 1
    with session():
        assert Job.select().where(Job.kind == "discover", Job.state == JobState.DONE).count() == 1
