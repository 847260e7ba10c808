"""One big volume on several workers: parts, their deaths and doubles, and the one generation that they end as."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from admin.progress import moving
from admin.queries import show_run
from coordinator.main import Coordinator
from tasks.catalog import Job, Point, session, transaction
from tasks.catalog.transitions import requeue
from tasks.states import JOB_OPEN, JobState, PointState, RestoreState
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import (
    HOME,
    Archiving,
    Dying,
    Killed,
    made,
    parts_of,
    restored_hash,
    volume_of,
)
from workers.repository.source import BLOCK_BYTES

BLOCKS = 2048  # of the volume, 1 GiB
CHECKPOINT = 16  # blocks between two checkpoints
MINUTES = timedelta(minutes=6)


@pytest.fixture
def big(archiving: Archiving) -> Archiving:
    """A house in which one GiB is a big volume."""
    house = archiving
    house.settings = replace(house.settings, split_gib=1.0, checkpoint_gib=CHECKPOINT / BLOCKS)
    house.context = replace(house.context, settings=house.settings)
    house.staff = [Coordinator(house.settings, house.clock, house.queue, house.counters, name=f"c{n}") for n in (1, 2)]
    made(house)
    house.protect(keep="90d")
    return house


def fill(house: Archiving, count: int) -> str:
    """Write `count` blocks all over the volume; its SHA-256."""
    for number in range(count):
        house.write(number * (BLOCKS // count))
    return house.sandbox.fingerprint(PROD, HOME, house.disk)


def reads(house: Archiving) -> int:
    return house.sandbox.count("GetSnapshotBlock", "ok")


def back_up(house: Archiving) -> Job:
    """A run and its archive to their end; the archive's job."""
    house.wished("run", policy="gold")
    house.work(MINUTES)
    return house.jobs("archive")[-1]


def test_a_big_volume_is_archived_in_parts_and_ends_as_one_generation(big: Archiving) -> None:
    """feature 82: every block is read once, the next archive is incremental too, and both come back bit for bit."""
    was = fill(big, 64)
    first = back_up(big)
    assert (first.state, first.error_text) == (JobState.DONE, "")
    parts = big.jobs("archive-part")
    assert [(row.spec["start"], row.spec["stop"]) for row in parts] == [(n, n + 512) for n in range(0, 2048, 512)]
    assert {row.state for row in parts} == {JobState.DONE}
    assert (reads(big), first.result["figures"]["blocks"]) == (64, 64)
    big.write(3)
    big.write(1999)
    second = back_up(big)
    assert (second.result["figures"]["blocks"], second.result["full"]) == (2, [])
    assert len(big.jobs("archive-part")) == 8
    now = big.sandbox.fingerprint(PROD, HOME, big.disk)
    older, newer = big.archives()
    assert len({part.external_id for part in parts_of(newer)}) == 1
    assert (restored_hash(big, older), restored_hash(big, newer)) == (was, now)
    assert all(run.state == "done" for run in big.runs())


def test_a_part_whose_worker_dies_is_resumed_from_what_was_stored(big: Archiving) -> None:
    """feature 82: what is read again is less than lies between two checkpoints, and no other part begins again."""
    was = fill(big, 256)
    driver = big.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Dying(driver.blocks, big.clock, reads=100)
    big.wished("run", policy="gold")
    with pytest.raises(Killed):
        big.work(MINUTES)
    driver.blocks = sound
    assert reads(big) == 100
    big.work(MINUTES)
    job = big.jobs("archive")[-1]
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert 256 <= reads(big) < 256 + CHECKPOINT
    assert restored_hash(big, big.archives()[0]) == was


class Meddling:
    """Blocks whose n-th read takes so long that something else happens first."""

    def __init__(self, blocks: Any, reads: int, happens: Callable[[], None]) -> None:
        self._blocks, self.left, self._happens = blocks, reads, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)

    def source(self, *where: Any) -> Any:
        source, alive = self._blocks.source(*where), self
        read = source.read

        def slow(ref: Any, into: Any) -> Any:
            alive.left -= 1
            if alive.left == 0:
                alive._happens()
            return read(ref, into)

        source.read, source.readers = slow, 1
        return source


def test_a_worker_that_wakes_up_after_another_has_finished_its_part_changes_nothing(big: Archiving) -> None:
    """The lease ran out while it was frozen; every message comes a second time too."""
    was = fill(big, 64)
    driver = big.context.drivers["volume"]
    sound = driver.blocks

    def overtake() -> None:
        driver.blocks = sound
        big.clock.advance(timedelta(minutes=3))
        big.work(MINUTES)
        assert big.deliver(list(big.queue.sent)) == 0

    driver.blocks = Meddling(sound, 20, overtake)
    big.wished("run", policy="gold")
    big.work(MINUTES)
    (job,) = big.jobs("archive")
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert job.result["figures"]["blocks"] == 64
    (point,) = big.archives()
    assert restored_hash(big, point) == was


def test_a_base_that_vanishes_before_the_parts_are_done_makes_the_whole_archive_begin_anew(big: Archiving) -> None:
    """No part is mixed with those of another beginning: all of them are read in full, and it says so."""
    fill(big, 64)
    back_up(big)
    base = parts_of(big.points(Point.kind == "snapshots")[0])[0].external_id
    big.write(700)
    driver = big.context.drivers["volume"]
    vanish = lambda: big.sandbox.destroy(PROD, HOME, base)  # noqa: E731
    driver.blocks = Meddling(driver.blocks, 1, vanish)
    big.wished("run", policy="gold")
    big.work(4 * MINUTES)
    job = big.jobs("archive")[-1]
    assert (job.state, job.error_text, job.epoch) == (JobState.DONE, "", 1)
    assert len(job.result["full"]) == 1
    assert restored_hash(big, big.archives()[-1]) == big.sandbox.fingerprint(PROD, HOME, big.disk)


def test_a_snapshot_that_vanishes_while_it_is_archived_fails_the_whole_cleanly(big: Archiving) -> None:
    """One failed point with the reason, no work left over, and the next run archives as if nothing had been."""
    fill(big, 64)
    driver = big.context.drivers["volume"]
    sound = driver.blocks

    def vanish() -> None:
        (point,) = big.points(Point.kind == "snapshots")
        big.sandbox.destroy(PROD, HOME, *(part.external_id for part in parts_of(point)))

    driver.blocks = Meddling(sound, 20, vanish)
    big.wished("run", policy="gold")
    big.work(4 * MINUTES)
    (job,) = big.jobs("archive")
    assert job.state == JobState.FAILED
    assert "does not know snap-" in job.error_text
    (point,) = big.points(Point.kind == "archive", state=None)
    assert point.state == PointState.FAILED
    with session():
        assert not Job.select().where(Job.kind == "archive-part", Job.state.in_(list(JOB_OPEN))).count()
    driver.blocks = sound
    again = back_up(big)
    assert (again.state, again.error_text) == (JobState.DONE, "")
    assert restored_hash(big, big.archives()[0]) == big.sandbox.fingerprint(PROD, HOME, big.disk)


def test_a_failed_archive_that_is_asked_for_again_reads_nothing_that_its_parts_had_stored(big: Archiving) -> None:
    """Rights that were missing for an hour cost no second reading."""
    was = fill(big, 64)
    driver = big.context.drivers["volume"]
    sound = driver.blocks
    driver.blocks = Refusing(sound, 40)
    big.wished("run", policy="gold")
    big.work(4 * MINUTES)
    (job,) = big.jobs("archive")
    assert (job.state, job.error_code) == (JobState.FAILED, "access-refused")
    driver.blocks = sound
    with transaction():
        requeue(Job.get_by_id(job.id), big.clock.timer(), attempt=0, claims=0, settled=False, finished_at=None)
    big.work(MINUTES)
    (job,) = big.jobs("archive")
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert reads(big) < 64 + 2 * CHECKPOINT
    assert restored_hash(big, big.archives()[0]) == was


class Refusing(Meddling):
    """Blocks that may be read so often and no more."""

    def __init__(self, blocks: Any, reads: int) -> None:
        super().__init__(blocks, reads, self._refuse)

    def _refuse(self) -> None:
        from workers.repository.errors import AccessRefused

        self.left = 1
        raise AccessRefused("The role may not read this.")


def test_how_far_the_parts_are_is_shown_as_one_volume(big: Archiving) -> None:
    """feature 82: of all parts together, by what the heartbeat wrote; the rate is that of those at work."""
    from admin.queries_repository import show_repository

    fill(big, 64)
    driver = big.context.drivers["volume"]
    driver.blocks = Meddling(driver.blocks, 40, lambda: big.clock.advance(timedelta(seconds=2)))
    driver.blocks = Dying(driver.blocks, big.clock, reads=44)
    big.wished("run", policy="gold")
    with pytest.raises(Killed):
        big.work(MINUTES)
    (row,) = show_repository("cold")["under_way"]
    assert (row["kind"], row["volume"], row["parts"], row["percent"]) == ("archive", big.disk, 4, 50)
    big.context.meters.write(big.clock.timer())
    (row,) = show_repository("cold")["under_way"]
    assert 50 < row["percent"] < 75
    assert row["total_bytes"] == 1 << 30
    assert 0 < row["moved_bytes"] <= 64 * BLOCK_BYTES
    run = show_run("run-1")
    (lead,) = [job for job in run["jobs"] if job["kind"] == "archive"]
    assert lead["percent"] == row["percent"]
    with session():
        assert [one["percent"] for one in moving()] == [row["percent"]]


def test_a_big_snapshot_of_others_is_imported_in_parts_and_a_killed_one_costs_one_checkpoint(big: Archiving) -> None:
    """feature 7: like an archive; the second one reads only what changed, and both keep their own times."""
    was = fill(big, 128)
    first = big.ec2.create_snapshot(VolumeId=big.disk)
    big.sandbox.advance(60)
    big.write(1999)
    now = big.sandbox.fingerprint(PROD, HOME, big.disk)
    second = big.ec2.create_snapshot(VolumeId=big.disk)
    driver = big.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Dying(driver.blocks, big.clock, reads=50)
    big.wished("import", repository="cold", account="prod", region=HOME, policy="gold")
    with pytest.raises(Killed):
        big.work(MINUTES)
    driver.blocks = sound
    big.work(2 * MINUTES)
    assert [(job.state, job.error_text) for job in big.jobs("import")] == [(JobState.DONE, "")] * 2
    assert len(big.jobs("archive-part")) == 8
    assert 129 <= reads(big) < 129 + CHECKPOINT
    older, newer = big.archives()
    started = {one["SnapshotId"]: one["StartTime"] for one in (first, second)}
    assert [started[parts_of(point)[0].attributes["snapshot_id"]] for point in (older, newer)] == [
        older.taken_at,
        newer.taken_at,
    ]
    for point, expected in ((older, was), (newer, now)):
        done = big.restored(point, zone=f"{HOME}a")
        assert (done.state, done.error_text) == (RestoreState.DONE, "")
        assert big.sandbox.fingerprint(PROD, HOME, volume_of(done)) == expected
