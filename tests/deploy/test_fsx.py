"""FSx. "CreateBackup", "CopyBackup", "CreateFileSystemFromBackup": FSx API reference and the types' user guides."""

from typing import Any

import pytest

from tests.deploy.estate import AWAY, HOME, PROD, key, refused
from tests.deploy.vaulting import subnet

DIRECTORY = "d-9067000000"
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "LUSTRE": {"LustreConfiguration": {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 125}},
    "WINDOWS": {"WindowsConfiguration": {"ActiveDirectoryId": DIRECTORY, "ThroughputCapacity": 32}},
    "OPENZFS": {"OpenZFSConfiguration": {"DeploymentType": "SINGLE_AZ_1", "ThroughputCapacity": 64}},
    "ONTAP": {"OntapConfiguration": {"DeploymentType": "SINGLE_AZ_1", "ThroughputCapacity": 128}},
}


def make(sandbox, kind: str, region: str = HOME, **more: Any) -> str:
    """A file system with a file in it."""
    sandbox.configure(directories=[f"{PROD}/{HOME}/{DIRECTORY}"])
    asked = {"FileSystemType": kind, "StorageCapacity": 1200, "SubnetIds": [subnet(sandbox, PROD, region)]}
    asked |= {**CONFIGURATIONS[kind], **more}
    made = sandbox.client(PROD, region, "fsx").create_file_system(**asked)["FileSystem"]["FileSystemId"]
    sandbox.write_file(PROD, region, made, "share/a.txt", b"content")
    return str(made)


def fsx(sandbox, region: str = HOME) -> Any:
    return sandbox.client(PROD, region, "fsx")


@pytest.mark.parametrize("kind", ["LUSTRE", "WINDOWS", "OPENZFS"])
def test_a_backup_is_copied_to_another_region_and_restored_there(sandbox, kind):
    """CopyBackup is called in the destination; CreateFileSystemFromBackup names the network anew."""
    made = make(sandbox, kind)
    sandbox.configure(backup_seconds=100.0, directories=[f"{PROD}/{one}/{DIRECTORY}" for one in (HOME, AWAY)])
    home, away = fsx(sandbox), fsx(sandbox, AWAY)
    backup = home.create_backup(FileSystemId=made, Tags=[{"Key": "k", "Value": "v"}])["Backup"]
    assert backup["Lifecycle"] == "CREATING"
    refused("BackupInProgress", home.create_backup, FileSystemId=made)
    refused("SourceBackupUnavailable", away.copy_backup, SourceBackupId=backup["BackupId"], SourceRegion=HOME)
    sandbox.advance(101)
    sandbox.write_file(PROD, HOME, made, "share/a.txt", b"changed")
    asked = {"SourceBackupId": backup["BackupId"], "SourceRegion": HOME}
    copy = away.copy_backup(CopyTags=True, **asked)["Backup"]
    assert (copy["SourceBackupId"], copy["Tags"]) == (backup["BackupId"], [{"Key": "k", "Value": "v"}])
    wanted = CONFIGURATIONS[kind]
    back = away.create_file_system_from_backup(
        BackupId=copy["BackupId"], SubnetIds=[subnet(sandbox, PROD, AWAY)], **wanted
    )["FileSystem"]
    digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"  # of b"content"
    assert sandbox.files(PROD, AWAY, back["FileSystemId"]) == {"share/a.txt": digest}
    assert back["StorageCapacity"] == 1200


def test_a_token_makes_one_backup_and_another_request_under_it_is_refused(sandbox):
    """CreateBackup: "IncompatibleParameterError"; a token has 1 to 63 characters."""
    made = make(sandbox, "OPENZFS")
    first = fsx(sandbox).create_backup(FileSystemId=made, ClientRequestToken="t")["Backup"]["BackupId"]
    assert fsx(sandbox).create_backup(FileSystemId=made, ClientRequestToken="t")["Backup"]["BackupId"] == first
    refused(
        "IncompatibleParameterError",
        fsx(sandbox).create_backup,
        FileSystemId=made,
        ClientRequestToken="t",
        Tags=[{"Key": "k", "Value": "v"}],
    )
    refused("BadRequest", fsx(sandbox).create_backup, FileSystemId=made, ClientRequestToken="t" * 64)


def test_scratch_and_linked_lustre_cannot_be_backed_up(sandbox):
    """FSx for Lustre user guide, "Working with backups"."""
    scratch = make(sandbox, "LUSTRE", LustreConfiguration={"DeploymentType": "SCRATCH_2"})
    linked = make(sandbox, "LUSTRE", LustreConfiguration={"DeploymentType": "PERSISTENT_1", "ImportPath": "s3://b"})
    for one in (scratch, linked):
        refused("BadRequest", fsx(sandbox).create_backup, FileSystemId=one)


def test_ontap_is_backed_up_by_volume_and_restored_into_a_virtual_machine(sandbox):
    """CreateBackup takes a VolumeId; CopyBackup is for the other types; CreateVolumeFromBackup needs an SVM."""
    made, here = make(sandbox, "ONTAP"), fsx(sandbox)
    refused("BadRequest", here.create_backup, FileSystemId=made)
    machine = here.create_storage_virtual_machine(FileSystemId=made, Name="svm")["StorageVirtualMachine"]
    asked = {"StorageVirtualMachineId": machine["StorageVirtualMachineId"], "JunctionPath": "/v"}
    settings = {**asked, "SizeInMegabytes": 1024}
    volume = here.create_volume(VolumeType="ONTAP", Name="v", OntapConfiguration=settings)["Volume"]
    sandbox.write_file(PROD, HOME, volume["VolumeId"], "x", b"1")
    backup = here.create_backup(VolumeId=volume["VolumeId"])["Backup"]["BackupId"]
    refused("UnsupportedOperation", fsx(sandbox, AWAY).copy_backup, SourceBackupId=backup, SourceRegion=HOME)
    refused(
        "StorageVirtualMachineNotFound",
        here.create_volume_from_backup,
        BackupId=backup,
        Name="w",
        OntapConfiguration={"StorageVirtualMachineId": "svm-00000000000000000"},
    )
    back = here.create_volume_from_backup(BackupId=backup, Name="w", OntapConfiguration=asked)["Volume"]["VolumeId"]
    assert list(sandbox.files(PROD, HOME, back)) == ["x"]


def test_windows_needs_its_directory_and_two_subnets_for_two_zones(sandbox):
    """ActiveDirectoryError for a directory that is not there; MULTI_AZ_1 takes exactly two subnets."""
    made = make(sandbox, "WINDOWS")
    backup = fsx(sandbox).create_backup(FileSystemId=made)["Backup"]
    assert backup["DirectoryInformation"]["ActiveDirectoryId"] == DIRECTORY
    asked = {"BackupId": backup["BackupId"], "SubnetIds": [subnet(sandbox)]}
    restore = fsx(sandbox).create_file_system_from_backup
    refused("MissingFileSystemConfiguration", restore, **asked)
    other = {"ActiveDirectoryId": "d-0000000000", "ThroughputCapacity": 32}
    refused("ActiveDirectoryError", restore, WindowsConfiguration=other, **asked)
    both = {"ActiveDirectoryId": DIRECTORY, "ThroughputCapacity": 32, "DeploymentType": "MULTI_AZ_1"}
    refused("BadRequest", restore, WindowsConfiguration=both, **asked)
    refused("BadRequest", restore, StorageCapacity=1300, **{**asked, **CONFIGURATIONS["WINDOWS"]})


def test_five_copies_run_into_a_region_at_once_and_a_busy_backup_stays(sandbox):
    """CopyBackup: five in progress per destination region; DeleteBackup: BackupBeingCopied."""
    ids = [fsx(sandbox).create_backup(FileSystemId=make(sandbox, "OPENZFS"))["Backup"]["BackupId"] for _ in range(6)]
    sandbox.configure(backup_copy_seconds=100.0)
    away = fsx(sandbox, AWAY)
    for one in ids[:5]:
        away.copy_backup(SourceBackupId=one, SourceRegion=HOME)
    refused("ServiceLimitExceeded", away.copy_backup, SourceBackupId=ids[5], SourceRegion=HOME)
    refused("BackupBeingCopied", fsx(sandbox).delete_backup, BackupId=ids[0])
    sandbox.advance(101)
    fsx(sandbox).delete_backup(BackupId=ids[0])
    refused("BackupNotFound", fsx(sandbox).describe_backups, BackupIds=ids)


def test_a_copy_needs_a_key_that_can_be_used(sandbox):
    """CopyBackup: InvalidDestinationKmsKey."""
    backup = fsx(sandbox).create_backup(FileSystemId=make(sandbox, "LUSTRE"))["Backup"]["BackupId"]
    asked = {"SourceBackupId": backup, "SourceRegion": HOME}
    strange = f"arn:aws:kms:{AWAY}:{PROD}:key/00000000-0000-0000-0000-000000000000"
    refused("InvalidDestinationKmsKey", fsx(sandbox, AWAY).copy_backup, KmsKeyId=strange, **asked)
    ours = key(sandbox, PROD, AWAY)
    assert fsx(sandbox, AWAY).copy_backup(KmsKeyId=ours, **asked)["Backup"]["KmsKeyId"] == ours


def test_groups_are_told_by_the_network_interfaces_alone(sandbox):
    """DescribeFileSystems names NetworkInterfaceIds; DescribeNetworkInterfaces (EC2) their groups."""
    ec2 = sandbox.client(PROD, HOME)
    vpc = ec2.describe_subnets(SubnetIds=[subnet(sandbox)])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="files", Description="files", VpcId=vpc)["GroupId"]
    made = make(sandbox, "OPENZFS", SecurityGroupIds=[group])
    shown = fsx(sandbox).describe_file_systems(FileSystemIds=[made])["FileSystems"][0]
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=shown["NetworkInterfaceIds"])["NetworkInterfaces"]
    assert [[one["GroupId"] for one in face["Groups"]] for face in found] == [[group]]
    fsx(sandbox).delete_file_system(FileSystemId=made)
    refused(
        "InvalidNetworkInterfaceID.NotFound",
        ec2.describe_network_interfaces,
        NetworkInterfaceIds=shown["NetworkInterfaceIds"],
    )
