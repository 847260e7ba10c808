"""Death between any two lines: kill the worker at every named point, start it again, and nothing is lost or doubled."""

import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.catalog import (
    Account,
    Creation,
    Job,
    Meta,
    Part,
    Point,
    Policy,
    Resource,
    close_catalog,
    open_catalog,
    session,
    transaction,
)
from tasks.crash import POINTS
from tasks.secrets import MasterKey
from tasks.states import JobState, PointState
from tests.fakes.cloud import FakeCloud
from tests.scenario.nursery import said
from tests.workers.world import START

ROOT = Path(__file__).parent.parent.parent
# Those of archives and buckets need an object store: scenario/test_archiving.py, integration/test_sync_crash.py; those
# of a rebuilding a catalog that was lost: test_rebuild_deaths.py.
ELSEWHERE = ("coordinator.", "archive.", "part.", "fetch.", "forget.", "sync.", "rebuild.")
MINE = sorted(name for name in POINTS if not name.startswith(ELSEWHERE))


@pytest.mark.unit
def test_every_point_in_the_code_is_registered_and_every_registered_one_is_in_the_code() -> None:
    sources = [path for name in ("tasks", "coordinator", "workers") for path in (ROOT / name).rglob("*.py")]
    reached = {name for path in sources for name in re.findall(r'\breach\("([^"]+)"\)', path.read_text())}
    assert len(reached) > 20
    assert reached == set(POINTS)


@dataclass(frozen=True)
class Outcome:
    """What became of one estate: the process that was to be killed, and the one after it."""

    home: Path
    killed: subprocess.CompletedProcess[str]
    finished: subprocess.CompletedProcess[str]


def seed(home: Path, template: Path) -> dict[str, str]:
    """An estate with one instance, and the environment of a worker for it; the first backup is throttled once."""
    MasterKey.create(home / "keys" / "master.key")
    shutil.copy(template, home / "catalog.sqlite")
    open_catalog(f"sqlite://{home}/catalog.sqlite")
    with transaction():
        Meta.create(key="installation", value="inst-1")
        Account.create(name="prod", regions=["us-east-1", "eu-west-1"])
        Policy.create(name="gold", spec={}, created_at=START, changed_at=START)
    close_catalog()
    cloud = FakeCloud(f"{home}/cloud.sqlite")
    cloud.instance("i-1")
    cloud.set("page", 2)
    cloud.fault("start_backup", "throttle")
    return {
        **os.environ,
        "SNAPFLEET_HOME": str(home),
        "SNAPFLEET_DRIVERS": "tests.fakes.driver:build_drivers",
        "SNAPFLEET_FAKE_CLOUD": f"{home}/cloud.sqlite",
        "SNAPFLEET_POLL_FLOOR_SECONDS": "0.01",
        "SNAPFLEET_THREADS": "2",
        "SNAPFLEET_CRASH_LOG": f"{home}/crashes",
        "PYTHONPATH": str(ROOT),
    }


def suffer(point: str, home: Path, environment: dict[str, str]) -> Outcome:
    """Kill a worker at this point, then let another one work in the same environment."""
    command = [sys.executable, "-m", "tests.workers.crashing", f"sqlite://{home}/catalog.sqlite"]
    environment = {**environment, "SNAPFLEET_CRASH_AT": point}

    return Outcome(home, said(command, environment, 120), said(command, environment, 120))


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """The outcome of every selected point. Six at a time: the processes mostly wait for each other's threads."""
    mine = [item for item in request.session.items if item.nodeid.startswith(request.node.nodeid)]
    selected = {item.callspec.params["point"] for item in mine if hasattr(item, "callspec")}
    homes = {point: tmp_path_factory.mktemp("crash") for point in sorted(selected)}
    seeded = {point: seed(home, sqlite_template) for point, home in homes.items()}
    with ThreadPoolExecutor(max_workers=6) as pool:
        running = {point: pool.submit(suffer, point, homes[point], seeded[point]) for point in homes}
    return {point: one.result() for point, one in running.items()}


@pytest.mark.parametrize("point", MINE)
def test_a_worker_killed_there_is_followed_by_one_that_finishes_everything_once(
    point: str, outcomes: dict[str, Outcome]
) -> None:
    """Promise 3: each point is reached, each death is survived, and the cloud holds exactly what was asked for."""
    outcome = outcomes[point]
    assert outcome.killed.returncode == -signal.SIGKILL, f"{point} was not reached: {outcome.killed.stderr[-2000:]}"
    assert (outcome.home / "crashes").read_text() == f"{point}\n"
    assert outcome.finished.returncode == 0, outcome.finished.stderr[-3000:]
    cloud = FakeCloud(f"{outcome.home}/cloud.sqlite")
    _check_cloud(cloud)
    open_catalog(f"sqlite://{outcome.home}/catalog.sqlite")
    with session():
        _check_catalog(cloud)
    close_catalog()


def _check_cloud(cloud: FakeCloud) -> None:
    made = [call.region for call in cloud.calls("create:snapshot")]
    assert sorted(made) == ["eu-west-1"] * 2 + ["us-east-1"] * 4, "two sets and one copy of a set, no more and no less"
    assert len(cloud.calls("create:volume")) == 1
    assert not [one for one in cloud.of_kind("volume") if one.key], "what the restore made was taken back"
    left = [one.region for one in cloud.of_kind("snapshot")]
    assert sorted(left) == ["eu-west-1"] * 2 + ["us-east-1"] * 2


def _check_catalog(cloud: FakeCloud) -> None:
    states = [point.state for point in Point.select().order_by(Point.id)]
    assert states == [PointState.DELETED, PointState.GOOD, PointState.GOOD]
    known = {part.external_id for part in Part.select().where(Part.state == PointState.GOOD)}
    assert known == {one.id for one in cloud.of_kind("snapshot")}
    assert not Job.select().where(Job.state.not_in([JobState.DONE])).count()
    assert [row.removed_at is not None for row in Creation.select()] == [True]
    assert Resource.select().where(Resource.gone_at.is_null()).count() >= 3
