"""Prunings in the middle of archives, through the handlers that commands lead to: leases, tombstones and the commit."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from coordinator.repositories import ask_repository
from tasks.catalog import Job, Point, session, transaction
from tasks.catalog.transitions import claim
from tasks.states import JobState, PointState
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import (
    HOME,
    Archiving,
    asked,
    made,
    parts_of,
    restored_hash,
)
from workers.app import work
from workers.repositories import open_place, place_of
from workers.repository.generations import manifest_name, read_index
from workers.repository.prune import hide
from workers.repository.repository import Repository

HOUR = timedelta(hours=1)
# Above the ten minutes after which a lease is renewed (at the end of four blocks here, a minute each) and below the 24
# that the archive takes.
GRACE = timedelta(minutes=16)


class Between:
    """Blocks before each of whose reads something else happens."""

    def __init__(self, blocks: Any, happens: Callable[[], None]) -> None:
        self._blocks, self._happens = blocks, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)

    def source(self, *where: Any) -> Any:
        source, alive = self._blocks.source(*where), self
        read = source.read

        def interrupted(ref: Any, into: Any) -> Any:
            alive._happens()
            return read(ref, into)

        source.read, source.readers = interrupted, 1
        return source


def prepared(house: Archiving, grace: timedelta, checkpoint: int) -> None:
    """A repository with one archive of a volume that changes afterwards."""
    settings = replace(house.settings, grace_seconds=grace.total_seconds(), checkpoint_gib=checkpoint / 2048)
    house.context = replace(house.context, settings=settings, slice=100 * HOUR)
    made(house)
    house.protect(keep="90d")
    for index in range(24):
        house.write(index)
    house.back_up()
    for index in range(12, 36):
        house.write(index)


def prune(house: Archiving) -> dict[str, Any]:
    """A pruning by another worker, at once and to its end."""
    at = house.clock.timer()
    ahead = at - datetime.fromisoformat(house.sandbox.advance(0))
    house.sandbox.advance(max(0.0, ahead.total_seconds()))  # a pruning refuses a clock that the store does not share
    with transaction():
        number = ask_repository("cold", "prune", {}, at)
    with session():
        job = claim(number, Job.get_by_id(number).fence, "another:2:worker", at, HOUR)
    assert job is not None
    assert work(house.context, job) == "done"
    with session():
        return dict(Job.get_by_id(number).result)


def opened(house: Archiving) -> Repository:
    with session():
        place = place_of(house.context, "cold")
    return open_place(house.context, place)


def test_what_an_archive_builds_on_outlives_its_own_expiry_and_every_pruning_meanwhile(archiving: Archiving) -> None:
    """feature C9: hidden, and far older than the grace, the base goes only when nothing is made of it any more."""
    prepared(archiving, GRACE, checkpoint=4)
    repository = opened(archiving)
    (base,) = read_index(repository).generations
    told: list[dict[str, Any]] = []

    def meanwhile() -> None:
        hide(repository, manifest_name(repository, base), "expired")
        archiving.clock.advance(timedelta(minutes=1))
        told.append(prune(archiving))

    driver = archiving.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Between(driver.blocks, meanwhile)
    job = archiving.back_up()
    driver.blocks = sound
    assert (job.state, job.error_text, job.epoch) == (JobState.DONE, "", 0)
    assert len(told) == 24
    assert not any(one["given_up"] for one in told)
    newest = archiving.archives()[-1]
    assert {one.id for one in read_index(repository).generations} == {parts_of(newest)[0].external_id}
    assert asked(archiving, "verify", full=True).result["problems"] == 1  # the catalog still names the hidden one
    assert restored_hash(archiving, newest) == archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    assert prune(archiving)["objects"] > 0  # blocks that only the base had
    assert restored_hash(archiving, newest) == archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)


def test_an_archive_that_a_pruning_gave_up_never_counts_and_is_made_anew(archiving: Archiving) -> None:
    """feature C9: a worker that said nothing for too long is fenced; what it stored goes, what it was to make comes."""
    prepared(archiving, timedelta(0), checkpoint=4)
    told: list[dict[str, Any]] = []

    def once() -> None:
        if not told:
            told.append(prune(archiving))

    driver = archiving.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Between(driver.blocks, once)
    archiving.back_up()
    archiving.work(timedelta(minutes=5))
    driver.blocks = sound
    (_, job) = archiving.jobs("archive")
    assert told[0]["given_up"] == 1
    assert (job.state, job.error_text, job.epoch) == (JobState.DONE, "", 1)
    with session():
        assert [row.state for row in Point.select().where(Point.kind == "archive")] == [PointState.GOOD] * 2
    prune(archiving)
    assert prune(archiving)["objects"] == 0
    found = {one.id for one in read_index(opened(archiving)).generations}
    assert found == {parts_of(point)[0].external_id for point in archiving.archives()}
    assert asked(archiving, "verify", full=True).result["problems"] == 0
    assert restored_hash(archiving, archiving.archives()[-1]) == archiving.sandbox.fingerprint(
        PROD, HOME, archiving.disk
    )
