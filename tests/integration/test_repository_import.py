"""Snapshots that others made become recovery points of a repository, over the emulated AWS."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Job, Point, Policy, Resource, session
from tasks.states import JobState, PointState, RequestState, RestoreState
from tests.deploy.estate import PROD
from tests.integration.test_repository_pipeline import BLOCK, HOME, Archiving, made, parts_of, volume_of
from tests.sandbox import Sandbox


class Importing(Archiving):
    """A volume with snapshots that somebody else's script made."""

    def snapshot(self, **tags: str) -> str:
        """One more, a minute later."""
        given = [{"ResourceType": "snapshot", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        answer = self.ec2.create_snapshot(VolumeId=self.disk, **({"TagSpecifications": given} if tags else {}))
        self.sandbox.advance(60)
        return str(answer["SnapshotId"])

    def history(self, count: int = 3) -> list[tuple[str, str]]:
        """Snapshots with the hash of the volume as each has it, oldest first."""
        found = []
        for number in range(count):
            self.write(number)
            found.append((self.snapshot(team="web"), self.sandbox.fingerprint(PROD, HOME, self.disk)))
        return found

    def imported(self, **wish: Any) -> Job:
        """A look and all that it leads to; the look's job."""
        number = self.wished("import", **{"repository": "cold", "account": "prod", "region": HOME, **wish})["job"]
        self.work(timedelta(minutes=3))
        with session():
            return Job.get_by_id(number)


@pytest.fixture
def importing(entered: Sandbox, tmp_path: Path) -> Importing:
    house = Importing(tmp_path, entered)
    made(house)
    return house


def test_a_history_of_snapshots_is_taken_in_by_changes_and_every_state_of_it_comes_back(importing: Importing) -> None:
    """feature 7: the oldest whole, later ones by changed blocks, at their own times; what was read stays as it was."""
    history = importing.history()
    before = importing.sandbox.state(PROD, HOME)["snapshots"]
    importing.sandbox.clear_calls()
    look = importing.imported(tags={"team": "web"})
    assert (look.state, look.error_text, look.result["snapshots"]) == (JobState.DONE, "", 3)
    points = importing.points(Point.kind == "archive")
    assert [parts_of(point)[0].attributes["snapshot_id"] for point in points] == [name for name, _ in history]
    started = importing.ec2.describe_snapshots(SnapshotIds=[name for name, _ in history])["Snapshots"]
    assert [point.taken_at for point in points] == sorted(one["StartTime"] for one in started)
    assert importing.sandbox.count("GetSnapshotBlock", "ok") == 3
    assert [job.result["full"] == "" for job in importing.jobs("import")] == [False, True, True]
    assert importing.sandbox.state(PROD, HOME)["snapshots"] == before
    importing.sandbox.destroy(PROD, HOME, importing.disk, *before)
    for point, (_, was) in zip(points, history, strict=True):
        done = importing.restored(point, zone=f"{HOME}a")
        assert (done.state, done.error_text) == (RestoreState.DONE, "")
        assert importing.sandbox.fingerprint(PROD, HOME, volume_of(done)) == was


def test_what_is_imported_is_chosen_and_asking_again_takes_in_only_what_is_new(importing: Importing) -> None:
    """feature 7: by account, region, tag, volume and date; a dry run plans nothing; nothing is taken in twice."""
    history = importing.history()
    other = importing.ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1, VolumeType="gp3")["VolumeId"]
    importing.ec2.create_snapshot(VolumeId=other)
    second = importing.ec2.describe_snapshots(SnapshotIds=[history[1][0]])["Snapshots"][0]["StartTime"]
    seen = importing.imported(tags={"team": "web"}, since=second.isoformat(), dry_run=True)
    assert [one["snapshot"] for one in seen.result["found"]] == [name for name, _ in history[1:]]
    assert importing.imported(until=second.isoformat(), volumes=[importing.disk], dry_run=True).result["snapshots"] == 1
    assert importing.imported(tags={"team": "db"}, dry_run=True).result["snapshots"] == 0
    assert importing.jobs("import") == []
    importing.imported(tags={"team": "web"})
    again = importing.imported(volumes=[importing.disk])
    assert (again.result["snapshots"], again.result["already"]) == (0, 3)
    importing.write(9)
    importing.snapshot()
    assert importing.imported(volumes=[importing.disk]).result["snapshots"] == 1
    assert len(importing.points(Point.kind == "archive")) == 4


def test_a_snapshot_that_cannot_be_read_keeps_no_other_from_being_taken_in_and_is_tried_again(
    importing: Importing,
) -> None:
    """feature 7: the next one compares with the last that is there; a later wish takes in what failed."""
    history = importing.history()
    importing.sandbox.fault(
        "error", operation="GetSnapshotBlock", code="AccessDeniedException", status=403, resource=history[1][0]
    )
    importing.imported()
    states = [job.state for job in importing.jobs("import")]
    assert states == [JobState.DONE, JobState.FAILED, JobState.DONE]
    assert [job.result["full"] == "" for job in importing.jobs("import") if job.result] == [False, True]
    importing.sandbox.clear_faults()
    importing.imported()
    assert [job.state for job in importing.jobs("import")] == [JobState.DONE] * 3
    found = {parts_of(point)[0].attributes["snapshot_id"] for point in importing.points(Point.kind == "archive")}
    assert found == {name for name, _ in history}


def test_what_is_stored_is_not_stored_again_when_its_owner_deletes_the_snapshot_before(importing: Importing) -> None:
    """feature 7: what changed cannot be told then, so the whole volume is read, and the job says so."""
    history = importing.history()
    importing.imported()
    stored = sum(job.result["figures"]["stored_bytes"] for job in importing.jobs("import"))
    for name, _ in history:
        importing.ec2.delete_snapshot(SnapshotId=name)
    importing.write(9)
    importing.snapshot()
    importing.imported()
    last = importing.jobs("import")[-1]
    assert (last.state, "not stored again" in last.result["full"]) == (JobState.DONE, True)
    assert last.result["figures"]["stored_bytes"] < stored / 2
    assert last.result["figures"]["read_bytes"] == 4 * BLOCK
    done = importing.restored(importing.points(Point.kind == "archive")[-1], zone=f"{HOME}a")
    assert importing.sandbox.fingerprint(PROD, HOME, volume_of(done)) == importing.sandbox.fingerprint(
        PROD, HOME, importing.disk
    )


def test_imported_points_age_by_the_time_that_was_asked_for_and_else_never(importing: Importing) -> None:
    """feature 7: retention as chosen, counted from when the snapshot was really taken, and the newest one stays."""
    importing.history(2)
    importing.imported(keep="1d")
    importing.clock.advance(timedelta(days=3))
    importing.clean()
    with session():
        states = [row.state for row in Point.select().where(Point.kind == "archive").order_by(Point.id)]
        assert states == [PointState.DELETED, PointState.GOOD]
        policy = Policy.get(Policy.name == "import:cold:1d")
    assert policy.deleted_at is not None
    importing.write(7)
    importing.snapshot()
    importing.imported()
    importing.clock.advance(timedelta(days=900))
    importing.clean()
    assert len(importing.points(Point.kind == "archive")) == 2


def test_copies_without_a_volume_and_volumes_that_are_gone_are_taken_in_too(importing: Importing) -> None:
    """A copy's volume is unknown: it stands for itself; nothing of it looks as if it were still there."""
    ((name, was),) = importing.history(1)
    copy = importing.ec2.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=name)["SnapshotId"]
    importing.sandbox.destroy(PROD, HOME, importing.disk)
    importing.imported()
    with session():
        known = {row.external_id: row.gone_at for row in Resource.select()}
    assert set(known) == {importing.disk, copy}
    assert None not in known.values()
    point = importing.points(Point.kind == "archive")[-1]
    done = importing.restored(point, zone=f"{HOME}a")
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    assert importing.sandbox.fingerprint(PROD, HOME, volume_of(done)) == was


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"repository": "warm"}, "no repository 'warm'"),
        ({"account": "test"}, "no account 'test'"),
        ({"region": "mars-1"}, "does not list the region"),
        ({"policy": "silver"}, "no policy 'silver'"),
        ({"keep": "long"}, "long"),
        ({"keep": "1d", "policy": "gold"}, "not by both"),
    ],
)
def test_an_import_that_names_what_there_is_not_is_refused(
    importing: Importing, wrong: dict[str, str], words: str
) -> None:
    row = importing.wish("import", **{"repository": "cold", "account": "prod", "region": HOME, **wrong})
    assert row.state == RequestState.REFUSED
    assert words in row.error_text
