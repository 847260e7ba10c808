"""When the difference to the archive before cannot be told the whole volume is archived, and the job says why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog import Job, Point, close_catalog, open_catalog
from tasks.states import JobState
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import HOME, Archiving, made, parts_of, restored_hash
from tests.sandbox import Sandbox


@pytest.fixture
def archiving(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archiving]:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(sqlite_url)
    house = Archiving(tmp_path, sandbox)
    made(house)
    house.protect(keep="90d")
    yield house
    close_catalog()


def archived(house: Archiving, index: int) -> Job:
    """One more block, archived and restored from there alone."""
    house.write(index)
    job = house.back_up()
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert restored_hash(house, house.archives()[-1]) == house.sandbox.sha256(PROD, HOME, house.disk)
    return job


def test_a_base_that_somebody_deleted_and_a_volume_that_grew_make_full_archives_that_say_so(
    archiving: Archiving,
) -> None:
    """feature 82: nothing that is in the repository already is stored again, and the one after is incremental anew."""
    archived(archiving, 1)
    snapshots = [part.external_id for point in archiving.points(Point.kind == "snapshots") for part in parts_of(point)]
    archiving.sandbox.destroy(PROD, HOME, *snapshots)
    lost = archived(archiving, 2)
    assert "the whole volume is read" in lost.result["full"][0]
    assert archived(archiving, 3).result["full"] == []
    archiving.ec2.modify_volume(VolumeId=archiving.disk, Size=2)
    grown = archived(archiving, 4000)
    assert "the base 1073741824, so the whole volume" in grown.result["full"][0]
    last = archived(archiving, 5)
    assert (last.result["full"], last.result["figures"]["blocks"]) == ([], 1)
