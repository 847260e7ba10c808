"""Messages in, jobs done: dramatiq's worker with our middleware, on the in-process broker."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage

from tasks.broker import build_broker
from tasks.catalog import Counter, Job, Meta, Process, close_catalog, open_catalog, session, transaction
from tasks.catalog.transitions import claim, requeue
from tasks.errors import Invalid
from tasks.lanes import LANES, Lane
from tasks.localbroker import LocalBroker, LocalPublisher
from tasks.logs import JsonLines, bind, clean, unbind
from tasks.messages import JobMessage, envelope
from tasks.secrets import MasterKey
from tasks.states import JobState
from tests.fakes.cloud import FakeCloud
from tests.services import wait_until
from tests.workers.world import START, World
from workers.heartbeat import Heartbeat
from workers.held import Held
from workers.main import Running, start_embedded
from workers.middleware import Claim

KEYS = {"k1": bytes(32)}


@pytest.fixture
def broker() -> LocalBroker:
    made = build_broker("", KEYS)
    assert isinstance(made, LocalBroker)
    return made


@pytest.fixture
def running(world: World, broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A worker in this process, over a fake cloud in a file."""
    MasterKey.create(tmp_path / "keys" / "master.key")
    monkeypatch.setenv("SNAPFLEET_FAKE_CLOUD", str(tmp_path / "cloud.sqlite"))
    FakeCloud(str(tmp_path / "cloud.sqlite")).instance("i-1")
    settings = replace(world.context.settings, drivers="tests.fakes.driver:build_drivers", threads=2)
    worker = start_embedded(settings, broker)
    yield worker
    worker.stop()


def send(broker: LocalBroker, job: Job, times: int = 1, fence: int | None = None) -> None:
    message = JobMessage(job.id, job.attempt, job.fence if fence is None else fence)
    assert all(LocalPublisher(broker).publish([(Lane(job.lane), message)] * times))


def test_a_message_becomes_a_started_backup(world: World, broker: LocalBroker, running: Running) -> None:
    job = world.snapshot_job()
    send(broker, job)
    wait_until(lambda: world.row(job).state is JobState.WAITING, what="the backup")
    assert len(world.parts(world.point(job))) == 2


def test_ten_messages_for_one_job_do_it_once(
    world: World, broker: LocalBroker, running: Running, tmp_path: Path
) -> None:
    """Promise 2 with everything switched on."""
    job = world.snapshot_job()
    send(broker, job, times=10)
    wait_until(lambda: not broker.queues["snapfleet.snapshot.v1"].unfinished_tasks, what="all messages settled")
    assert world.row(job).claims == 1
    assert len(FakeCloud(str(tmp_path / "cloud.sqlite")).calls("create:snapshot")) == 2
    running.stop()
    with session():
        counted = {(row.name, row.labels): row.value for row in Counter.select()}
    assert counted["snapfleet_duplicates_dropped_total", '{"lane":"snapshot"}'] == 9
    assert counted["snapfleet_jobs_claimed_total", '{"lane":"snapshot"}'] == 1


def test_a_message_about_a_job_that_does_not_exist_is_dropped(
    world: World, broker: LocalBroker, running: Running
) -> None:
    job = world.snapshot_job()
    broker_message = JobMessage(job.id + 1000, 0, 0)
    LocalPublisher(broker).publish([(Lane.SNAPSHOT, broker_message)])
    send(broker, job)
    wait_until(lambda: world.row(job).state is JobState.WAITING, what="the next message")


def test_a_body_that_is_not_ours_is_counted_and_harms_nobody(
    world: World, broker: LocalBroker, running: Running
) -> None:
    broker.put("snapfleet.snapshot.v1", b"k1:not signed at all")
    job = world.snapshot_job()
    send(broker, job)
    wait_until(lambda: world.row(job).state is JobState.WAITING, what="the next message")
    running.stop()
    with session():
        row = Counter.get(Counter.name == "snapfleet_messages_refused_total")
    assert (row.labels, row.value) == ('{"lane":"snapshot","reason":"unsigned"}', 1)


def test_a_stopped_worker_has_reported_itself_gone(world: World, broker: LocalBroker, running: Running) -> None:
    with session():
        row = wait_until(lambda: Process.get_or_none(Process.role == "worker"), what="the first heartbeat")
    assert (row.threads, row.lanes) == (2, sorted(str(lane) for lane in Lane))
    running.stop()
    with session():
        assert not Process.select().where(Process.role == "worker").exists()


def test_a_catalog_that_is_away_drops_the_message_and_loses_no_job(
    world: World, broker: LocalBroker, catalog: str, tmp_path: Path
) -> None:
    """The job stays as it is for the coordinator to send again; a message given back would spin."""
    job, held = world.snapshot_job(), Held()
    message = MessageProxy(envelope(Lane.SNAPSHOT, JobMessage(job.id, 0, 0)))
    claims = Claim(world.context, held)
    close_catalog()
    open_catalog(f"sqlite://{tmp_path}/empty/nothing.sqlite")
    (tmp_path / "empty").rename(tmp_path / "away")
    with pytest.raises(SkipMessage):
        claims.before_process_message(broker, message)
    close_catalog()
    open_catalog(catalog)
    assert (world.row(job).state, held.busy) == (JobState.PENDING, 0)
    claims.before_process_message(broker, message)
    assert (world.row(job).state, held.busy) == (JobState.RUNNING, 1)


def beating(world: World, held: Held) -> Heartbeat:
    return Heartbeat(world.context, held, tuple(Lane), 8, threading.Event())


def test_a_job_in_hand_keeps_its_lease(world: World) -> None:
    job, held = world.claim(world.snapshot_job()), Held()
    held.take(job, Lane.SNAPSHOT)
    heartbeat = beating(world, held)
    for _ in range(20):
        world.clock.advance(timedelta(seconds=60))
        heartbeat.beat()
        lease = world.row(job).lease_until_at
        assert lease is not None
        assert lease > world.clock.timer() + LANES[Lane.SNAPSHOT].lease / 2


def test_a_job_beyond_its_lanes_time_limit_loses_its_lease(world: World) -> None:
    """A hung handler is not kept alive by a healthy heartbeat."""
    job, held = world.claim(world.snapshot_job()), Held()
    held.take(job, Lane.SNAPSHOT)
    mine = held.mine()
    assert mine is not None
    limit = LANES[Lane.SNAPSHOT].time_limit.total_seconds()
    held._by_thread[threading.get_ident()] = replace(mine, began=mine.began - limit - 1)
    before = world.row(job).lease_until_at
    world.clock.advance(timedelta(seconds=60))
    beating(world, held).beat()
    assert world.row(job).lease_until_at == before


def test_a_job_that_was_taken_over_is_not_renewed(world: World) -> None:
    job, held = world.claim(world.snapshot_job()), Held()
    held.take(job, Lane.SNAPSHOT)
    with transaction():
        requeue(world.row(job), world.clock.timer())
        Job.update(state=JobState.RUNNING, fence=2, lease_owner="another", lease_until_at=START).execute()
    world.clock.advance(timedelta(seconds=60))
    beating(world, held).beat()
    assert world.row(job).lease_until_at == START


def test_a_process_disowns_what_a_dead_one_of_its_name_had_in_hand(
    world: World, request: pytest.FixtureRequest
) -> None:
    job = world.snapshot_job()
    with session():
        claim(
            job.id, 0, f"{socket.gethostname()}:{os.getpid()}:worker", world.clock.timer(), LANES[Lane.SNAPSHOT].lease
        )
    request.getfixturevalue("running")
    assert (world.row(job).state, world.row(job).lease_owner) == (JobState.RUNNING, "")


def test_a_heartbeat_says_how_many_threads_are_busy(world: World) -> None:
    held = Held()
    held.take(world.claim(world.snapshot_job()), Lane.SNAPSHOT)
    beating(world, held).beat()
    with session():
        assert [(row.busy, row.threads, row.draining) for row in Process.select()] == [(1, 8, False)]


def test_a_worker_that_starts_forgets_processes_that_died_without_a_farewell(world: World) -> None:
    """Containers have a new name for each start: their rows would pile up for ever."""
    at = world.clock.timer()
    with transaction():
        for name, age in (("dead", timedelta(days=2)), ("late", timedelta(hours=2))):
            Process.create(name=name, role="worker", started_at=at - age, seen_at=at - age)
    beating(world, Held()).forget_dead()
    with session():
        assert [row.name for row in Process.select()] == ["late"]


@pytest.mark.unit
def test_a_log_line_is_one_object_whatever_a_name_holds() -> None:
    """Feature 32: a name from a cloud forges no line and moves no cursor."""
    record = logging.LogRecord(
        "snapfleet.worker", logging.INFO, "f", 1, "found %s", ('a\n{"b": 1}\x1b[2J\u202e',), None
    )
    bind(job=7, lane="snapshot\n")
    try:
        line = JsonLines().format(record)
    finally:
        unbind()
    assert "\n" not in line
    assert "\x1b" not in line
    read = json.loads(line)
    assert (read["job"], read["lane"], read["level"]) == ("7", "snapshot\\n", "info")
    assert read["text"] == 'found a\\n{"b": 1}\\x1b[2J\\u202e'
    assert len(clean("x" * 9999)) == 2000


@pytest.mark.unit
def test_a_logged_exception_shows_its_type_and_place_and_not_its_text() -> None:
    try:
        raise ValueError("the password is swordfish")
    except ValueError as error:
        failure = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "it broke", (), failure)
    read = json.loads(JsonLines().format(record))
    assert read["error"] == "ValueError"
    assert "test_worker.py" in read["place"]
    assert "swordfish" not in json.dumps(read)


def test_an_installation_without_an_id_is_refused_with_the_next_step(
    world: World, broker: LocalBroker, tmp_path: Path
) -> None:
    MasterKey.create(tmp_path / "keys" / "master.key")
    with transaction():
        Meta.delete().execute()
    with pytest.raises(Invalid, match="snapfleet init"):
        start_embedded(world.context.settings, broker)
