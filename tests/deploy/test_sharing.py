"""Sharing. "Share an Amazon EBS snapshot": EBS user guide; "ModifySnapshotAttribute": EC2 API reference."""

from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused, share, shown, snapshot, tags, volume


def test_a_snapshot_is_unknown_to_another_account_until_it_is_shared(sandbox):
    """ModifySnapshotAttribute, createVolumePermission: then the other account may describe, restore and copy it."""
    prod, vault = sandbox.client(PROD), sandbox.client(VAULT)
    source = volume(prod)
    sandbox.write(PROD, HOME, source, 0, b"shared")
    snap = snapshot(prod, source, TagSpecifications=tags("snapshot", secret="ours"))
    refused("InvalidSnapshot.NotFound", vault.describe_snapshots, SnapshotIds=[snap])
    refused("InvalidSnapshot.NotFound", vault.create_volume, AvailabilityZone="us-east-1a", SnapshotId=snap)
    share(prod, snap, VAULT)
    assert shown(vault, snap)["Tags"] == []
    made = vault.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snap)["VolumeId"]
    assert sandbox.read(VAULT, HOME, made, 0, 6) == b"shared"
    refused("InvalidSnapshot.NotFound", vault.delete_snapshot, SnapshotId=snap)
    prod.modify_snapshot_attribute(
        SnapshotId=snap, Attribute="createVolumePermission", OperationType="remove", UserIds=[VAULT]
    )
    refused("InvalidSnapshot.NotFound", vault.describe_snapshots, SnapshotIds=[snap])


def test_shared_snapshots_are_listed_by_permission_and_not_as_ones_own(sandbox):
    """DescribeSnapshots: RestorableByUserIds lists what a user may restore; OwnerIds self only what it owns."""
    prod, vault = sandbox.client(PROD), sandbox.client(VAULT)
    snap = snapshot(prod, volume(prod))
    share(prod, snap, VAULT)
    assert vault.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    listed = vault.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]
    assert [s["SnapshotId"] for s in listed] == [snap]
    assert [s["OwnerId"] for s in vault.describe_snapshots(OwnerIds=[PROD])["Snapshots"]] == [PROD]
    granted = prod.describe_snapshot_attribute(SnapshotId=snap, Attribute="createVolumePermission")
    assert granted["CreateVolumePermissions"] == [{"UserId": VAULT}]


def test_encryption_limits_sharing(sandbox):
    """AWS, "Encrypted snapshots": the default key cannot leave its account, an encrypted snapshot cannot be public."""
    ec2 = sandbox.client(PROD)
    default = snapshot(ec2, volume(ec2, Encrypted=True))
    custom = snapshot(ec2, volume(ec2, Encrypted=True, KmsKeyId=key(sandbox, PROD, HOME)))
    asked = {"Attribute": "createVolumePermission", "OperationType": "add"}
    refused("OperationNotPermitted", ec2.modify_snapshot_attribute, SnapshotId=default, UserIds=[VAULT], **asked)
    refused("OperationNotPermitted", ec2.modify_snapshot_attribute, SnapshotId=custom, GroupNames=["all"], **asked)
    share(ec2, custom, VAULT)
    ec2.modify_snapshot_attribute(SnapshotId=custom, CreateVolumePermission={"Remove": [{"UserId": VAULT}]})


def test_a_share_holds_in_the_snapshots_own_region_only(sandbox):
    """Snapshots are regional: a shared one is seen, and copied from, in its own region."""
    prod = sandbox.client(PROD)
    snap = snapshot(prod, volume(prod))
    share(prod, snap, VAULT)
    away = sandbox.client(VAULT, AWAY)
    refused("InvalidSnapshot.NotFound", away.describe_snapshots, SnapshotIds=[snap])
    copy = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snap)["SnapshotId"]
    assert shown(away, copy)["OwnerId"] == VAULT


def test_a_key_is_described_by_another_account_only_if_its_policy_says_so(sandbox):
    """AWS, "Allowing users in other accounts to use a KMS key" (KMS developer guide)."""
    vault = sandbox.client(VAULT, HOME, "kms")
    opened = key(sandbox, PROD, HOME, VAULT)
    assert vault.describe_key(KeyId=opened)["KeyMetadata"]["Arn"] == opened
    refused("AccessDeniedException", vault.describe_key, KeyId=key(sandbox, PROD, HOME))
