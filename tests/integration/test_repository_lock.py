"""A repository in a bucket with Object Lock, over the emulated AWS."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coordinator.repositories import ask_repository
from tasks.catalog import Point, Repository, transaction
from tasks.resources.repository import rights_of
from tasks.states import JobState
from tests.coordinator.house import DAY, MINUTE
from tests.deploy.estate import VAULT
from tests.integration.test_repository_cold import Storing
from tests.integration.test_repository_keys import keys
from tests.integration.test_repository_pipeline import Archiving, asked, restored_hash
from tests.sandbox import Sandbox


class Locking(Storing):
    """A house whose repository has `lock: 30d`, in a bucket of its own."""

    def repository(self, name: str, key: str, url: str = "s3://locked/main") -> None:
        super().repository(name, key, url)
        with transaction():
            row = Repository.get(Repository.name == name)
            Repository.update(spec={**row.spec, "lock": "30d"}).where(Repository.id == row.id).execute()

    def locks(self) -> dict[str, datetime | None]:
        """Until when each object is locked, by name."""
        s3: Any = self.sandbox.client(VAULT, service="s3")
        found = s3.list_objects_v2(Bucket="locked", Prefix="main/").get("Contents", [])
        heads = {one["Key"]: s3.head_object(Bucket="locked", Key=one["Key"]) for one in found}
        return {name.removeprefix("main/"): head.get("ObjectLockRetainUntilDate") for name, head in heads.items()}

    def lock(self) -> None:
        """What is done by itself once a week."""
        with transaction():
            ask_repository("cold", "lock", {}, self.clock.timer())
        self.work(MINUTE)


@pytest.fixture
def locking(entered: Sandbox, tmp_path: Path) -> Locking:
    return Locking(tmp_path, entered)


def test_what_is_needed_stays_locked_ahead_of_time_and_what_retention_let_go_is_deleted_when_its_lock_is_over(
    locking: Locking,
) -> None:
    """feature C20: objects are locked when written, extended while referenced, and never overwritten; the printed
    rights are enough (feature 75)."""
    spec = {"url": "s3://locked/main", "lock": "30d"}
    rights = [action for some in rights_of(spec).values() for action in some]
    locking.sandbox.role(f"arn:aws:iam::{VAULT}:role/snapfleet-dr", external_id="vault-external-id", allowed=rights)
    s3: Any = locking.sandbox.client(VAULT, service="s3")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    assert asked(locking, "create").state == JobState.DONE
    locking.protect(keep="10d")
    locking.archived(1)
    written = locking.locks()
    for folder in ("packs/", "maps/", "generations/"):
        ends = [until for name, until in written.items() if name.startswith(folder)]
        assert ends
        assert min(until - locking.clock.now() for until in ends if until is not None) > 30 * DAY
    assert not [until for name, until in written.items() if name.startswith("leases/") and until is not None]
    locking.archived(1)
    locking.pass_by(12 * DAY)
    first, second = [name for name in locking.locks() if name.startswith("packs/")]
    locking.clean()
    assert len(locking.points(Point.kind == "archive")) == 1
    locking.pass_by(12 * DAY)
    ends = locking.locks()
    assert {first, second} <= set(ends)
    spared, gone = sorted((first, second), key=lambda name: ends[name], reverse=True)
    assert ends[spared] - locking.clock.now() > 30 * DAY
    opens = [until for name, until in ends.items() if name == "repository.json" or name.startswith("keys/")]
    assert len(opens) == 2
    assert min(until - locking.clock.now() for until in opens if until is not None) > 30 * DAY
    seen = asked(locking, "prune", dry_run=True).result
    assert (seen["freed_bytes"], seen["locked"] > 0, seen["locked_bytes"] > 0) == (0, True, True)
    assert seen["locked_until"] == ends[gone].isoformat()
    locking.pass_by(40 * DAY)
    locking.pass_by(2 * DAY)
    assert [name for name in locking.locks() if name.startswith("packs/")] == [spared]
    assert restored_hash(locking, locking.archives()[-1]) == locking.sandbox.fingerprint(
        "111111111111", "us-east-1", locking.disk
    )


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_bucket_that_locks_for_longer_by_itself_is_left_so_and_told(locking: Locking, mode: str) -> None:
    """feature C20: what S3 refuses to shorten is locked; what is refused for want of a right is no lock."""
    s3: Any = locking.sandbox.client(VAULT, service="s3")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": 400}}}
    s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=rule)
    assert f"400 days ({mode})" in asked(locking, "create").result["warnings"][0]
    locking.lock()
    job = locking.jobs("repository")[-1]
    assert (job.spec["verb"], job.state, job.error_text) == ("lock", JobState.DONE, "")
    assert job.result["locked"] == 2
    assert min(until - locking.clock.now() for until in locking.locks().values() if until is not None) > 300 * DAY
    locking.sandbox.fault("error", operation="PutObjectRetention", code="AccessDenied", status=403)
    locking.clock.advance(380 * DAY)
    locking.lock()
    locking.sandbox.clear_faults()
    assert "could not be locked" in locking.jobs("repository")[-1].error_text


def test_a_bucket_without_object_lock_is_refused_where_it_is_asked_for(locking: Locking) -> None:
    """Also for a repository that is there already; nothing is left behind."""
    s3: Any = locking.sandbox.client(VAULT, service="s3")
    s3.create_bucket(Bucket="locked")
    refused = asked(locking, "create")
    assert (refused.state, "no Object Lock" in refused.error_text) == (JobState.FAILED, True)
    assert "Contents" not in s3.list_objects_v2(Bucket="locked")
    Archiving.repository(locking, "cold", "a long passphrase", "s3://locked/main")
    assert asked(locking, "create").state == JobState.DONE
    locking.repository("cold", "a long passphrase")
    assert "no Object Lock" in asked(locking, "create").error_text


def test_a_key_whose_slot_is_locked_is_exchanged_and_told_to_open_until_the_lock_ends(locking: Locking) -> None:
    """feature C20: workers use the new key at once; the old slot is locked on no more, and goes when asked again."""
    s3: Any = locking.sandbox.client(VAULT, service="s3")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    asked(locking, "create")
    (old,) = keys(locking, "list").result["slots"]
    locking.lock()
    rotated = keys(locking, "rotate", "a newer passphrase", how="passphrase", reference="env:COLD_KEY_2")
    assert (rotated.state, rotated.result["removed"], rotated.result["problems"]) == (JobState.DONE, [], 1)
    assert old["slot"] in rotated.result["told"][0]
    ends = locking.locks()[f"keys/{old['slot']}"]
    locking.pass_by(20 * DAY)
    locking.lock()
    assert locking.locks()[f"keys/{old['slot']}"] == ends
    assert keys(locking, "remove", slot=old["slot"]).state == JobState.FAILED
    locking.pass_by(20 * DAY)
    assert keys(locking, "remove", slot=old["slot"]).state == JobState.DONE


def test_the_parts_of_a_big_volume_are_locked_as_they_are_written(locking: Locking) -> None:
    """feature C20: whoever writes a range of it knows until when."""
    s3: Any = locking.sandbox.client(VAULT, service="s3")
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    assert asked(locking, "create").state == JobState.DONE
    locking.context = replace(locking.context, settings=replace(locking.context.settings, split_gib=1.0))
    locking.protect(keep="10d")
    for index in (1, 700, 1999):
        locking.write(index)
    assert locking.back_up().state == JobState.DONE
    assert len(locking.jobs("archive-part")) == 4
    written = {name: until for name, until in locking.locks().items() if name.startswith(("packs/", "maps/"))}
    assert len(written) > 3
    assert all(until is not None and until - locking.clock.now() > 30 * DAY for until in written.values())
