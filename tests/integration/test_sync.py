"""Buckets kept in step over the emulated AWS: coordinator rounds and real handlers, two accounts, two regions."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Job, Point, Restore, close_catalog, open_catalog, session
from tasks.clock import FixedClock
from tasks.secrets import Secret, seal
from tasks.states import JobState
from tests.coordinator.house import AWAY, HOME, House
from tests.deploy.estate import PROD, VAULT
from tests.sandbox import Sandbox
from workers.aws.s3 import S3Driver
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
        super().__init__(home, clock=FixedClock(datetime.now(UTC).replace(microsecond=0)))
        self.sandbox = sandbox
        self.driver = S3Driver(Sessions())
        self.settings = replace(self.settings, sync_keys=10)
        self.context = replace(self.context, drivers={"s3": self.driver}, settings=self.settings)
        for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
            arn = f"arn:aws:iam::{number}:role/{role}"
            sandbox.role(arn, external_id=f"{name}-external-id")
            sealed = seal(self.context.keys, Secret(f"{name}-external-id"), f"account.external_id.{name}")
            self.account(name, regions=(HOME, AWAY), number=number, role_arn=arn, external_id_sealed=sealed)
        self.source = sandbox.client(PROD, HOME, "s3")
        self.target = sandbox.client(VAULT, AWAY, "s3")
        self.source.create_bucket(Bucket="data")
        self.target.create_bucket(Bucket="safe", CreateBucketConfiguration={"LocationConstraint": AWAY})
        lend(sandbox, PROD, "data", READS)
        if versioned:
            on = {"Status": "Enabled"}
            self.target.put_bucket_versioning(Bucket="safe", VersioningConfiguration=on)

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
