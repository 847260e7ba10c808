"""One `snapfleet up` that enters its accounts by three roles, each allowed what `snapfleet iam policy` prints, no more.

A database is backed up, copied to another account, exported to S3, aged, lost and restored; a volume as well. Rights
come from the command itself, so that what is printed is what is tried.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tasks.resources.rights import is_read
from tests.contract.databases import make_instance
from tests.sandbox import FAST, SOON, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME = "111111111111", "222222222222", "us-east-1"
BUCKET, EXPORTER, ALIAS = "acme-exports", f"arn:aws:iam::{PROD}:role/exports", "alias/estate"
FIELDS = {"snapshot": "role_arn", "cleanup": "cleanup_role_arn", "restore": "restore_role_arn"}


def arns(number: str) -> dict[str, str]:
    return {entry: f"arn:aws:iam::{number}:role/snapfleet-{duty}" for duty, entry in FIELDS.items()}


ESTATE = {
    "version": 1,
    "accounts": [
        {"name": "prod", **arns(PROD), "regions": [HOME]},
        {"name": "vault", "kind": "dr", **arns(VAULT), "regions": [HOME]},
    ],
    "policies": [
        {
            "name": "books",
            "targets": [{"tag": {"backup": "gold"}, "types": ["rds"], "accounts": ["prod"]}],
            "generations": 1,
            "dr": [{"account": "vault", "region": HOME, "kms_key": ALIAS}],
            "export": {
                "bucket": BUCKET,
                "prefix": "books",
                "role_arn": EXPORTER,
                "kms_key": ALIAS,
                "generations": 1,
                "class": "glacier-ir",
            },
        },
        {
            "name": "disks",
            "targets": [{"tag": {"backup": "gold"}, "types": ["volume"], "accounts": ["prod"]}],
            "generations": 1,
            "dr": [{"account": "vault", "region": HOME}],
        },
    ],
}


@dataclass
class Story:
    """What there is to look at afterwards."""

    sandbox: Sandbox
    here: Installation
    points: list[dict[str, Any]] = field(default_factory=list)
    exports: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    checked: list[dict[str, Any]] = field(default_factory=list)


def _key(sandbox: Sandbox, account: str) -> str:
    who = [f"arn:aws:iam::{one}:root" for one in (PROD, VAULT)]
    allow = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
    kms = sandbox.client(account, HOME, "kms")
    made = kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))["KeyMetadata"]
    kms.create_alias(AliasName=ALIAS, TargetKeyId=made["KeyId"])
    return str(made["Arn"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Set up by what the program prints, back up twice, lose, restore."""
    process, url = start(**FAST, **SOON, snapshot_interval_seconds=0.0, metering=False)
    sandbox = Sandbox(url, FAST)
    sandbox.role(EXPORTER)
    sandbox.client(PROD, HOME, "s3").create_bucket(Bucket=BUCKET)
    keys = {account: _key(sandbox, account) for account in (PROD, VAULT)}
    gold = [{"Key": "backup", "Value": "gold"}]
    make_instance(sandbox, "shop", StorageEncrypted=True, KmsKeyId=keys[PROD], Tags=gold)
    sandbox.client(PROD, HOME).create_volume(
        AvailabilityZone=f"{HOME}a", Size=1, VolumeType="gp3",
        TagSpecifications=[{"ResourceType": "volume", "Tags": gold}],
    )  # fmt: skip
    home = tmp_path_factory.mktemp("rights") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "retention_seconds": "1"}
    told = Story(sandbox, Installation(home, sandbox.environment, **settings))
    try:
        _set_up(told)
        _protect(told)
        _lose_and_restore(told)
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _set_up(story: Story) -> None:
    here = story.here
    here.type("init", "--yes")
    file = here.home.parent / "estate.yaml"
    file.write_text(yaml.safe_dump(ESTATE))
    here.type("apply", "-f", str(file))
    for name, number in (("prod", PROD), ("vault", VAULT)):
        for duty, entry in FIELDS.items():
            printed = here.type("iam", "policy", name, "--role", duty)
            allowed = [action for one in printed for part in one["policy"]["Statement"] for action in part["Action"]]
            story.sandbox.role(arns(number)[entry], allowed=allowed)
    here.up()


def _protect(story: Story) -> None:
    here = story.here
    for turn in range(2):
        for policy in ("books", "disks"):
            assert here.type("run", policy, "--wait")["state"] == "done"
        if turn == 0:
            story.sandbox.write_rows(PROD, HOME, "shop", "later", "second rows")

    def settled() -> list[dict[str, Any]]:
        points = [one for one in here.type("points") if one["state"] == "good"]
        lines = {(one["type"], one["destination"]) for one in points}
        return points if len(points) == len(lines) == 5 else []

    story.points = here.until("the first generation is gone everywhere", settled, 120)
    story.exports = [one for one in story.points if one["destination"] == f"export:{BUCKET}"]
    story.checked = here.type("account", "check", "prod")


def _lose_and_restore(story: Story) -> None:
    story.sandbox.destroy(PROD, HOME, "shop")
    for point in story.points:
        if point["type"] == "rds" and point not in story.exports:
            name = f"back-{len(story.rows)}"
            story.here.type("restore", point["id"], "--to", "database", "--set", f"id={name}", "--wait")
            account = VAULT if point["destination"] else PROD
            story.rows[point["destination"]] = story.sandbox.rows(account, HOME, name)
        elif point["type"] == "volume":
            story.here.type("restore", point["id"], "--to", "volume", "--zone", f"{HOME}a", "--wait")


def _role(call: dict[str, Any]) -> str:
    named = call["principal"].split("/")
    return named[1] if len(named) > 2 else ""


def test_no_role_was_refused_anything_and_one_alone_deleted(story: Story) -> None:
    """Feature 75: what is printed is enough for all of it, and no role both creates and deletes."""
    calls = [one for one in story.sandbox.calls(recent=5000) if _role(one) and "DryRun" not in one["parameters"]]
    changing = [
        one for one in calls if not is_read(f"{one['service']}:{one['operation']}")
    ]  # not reads of unused types
    codes = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}
    assert [(_role(one), one["operation"]) for one in changing if one["outcome"] in codes] == []
    deleting = {_role(one) for one in calls if one["operation"].startswith("Delete")}
    creating = {_role(one) for one in calls if one["operation"].startswith(("CreateDB", "CreateSnapshot", "CopyDB"))}
    restoring = {_role(one) for one in calls if one["operation"].startswith(("RestoreDB", "CreateVolume"))}
    assert (deleting, creating, restoring) == (
        {"snapfleet-cleanup"}, {"snapfleet-snapshot"}, {"snapfleet-restore"}
    )  # fmt: skip


def test_the_check_of_the_account_finds_nothing_missing_in_any_role(story: Story) -> None:
    """Feature 93."""
    assert {row["outcome"] for row in story.checked} == {"OK"}, [r for r in story.checked if r["outcome"] != "OK"]
    assert {row["role"] for row in story.checked} >= {"snapshot", "cleanup", "restore"}


def test_databases_come_back_from_both_places(story: Story) -> None:
    wanted = {"orders": "rows of shop", "later": "second rows"}
    assert story.rows == {"": wanted, f"vault/{HOME}": wanted}


def test_an_export_holds_the_rows_and_the_one_before_it_is_gone(story: Story) -> None:
    """Feature 42: RDS to object storage, as Parquet, moved to the class that the policy names."""
    s3 = story.sandbox.client(PROD, HOME, "s3")
    held = {
        one["Key"]: s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
        for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    }
    assert b"second rows" in held.values()
    listed = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert {one["StorageClass"] for one in listed} == {"GLACIER_IR"}
    assert len({key.split("/")[1] for key in held}) == 1


def test_nothing_is_restored_from_an_export_and_the_reason_is_told(story: Story) -> None:
    (export,) = story.exports
    story.here.type("restore", export["id"], "--to", "database", "--set", "id=x", accept=(1, 2, 4))
    assert "tables as Parquet, for reading" in "".join(story.here.said[-2:])
