"""Repositories under many workers and under kills: real processes, RabbitMQ, PostgreSQL, and the sandbox's S3 and EBS.

The long run with hundreds of kills is `make chaos-archives`; the engine's own sprees in memory are in
tests/workers/repository/test_seeds.py (`make chaos-engine` for thousands of seeds).
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog import Job, Point, session
from tasks.states import JobState, PointState
from tests.deploy.estate import HOME, PROD
from tests.sandbox import FAST, Sandbox, start
from tests.scenario.archiving import BIG_GIB, CHECKPOINT, POINTS, Archivists, Spree, content_of
from workers.repository.generations import read_index

# Thirteen named points, each of them once, and a few kills at any moment (some 0.4 a second on two idle cores,
# 2026-11-22). A spree ends when its kills are done; a busy machine gets more time rather than a lower bar.
KILLS, AT_LEAST = 14, 10
SECONDS = 300.0
RARELY_REACHED = 3


@pytest.fixture
def cloud() -> Iterator[Sandbox]:
    """A sandbox of the test's own: processes that die leave calls behind that no other test should see."""
    process, url = start(**FAST, snapshot_interval_seconds=0.0, metering=False)
    yield Sandbox(url, FAST)
    process.kill()
    process.wait()


@pytest.mark.timeout(900)
def test_kills_while_archives_are_made_read_forgotten_and_pruned_lose_and_leave_nothing(
    tmp_path: Path, postgres_catalog_url: str, rabbitmq_vhost: str, cloud: Sandbox
) -> None:
    """feature C9, feature C4: whatever dies, every generation restores bit for bit, in the bucket is what is needed
    and nothing else, and the catalog says the same as the bucket."""
    outcome = Spree(tmp_path, postgres_catalog_url, rabbitmq_vhost, cloud, KILLS).run(SECONDS)
    print(outcome.to_json())
    assert not outcome.bad(), outcome.stories
    assert outcome.kills >= AT_LEAST
    assert len(set(POINTS) - set(outcome.reached)) <= RARELY_REACHED, outcome.missed
    assert outcome.archives > 10
    assert outcome.prunes > 5
    assert outcome.generations > 0


@pytest.mark.timeout(300)
def test_a_big_volume_is_shared_by_workers_and_what_a_killed_one_had_stored_is_not_read_again(
    tmp_path: Path, postgres_catalog_url: str, rabbitmq_vhost: str, cloud: Sandbox
) -> None:
    """feature 82: several processes read one volume at once; each range that died costs one checkpoint at most."""
    at = Archivists(tmp_path, postgres_catalog_url, rabbitmq_vhost, cloud, random.Random(1))
    blocks = 240
    disk = at.volume(BIG_GIB, blocks)
    fleet = at.fleet
    fleet.seat("coordinator")
    workers = [fleet.seat("worker", SNAPFLEET_THREADS="2") for _ in range(3)]
    fleet.start()
    try:
        at.create()
        cloud.fault("slow", operation="GetSnapshotBlock", seconds=0.3)
        at.ask("run", policy="gold")
        fleet.until("reading", lambda: len(_readers()) > 1 and _reads(cloud) > blocks // 4, 90)
        held = _readers()
        victim = next(seat for seat in workers if seat.process is not None and str(seat.process.pid) in held)
        died_holding = held[str(victim.process.pid)] if victim.process is not None else 0
        victim.kill()
        cloud.clear_faults()
        fleet.until("the archive", _archived, 120)
        again = _reads(cloud) - blocks
        opened = at.opened()
    finally:
        fleet.stop()
    print({"blocks": blocks, "read_again": again, "parts_held": died_holding, "workers": len(held)})
    assert 0 <= again <= died_holding * CHECKPOINT
    (generation,) = read_index(opened).generations
    assert content_of(opened, generation) == cloud.fingerprint(PROD, HOME, disk)


def _reads(cloud: Sandbox) -> int:
    return cloud.count("GetSnapshotBlock", "ok")


def _readers() -> dict[str, int]:
    """By process id, how many parts a worker has in hand."""
    with session():
        owners = [
            job.lease_owner.split(":")[1]
            for job in Job.select().where(Job.kind == "archive-part", Job.state == JobState.RUNNING)
        ]
    return {pid: owners.count(pid) for pid in owners}


def _archived() -> bool:
    with session():
        return bool(Point.select().where(Point.kind == "archive", Point.state == PointState.GOOD).count())
