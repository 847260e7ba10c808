"""Elastic file systems. "CreateFileSystem", "CreateMountTarget": EFS API reference."""

from tests.deploy.estate import HOME, PROD, key, refused
from tests.deploy.vaulting import file_system, subnet


def test_a_creation_token_makes_one_file_system(sandbox):
    """CreateFileSystem: FileSystemAlreadyExists for a token that is known."""
    made = file_system(sandbox)
    efs = sandbox.client(PROD, HOME, "efs")
    refused("FileSystemAlreadyExists", efs.create_file_system, CreationToken=made["CreationToken"])
    found = efs.describe_file_systems(CreationToken=made["CreationToken"])["FileSystems"]
    assert [one["FileSystemId"] for one in found] == [made["FileSystemId"]]
    refused("FileSystemNotFound", efs.describe_file_systems, FileSystemId="fs-00000000")


def test_lists_come_in_pages(sandbox):
    """DescribeFileSystems: MaxItems and NextMarker."""
    efs = sandbox.client(PROD, HOME, "efs")
    ids = {efs.create_file_system(CreationToken=f"p{n}")["FileSystemId"] for n in range(5)}
    pages = list(efs.get_paginator("describe_file_systems").paginate(PaginationConfig={"PageSize": 2}))
    assert len(pages) == 3
    assert {one["FileSystemId"] for page in pages for one in page["FileSystems"]} == ids


def test_what_was_set_is_described(sandbox):
    """Encryption, throughput, life cycle, policy and backup policy; PolicyNotFound without a policy."""
    arn = key(sandbox, PROD, HOME)
    made = file_system(sandbox, Encrypted=True, KmsKeyId=arn, Tags=[{"Key": "Name", "Value": "home"}])
    efs, one = sandbox.client(PROD, HOME, "efs"), {"FileSystemId": made["FileSystemId"]}
    assert (made["KmsKeyId"], made["Name"]) == (arn, "home")
    refused("PolicyNotFound", efs.describe_file_system_policy, **one)
    policy = '{"Version":"2012-10-17","Statement":[]}'
    efs.put_file_system_policy(Policy=policy, **one)
    efs.put_lifecycle_configuration(LifecyclePolicies=[{"TransitionToIA": "AFTER_30_DAYS"}], **one)
    efs.put_backup_policy(BackupPolicy={"Status": "ENABLED"}, **one)
    efs.update_file_system(ThroughputMode="elastic", **one)
    assert efs.describe_file_system_policy(**one)["Policy"] == policy
    assert efs.describe_lifecycle_configuration(**one)["LifecyclePolicies"] == [{"TransitionToIA": "AFTER_30_DAYS"}]
    assert efs.describe_backup_policy(**one)["BackupPolicy"] == {"Status": "ENABLED"}
    assert efs.describe_file_systems(**one)["FileSystems"][0]["ThroughputMode"] == "elastic"


def test_a_zone_takes_one_mount_target_and_a_mounted_file_system_stays(sandbox):
    """CreateMountTarget: MountTargetConflict; DeleteFileSystem: FileSystemInUse."""
    made, net = file_system(sandbox), subnet(sandbox)
    efs, one = sandbox.client(PROD, HOME, "efs"), {"FileSystemId": made["FileSystemId"]}
    target = efs.create_mount_target(SubnetId=net, **one)["MountTargetId"]
    refused("MountTargetConflict", efs.create_mount_target, SubnetId=net, **one)
    refused("SubnetNotFound", efs.create_mount_target, SubnetId="subnet-00000000", **one)
    assert len(efs.describe_mount_target_security_groups(MountTargetId=target)["SecurityGroups"]) == 1
    refused("FileSystemInUse", efs.delete_file_system, **one)
    efs.delete_mount_target(MountTargetId=target)
    efs.delete_file_system(**one)
    assert efs.describe_file_systems()["FileSystems"] == []


def test_an_access_point_is_made_once_for_a_token(sandbox):
    """CreateAccessPoint: AccessPointAlreadyExists."""
    made = file_system(sandbox)
    efs = sandbox.client(PROD, HOME, "efs")
    asked = {"ClientToken": "t", "FileSystemId": made["FileSystemId"], "RootDirectory": {"Path": "/deep"}}
    first = efs.create_access_point(**asked)
    refused("AccessPointAlreadyExists", efs.create_access_point, **asked)
    shown = efs.describe_access_points(FileSystemId=made["FileSystemId"])["AccessPoints"]
    assert [(one["AccessPointId"], one["RootDirectory"]["Path"]) for one in shown] == [
        (first["AccessPointId"], "/deep")
    ]
