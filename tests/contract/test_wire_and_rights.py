"""Every call of every driver's whole life: what it carries on the wire, and that its role is allowed this and no more.

Feature 75, feature 93, feature 66. The emulated cloud records calls as they arrive, and refuses what a role lacks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tasks.resources import TYPES
from tasks.resources.rights import DUTIES, granted, is_read, limits_of
from tests.contract import lives
from tests.contract.journeys import Journey, duty_of, emulated, used
from tests.contract.wire import TAG, TOKENLESS, WIRE, named
from tests.sandbox import Sandbox

# Granted and not called by us, with the reason. AWS checks these in the caller's name, inside another call.
IN_OUR_NAME = {
    "kms:CreateGrant": "keys of what is encrypted",
    "kms:Decrypt": "keys of what is encrypted",
    "kms:DescribeKey": "keys of what is encrypted",
    "kms:GenerateDataKey": "keys of what is encrypted",
    "kms:GenerateDataKeyWithoutPlaintext": "keys of what is encrypted",
    "kms:ReEncryptFrom": "keys of what is encrypted",
    "kms:ReEncryptTo": "keys of what is encrypted",
    "iam:PassRole": "roles that are named in a call",
    "iam:CreateServiceLinkedRole": "FSx, at its first file system",
    "ec2:CreateTags": "tags in a creating call",
    "rds:AddTagsToResource": "tags in a creating call",
    "fsx:TagResource": "tags in a creating call",
    "redshift:CreateTags": "tags in a creating call",
    "redshift-serverless:TagResource": "tags in a creating call",
    "backup:TagResource": "tags in a creating call",
    "backup:CopyIntoBackupVault": "a copy's destination",
    "backup-storage:MountCapsule": "a vault under a key",
    "elasticfilesystem:Backup": "AWS Backup of EFS",
    "elasticfilesystem:Restore": "AWS Backup of EFS",
    "elasticfilesystem:CreateFileSystem": "AWS Backup of EFS",
    "dynamodb:StartAwsBackupJob": "AWS Backup of DynamoDB",
    "dynamodb:RestoreTableFromAwsBackup": "AWS Backup of DynamoDB",
    "dynamodb:BatchWriteItem": "a restore writes items",
    "dynamodb:DeleteItem": "a restore writes items",
    "dynamodb:GetItem": "a restore writes items",
    "dynamodb:PutItem": "a restore writes items",
    "dynamodb:Query": "a restore writes items",
    "dynamodb:Scan": "a restore writes items",
    "dynamodb:UpdateItem": "a restore writes items",
    "ec2:CreateNetworkInterface": "file systems have interfaces",
    "ec2:DescribeSubnets": "file systems have interfaces",
    "ec2:DescribeNetworkInterfaces": "file systems have interfaces",
    "ds:DescribeDirectories": "Windows joins a directory",
}
# Called, but not in these lives; where it is proved.
ELSEWHERE = {
    "backup:ListRestoreJobs": "many restores at once: test_efs_driver",
    "s3:GetObjectTagging/rds": "exported objects that somebody has tagged: CopyObject asks for it",
    "ec2:CreateSnapshot/instance": "more than 40 excluded volumes: test_instance_driver",
    "ec2:ModifyInstanceAttribute/volume": "a volume that ends with its machine: test_ec2_restore",
    "ec2:CreateReplaceRootVolumeTask/volume": "a root in place without stopping: test_ec2_restore",
    "ec2:DescribeReplaceRootVolumeTasks": "a root in place without stopping: test_ec2_restore",
    "ec2:DescribeSnapshots": "what comes from an archive: tests/integration",
    "ebs:ListSnapshotBlocks": "archives: tests/integration, tests/workers/repository",
    "ebs:ListChangedBlocks": "archives: tests/integration, tests/workers/repository",
    "ebs:GetSnapshotBlock": "archives: tests/integration, tests/workers/repository",
    "ebs:StartSnapshot": "archives: test_repository_wire, tests/integration",
    "ebs:PutSnapshotBlock": "archives: test_repository_wire, tests/integration",
    "ebs:CompleteSnapshot": "archives: test_repository_wire, tests/integration",
    "s3:DeleteObject": "the sandbox names S3's calls by method: test_rds_exports",
    "s3:ListBucketVersions": "the sandbox names S3's calls by method: test_rds_exports",
    "s3:DeleteObjectVersion": "the sandbox names S3's calls by method: test_rds_exports",
}


@pytest.fixture(scope="module")
def journeys(sandbox_process: Sandbox) -> Iterator[Mapping[str, list[Journey]]]:
    """The life of every type, once."""
    with emulated(sandbox_process) as cloud:
        made = {}
        for kind in lives.TYPES:
            cloud.reset()
            made[kind] = list(lives.live(cloud, kind))
        yield made


def calls_of(journeys: Mapping[str, list[Journey]], *kinds: str) -> list[dict[str, Any]]:
    return [call for kind in kinds or journeys for one in journeys[kind] for call in one.calls]


@pytest.mark.parametrize("kind", lives.TYPES)
def test_actions_used_are_actions_granted(journeys: Mapping[str, list[Journey]], kind: str) -> None:
    """Feature 75: for each role; the difference is named."""
    calls = calls_of(journeys, kind)
    for duty in DUTIES:
        allowed, called = set(granted([TYPES[kind]], duty)), used(calls, duty)
        known = {*IN_OUR_NAME, *(one.split("/")[0] for one in ELSEWHERE if one.split("/")[-1] in (one, kind))}
        assert (duty, called - allowed, allowed - called - known) == (duty, set(), set())


def test_every_exception_is_still_granted_to_some_role() -> None:
    """An exception that nobody needs any more is a hole in the comparison."""
    every = {action for kind in lives.TYPES for duty in DUTIES for action in granted([TYPES[kind]], duty)}
    assert {one.split("/")[0] for one in {*IN_OUR_NAME, *ELSEWHERE}} - every == set()


def test_no_role_was_refused_anything(journeys: Mapping[str, list[Journey]]) -> None:
    refused = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}
    real = [one for one in calls_of(journeys) if "DryRun" not in one["parameters"]]
    assert [one for one in real if one["outcome"] in refused] == []


def test_only_the_cleanup_role_deletes(journeys: Mapping[str, list[Journey]]) -> None:
    """Feature 66."""
    deleting = {(duty_of(one), one["operation"]) for one in calls_of(journeys)
                if one["operation"].startswith(("Delete", "Terminate", "Deregister"))
                and "DryRun" not in one["parameters"]}  # fmt: skip
    assert {duty for duty, _ in deleting} == {"cleanup"}
    assert len(deleting) > 10


def changing(journeys: Mapping[str, list[Journey]]) -> list[dict[str, Any]]:
    return [
        one
        for one in calls_of(journeys)
        if not is_read(f"{one['service']}:{one['operation']}")
        and one["service"] not in ("iam", "sts", "kms")
        and not one["operation"].startswith("Head")
        and "DryRun" not in one["parameters"]
    ]


def test_every_call_that_changes_something_carries_what_aws_demands(journeys: Mapping[str, list[Journey]]) -> None:
    """The wire: names, tags, tokens, types of volumes, keys; one table for all drivers."""
    wrong, unknown = set(), set()
    for call in changing(journeys):
        rules = WIRE.get(named(call["service"], call["operation"]), ())
        if not rules:
            unknown.add(f"{call['service']}:{call['operation']}")
            continue
        wrong |= {(call["operation"], words) for words, holds in rules if not holds(call["parameters"])}
    assert (wrong, unknown) == (set(), set())


def test_every_rule_of_the_wire_was_put_to_a_call(journeys: Mapping[str, list[Journey]]) -> None:
    """A rule that no life comes to says nothing about its call."""
    assert set(WIRE) - {named(call["service"], call["operation"]) for call in changing(journeys)} == set()


def test_what_only_our_tag_lets_a_role_make_carries_it(journeys: Mapping[str, list[Journey]]) -> None:
    """Feature 75: a condition on the tags of a request would refuse a call without them."""
    bare = set()
    for call in changing(journeys):
        action, duty = f"{call['service']}:{call['operation']}", duty_of(call)
        wanted = any(limit.condition == "tagged" for limit in limits_of(action, duty))
        if wanted and TAG not in str(call["parameters"]):
            bare.add(action)
    assert bare == set()


def test_no_create_without_a_token_goes_out_twice_for_one_wish(journeys: Mapping[str, list[Journey]]) -> None:
    """Every start was repeated, as after a lost answer: what has no token is looked for first."""
    sent = Counter(
        (kind, number, call["operation"], call["region"], call["account"], str(sorted(call["parameters"].items())))
        for kind, some in journeys.items()
        for number, one in enumerate(some)
        for call in one.calls
        if named(call["service"], call["operation"]) in TOKENLESS and call["outcome"] == "ok"
    )
    assert sent
    assert [one for one, times in sent.items() if times > 1] == []


def test_copies_to_another_region_are_asked_of_the_destination_with_their_source(
    journeys: Mapping[str, list[Journey]],
) -> None:
    """CopySnapshot and CopyDBSnapshot are the destination's; with SourceRegion the SDK signs a URL for RDS."""
    for kind, operation in (("rds", "CopyDBSnapshot"), ("aurora", "CopyDBClusterSnapshot"), ("volume", "CopySnapshot")):
        away = [
            one for one in calls_of(journeys, kind) if one["operation"] == operation and one["region"] == "eu-west-1"
        ]
        assert away
        for one in away:
            asked = one["parameters"]
            assert asked.get("SourceRegion") == "us-east-1" or "us-east-1" in str(asked.get("PreSignedUrl"))
