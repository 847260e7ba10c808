"""Death in the middle of a sync, at every named point: the next process finishes, and nothing is doubled or lost."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog import Job, Point, close_catalog, open_catalog, session
from tasks.crash import POINTS
from tasks.states import JobState, PointState
from tests.integration.test_sync import Syncing
from tests.sandbox import Sandbox

ROOT = Path(__file__).parent.parent.parent
OBJECTS = 25  # three parts of at most ten keys
# The first time that each is reached, and where it means something else later: deleting comes after the three parts,
# and the lead is the last to be recorded.
WHERE = [
    *sorted(name for name in POINTS if name.startswith("sync.")),
    "sync.shared:2",
    "sync.copied:4",
    "sync.recorded:5",
]


@pytest.fixture(scope="module")
def nursery(sandbox_process: Sandbox) -> Iterator["subprocess.Popen[str]"]:
    """The process that forks those which die."""
    env = {**os.environ, **sandbox_process.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.integration.crashing_sync"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=env, cwd=ROOT, text=True, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def house(
    sandbox: Sandbox, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Syncing]:
    """Objects to copy, and one in the other bucket that is to be deleted there."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    shutil.copy(sqlite_template, tmp_path / "catalog.sqlite")
    open_catalog(f"sqlite://{tmp_path}/catalog.sqlite")
    made = Syncing(tmp_path, sandbox)
    made.fill(OBJECTS)
    made.target.put_object(Bucket="safe", Key="vanished", Body=b"x")
    made.protect(delete="yes")
    yield made
    close_catalog()


@pytest.mark.parametrize("point", WHERE)
def test_a_process_killed_there_is_followed_by_one_that_finishes_the_sync_once(
    point: str, house: Syncing, nursery: "subprocess.Popen[str]"
) -> None:
    """feature 25: SIGKILL; the log proves that the point was reached. No object is copied twice, one point is good."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{house.home} {point}\n")
    nursery.stdin.flush()
    assert nursery.stdout.readline().split() == [str(-signal.SIGKILL), "0"]
    assert (house.home / "crashes").read_text() == f"{point.partition(':')[0]}\n"
    assert house.kept() == house.kept(house.source, "data")
    assert house.sandbox.count("CopyObject", "ok") == OBJECTS
    with session():
        assert [one.state for one in Point.select()] == [PointState.GOOD]
        states = {one.kind: one.state for one in Job.select().where(Job.kind.in_(["snapshot", "sync-part"]))}
    assert states == {"snapshot": JobState.DONE, "sync-part": JobState.DONE}
