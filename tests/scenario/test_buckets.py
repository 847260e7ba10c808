"""A bucket is kept in a second region and in a second account, lost and restored from each by one `snapfleet up`.

The process is killed in the middle of the first sync and started again. Objects are compared with their content, tags,
metadata and storage class.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.sandbox import FAST, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME, AWAY, FAR = "111111111111", "222222222222", "us-east-1", "eu-west-1", "eu-central-1"
ROLES = {PROD: f"arn:aws:iam::{PROD}:role/snapfleet", VAULT: f"arn:aws:iam::{VAULT}:role/snapfleet-dr"}
OBJECTS, PART_KEYS = 90, 20
ESTATE = {
    "version": 1,
    "accounts": [
        {"name": "prod", "role_arn": ROLES[PROD], "regions": [HOME, AWAY]},
        {"name": "vault", "kind": "dr", "role_arn": ROLES[VAULT], "regions": [FAR]},
    ],
    "policies": [
        {
            "name": "near",
            "targets": [
                {
                    "tag": {"backup": "gold"},
                    "types": ["s3"],
                    "accounts": ["prod"],
                    "regions": [HOME],
                    "options": {"bucket": "near", "prefix": "{bucket}/", "delete": "yes"},
                }
            ],
            "generations": 3,
            "retries": {"attempts": 5, "wait": "1m"},
        },
        {
            "name": "safe",
            "targets": [
                {
                    "type": "s3",
                    "id": "data",
                    "region": HOME,
                    "account": "prod",
                    "options": {"bucket": "safe", "account": "vault", "delete": "yes"},
                }
            ],
            "generations": 3,
        },
    ],
}
Objects = dict[str, Any]


@dataclass
class Story:
    """What there is to look at afterwards."""

    sandbox: Sandbox
    here: Installation
    copies_killed: int = 0  # at the moment of the kill
    copies_first: int = 0  # when the first sync had ended
    first: Objects = field(default_factory=dict)
    second: Objects = field(default_factory=dict)
    restored: dict[str, Objects] = field(default_factory=dict)


def _s3(story: Story, account: str = PROD, region: str = HOME) -> Any:
    return story.sandbox.client(account, region, "s3")


def _make(story: Story) -> None:
    for account, region, name in ((PROD, HOME, "data"), (PROD, AWAY, "near"), (VAULT, FAR, "safe")):
        where = {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        _s3(story, account, region).create_bucket(Bucket=name, **where)
    s3 = _s3(story)
    s3.put_bucket_tagging(Bucket="data", Tagging={"TagSet": [{"Key": "backup", "Value": "gold"}]})
    on = {"Status": "Enabled"}
    _s3(story, VAULT, FAR).put_bucket_versioning(Bucket="safe", VersioningConfiguration=on)
    _lend(story, PROD, HOME, "data", VAULT)
    _lend(story, VAULT, FAR, "safe", PROD)
    for number in range(OBJECTS):
        more: dict[str, Any] = {"Metadata": {"number": str(number)}} if number % 2 else {}
        more |= {"Tagging": f"n={number}"} if number % 3 == 0 else {}
        more |= {"StorageClass": "STANDARD_IA"} if number % 5 == 0 else {}
        s3.put_object(
            Bucket="data", Key=f"f/{number:04} ä", Body=f"body {number}".encode(), ContentType="text/x", **more
        )


def _lend(story: Story, owner: str, region: str, bucket: str, to: str) -> None:
    """What docs/types/s3.md says that the reading account must be granted."""
    verbs = "ListBucket ListBucketVersions GetObject GetObjectVersion GetObjectTagging GetObjectVersionTagging"
    rule = {
        "Effect": "Allow",
        "Principal": {"AWS": ROLES[to]},
        "Action": [f"s3:{verb}" for verb in verbs.split()],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    _s3(story, owner, region).put_bucket_policy(Bucket=bucket, Policy=policy)


def _content(story: Story, bucket: str) -> Objects:
    """Everything about every object that a bucket shows."""
    s3, found = _s3(story), {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", ()):
            named = {"Bucket": bucket, "Key": one["Key"]}
            got, tags = s3.get_object(**named), s3.get_object_tagging(**named)["TagSet"]
            told = (got["Metadata"], got["ContentType"], got.get("StorageClass"), got["ServerSideEncryption"])
            found[one["Key"]] = (got["Body"].read(), tags, *told)
    return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Set up, sync with a kill, change, sync again, lose everything, restore."""
    process, url = start(**FAST, metering=False)
    sandbox = Sandbox(url, FAST)
    for arn in ROLES.values():
        sandbox.role(arn)
    home = tmp_path_factory.mktemp("buckets") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "retention_seconds": "1"}
    settings |= {
        "sync_keys": str(PART_KEYS),
        "lease_seconds": "3",
        "threads": "4",
        "discover_seconds": "5",
        "lost_seconds": "2",
    }
    told = Story(sandbox, Installation(home, sandbox.environment, **settings))
    try:
        _make(told)
        _sync(told)
        _lose(told)
        _restore(told)
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _sync(story: Story) -> None:
    here, cloud = story.here, story.sandbox
    here.type("init", "--yes")
    file = here.home.parent / "estate.yaml"
    file.write_text(yaml.safe_dump(ESTATE))
    here.type("apply", "-f", str(file))
    here.up()
    here.type("run", "near")
    here.until("some objects are copied", lambda: cloud.count("CopyObject", "ok") >= OBJECTS // 4)
    here.kill()
    story.copies_killed = cloud.count("CopyObject", "ok")
    here.up()

    def ended() -> Any:
        return next((one for one in here.type("runs") if one["state"] == "done"), None)

    here.until("the first sync has ended", ended)
    story.copies_first = cloud.count("CopyObject", "ok")
    assert here.type("run", "safe", "--wait")["state"] == "done"
    story.first = _content(story, "data")
    s3 = _s3(story)
    s3.put_object(Bucket="data", Key="f/0003 ä", Body=b"changed", Tagging="v=2", Metadata={"m": "2"})
    s3.put_object(Bucket="data", Key="new", Body=b"new", StorageClass="ONEZONE_IA")
    s3.delete_object(Bucket="data", Key="f/0004 ä")
    story.second = _content(story, "data")
    for policy in ("near", "safe"):
        assert here.type("run", policy, "--wait")["state"] == "done"


def _lose(story: Story) -> None:
    s3 = _s3(story)
    for key in story.second:
        s3.delete_object(Bucket="data", Key=key)
    s3.delete_bucket_policy(Bucket="data")
    s3.delete_bucket(Bucket="data")


def _restore(story: Story) -> None:
    points = [one for one in story.here.type("points") if one["state"] == "good"]
    near = [one["id"] for one in points if one["policy"] == "near"]
    safe = sorted((one["id"] for one in points if one["policy"] == "safe"), key=lambda name: int(name[3:]))
    assert (len(near), len(safe)) == (1, 2)
    for point, bucket in ((near[0], "data"), (safe[1], "from-safe"), (safe[0], "from-older")):
        words = ("restore", point, "--to", "bucket", "--set", f"bucket={bucket}")
        if bucket == "data":
            plan = story.here.type(*words, "--dry-run")
            assert any(f"has {OBJECTS} objects" in note for note in plan["notes"])
        assert story.here.type(*words, "--wait")["state"] == "done"
        story.restored[bucket] = _content(story, bucket)


def test_a_kill_in_the_middle_of_a_part_copies_nothing_twice(story: Story) -> None:
    """feature 25: beside the calls that were on their way when the process died."""
    assert 0 < story.copies_killed < OBJECTS
    assert OBJECTS <= story.copies_first <= OBJECTS + 16


@pytest.mark.parametrize("bucket", ["data", "from-safe"])
def test_what_comes_back_from_each_place_is_what_was_there_last(story: Story, bucket: str) -> None:
    """feature 25: content, tags, metadata, storage class; what was deleted before the last sync stays away."""
    assert story.restored[bucket] == story.second


def test_an_earlier_point_comes_back_as_of_its_time_where_versions_are_kept(story: Story) -> None:
    """feature 25"""
    assert story.restored["from-older"] == story.first
