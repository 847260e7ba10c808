"""When the difference to the archive before cannot be told the whole volume is archived, and the job says why."""

import pytest

from tasks.catalog import Job, Point
from tasks.states import JobState
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import HOME, Archiving, made, parts_of, restored_hash


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository, and a policy that keeps long."""
    made(archiving)
    archiving.protect(keep="90d")
    return archiving


def archived(house: Archiving, index: int) -> Job:
    """One more block, archived and restored from there alone."""
    house.write(index)
    job = house.back_up()
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert restored_hash(house, house.archives()[-1]) == house.sandbox.fingerprint(PROD, HOME, house.disk)
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
