"""The contract, kept by EFS file systems; and what only they have."""

from dataclasses import replace
from typing import Any

import pytest

from tasks import errors
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_rig import ServiceRig
from tests.contract.service_suite import VaultContract
from tests.deploy.vaulting import subnet
from tests.sandbox import Sandbox
from workers.aws.efs_describe import describe, settings
from workers.driver import Created, Destination, RestoreStep


def make_files(cloud: Sandbox, **more: Any) -> str:
    """A file system with two files."""
    efs = cloud.client(PROD, HOME, "efs")
    token = f"made-{len(efs.describe_file_systems()['FileSystems'])}"
    made = str(efs.create_file_system(CreationToken=token, **more)["FileSystemId"])
    for name in ("a.txt", "deep/b.txt"):
        cloud.write_file(PROD, HOME, made, name, f"{name} of {token}".encode())
    return made


def drop(cloud: Sandbox, name: str) -> None:
    efs = cloud.client(PROD, HOME, "efs")
    for target in efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
        efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    efs.delete_file_system(FileSystemId=name)


@pytest.fixture
def rig(cloud: Sandbox) -> ServiceRig:
    ways = {
        "create": "StartBackupJob", "read": "ListBackupJobs", "delete": "DeleteRecoveryPoint", "strange": "NO-JOB"
    }  # fmt: skip
    return ServiceRig(cloud, "efs", make_files, mode="vault", ways=ways, drop=drop)


class TestEfs(VaultContract):
    """Features 20, 42: file systems through AWS Backup, copied to regions and accounts."""


def full(rig: ServiceRig) -> str:
    """A file system with everything that a restore leaves out."""
    cloud = rig.sandbox
    key = rig.shared_key(PROD, HOME)
    tags = [{"Key": "Name", "Value": "home"}, {"Key": "team", "Value": "a"}]
    made = make_files(cloud, Encrypted=True, KmsKeyId=key, Tags=tags)
    efs, one = cloud.client(PROD, HOME, "efs"), {"FileSystemId": made}
    efs.update_file_system(ThroughputMode="provisioned", ProvisionedThroughputInMibps=12.0, **one)
    efs.put_lifecycle_configuration(LifecyclePolicies=[{"TransitionToIA": "AFTER_30_DAYS"}], **one)
    policy = f'{{"Version":"2012-10-17","Statement":[],"Id":"{made}"}}'
    efs.put_file_system_policy(Policy=policy, **one)
    efs.put_backup_policy(BackupPolicy={"Status": "ENABLED"}, **one)
    efs.create_mount_target(SubnetId=subnet(cloud), **one)
    user = {"Uid": 1000, "Gid": 1000}
    efs.create_access_point(ClientToken="t", PosixUser=user, RootDirectory={"Path": "/deep"}, **one)
    return made


def captured(rig: ServiceRig, name: str) -> dict[str, Any]:
    """All that a backup of this file system captures, without what names it."""
    clients = rig.sessions.at(rig.production, HOME)
    found = describe(clients, name)
    beside, warnings = settings(clients, name)
    assert warnings == []
    kept = {k: v for k, v in {**found.attributes, **beside}.items() if k not in ("arn", "size_bytes")}
    kept["policy"] = str(kept["policy"]).replace(name, "ITSELF")
    points = [
        {**one, "tags": {k: v for k, v in one["tags"].items() if not k.startswith("snapfleet:")}}
        for one in kept["access_points"]
    ]
    users = {k: v for k, v in found.tags.items() if not k.startswith("snapfleet:")}
    return {**kept, "tags": users, "access_points": points}


def without_folder(files: dict[str, str]) -> dict[str, str]:
    assert all(path.startswith("aws-backup-restore_") for path in files)
    return {path.split("/", 1)[1]: digest for path, digest in files.items()}


def test_everything_captured_is_on_the_restored_file_system(rig: ServiceRig) -> None:
    """Feature 20: files, life cycle, throughput, policy, mount targets, access points and tags come back."""
    name = full(rig)
    resource = rig.found(name)
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    before, files = captured(rig, name), rig.sandbox.files(PROD, HOME, name)
    drop(rig.sandbox, name)
    old = point.resource.attributes
    made = rig.step(
        point,
        "restore-file-system",
        backup_id=point.parts[0].external_id,
        encrypted=True,
        kms_key=old["kms_key_id"],
        performance_mode=old["performance_mode"],
    )["resource_id"]
    wanted = {
        "throughput_mode": old["throughput_mode"],
        "subnets": old["subnet_ids"],
        "security_groups": old["security_group_ids"],
        "tags": {"Name": "home", "team": "a"},
        "here": True,
    }
    for _ in range(2):  # a step may come twice
        rig.step(point, "configure-file-system", "restore-2", file_system_id=made, **wanted)
    assert captured(rig, made) == before
    assert without_folder(rig.sandbox.files(PROD, HOME, made)) == files


def test_a_restore_job_says_what_aws_asks_for_and_is_begun_once(rig: ServiceRig) -> None:
    point = rig.taken()
    params = {"backup_id": point.parts[0].external_id, "items": ["/deep"]}
    first = rig.driver.start_restore(point, RestoreStep("restore-file-system", params), "restore-1", TAGS)
    second = rig.driver.start_restore(point, RestoreStep("restore-file-system", params), "restore-1", TAGS)
    assert first.operations[0].external_id == second.operations[0].external_id
    sent = rig.parameters("StartRestoreJob")
    metadata = sent["Metadata"]
    assert (metadata["newFileSystem"], metadata["Encrypted"], metadata["PerformanceMode"]) == (
        "true", "false", "generalPurpose"
    )  # fmt: skip
    assert metadata["CreationToken"].startswith("snapfleet-")
    assert metadata["ItemsToRestore"] == '["/deep"]'
    assert len(sent["IdempotencyToken"]) == 64
    name = rig.followed(first)["resource_id"]
    assert list(without_folder(rig.sandbox.files(PROD, HOME, name))) == ["deep/b.txt"]


def test_files_come_back_into_an_existing_file_system_beside_what_is_there(rig: ServiceRig) -> None:
    point = rig.taken()
    name = point.resource.external_id
    step = RestoreStep("restore-file-system", {"backup_id": point.parts[0].external_id, "into": name})
    started = rig.driver.start_restore(point, step, "restore-1", TAGS)
    assert started.created == ()  # an undo leaves the file system alone
    rig.followed(started)
    assert len(rig.sandbox.files(PROD, HOME, name)) == 4


def test_a_copy_in_another_account_is_restored_when_the_original_is_gone(rig: ServiceRig) -> None:
    """Feature 42."""
    point = rig.taken()
    name = point.resource.external_id
    files = rig.sandbox.files(PROD, HOME, name)
    there = rig.copied(point, Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY)))
    rig.driver.delete([point])
    drop(rig.sandbox, name)
    made = rig.step(there, "restore-file-system", backup_id=there.parts[0].external_id)["resource_id"]
    net = subnet(rig.sandbox, VAULT, AWAY)
    rig.step(there, "configure-file-system", "restore-2", file_system_id=made, subnets=[net])
    assert without_folder(rig.sandbox.files(VAULT, AWAY, made)) == files
    mounted = rig.sandbox.client(VAULT, AWAY, "efs").describe_mount_targets(FileSystemId=made)["MountTargets"]
    assert [one["SubnetId"] for one in mounted] == [net]


def test_an_undo_takes_the_new_file_system_away_with_its_mounts(rig: ServiceRig) -> None:
    point = rig.taken()
    step = RestoreStep("restore-file-system", {"backup_id": point.parts[0].external_id})
    started = rig.driver.start_restore(point, step, "restore-1", TAGS)
    name = rig.followed(started)["resource_id"]
    rig.step(point, "configure-file-system", "restore-2", file_system_id=name, subnets=[subnet(rig.sandbox)])
    first, second = (rig.undone(rig.production, *started.created)[0].outcome for _ in range(2))
    assert (first, second) == ("deleted", "already-gone")
    left = rig.sandbox.client(PROD, HOME, "efs").describe_file_systems()["FileSystems"]
    assert [one["FileSystemId"] for one in left] == [point.resource.external_id]
    unknown = rig.undone(rig.production, Created("restore", "NO-JOB"))
    assert [one.outcome for one in unknown] == ["already-gone"]


def test_a_second_backup_beside_a_running_one_waits_for_its_slot(rig: ServiceRig) -> None:
    """AWS Backup runs one job at a time for a resource."""
    resource = rig.resource()
    rig.sandbox.configure(backup_seconds=100.0)
    rig.backup(resource)
    with pytest.raises(errors.QuotaReached) as caught:
        rig.backup(resource, "job-2")
    assert caught.value.retry is errors.Retry.FREE


def test_a_failed_job_is_tried_again_and_one_over_its_key_is_not(rig: ServiceRig) -> None:
    resource = rig.resource()
    for message, retry in (("Internal trouble", errors.Retry.ATTEMPT), ("KMS key is disabled", errors.Retry.NEVER)):
        rig.sandbox.fault("snapshot_error", operation="StartBackupJob", count=1, message=message)
        started = rig.backup(resource, f"job-{message}")
        error = rig.driver.progress(started.operations)[0].error
        assert error is not None
        assert (error.retry, message in error.text) == (retry, True)


def test_a_role_and_a_vault_of_ones_own_are_used(rig: ServiceRig) -> None:
    resource = rig.resource()
    arn = f"arn:aws:iam::{PROD}:role/keeper"
    rig.sandbox.role(arn)
    account = replace(resource.account, backup_vault="own", backup_role_arn=arn)
    rig.backup(replace(resource, account=account))
    sent = rig.parameters("StartBackupJob")
    assert (sent["BackupVaultName"], sent["IamRoleArn"]) == ("own", arn)


def test_discovery_tells_what_a_restore_needs(rig: ServiceRig) -> None:
    facts = rig.found(full(rig))
    assert (facts.name, facts.tags["team"]) == ("home", "a")
    assert (facts.attributes["encrypted"], facts.attributes["throughput_mode"]) == (True, "provisioned")
