"""A worker that an operator drains, as a process of its own on a real RabbitMQ and PostgreSQL, and in this process."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from admin.fleet import ask_drain, drained, list_workers
from coordinator.rabbitmq import ConfirmingPublisher, queue_depths
from tasks.catalog import Job, Process, close_catalog, open_catalog, session
from tasks.errors import Invalid
from tasks.lanes import Lane
from tasks.localbroker import LocalPublisher
from tasks.messages import JobMessage
from tasks.settings import Settings
from tasks.states import JobState
from tests.fakes.cloud import FakeCloud
from tests.services import wait_until
from tests.tasks.test_broker import local, working
from tests.workers.test_main import environment, publisher, snapfleet_worker, start
from tests.workers.world import HOME, World
from workers.drain import GiveBack
from workers.repositories import slice_end

__all__ = ["environment", "publisher"]
JOBS = 14  # half a second each


@pytest.fixture
def world(postgres_catalog_url: str, tmp_path: Path) -> Iterator[World]:
    open_catalog(postgres_catalog_url)
    yield World(tmp_path)
    close_catalog()


def test_a_drained_worker_hands_back_within_thirty_seconds_and_goes_on_when_asked(
    world: World, environment: dict[str, str], publisher: ConfirmingPublisher, tmp_path: Path
) -> None:
    """Feature C21: what runs ends, what was not begun is in the broker again, and nothing is taken until `undrain`."""
    cloud = FakeCloud(str(tmp_path / "cloud.sqlite"))
    jobs = []
    for number in range(JOBS):
        cloud.instance(f"i-d{number}")
        jobs.append(world.snapshot_job(resource=world.new_resource(f"i-d{number}")))
    cloud.fault("start_backup", "slow", times=JOBS)
    clock = Settings(home=tmp_path).clock()
    process = start(
        {**environment, "SNAPFLEET_THREADS": "1", "SNAPFLEET_LEASE_SECONDS": "3"}, snapfleet_worker("['snapshot']")
    )
    try:
        _publish(publisher, jobs)
        working_on = wait_until(lambda: [row for row in list_workers(clock) if row["working"]], 30, "a job in hand")
        (seen,) = working_on[0]["working"]
        assert (seen["kind"], seen["lane"]) == ("snapshot", "snapshot")
        assert seen["resource"].startswith("i-d")
        asked = time.monotonic()
        (name,) = ask_drain(working_on[0]["name"], drain=True, who="ada", clock=clock)
        wait_until(lambda: drained([name], clock), 30, "the drain")
        assert time.monotonic() - asked < 30
        begun = _states(JobState.WAITING)
        assert 1 <= begun < JOBS
        ready = wait_until(lambda: queue_depths(environment["SNAPFLEET_BROKER_URL"])[Lane.SNAPSHOT], 5)
        assert (ready.ready, ready.consumers) == (JOBS - begun, 0)
        ask_drain(name, drain=False, who="ada", clock=clock)
        wait_until(lambda: _states(JobState.WAITING) == JOBS, 30, "the rest of the work")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert world.row(jobs[0]).region == HOME


def _publish(publisher: ConfirmingPublisher, jobs: list[Job]) -> None:
    messages = [(Lane.SNAPSHOT, JobMessage(job.id, 0, 0)) for job in jobs]
    wait_until(lambda: publisher.available, 20, "a connection")
    assert publisher.publish(messages) == [True] * len(messages)


def _states(state: JobState) -> int:
    with session():
        return int(Job.select().where(Job.state == state).count())


@pytest.mark.unit
def test_a_worker_that_was_held_takes_messages_again_and_loses_none() -> None:
    give_back = GiveBack()
    broker, recorder = local(middleware=[give_back])
    with working(broker):
        give_back.hold()
        LocalPublisher(broker).publish([(Lane.SNAPSHOT, JobMessage(job, 0, 0)) for job in range(1, 4)])
        threading.Event().wait(0.3)
        assert recorder.ran == []
        give_back.release()
        wait_until(lambda: len(recorder.ran) == 3, 5)


@pytest.mark.unit
def test_a_slice_of_an_archive_ends_when_its_worker_drains(embedded_catalog: str, tmp_path: Path) -> None:
    """Up to five minutes of blocks would not be done within the time that a stop has."""
    context = World(tmp_path).context
    late = slice_end(context)
    assert not late()
    context.draining.set()
    assert late()


@pytest.mark.unit
def test_a_drain_is_asked_of_one_worker_or_of_all_on_a_host(embedded_catalog: str, tmp_path: Path) -> None:
    clock = Settings(home=tmp_path).clock()
    for name in ("a:1:worker", "a:2:worker", "b:1:worker"):
        _process(name, clock)
    assert ask_drain("a", drain=True, who="ada", clock=clock) == ["a:1:worker", "a:2:worker"]
    assert ask_drain("a:1:worker", drain=False, who="ada", clock=clock) == ["a:1:worker"]
    states = {row["name"]: row["state"] for row in list_workers(clock)}
    assert states == {"a:1:worker": "idle", "a:2:worker": "draining", "b:1:worker": "idle"}
    with pytest.raises(Invalid, match="no worker 'c'"):
        ask_drain("c", drain=True, who="ada", clock=clock)


def _process(name: str, clock: Any) -> None:
    with session():
        Process.create(name=name, role="worker", started_at=clock.timer(), seen_at=clock.timer())
