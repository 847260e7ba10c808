"""CopySnapshot of the sandbox. "CopySnapshot": EC2 API reference; "Copy an Amazon EBS snapshot": EBS user guide."""

from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused, share, shown, snapshot, tags, volume


def test_a_copy_is_called_in_the_destination_and_has_the_same_bytes(sandbox):
    """CopySnapshot: sent to the destination endpoint; "a copy has an arbitrary volume ID"; tags are not copied."""
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    source = volume(home)
    sandbox.write(PROD, HOME, source, 700_000, b"cross the sea")
    snap = snapshot(home, source, TagSpecifications=tags("snapshot", mine="1"))
    copy = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snap, TagSpecifications=tags("snapshot", step="7"))[
        "SnapshotId"
    ]
    held = shown(away, copy)
    assert held["VolumeId"] == "vol-ffffffff"
    assert held["Tags"] == [{"Key": "step", "Value": "7"}]
    assert sandbox.sha256(PROD, AWAY, copy) == sandbox.sha256(PROD, HOME, snap)
    refused("InvalidSnapshot.NotFound", home.copy_snapshot, SourceRegion=AWAY, SourceSnapshotId=snap)


def test_only_a_completed_snapshot_is_copied(sandbox):
    """CopySnapshot: the source must be in the completed state (IncorrectState)."""
    sandbox.configure(snapshot_seconds=60)
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    refused("IncorrectState", sandbox.client(PROD, AWAY).copy_snapshot, SourceRegion=HOME, SourceSnapshotId=snap)


def test_what_a_request_may_say_about_encryption(sandbox):
    """CopySnapshot: KmsKeyId requires Encrypted; "You cannot set this parameter to false"."""
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    asked = {"SourceRegion": HOME, "SourceSnapshotId": snapshot(home, volume(home))}
    refused("InvalidParameterDependency", away.copy_snapshot, KmsKeyId=key(sandbox, PROD, AWAY), **asked)
    refused("InvalidParameterValue", away.copy_snapshot, Encrypted=False, **asked)
    plain = away.copy_snapshot(**asked)["SnapshotId"]
    sealed = away.copy_snapshot(Encrypted=True, **asked)["SnapshotId"]
    assert shown(away, plain)["Encrypted"] is False
    kms = sandbox.client(PROD, AWAY, "kms")
    assert kms.describe_key(KeyId=shown(away, sealed)["KmsKeyId"])["KeyMetadata"]["KeyManager"] == "AWS"


def test_an_encrypted_source_without_a_key_lands_under_the_default_key(sandbox):
    """CopySnapshot: "Copies of encrypted snapshots are encrypted, even if you omit this parameter"."""
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    source = volume(home, Encrypted=True, KmsKeyId=key(sandbox, PROD, HOME))
    copy = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snapshot(home, source))["SnapshotId"]
    held = shown(away, copy)
    assert held["Encrypted"] is True
    assert held["KmsKeyId"].startswith(f"arn:aws:kms:{AWAY}:{PROD}:")
    asked = {"SnapshotId": copy, "Attribute": "createVolumePermission", "OperationType": "add", "UserIds": [VAULT]}
    refused("OperationNotPermitted", away.modify_snapshot_attribute, **asked)


def test_a_key_that_cannot_be_used_shows_only_later_as_an_error(sandbox):
    """CopySnapshot, KmsKeyId: the action completes, the copy ends in error, "Given key ID is not accessible"."""
    sandbox.configure(copy_seconds=30)
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    snap = snapshot(home, volume(home))
    disabled = key(sandbox, PROD, AWAY)
    sandbox.client(PROD, AWAY, "kms").disable_key(KeyId=disabled)
    for bad in ("alias/no-such-key", key(sandbox, VAULT, AWAY), disabled):
        asked = {"SourceRegion": HOME, "SourceSnapshotId": snap, "Encrypted": True, "KmsKeyId": bad}
        copy = away.copy_snapshot(**asked)["SnapshotId"]
        assert shown(away, copy)["State"] == "pending"
        sandbox.advance(31)
        held = shown(away, copy)
        assert (held["State"], held["StateMessage"]) == ("error", "Given key ID is not accessible")


def test_a_shared_encrypted_snapshot_needs_a_key_policy_that_lets_the_other_account_in(sandbox):
    """AWS, "Share the KMS key used to encrypt a shared Amazon EBS snapshot" (EBS user guide)."""
    home, vault = sandbox.client(PROD, HOME), sandbox.client(VAULT, AWAY)
    for allowed, state in (((VAULT,), "completed"), ((), "error")):
        source = volume(home, Encrypted=True, KmsKeyId=key(sandbox, PROD, HOME, *allowed))
        snap = snapshot(home, source)
        share(home, snap, VAULT)
        asked = {"SourceRegion": HOME, "SourceSnapshotId": snap, "Encrypted": True}
        copy = vault.copy_snapshot(**asked, KmsKeyId=key(sandbox, VAULT, AWAY))["SnapshotId"]
        assert shown(vault, copy)["State"] == state


def test_twenty_copies_run_into_a_region_and_not_more(sandbox):
    """AWS, "Amazon EBS quotas": 20 concurrent snapshot copies per destination region (ResourceLimitExceeded)."""
    sandbox.configure(copy_seconds=60)
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    asked = {"SourceRegion": HOME, "SourceSnapshotId": snapshot(home, volume(home))}
    for _ in range(20):
        away.copy_snapshot(**asked)
    refused("ResourceLimitExceeded", away.copy_snapshot, **asked)
    sandbox.client(PROD, "eu-central-1").copy_snapshot(**asked)
    sandbox.advance(61)
    away.copy_snapshot(**asked)


def test_deleting_the_source_while_it_is_being_copied_fails_the_copy(sandbox):
    """AWS, "Copy an Amazon EBS snapshot": the source must stay until the copy has completed."""
    sandbox.configure(copy_seconds=60)
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    snap = snapshot(home, volume(home))
    copy = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snap)["SnapshotId"]
    home.delete_snapshot(SnapshotId=snap)
    sandbox.advance(61)
    assert shown(away, copy)["State"] == "error"


def test_a_second_copy_of_a_volume_moves_only_what_changed(sandbox):
    """AWS, "Incremental snapshot copying": after a completed copy under the same key only changes are transferred."""
    home, away = sandbox.client(PROD, HOME), sandbox.client(PROD, AWAY)
    source = volume(home)
    moved = []
    for number in range(3):
        sandbox.write(PROD, HOME, source, number * 1024 * 1024, b"x" * (number + 1))
        asked = {"SourceRegion": HOME, "SourceSnapshotId": snapshot(home, source)}
        copy = away.copy_snapshot(**asked, **({"Encrypted": True} if number == 2 else {}))["SnapshotId"]
        moved.append(sandbox.resource(PROD, AWAY, copy)["transferred"])
    assert moved == [1, 1, 3]
