"""EBS direct APIs, writing: snapshots started, filled block by block and completed."""

import base64
import hashlib

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.deploy.blocks import BLOCK, changed, checksum, content, data, put, reason, written
from tests.deploy.estate import HOME, PROD, VAULT, key, refused, shown, snapshot, volume


def test_a_written_snapshot_becomes_a_volume_with_its_data(sandbox):
    """AWS, "StartSnapshot": pending until completed, then a snapshot like any other; its volume id is arbitrary."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    tags = [{"Key": "job", "Value": "7"}]
    started = ebs.start_snapshot(VolumeSize=2, Description="rebuilt", Tags=tags)
    snap = started["SnapshotId"]
    assert (started["Status"], started["BlockSize"], started["OwnerId"]) == ("pending", BLOCK, PROD)
    assert put(ebs, snap, 3, data(3), Progress=40)["Checksum"] == checksum(data(3))
    view = shown(ec2, snap)
    assert (view["State"], view["Progress"], view["VolumeId"]) == ("pending", "40%", "vol-ffffffff")
    assert (view["Description"], view["Tags"], view["VolumeSize"]) == ("rebuilt", tags, 2)
    refused("IncorrectState", volume, ec2=ec2, size=2, SnapshotId=snap)
    put(ebs, snap, 4095, data(8))
    sandbox.configure(snapshot_seconds=30)
    assert ebs.complete_snapshot(SnapshotId=snap, ChangedBlocksCount=2)["Status"] == "pending"
    sandbox.advance(31)
    assert shown(ec2, snap)["State"] == "completed"
    vol = volume(ec2, 2, SnapshotId=snap)
    assert sandbox.read(PROD, HOME, vol, 3 * BLOCK, BLOCK) == data(3)
    assert sandbox.read(PROD, HOME, vol, 4095 * BLOCK, BLOCK) == data(8)
    assert sandbox.fingerprint(PROD, HOME, vol) == sandbox.fingerprint(PROD, HOME, snap)


def test_a_child_holds_its_parents_blocks_and_compares_with_it(sandbox):
    """AWS, "StartSnapshot": ParentSnapshotId makes an incremental snapshot; blocks not put are the parent's."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    vol = volume(ec2)
    for index in (0, 1, 2):
        sandbox.write(PROD, HOME, vol, index * BLOCK, data(index + 1))
    parent = snapshot(ec2, vol)
    child = written(ebs, {1: data(9), 2: bytes(BLOCK)}, size=2, ParentSnapshotId=parent)
    assert content(ebs, child) == {0: data(1), 1: data(9)}
    assert changed(ebs, parent, child) == {1: "12", 2: "1"}
    assert content(ebs, parent) == {i: data(i + 1) for i in range(3)}
    small = {"VolumeSize": 1, "ParentSnapshotId": child}
    reason("ValidationException", "INVALID_VOLUME_SIZE", ebs.start_snapshot, **small)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"Checksum": checksum(data(2))}, "INVALID_BLOCK"),
        ({"DataLength": 512}, "INVALID_BLOCK"),
        ({"ChecksumAlgorithm": "MD5"}, "INVALID_PARAMETER_VALUE"),
        ({"Progress": 101}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_block_that_is_not_what_it_says_is_refused(sandbox, wrong, why):
    """AWS, "PutSnapshotBlock": the checksum is validated, the only length is 524288, the algorithm is SHA256."""
    plain = sandbox.client(PROD, service="ebs", parameter_validation=False)
    snap = plain.start_snapshot(VolumeSize=1)["SnapshotId"]
    asked = {"DataLength": BLOCK, "Checksum": checksum(data(1)), "ChecksumAlgorithm": "SHA256"} | wrong
    block = {"SnapshotId": snap, "BlockIndex": 0, "BlockData": data(1)}
    reason("ValidationException", why, plain.put_snapshot_block, **block, **asked)
    refused("ValidationException", plain.complete_snapshot, SnapshotId=snap, ChangedBlocksCount=1)


def test_blocks_go_inside_the_volume_of_an_open_snapshot_only(sandbox):
    """AWS, "PutSnapshotBlock": the target must be pending; a completed snapshot takes no more blocks."""
    ebs, other = sandbox.client(PROD, service="ebs"), sandbox.client(VAULT, service="ebs")
    snap = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    block = {"BlockData": data(1), "DataLength": BLOCK, "Checksum": checksum(data(1)), "ChecksumAlgorithm": "SHA256"}
    outside = {"SnapshotId": snap, "BlockIndex": 2048, **block}
    reason("ValidationException", "INVALID_BLOCK", ebs.put_snapshot_block, **outside)
    inside = {"SnapshotId": snap, "BlockIndex": 2047, **block}
    reason("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", other.put_snapshot_block, **inside)
    ebs.put_snapshot_block(**inside)
    ebs.complete_snapshot(SnapshotId=snap, ChangedBlocksCount=1)
    reason("ValidationException", "INVALID_SNAPSHOT_ID", ebs.put_snapshot_block, **inside)


def test_a_completion_must_fit_what_was_written(sandbox):
    """AWS, "CompleteSnapshot": ChangedBlocksCount, and SHA-256 over the checksums in ascending order of the index."""
    ebs = sandbox.client(PROD, service="ebs")
    snap = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    for index in (5, 0, 300):
        put(ebs, snap, index, data(index))
    put(ebs, snap, 5, data(6))
    refused("ValidationException", ebs.complete_snapshot, SnapshotId=snap, ChangedBlocksCount=4)
    digests = [hashlib.sha256(data(n)).digest() for n in (0, 6, 300)]
    right = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    asked = {"SnapshotId": snap, "ChangedBlocksCount": 3, "ChecksumAlgorithm": "SHA256"}
    asked["ChecksumAggregationMethod"] = "LINEAR"
    refused("ValidationException", ebs.complete_snapshot, **asked, Checksum=checksum(b""))
    sandbox.fault("drop_after", operation="CompleteSnapshot", count=1)
    with pytest.raises(ConnectionClosedError):
        ebs.complete_snapshot(**asked, Checksum=right)
    assert ebs.complete_snapshot(**asked, Checksum=right)["Status"] == "completed"


def test_a_client_token_starts_one_snapshot(sandbox):
    """AWS, "Ensure idempotency in StartSnapshot API requests": ConflictException for other parameters."""
    ebs = sandbox.client(PROD, service="ebs")
    asked = {"VolumeSize": 1, "ClientToken": "job-7", "Timeout": 4320}
    sandbox.fault("drop_after", operation="StartSnapshot", count=1)
    with pytest.raises(ConnectionClosedError):
        ebs.start_snapshot(**asked)
    first = ebs.start_snapshot(**asked)["SnapshotId"]
    assert ebs.start_snapshot(**asked)["SnapshotId"] == first
    assert sandbox.state(PROD, HOME)["snapshots"] == [first]
    refused("ConflictException", ebs.start_snapshot, **asked | {"VolumeSize": 2})
    assert sandbox.client(VAULT, service="ebs").start_snapshot(**asked)["SnapshotId"] != first


def test_a_snapshot_that_is_left_alone_is_cancelled(sandbox):
    """AWS, "StartSnapshot": Timeout, 60 minutes by default, counts from the start and from the last block."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    idle, busy = (ebs.start_snapshot(VolumeSize=1)["SnapshotId"] for _ in "ab")
    sandbox.advance(50 * 60)
    put(ebs, busy, 0, data(1))
    sandbox.advance(20 * 60)
    assert [shown(ec2, s)["State"] for s in (idle, busy)] == ["error", "pending"]
    block = {"BlockData": data(1), "DataLength": BLOCK, "Checksum": checksum(data(1)), "ChecksumAlgorithm": "SHA256"}
    late = {"SnapshotId": idle, "BlockIndex": 0, **block}
    reason("ValidationException", "WRITE_REQUEST_TIMEOUT", ebs.put_snapshot_block, **late)
    ebs.complete_snapshot(SnapshotId=busy, ChangedBlocksCount=1)
    assert shown(ec2, busy)["State"] == "completed"


def test_a_started_snapshot_can_be_thrown_away(sandbox):
    """AWS, "DeleteSnapshot": what was begun and is no longer wanted is deleted, not waited for."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    snap = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=snap)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snap])
    refused("ResourceNotFoundException", ebs.complete_snapshot, SnapshotId=snap, ChangedBlocksCount=0)


def test_encryption_of_a_started_snapshot_follows_the_outcome_tables(sandbox):
    """AWS, "Encryption outcomes for EBS direct APIs"."""
    ec2, ebs = sandbox.client(PROD), sandbox.client(PROD, service="ebs")
    arn = key(sandbox, PROD, HOME)
    plain, closed = written(ebs, {}), written(ebs, {}, Encrypted=True, KmsKeyArn=arn)
    assert (shown(ec2, plain)["Encrypted"], shown(ec2, closed).get("KmsKeyId")) == (False, arn)
    assert ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=closed)["KmsKeyArn"] == arn
    assert ":key/" in ebs.start_snapshot(VolumeSize=1, Encrypted=True)["KmsKeyArn"]
    for wrong in (
        {"KmsKeyArn": arn},
        {"Encrypted": False, "KmsKeyArn": arn},
        {"ParentSnapshotId": plain, "Encrypted": True},
        {"ParentSnapshotId": closed, "KmsKeyArn": arn},
    ):
        refused("ValidationException", ebs.start_snapshot, VolumeSize=1, **wrong)
    ec2.enable_ebs_encryption_by_default()
    assert "KmsKeyArn" in ebs.start_snapshot(VolumeSize=1)
    refused("ValidationException", ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=plain)
    ec2.disable_ebs_encryption_by_default()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"VolumeSize": 65_537}, "INVALID_VOLUME_SIZE"),
        ({"VolumeSize": 1, "Timeout": 9}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ({"VolumeSize": 1, "Tags": [{"Key": "aws:x", "Value": ""}]}, "INVALID_TAG"),
        ({"VolumeSize": 1, "Tags": [{"Key": "k" * 128, "Value": ""}]}, "INVALID_TAG"),
    ],
)
def test_a_start_outside_the_limits_is_refused(sandbox, wrong, why):
    """AWS, "StartSnapshot": sizes to 65536 GiB, Timeout 10 to 4320 minutes, tag keys to 127 characters."""
    plain = sandbox.client(PROD, service="ebs", parameter_validation=False)
    reason("ValidationException", why, plain.start_snapshot, **wrong)


def test_an_account_has_a_limited_number_of_pending_snapshots(sandbox):
    """AWS, "Amazon EBS endpoints and quotas": 100 pending snapshots per account."""
    sandbox.configure(ebs_pending_snapshots=2)
    ebs = sandbox.client(PROD, service="ebs")
    first, _ = (ebs.start_snapshot(VolumeSize=1)["SnapshotId"] for _ in "ab")
    refused("ServiceQuotaExceededException", ebs.start_snapshot, VolumeSize=1)
    ebs.complete_snapshot(SnapshotId=first, ChangedBlocksCount=0)
    ebs.start_snapshot(VolumeSize=1)
    assert sandbox.ask("GET", "config")["ebs_pending_snapshots"] == 2
