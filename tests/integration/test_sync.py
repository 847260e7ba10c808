"""Buckets kept in step over the emulated AWS: coordinator rounds and real handlers, two accounts, two regions."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Budget, Job, Point, Restore, close_catalog, open_catalog, session
from tasks.clock import FixedClock
from tasks.secrets import Secret, seal
from tasks.states import JobState, PointState, RestoreState
from tests.coordinator.house import AWAY, HOME, House
from tests.deploy.estate import PROD, VAULT
from tests.sandbox import Sandbox
from workers.aws.s3 import S3Driver
from workers.aws.s3_buckets import S3Buckets
from workers.aws.s3_objects import Sizes
from workers.aws.session import Sessions

MINUTES = timedelta(minutes=4)
WRITER = f"arn:aws:iam::{VAULT}:role/snapfleet-dr"
READS = (
    "s3:ListBucket s3:ListBucketVersions s3:GetObject s3:GetObjectVersion s3:GetObjectTagging "
    "s3:GetObjectVersionTagging"
).split()


def lend(
    sandbox: Sandbox, owner: str, bucket: str, actions: list[str], principal: str = WRITER, region: str = HOME
) -> None:
    """A bucket policy that lets another account's role do this."""
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    rule = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions, "Resource": arns}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    sandbox.client(owner, region, "s3").put_bucket_policy(Bucket=bucket, Policy=policy)


class Syncing(House):
    """A house over the sandbox with a bucket `data` of production and `safe` of the vault's account, far away."""

    def __init__(self, home: Path, sandbox: Sandbox, versioned: bool = False) -> None:
        self._equip(home, sandbox)
        for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
            arn = f"arn:aws:iam::{number}:role/{role}"
            sandbox.role(arn, external_id=f"{name}-external-id")
            sealed = seal(self.context.keys, Secret(f"{name}-external-id"), f"account.external_id.{name}")
            self.account(name, regions=(HOME, AWAY), number=number, role_arn=arn, external_id_sealed=sealed)
        self.source.create_bucket(Bucket="data")
        self.target.create_bucket(Bucket="safe", CreateBucketConfiguration={"LocationConstraint": AWAY})
        lend(sandbox, PROD, "data", READS)
        if versioned:
            on = {"Status": "Enabled"}
            self.target.put_bucket_versioning(Bucket="safe", VersioningConfiguration=on)

    @classmethod
    def entered(cls, home: Path, sandbox: Sandbox, later: timedelta) -> "Syncing":
        """A house that stands already, as another process enters it so much later."""
        house = cls.__new__(cls)
        house._equip(home, sandbox)
        house.clock.advance(later)
        return house

    def _equip(self, home: Path, sandbox: Sandbox) -> None:
        super().__init__(home, clock=FixedClock(datetime.now(UTC).replace(microsecond=0)))
        self.sandbox = sandbox
        self.driver = S3Driver(Sessions())
        self.settings = replace(self.settings, sync_keys=10)
        self.context = replace(self.context, drivers={"s3": self.driver}, settings=self.settings)
        self.source = sandbox.client(PROD, HOME, "s3")
        self.target = sandbox.client(VAULT, AWAY, "s3")

    def protect(self, **options: str) -> None:
        wanted = {"bucket": "safe", "account": "vault", **options}
        target = {"type": "s3", "id": "data", "region": HOME, "account": "prod", "options": wanted}
        self.policy("gold", targets=[target], generations=3, retries={"attempts": 2, "wait": "1m"})

    def fill(self, count: int, prefix: str = "k/") -> None:
        for number in range(count):
            self.put(f"{prefix}{number:03}", f"body {number}".encode())

    def put(self, key: str, body: bytes, **more: Any) -> None:
        self.source.put_object(Bucket="data", Key=key, Body=body, **more)

    def sync(self, spell: timedelta = MINUTES) -> Job:
        """One run to its end; the job that led it."""
        self.wished("run", policy="gold")
        self.work(spell)
        return self.jobs()[-1]

    def kept(self, client: Any = None, bucket: str = "safe") -> dict[str, bytes]:
        client = client or self.target
        listed = [
            one
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for one in page.get("Contents", ())
        ]
        return {one["Key"]: client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in listed}

    def restored(self, point: Point, **settings: str) -> Restore:
        request = {"kind": "bucket", "settings": settings}
        number = self.wished("restore", point=point.id, request=request)["restore"]
        self.work(MINUTES)
        with session():
            return Restore.get_by_id(number)


@pytest.fixture
def house(sandbox: Sandbox, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Syncing]:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(sqlite_url)
    yield Syncing(tmp_path, sandbox)
    close_catalog()


def test_a_bucket_is_kept_in_another_account_and_region_in_parts_and_incrementally(house: Syncing) -> None:
    """feature 25: each object is copied once, a second sync copies what changed, and nothing is deleted unasked."""
    house.fill(35)
    house.protect()
    first = house.sync()
    assert (first.state, first.error_text) == (JobState.DONE, "")
    assert house.kept() == house.kept(house.source, "data")
    assert first.result["figures"]["copied"] == 35
    assert len(house.jobs("sync-part")) == 4
    house.put("k/007", b"another body")
    house.put("new", b"new")
    house.source.delete_object(Bucket="data", Key="k/001")
    second = house.sync()
    assert (second.state, second.result["figures"]["copied"]) == (JobState.DONE, 2)
    assert house.kept() == {**house.kept(house.source, "data"), "k/001": b"body 1"}
    assert house.sandbox.count("CopyObject", "ok") == 37


class Killed(BaseException):
    """The process was killed."""


class Dying:
    """A driver's buckets whose worker is killed at the n-th object that it would copy."""

    def __init__(self, house: Syncing, copies: int) -> None:
        self._house, self._left, self._sound = house, copies, S3Buckets.__dict__["_copy_one"]

    def __enter__(self) -> None:
        dying = self

        def copy_one(buckets: S3Buckets, copier: Any, todo: Any) -> int:
            dying._left -= 1
            if dying._left < 0:
                raise Killed
            return dying._sound(buckets, copier, todo)

        self._house.driver.buckets = _Buckets(self._house.driver.buckets.sessions, copy_one=copy_one)

    def __exit__(self, *_: object) -> None:
        self._house.driver.buckets = S3Buckets(self._house.driver.buckets.sessions)
        self._house.clock.advance(timedelta(minutes=5))  # the dead worker's lease runs out


class _Buckets(S3Buckets):
    """Buckets with another way of copying one object."""

    def __init__(self, sessions: Sessions, copy_one: Any) -> None:
        super().__init__(sessions)
        object.__setattr__(self, "_way", copy_one)

    def _copy_one(self, copier: Any, todo: Any) -> int:
        return int(self._way(self, copier, todo))


def test_a_worker_that_dies_in_the_middle_of_a_part_costs_no_second_copy(house: Syncing) -> None:
    """feature 25: another worker compares the page again and copies only what is not there."""
    house.fill(35)
    house.protect()
    with Dying(house, 13), pytest.raises(Killed):
        house.sync()
    before = house.sandbox.count("CopyObject", "ok")
    assert 0 < before < 35
    house.work(MINUTES)
    job = house.jobs()[-1]
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert house.kept() == house.kept(house.source, "data")
    assert house.sandbox.count("CopyObject", "ok") == 35


def test_a_bucket_that_asks_to_slow_down_is_left_alone_by_everybody_for_a_while(house: Syncing) -> None:
    """feature 25, feature 31: the pause is in the catalog for all, costs no attempt, and nothing is copied twice."""
    house.fill(35)
    house.protect()
    house.sandbox.fault("error", operation="CopyObject", code="SlowDown", status=503, count=3)
    house.wished("run", policy="gold")
    house.round()
    with session():
        assert Budget.get(Budget.name == "bucket:safe").tat_at > house.clock.timer()
    assert house.sandbox.count("CopyObject", "ok") < 35
    house.work(MINUTES)
    job = house.jobs()[-1]
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert house.sandbox.count("CopyObject", "ok") == 35
    assert all(part.attempt <= 1 for part in house.jobs("sync-part"))


def test_what_vanished_is_deleted_only_where_that_is_wanted_and_plausible(house: Syncing) -> None:
    """feature 25: a dry run names it, the brake stops what looks like a mistake, and a few go after all was copied."""
    house.fill(20)
    house.protect(delete="yes")
    house.sync()
    for number in range(10):
        house.source.delete_object(Bucket="data", Key=f"k/{number:03}")
    stopped = house.sync()
    assert "10 of 20 objects in safe vanished from data" in stopped.warnings[0]
    assert len(house.kept()) == 20
    house.fill(8)
    gone = house.sync()
    assert (gone.result["figures"]["deleted"], gone.warnings) == (2, [])
    assert house.kept() == house.kept(house.source, "data")


def test_a_dry_run_counts_what_would_be_deleted(house: Syncing) -> None:
    """feature 25"""
    house.fill(3)
    house.protect(delete="dry-run")
    house.sync()
    house.source.delete_object(Bucket="data", Key="k/001")
    job = house.sync()
    assert job.warnings == ["Dry run: 1 of 3 objects in safe vanished from data, first k/001; they would be deleted."]
    assert len(house.kept()) == 3


def test_tags_metadata_and_storage_class_go_along(house: Syncing) -> None:
    """feature 25: for objects copied whole and for those copied part by part alike."""
    house.driver.buckets = S3Buckets(house.driver.buckets.sessions, Sizes(whole=6 << 20, part=5 << 20))
    more = {"Metadata": {"m": "1"}, "Tagging": "t=1&u=%20x", "ContentType": "text/x", "CacheControl": "no-cache"}
    house.put("small", b"x", StorageClass="STANDARD_IA", **more)
    house.put("large", b"y" * (11 << 20), StorageClass="ONEZONE_IA", **more)
    time.sleep(1.1)  # listings have whole seconds: a copy of the same second could be of what was there before
    house.protect()
    job = house.sync()
    assert (job.state, job.error_text) == (JobState.DONE, "")
    for key, stored in (("small", "STANDARD_IA"), ("large", "ONEZONE_IA")):
        named = {"Bucket": "safe", "Key": key}
        head = house.target.head_object(**named)
        told = (head["Metadata"], head["ContentType"], head["CacheControl"], head["StorageClass"])
        assert told == ({"m": "1"}, "text/x", "no-cache", stored)
        tags = {one["Key"]: one["Value"] for one in house.target.get_object_tagging(**named)["TagSet"]}
        assert tags == {"t": "1", "u": " x"}
    assert house.sandbox.count("UploadPartCopy", "ok") == 3
    assert house.kept()["large"] == b"y" * (11 << 20)
    house.sync()
    assert house.sandbox.count("UploadPartCopy", "ok") == 3  # its digest is another one now, and tells nothing


def test_a_large_object_goes_on_where_its_upload_was_broken_off(house: Syncing) -> None:
    """feature 25: the upload is in the catalog, so another worker copies the parts that are missing and no others."""
    house.driver.buckets = S3Buckets(house.driver.buckets.sessions, Sizes(whole=6 << 20, part=5 << 20))
    house.put("large", b"z" * (16 << 20))
    house.protect()
    house.sandbox.fault("error", operation="UploadPartCopy", code="InternalError", status=500, count=1)
    house.sync()
    job = house.jobs()[-1]
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert house.kept() == {"large": b"z" * (16 << 20)}
    assert house.sandbox.count("CreateMultipartUpload", "ok") == 1 + 1  # one more to try the right to write
    assert house.sandbox.count("UploadPartCopy", "ok") == 4
    assert "Uploads" not in house.target.list_multipart_uploads(Bucket="safe")


@pytest.fixture
def versioned(sandbox: Sandbox, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Syncing]:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(sqlite_url)
    yield Syncing(tmp_path, sandbox, versioned=True)
    close_catalog()


def test_every_version_is_copied_in_order_and_none_twice(versioned: Syncing) -> None:
    """feature 25: also of what was deleted before it was ever copied, which then does not show."""
    house = versioned
    house.source.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        house.put("a", body)
    house.put("gone", b"was here")
    house.source.delete_object(Bucket="data", Key="gone")
    house.protect(versions="yes", delete="yes", delete_most="100")
    assert house.sync().error_text == ""
    house.put("a", b"three")
    house.sandbox.advance(2)
    assert house.sync().error_text == ""
    listed = house.target.list_object_versions(Bucket="safe")
    bodies = [
        house.target.get_object(Bucket="safe", Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
        for one in listed["Versions"]
    ]
    assert bodies == [b"three", b"two", b"one", b"was here"]
    assert house.kept() == {"a": b"three"}
    house.source.delete_object(Bucket="data", Key="a")
    house.sandbox.advance(2)
    assert house.sync().result["figures"]["deleted"] == 1
    assert house.kept() == {}
    assert house.sandbox.count("CopyObject", "ok") == 4


def test_a_lost_bucket_comes_back_as_of_each_point_where_versions_are_kept(versioned: Syncing) -> None:
    """feature 25: the bucket is made anew with its tags; objects that are equal are not copied again."""
    house = versioned
    house.source.put_bucket_tagging(Bucket="data", Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
    lend(house.sandbox, VAULT, "safe", READS, f"arn:aws:iam::{PROD}:role/snapfleet", AWAY)
    house.fill(12)
    house.protect(delete="yes", prefix="{bucket}/")
    house.sync()
    was = house.kept(house.source, "data")
    house.put("k/003", b"changed")
    house.put("more", b"more")
    house.source.delete_object(Bucket="data", Key="k/004")
    house.sandbox.advance(2)
    house.sync()
    now = house.kept(house.source, "data")
    assert house.kept() == {f"data/{key}": body for key, body in now.items()}
    for key in now:
        house.source.delete_object(Bucket="data", Key=key)
    house.source.delete_bucket_policy(Bucket="data")
    house.source.delete_bucket(Bucket="data")
    first, second = house.points()
    done = house.restored(second)
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    assert house.kept(house.source, "data") == now
    tags = {one["Key"]: one["Value"] for one in house.source.get_bucket_tagging(Bucket="data")["TagSet"]}
    assert tags["team"] == "a"
    done = house.restored(first, bucket="older", prefix="k/")
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    assert house.kept(house.source, "older") == was
    copies = house.sandbox.count("CopyObject", "ok")
    house.restored(second)
    assert house.sandbox.count("CopyObject", "ok") == copies


def test_a_later_sync_stands_for_the_earlier_one_where_no_versions_are_kept(house: Syncing) -> None:
    """feature 25: one point, the last sync; the objects are not touched when its predecessor goes."""
    house.fill(3)
    house.protect()
    house.sync()
    house.put("k/000", b"changed")
    house.sync()
    house.work(MINUTES)
    (point,) = house.points()
    (old,) = house.points(state=PointState.DELETED)
    assert (old.expire_code, point.attributes["sync"]["objects"]) == ("superseded", 3)
    assert house.kept() == house.kept(house.source, "data")


def test_objects_that_cannot_be_copied_make_no_point_and_are_named(house: Syncing) -> None:
    """feature 25: archived ones are left out only where the policy says so."""
    house.fill(3)
    house.put("cold", b"ice", StorageClass="GLACIER")
    house.protect()
    job = house.sync(timedelta(minutes=8))
    assert job.state == JobState.FAILED
    assert "1 objects could not be copied: cold: it lies in GLACIER" in job.error_text
    assert (house.points(), len(house.kept())) == ([], 3)


def test_archived_objects_are_left_out_where_the_policy_says_so(house: Syncing) -> None:
    house.fill(3)
    house.put("cold", b"ice", StorageClass="GLACIER")
    house.protect(archived="skip")
    job = house.sync()
    assert (job.state, job.warnings) == (JobState.DONE, ["1 objects in archive classes were left out."])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"bucket": "data", "account": "prod"}, "same-bucket", "its own destination"),
        ({"bucket": "nowhere"}, "no-bucket", "There is no bucket nowhere"),
        ({"versions": "yes"}, "not-versioned", "safe keeps none"),
        ({"account": "nobody"}, "invalid", "no account 'nobody'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_copied(
    house: Syncing, options: dict[str, str], code: str, words: str
) -> None:
    """feature 25, feature 42"""
    house.fill(1)
    house.protect(**options)
    job = house.sync()
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert words in job.error_text
    assert house.sandbox.count("CopyObject") == 0


def test_a_missing_grant_is_found_before_anything_is_copied_and_named(house: Syncing) -> None:
    """feature 25, feature 93: one principal must read the one bucket and write the other."""
    house.fill(1)
    house.protect()
    lend(house.sandbox, PROD, "data", ["s3:ListBucket"])
    job = house.sync()
    assert (job.state, job.error_code) == (JobState.FAILED, "denied")
    assert f"{WRITER} may not do s3:GetObject in data" in job.error_text
    assert house.sandbox.count("CopyObject") == 0


def test_a_bucket_that_vanished_fails_its_sync_and_keeps_what_is_there(house: Syncing) -> None:
    house.fill(2)
    house.protect()
    house.sync()
    for key in house.kept(house.source, "data"):
        house.source.delete_object(Bucket="data", Key=key)
    house.source.delete_bucket_policy(Bucket="data")
    house.source.delete_bucket(Bucket="data")
    house.sync()
    assert len(house.kept()) == 2
    assert len(house.points()) == 1


def test_names_that_are_anybodys_text_are_copied_exactly_and_kept_by_postgresql(
    sandbox: Sandbox, postgres_catalog_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """feature 25: keys with what URLs, XML and JSON give a meaning to; each is the end of a part here."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(postgres_catalog_url)
    try:
        house = Syncing(tmp_path, sandbox)
        house.context = replace(house.context, settings=replace(house.settings, sync_keys=1))
        names = ["a b+c", "d%41", "e?f&g=h#i", "j'k\"l<m>", "n\\u0000", "\u00e4/\U0001f600", "z/", "../up"]
        for name in names:
            house.put(name, name.encode())
        house.protect(delete="dry-run")
        job = house.sync()
        assert (job.state, job.error_text) == (JobState.DONE, "")
        assert house.kept() == {name: name.encode() for name in names}
        house.source.delete_object(Bucket="data", Key=names[3])
        assert f"first {names[3]};" in house.sync().warnings[0]
    finally:
        close_catalog()
