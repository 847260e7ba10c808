"""A point that somebody wants archived at once, over the emulated AWS."""

import pytest

from tasks.catalog import Point, transaction
from tasks.states import JobState, PointState, RequestState
from tests.coordinator.house import MINUTE
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import HOME, Archiving, made, restored_hash


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository."""
    made(archiving)
    return archiving


def test_a_good_point_is_archived_when_somebody_asks_and_not_twice(archiving: Archiving) -> None:
    """feature 82: also of a policy whose turn it is not; what expired there may be archived anew."""
    archiving.protect(every=5)
    archiving.write(1)
    archiving.back_up()
    archiving.write(2)
    archiving.wished("run", policy="gold")
    archiving.work(MINUTE)
    point = archiving.points(Point.kind == "snapshots")[-1]
    assert len(archiving.archives()) == 1
    archiving.wished("archive", point=point.id)
    archiving.work(MINUTE)
    job = archiving.jobs("archive")[-1]
    assert (job.state, job.run_id, job.result["full"]) == (JobState.DONE, None, [])
    archive = archiving.archives()[-1]
    assert (archive.copy_of_id, archive.taken_at) == (point.id, point.taken_at)
    assert restored_hash(archiving, archive) == archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    again = archiving.wish("archive", point=point.id)
    assert (again.state, again.error_code) == (RequestState.REFUSED, "archived-already")
    with transaction():
        Point.update(state=PointState.DELETED, expire_code="outlived").where(Point.id == archive.id).execute()
    archiving.wished("archive", point=point.id)
    archiving.work(MINUTE)
    assert archiving.archives()[-1].id > archive.id


def test_what_cannot_be_archived_is_refused_with_what_to_do(archiving: Archiving) -> None:
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    (archive,) = archiving.archives()
    assert "rp-" in archiving.wish("archive", point=archive.id).error_text
    assert "no point" in archiving.wish("archive", point=999).error_text
    archiving.policy("plain", targets=[], generations=1)
    (point,) = archiving.points(Point.kind == "snapshots")
    with transaction():
        Point.update(state=PointState.FAILED, error_code="cloud-failed").where(Point.id == point.id).execute()
    assert "only a good point" in archiving.wish("archive", point=point.id).error_text
