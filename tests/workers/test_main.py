"""A worker as a process of its own, against a real RabbitMQ and a real PostgreSQL."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.rabbitmq import ConfirmingPublisher
from tasks.catalog import Process, close_catalog, open_catalog, session
from tasks.errors import Invalid
from tasks.lanes import Lane
from tasks.messages import JobMessage, SignedEncoder
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tasks.states import JobState
from tests.fakes.cloud import FakeCloud
from tests.services import free_port, wait_until
from tests.workers.world import World
from workers import main

ROOT = Path(__file__).parent.parent.parent
SNAPFLEET_WORKER = "from tasks.settings import load_settings; from workers.main import run; run(load_settings(), %s)"
DRAMATIQ = [sys.executable, "-m", "dramatiq", "workers.main:setup", "-p", "1", "-t", "2", "--skip-logging"]


@pytest.fixture
def world(postgres_catalog_url: str, tmp_path: Path) -> Iterator[World]:
    """The estate of these tests, on PostgreSQL."""
    open_catalog(postgres_catalog_url)
    yield World(tmp_path)
    close_catalog()


@pytest.fixture
def environment(world: World, postgres_catalog_url: str, rabbitmq_vhost: str, tmp_path: Path) -> dict[str, str]:
    MasterKey.create(tmp_path / "keys" / "master.key")
    FakeCloud(str(tmp_path / "cloud.sqlite")).instance("i-1")
    return {
        **os.environ,
        "SNAPFLEET_HOME": str(tmp_path),
        "SNAPFLEET_CATALOG_URL": postgres_catalog_url,
        "SNAPFLEET_BROKER_URL": rabbitmq_vhost,
        "SNAPFLEET_DRIVERS": "tests.fakes.driver:build_drivers",
        "SNAPFLEET_FAKE_CLOUD": str(tmp_path / "cloud.sqlite"),
        "SNAPFLEET_THREADS": "2",
        "PYTHONPATH": str(ROOT),
    }


def start(environment: dict[str, str], command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stderr=subprocess.PIPE)


def snapfleet_worker(lanes: str = "['snapshot', 'poll']") -> list[str]:
    return [sys.executable, "-c", SNAPFLEET_WORKER % lanes]


@pytest.fixture
def publisher(environment: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    keys = Settings(home=tmp_path).message_keys()
    made = ConfirmingPublisher(environment["SNAPFLEET_BROKER_URL"], SignedEncoder(keys))
    yield made
    made.close()


@pytest.mark.parametrize("command", [snapfleet_worker(), DRAMATIQ], ids=["snapfleet worker", "dramatiq"])
def test_a_worker_process_works_and_stops_in_good_order(
    world: World, environment: dict[str, str], publisher: Any, command: list[str]
) -> None:
    process = start(environment, command)
    try:
        job = world.snapshot_job()
        wait_until(lambda: publisher.publish([(Lane.SNAPSHOT, JobMessage(job.id, 0, 0))]) == [True], 20, "a confirm")
        wait_until(lambda: world.row(job).state is JobState.WAITING, 20, "the backup")
        with session():
            assert wait_until(lambda: Process.get_or_none(Process.role == "worker"), 10, "a heartbeat").threads == 2
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-2000:]
    assert "Traceback" not in errors
    with session():
        assert not Process.select().exists()


def test_a_broker_that_is_away_is_waited_for_in_one_line(environment: dict[str, str]) -> None:
    environment["SNAPFLEET_BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    process = start(environment, snapfleet_worker())
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "waiting for the broker" in line
        threading.Event().wait(1.5)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=15)
    finally:
        process.kill()
    assert (process.returncode, rest) == (0, "")


def test_a_catalog_that_is_away_is_waited_for_in_one_line(environment: dict[str, str]) -> None:
    environment["SNAPFLEET_CATALOG_URL"] = f"postgresql://postgres@127.0.0.1:{free_port()}/nothing"
    process = start(environment, snapfleet_worker())
    try:
        assert process.stderr is not None
        assert "waiting for the catalog" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=15)
    finally:
        process.kill()
    assert (process.returncode, rest) == (0, "")


@pytest.mark.unit
def test_a_worker_without_a_broker_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="snapfleet up"):
        main.run(Settings(home=tmp_path), [Lane.SNAPSHOT])
