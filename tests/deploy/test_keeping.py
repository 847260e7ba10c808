"""Locks and the archive tier. "Amazon EBS snapshot lock", "Archive Amazon EBS snapshots": EBS user guide."""

from tests.deploy.estate import PROD, VAULT, refused, share, shown, snapshot, volume

DAY = 86_400


def test_a_locked_snapshot_is_not_deleted_before_its_time(sandbox):
    """LockSnapshot: works on pending snapshots too; DeleteSnapshot is refused until the lock expires."""
    sandbox.configure(snapshot_seconds=60)
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    asked = {"SnapshotId": snap, "LockMode": "governance"}
    refused("InvalidParameterCombination", ec2.lock_snapshot, **asked)
    refused("InvalidParameterValue", ec2.lock_snapshot, LockDuration=36501, **asked)
    ec2.lock_snapshot(LockDuration=2, **asked)
    sandbox.advance(61)
    refused("SnapshotLocked", ec2.delete_snapshot, SnapshotId=snap)
    listed = ec2.describe_locked_snapshots()["Snapshots"]
    assert [(s["SnapshotId"], s["LockState"], s["LockDuration"]) for s in listed] == [(snap, "governance", 2)]
    sandbox.advance(2 * DAY)
    assert ec2.describe_locked_snapshots()["Snapshots"][0]["LockState"] == "expired"
    ec2.delete_snapshot(SnapshotId=snap)


def test_compliance_cannot_be_undone_after_cooling_off(sandbox):
    """LockSnapshot, compliance: after CoolOffPeriod the lock can be extended, never shortened or removed."""
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    asked = {"SnapshotId": snap, "LockMode": "compliance"}
    state = ec2.lock_snapshot(LockDuration=10, CoolOffPeriod=1, **asked)["LockState"]
    assert state == "compliance-cooloff"
    ec2.unlock_snapshot(SnapshotId=snap)
    ec2.lock_snapshot(LockDuration=10, CoolOffPeriod=1, **asked)
    sandbox.advance(3601)
    refused("SnapshotLocked", ec2.unlock_snapshot, SnapshotId=snap)
    refused("SnapshotLocked", ec2.lock_snapshot, LockDuration=5, **asked)
    ec2.lock_snapshot(LockDuration=20, **asked)


def test_an_archived_snapshot_must_be_restored_before_it_is_used(sandbox):
    """ModifySnapshotTier, RestoreSnapshotTier: archival takes time, ends sharing, and blocks use until restored."""
    sandbox.configure(tier_seconds=3600)
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    share(ec2, snap, VAULT)
    ec2.modify_snapshot_tier(SnapshotId=snap, StorageTier="archive")

    def status():
        row = ec2.describe_snapshot_tier_status(Filters=[{"Name": "snapshot-id", "Values": [snap]}])
        return row["SnapshotTierStatuses"][0]["LastTieringOperationStatus"]

    assert status() == "archival-in-progress"
    refused("InvalidSnapshot.NotFound", sandbox.client(VAULT).describe_snapshots, SnapshotIds=[snap])
    sandbox.advance(3601)
    assert (status(), shown(ec2, snap)["StorageTier"]) == ("archival-completed", "archive")
    refused("IncorrectState", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=snap)
    refused("IncorrectState", ec2.copy_snapshot, SourceRegion="us-east-1", SourceSnapshotId=snap)
    refused("InvalidParameterCombination", ec2.restore_snapshot_tier, SnapshotId=snap)
    ec2.restore_snapshot_tier(SnapshotId=snap, TemporaryRestoreDays=1)
    assert status() == "temporary-restore-in-progress"
    sandbox.advance(3601)
    volume(ec2, SnapshotId=snap)
    sandbox.advance(DAY)
    refused("IncorrectState", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=snap)


def test_a_snapshot_of_an_image_is_not_archived(sandbox):
    """AWS, "Archive Amazon EBS snapshots", considerations: snapshots of a registered image cannot be archived."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=0)
    made = ec2.create_image(InstanceId=machine["InstanceId"], Name="kept", NoReboot=True)["ImageId"]
    image = ec2.describe_images(ImageIds=[made])["Images"][0]
    root = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    refused("InvalidSnapshot.InUse", ec2.modify_snapshot_tier, SnapshotId=root, StorageTier="archive")
