"""Archives that move to a cold class by their policy, and come back when they are asked for, over the emulated AWS."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.catalog import Job, Point, Restore, session
from tasks.states import JobState, RequestState, RestoreState
from tests.coordinator.house import DAY, HOUR, MINUTE
from tests.deploy.estate import PROD, VAULT
from tests.integration.test_repository_pipeline import HOME, Archiving, asked, made, parts_of, restored_hash, volume_of
from tests.sandbox import Sandbox
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.pace import Pace

COLD = {"after": "30d", "class": "glacier", "keep": "400d"}


class Storing(Archiving):
    """A house whose clock and the cloud's go together."""

    def work(self, spell: timedelta = 10 * MINUTE, step: timedelta = timedelta(seconds=20)) -> None:
        """The cloud's time passes as well."""
        super().work(spell, step)
        self.sandbox.advance(spell.total_seconds())

    def pass_by(self, spell: timedelta) -> None:
        """Time passes, and what is due is done; sessions from before have run out."""
        self.clock.advance(spell)
        self.sandbox.advance(spell.total_seconds())
        driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace(self.context, drivers={"instance": driver, "volume": driver})
        self.work(2 * MINUTE)

    def classes(self) -> Counter[str]:
        """How many packs lie in each class."""
        s3 = self.sandbox.client(VAULT, service="s3")
        found = s3.list_objects_v2(Bucket="cold", Prefix="main/packs/")["Contents"]
        return Counter(one["StorageClass"] for one in found)

    def restore(self, number: int) -> Restore:
        """How far a restore is."""
        with session():
            return Restore.get_by_id(number)

    def archived(self, index: int) -> Point:
        """One more block, archived."""
        self.write(index)
        job = self.back_up()
        assert (job.state, job.error_text) == (JobState.DONE, "")
        return self.archives()[-1]


@pytest.fixture
def storing(entered: Sandbox, tmp_path: Path) -> Iterator[Storing]:
    entered.configure(s3_restore_seconds={"Expedited": 60, "Standard": 4 * 3600, "Bulk": 7200})
    house = Storing(tmp_path, entered)
    made(house)
    yield house
    entered.configure(s3_restore_seconds={"Expedited": 1.0, "Standard": 3.0, "Bulk": 6.0})


def test_archives_move_to_the_cold_class_in_time_and_are_restored_after_their_packs_were_asked_back(
    storing: Storing,
) -> None:
    """feature 83: what a younger archive shares stays warm, the next one needs no cold pack, and a restore waits for
    the retrieval without a thread and without using up an attempt."""
    storing.protect(archive=COLD)
    first = storing.archived(1)
    was = storing.sandbox.fingerprint(PROD, HOME, storing.disk)
    storing.pass_by(20 * DAY)
    storing.archived(1)
    assert storing.wish("repository", name="cold", verb="tier").state == RequestState.REFUSED
    storing.pass_by(15 * DAY)
    assert storing.classes() == {"GLACIER": 1, "STANDARD": 1}
    assert parts_of(first)[0].attributes["storage_class"] == "GLACIER"
    third = storing.archived(3)
    assert restored_hash(storing, third) == storing.sandbox.fingerprint(PROD, HOME, storing.disk)
    number = storing.wished("restore", point=first.id, request={"kind": "volume"})["restore"]
    storing.work(MINUTE)
    with session():
        job = Job.get(Job.restore_id == number)
    assert (job.state, job.error_code, job.attempt, job.claims) == (JobState.PENDING, "retrieving", 0, 0)
    assert "0 of 1 packs are back" in job.error_text
    assert storing.sandbox.count("StartSnapshot", "ok") == 1
    for _ in range(5):
        storing.pass_by(HOUR)
    done = storing.restore(number)
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    assert storing.sandbox.fingerprint(PROD, HOME, volume_of(done)) == was
    assert storing.sandbox.count("RestoreObject", "ok") == 1


def test_a_pack_that_somebody_else_moved_is_asked_back_when_a_restore_meets_it(
    storing: Storing, tmp_path: Path
) -> None:
    """What the catalog does not know of comes out at the first read, and the restore (into a file) waits all the
    same."""
    storing.protect()
    point = storing.archived(1)
    s3 = storing.sandbox.client(VAULT, service="s3")
    (pack,) = s3.list_objects_v2(Bucket="cold", Prefix="main/packs/")["Contents"]
    source = {"Bucket": "cold", "Key": pack["Key"]}
    s3.copy_object(Bucket="cold", Key=pack["Key"], CopySource=source, StorageClass="DEEP_ARCHIVE")
    settings = replace(storing.context.settings, restore_folder=str(tmp_path))
    storing.context = replace(storing.context, settings=settings)
    number = storing.wished("restore", point=point.id, request={"kind": "file"})["restore"]
    storing.work(MINUTE)
    (partial,) = tmp_path.glob("restore-*")
    assert partial.name.endswith(".partial")
    for _ in range(5):
        storing.pass_by(HOUR)
    assert (storing.restore(number).state, storing.restore(number).error_text) == (RestoreState.DONE, "")
    assert partial.with_suffix("").stat().st_size == 1 << 30


def test_cold_objects_that_are_billed_for_longer_stay_and_a_dry_run_says_what_they_would_cost(
    storing: Storing,
) -> None:
    """feature 83: the minimum of a class is respected, and what it costs to go below it is shown before."""
    storing.protect(archive={"after": "1d", "class": "glacier", "keep": "2d"})
    storing.archived(1)
    storing.archived(1)
    storing.pass_by(timedelta(days=1, hours=1))
    assert storing.classes() == {"GLACIER": 2}
    storing.pass_by(2 * DAY)
    storing.clean()
    storing.pass_by(2 * DAY)
    planned = asked(storing, "prune", dry_run=True).result
    assert (planned["early"], planned["early_days"] > 80, planned["early_usd"] >= 0) == (1, True, True)
    assert storing.classes() == {"GLACIER": 2}
    assert asked(storing, "prune", dry_run=True, early=True).result["freed_bytes"] > planned["freed_bytes"]
    storing.pass_by(90 * DAY)
    assert storing.classes() == {"GLACIER": 1}


def test_archives_are_written_to_the_class_that_the_policy_names(storing: Storing) -> None:
    """feature 83: small objects that every later step reads stay in the usual class."""
    storing.protect(**{"class": "standard-ia"})
    storing.archived(1)
    assert storing.classes() == {"STANDARD_IA": 1}


def test_what_is_imported_for_a_policy_goes_to_its_classes_and_ages_by_it(storing: Storing) -> None:
    """feature 7: written to the policy's class, moved to its cold one when of age, and let go as it says."""
    storing.protect(**{"class": "standard-ia"}, keep="20d", archive=COLD)
    for index in range(2):
        storing.write(index)
        storing.ec2.create_snapshot(VolumeId=storing.disk)
        storing.sandbox.advance(60)
    storing.wished("import", repository="cold", account="prod", region=HOME, policy="gold")
    storing.work(5 * MINUTE)
    assert [job.state for job in storing.jobs("import")] == [JobState.DONE] * 2
    assert storing.classes() == {"STANDARD_IA": 2}
    storing.pass_by(timedelta(days=32))
    assert storing.classes() == {"GLACIER": 2}
    assert len(storing.archives()) == 2
    storing.pass_by(timedelta(days=400))
    storing.clean()
    assert len(storing.archives()) == 1
