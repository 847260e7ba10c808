"""Starting processes: found by their roles, one `up` for a home, and clear refusals."""

import fcntl
import socket
import sqlite3
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from admin.cli.processes import end_workers, part, role
from tasks.catalog import close_catalog, database, open_catalog, session
from tasks.errors import Invalid
from tests.admin.cli.conftest import Cli
from tests.services import free_port, wait_until

pytestmark = pytest.mark.unit


def test_every_role_is_found_and_can_be_called() -> None:
    names = {entry.name for entry in entry_points(group="snapfleet.roles")}
    assert names == {"coordinator", "worker", "web"}
    assert all(callable(role(name)) for name in names)
    assert callable(part("worker", "start_embedded"))
    assert callable(part("web", "start"))
    with pytest.raises(Invalid, match="The role janitor is not installed"):
        role("janitor")


def test_a_second_up_on_the_same_home_is_refused(cli: Cli, home: Path) -> None:
    with (home / "up.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = cli("up", "--no-web")
    assert said.code == 4
    assert said.err == (f"Another `snapfleet up` runs on {home}. Stop that one first, or use another SNAPFLEET_HOME.\n")


def test_up_is_for_one_process_and_the_others_are_for_a_fleet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("coordinator", "worker"):
        said = cli(command)
        assert said.code == 2
        assert "run `snapfleet up`" in said.err
    monkeypatch.setenv("SNAPFLEET_BROKER_URL", "amqp://guest:guest@127.0.0.1/")
    said = cli("up")
    assert said.code == 2
    assert "snapfleet coordinator" in said.err


def test_an_unknown_lane_is_answered_with_those_there_are(cli: Cli) -> None:
    said = cli("worker", "--lanes", "snapshot, polls")
    assert said.code == 2
    assert said.err == (
        "There is no lane 'polls'. Lanes are restore, poll, snapshot, copy, repository, cleanup, discover.\n"
    )


@pytest.mark.long
def test_up_runs_takes_work_and_stops_when_told(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """feature 12: what was asked for while nothing ran begins as soon as something does."""
    port = free_port()
    monkeypatch.setenv("SNAPFLEET_PORT", str(port))
    cli("users", "add", "admin", "--role", "admin")
    cli("apply", "-f", _estate(home))
    assert "Recorded as request" in cli("run", "web").out
    process = subprocess.Popen([sys.executable, "-m", "admin.cli", "up"], stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: process.poll() is not None or cli("runs", "-o", "json").json, seconds=30, what="run of web")
        assert process.poll() is None
        lanes = cli("queue", "status", "-o", "json").json["lanes"]
        assert all(lane["consumers"] == 1 for lane in lanes)
        assert "runs on" in cli("up").err
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize("drained", [True, False])
def test_the_catalog_is_closed_only_when_no_worker_uses_it_any_more(tmp_path: Path, drained: bool) -> None:
    """A handler that hangs keeps its connection: closed under it, SQLite can take the whole process down."""

    class Workers:
        def stop(self) -> bool:
            return drained

    open_catalog(f"sqlite:///{tmp_path}/catalog.sqlite")
    with session():
        used = database.obj.connection()
        end_workers(Workers())
        if drained:
            with pytest.raises(sqlite3.ProgrammingError):
                used.execute("select 1")
        else:
            assert used.execute("select 1").fetchone() == (1,)
    close_catalog()


def _estate(home: Path) -> str:
    from tests.admin.estates import SMALL

    file = home / "estate.yaml"
    file.write_text(SMALL)
    return str(file)
