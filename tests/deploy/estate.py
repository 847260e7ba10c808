"""Accounts, keys and shorthands that the sandbox's tests share."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

HOME, AWAY = "us-east-1", "eu-west-1"
PROD, VAULT = "111111111111", "222222222222"


def refused(code: str, function: Callable, **parameters: Any) -> str:
    """Call an operation that must fail with `code`; its message."""
    with pytest.raises(ClientError) as caught:
        function(**parameters)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value.response["Error"]["Message"]


def key(sandbox: Any, account: str, region: str, *accounts: str) -> str:
    """ARN of a new customer key whose policy names its own account and `accounts`."""
    who = [f"arn:aws:iam::{a}:root" for a in (account, *accounts)]
    statement = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return sandbox.client(account, region, "kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]


def volume(ec2: Any, size: int = 1, **parameters: Any) -> str:
    asked = {"AvailabilityZone": ec2.meta.region_name + "a", "Size": size, "VolumeType": "gp3"} | parameters
    return ec2.create_volume(**asked)["VolumeId"]


def snapshot(ec2: Any, volume_id: str, **parameters: Any) -> str:
    return ec2.create_snapshot(VolumeId=volume_id, **parameters)["SnapshotId"]


def shown(ec2: Any, snapshot_id: str) -> dict:
    return ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"][0]


def tags(kind: str, **pairs: str) -> list[dict]:
    """TagSpecifications for one resource type."""
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in pairs.items()]}]


def share(ec2: Any, snapshot_id: str, *accounts: str) -> None:
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot_id, Attribute="createVolumePermission", OperationType="add", UserIds=list(accounts)
    )


def eventually(probe: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first true answer of `probe` within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer or time.monotonic() > until:
            return answer
        time.sleep(0.05)
