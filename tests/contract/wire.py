"""What every call that changes something must carry on the wire, by operation: AWS's facts, not those of our code.

A rule gets the parameters as AWS's model reads them. Sources: API references of EC2, RDS, DynamoDB, EFS, FSx, Backup
and S3; "Copying a DB snapshot" (RDS user guide): a key of the destination for what is encrypted.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Parameters = Mapping[str, Any]
Rule = tuple[str, Callable[[Parameters], bool]]
TAG = "snapfleet:installation"


def _tagged(asked: Parameters) -> bool:
    return TAG in json.dumps(asked, default=str)


def _token(name: str, most: int) -> Rule:
    return f"{name} of 1 to {most} characters", lambda asked: 1 <= len(str(asked.get(name, ""))) <= most


def _given(*names: str) -> Rule:
    return f"{', '.join(names)} given", lambda asked: all(asked.get(name) not in (None, "", []) for name in names)


def _never(*names: str) -> Rule:
    return f"no {', '.join(names)}", lambda asked: not any(name in asked for name in names)


TAGGED: Rule = ("our tag in the same call", _tagged)
# Encrypted=false is refused for what is encrypted, and a key needs Encrypted (CopySnapshot, CopyImage).
ENCRYPTION: Rule = (
    "never Encrypted=false, and Encrypted with a key",
    lambda asked: _true(asked, "Encrypted") if "KmsKeyId" in asked else _true(asked, "Encrypted", default=True),
)
NAMED: Rule = ("a name of our own in small letters", lambda asked: any(_ours(one) for one in asked.values()))


def _true(asked: Parameters, name: str, default: bool = False) -> bool:
    return str(asked.get(name, default)).lower() == "true"


def _ours(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("snapfleet-") and value == value.lower()


def _tags_once(asked: Parameters) -> bool:
    given = [tag["Key"] for one in asked["TagSpecifications"] for tag in one["Tags"]]
    return len(given) == len(set(given)) <= 50


def _types_of_disks(asked: Parameters) -> bool:
    disks = [one["Ebs"] for one in asked.get("BlockDeviceMappings", ()) if "Ebs" in one]
    return bool(disks) and all("VolumeType" in one for one in disks)


def _range(asked: Parameters) -> bool:
    """CopySourceRange: bytes=first-last, at most 5 GiB."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", str(asked.get("CopySourceRange", "")))
    return found is not None and 0 <= int(found[2]) - int(found[1]) < 5 << 30


def _parts_in_order(asked: Parameters) -> bool:
    parts = asked["MultipartUpload"]["Parts"]
    numbers = [int(part["PartNumber"]) for part in parts]
    return bool(numbers) and numbers == sorted(set(numbers)) and all(part["ETag"] for part in parts)


def _batch(asked: Parameters) -> bool:
    """At most 1,000 keys; a version is named of what was exported by us alone, elsewhere a marker hides the object."""
    some = asked["Delete"]["Objects"]
    return 1 <= len(some) <= 1000 and all("snapfleet-" in one["Key"] for one in some if "VersionId" in one)


def _allowed(policy: str) -> set[str]:
    return {action for one in json.loads(policy)["Statement"] for action in one["Action"]}


_PUBLIC = "PubliclyAccessible"
_REPLACING = {"MetadataDirective", "TaggingDirective", "Metadata", "Tagging"}
_OWNED = (_given("Bucket", "Key", "ExpectedBucketOwner"), _never("ACL", "GrantFullControl", "GrantRead"))
_KMS: Rule = (
    "a key of KMS only with its algorithm",
    lambda asked: "SSEKMSKeyId" not in asked or str(asked["ServerSideEncryption"]).startswith("aws:kms"),
)
_LET_IN: tuple[Rule, ...] = (
    ("one account may restore", lambda asked: asked["AttributeName"] == "restore" and len(asked["ValuesToAdd"]) == 1),
    _never("ValuesToRemove"),
)
_NO_LAST = "without a last snapshot of what came from one"
WIRE: Mapping[str, tuple[Rule, ...]] = {
    # EC2
    "CreateSnapshots": (
        TAGGED,
        ("InstanceId alone", lambda asked: "InstanceId" in asked["InstanceSpecification"]),
        ("the volumes' tags, copied by AWS", lambda asked: asked["CopyTagsFromSource"] == "volume"),
        ("no tag twice, and at most 50 of ours", _tags_once),
    ),
    "CreateSnapshot": (TAGGED, _given("VolumeId")),
    "CreateImage": (TAGGED, NAMED, ("NoReboot", lambda asked: _true(asked, "NoReboot"))),
    "CopySnapshot": (TAGGED, ENCRYPTION, _given("SourceRegion", "SourceSnapshotId")),
    "CopyImage": (TAGGED, ENCRYPTION, NAMED, _given("SourceRegion", "SourceImageId"), _token("ClientToken", 64)),
    "ModifySnapshotAttribute": (
        _given("UserIds"),
        ("one account is let in", lambda asked: asked["OperationType"] == "add" and len(asked["UserIds"]) == 1),
        ("for volumes", lambda asked: asked["Attribute"] == "createVolumePermission"),
    ),
    "CreateVolume": (TAGGED, _given("VolumeType", "AvailabilityZone", "SnapshotId"), _token("ClientToken", 64)),
    "AttachVolume": (_given("VolumeId", "InstanceId", "Device"),),
    "DetachVolume": (_given("VolumeId", "InstanceId"), _never("Force")),
    "StopInstances": (_given("InstanceIds"), _never("Force")),
    "StartInstances": (_given("InstanceIds"),),
    "ModifyInstanceAttribute": (_given("InstanceId"),),
    "RegisterImage": (
        TAGGED,
        NAMED,
        ("hvm", lambda asked: asked["VirtualizationType"] == "hvm"),
        ("types of volumes", _types_of_disks),
    ),
    "RunInstances": (
        TAGGED,
        _token("ClientToken", 64),
        ("exactly one", lambda asked: (int(asked["MinCount"]), int(asked["MaxCount"])) == (1, 1)),
        ("types of volumes", _types_of_disks),
        ("a network in one form", lambda asked: not ("NetworkInterfaces" in asked and "SubnetId" in asked)),
    ),
    "CreateReplaceRootVolumeTask": (TAGGED, _given("InstanceId", "SnapshotId"), _token("ClientToken", 64)),
    "CreateTags": (_given("Resources", "Tags"),),
    "DeleteSnapshot": (_given("SnapshotId"),),
    "DeregisterImage": (_given("ImageId"),),
    "DeleteVolume": (_given("VolumeId"),),
    "TerminateInstances": (_given("InstanceIds"),),
    # RDS, Aurora, DocumentDB: identifiers are the tokens
    "CreateDBSnapshot": (TAGGED, NAMED, _given("DBInstanceIdentifier")),
    "CreateDBClusterSnapshot": (TAGGED, NAMED, _given("DBClusterIdentifier")),
    "CopyDBSnapshot": (TAGGED, NAMED, ("the source by ARN", lambda asked: _arn(asked["SourceDBSnapshotIdentifier"]))),
    "CopyDBClusterSnapshot": (
        TAGGED,
        NAMED,
        ("the source by ARN", lambda asked: _arn(asked["SourceDBClusterSnapshotIdentifier"])),
    ),
    "ModifyDBSnapshotAttribute": _LET_IN,
    "ModifyDBClusterSnapshotAttribute": _LET_IN,
    "RestoreDBInstanceFromDBSnapshot": (TAGGED, _given("DBInstanceIdentifier", "DBSnapshotIdentifier")),
    "RestoreDBClusterFromSnapshot": (TAGGED, _given("DBClusterIdentifier", "SnapshotIdentifier", "Engine")),
    "CreateDBInstance": (TAGGED, _given("DBInstanceIdentifier", "DBClusterIdentifier", "DBInstanceClass", "Engine")),
    "ModifyDBInstance": (_given("DBInstanceIdentifier"), ("at once", lambda asked: _true(asked, "ApplyImmediately"))),
    "ModifyDBCluster": (_given("DBClusterIdentifier"), ("at once", lambda asked: _true(asked, "ApplyImmediately"))),
    "DeleteDBSnapshot": (NAMED,),
    "DeleteDBClusterSnapshot": (NAMED,),
    "DeleteDBCluster": ((_NO_LAST, lambda asked: _true(asked, "SkipFinalSnapshot")),),
    "DeleteDBInstance": (_given("DBInstanceIdentifier"), _never("FinalDBSnapshotIdentifier")),
    "AddTagsToResource": (_given("ResourceName", "Tags"),),
    "StartExportTask": (NAMED, _given("SourceArn", "S3BucketName", "IamRoleArn", "KmsKeyId")),
    # DynamoDB and its scaling
    "RestoreTableFromBackup": (_given("TargetTableName", "BackupArn"),),
    "TagResource": (("our tag, or the mark of what is outdated", lambda asked: "snapfleet:" in json.dumps(asked)),),
    "UpdateTable": (_given("TableName"),),
    "UpdateTimeToLive": (_given("TableName", "TimeToLiveSpecification"),),
    "UpdateContinuousBackups": (_given("TableName", "PointInTimeRecoverySpecification"),),
    "RegisterScalableTarget": (_given("ResourceId", "ScalableDimension"),),
    "PutScalingPolicy": (_given("PolicyName", "ResourceId"),),
    "DeleteTable": (_given("TableName"),),
    # AWS Backup
    "CreateBackupVault": (_given("BackupVaultName"),),
    "PutBackupVaultAccessPolicy": (
        ("copies in, and nothing else", lambda asked: "backup:CopyIntoBackupVault" in str(asked["Policy"])),
        (
            "nobody in general",
            lambda asked: (
                '"*"' not in str(asked["Policy"]).replace('"Resource": "*"', "").replace('"Resource":"*"', "")
            ),
        ),
    ),
    "StartBackupJob": (
        TAGGED,
        _given("BackupVaultName", "ResourceArn", "IamRoleArn"),
        _token("IdempotencyToken", 64),
        ("at least an hour to begin", lambda asked: int(asked["StartWindowMinutes"]) >= 60),
    ),
    "StartCopyJob": (
        _given("RecoveryPointArn", "SourceBackupVaultName", "DestinationBackupVaultArn", "IamRoleArn"),
        _token("IdempotencyToken", 64),
        ("an end of its own", lambda asked: int(asked["Lifecycle"]["DeleteAfterDays"]) > 0),
    ),
    "StartRestoreJob": (_given("RecoveryPointArn", "IamRoleArn", "Metadata"), _token("IdempotencyToken", 64)),
    "DeleteRecoveryPoint": (_given("BackupVaultName", "RecoveryPointArn"),),
    # EFS
    "PutLifecycleConfiguration": (_given("FileSystemId", "LifecyclePolicies"),),
    "PutBackupPolicy": (_given("FileSystemId", "BackupPolicy"),),
    "PutFileSystemPolicy": (_given("FileSystemId", "Policy"),),
    "UpdateFileSystem": (_given("FileSystemId", "ThroughputMode"),),
    "CreateMountTarget": (_given("FileSystemId", "SubnetId"),),
    "DeleteFileSystem.elasticfilesystem": (_given("FileSystemId"),),
    "CreateAccessPoint": (TAGGED, _token("ClientToken", 64), _given("FileSystemId")),
    "DeleteMountTarget": (_given("MountTargetId"),),
    # FSx: a token has at most 63 characters
    "CopyBackup": (TAGGED, _token("ClientRequestToken", 63), _given("SourceBackupId", "SourceRegion")),
    "CreateFileSystemFromBackup": (TAGGED, _token("ClientRequestToken", 63), _given("BackupId", "SubnetIds")),
    "CreateVolumeFromBackup": (
        TAGGED,
        _token("ClientRequestToken", 63),
        ("a machine to hold it", lambda asked: bool(asked["OntapConfiguration"]["StorageVirtualMachineId"])),
    ),
    "DeleteVolume.fsx": ((_NO_LAST, lambda asked: _true(asked["OntapConfiguration"], "SkipFinalBackup")),),
    "DeleteFileSystem.fsx": ((_NO_LAST, lambda asked: "SkipFinalBackup" in json.dumps(asked)),),
    "CreateBackup.fsx": (
        TAGGED,
        _token("ClientRequestToken", 63),
        ("a file system or a volume", lambda asked: ("FileSystemId" in asked) != ("VolumeId" in asked)),
    ),
    # Redshift: identifiers are the tokens; a manual snapshot ends by itself in ten years
    "CreateClusterSnapshot": (
        TAGGED,
        NAMED,
        _given("ClusterIdentifier"),
        ("a backstop", lambda asked: int(asked["ManualSnapshotRetentionPeriod"]) == 3653),
    ),
    "EnableSnapshotCopy": (
        _given("ClusterIdentifier", "DestinationRegion"),
        ("others' snapshots for the least time", lambda asked: int(asked["RetentionPeriod"]) == 1),
        ("a backstop", lambda asked: int(asked["ManualSnapshotRetentionPeriod"]) == 3653),
    ),
    "CreateSnapshotCopyGrant": (TAGGED, _given("SnapshotCopyGrantName", "KmsKeyId")),
    "AuthorizeSnapshotAccess": (_given("AccountWithRestoreAccess"),),
    "RevokeSnapshotAccess": (_given("AccountWithRestoreAccess"),),
    "RestoreFromClusterSnapshot": (
        NAMED,
        ("one snapshot", lambda asked: ("SnapshotIdentifier" in asked) != ("SnapshotArn" in asked)),
        ("closed where it is temporary", lambda asked: "OwnerAccount" not in asked or not _true(asked, _PUBLIC, True)),
    ),
    "ModifyCluster": (_given("ClusterIdentifier", "NewClusterIdentifier"),),
    "CreateTags.redshift": (_given("ResourceName", "Tags"),),
    "DeleteClusterSnapshot": (NAMED,),
    "DeleteCluster": ((_NO_LAST, lambda asked: _true(asked, "SkipFinalClusterSnapshot")),),
    "CreateSnapshot.redshift-serverless": (
        TAGGED,
        NAMED,
        _given("namespaceName"),
        ("a backstop", lambda asked: int(asked["retentionPeriod"]) == 3653),
    ),
    "CreateSnapshotCopyConfiguration": (
        _given("namespaceName", "destinationRegion"),
        ("a backstop", lambda asked: int(asked["snapshotRetentionPeriod"]) == 3653),
    ),
    "PutResourcePolicy": (
        _given("resourceArn"),
        ("restoring alone", lambda asked: _allowed(asked["policy"]) == {"redshift-serverless:RestoreFromSnapshot"}),
        ("nobody in general", lambda asked: '"*"' not in str(asked["policy"])),
    ),
    "DeleteResourcePolicy": (_given("resourceArn"),),
    "CreateNamespace": (TAGGED, _given("namespaceName")),
    "CreateWorkgroup": (TAGGED, _given("workgroupName", "namespaceName")),
    "RestoreFromSnapshot": (
        _given("namespaceName", "workgroupName"),
        ("one snapshot", lambda asked: ("snapshotName" in asked) != ("snapshotArn" in asked)),
    ),
    "DeleteSnapshot.redshift-serverless": (NAMED,),
    "DeleteNamespace": (_given("namespaceName"), _never("finalSnapshotName")),
    "DeleteWorkgroup": (_given("workgroupName"),),
    # S3, from bucket to bucket: what is copied is what was looked at, in buckets that are still their owner's, and
    # nothing of it is replaced; the owner is enforced, so that no access list is sent
    "CopyObject": (
        *_OWNED,
        _given("CopySource", "CopySourceIfMatch", "ExpectedSourceBucketOwner"),
        ("metadata and tags as they are", lambda asked: not _REPLACING & asked.keys()),
        _KMS,
    ),
    "CreateMultipartUpload": (*_OWNED, _given("Tagging"), _KMS),
    "UploadPartCopy": (
        *_OWNED,
        _given("CopySource", "CopySourceIfMatch", "ExpectedSourceBucketOwner", "UploadId"),
        ("1 to 10,000 parts", lambda asked: 1 <= int(asked["PartNumber"]) <= 10_000),
        ("a range of at most 5 GiB", _range),
    ),
    "CompleteMultipartUpload": (*_OWNED, _given("UploadId"), ("its parts in order", _parts_in_order)),
    "AbortMultipartUpload": (*_OWNED, _given("UploadId")),
    "DeleteObjects": (
        _given("ExpectedBucketOwner"),
        ("1 to 1,000 keys, versions only of our own", _batch),
        ("only failures told", lambda asked: asked["Delete"]["Quiet"] == "true"),
    ),
    "CreateBucket": (_given("Bucket"), _never("ACL")),
    "PutBucketVersioning": (
        _given("ExpectedBucketOwner"),
        ("switched on", lambda asked: asked["VersioningConfiguration"]["Status"] == "Enabled"),
    ),
    "PutBucketEncryption": (_given("ExpectedBucketOwner"),),
    "PutBucketTagging": (TAGGED, _given("ExpectedBucketOwner")),
    "CreateBackup.dynamodb": (NAMED, _given("TableName")),
    "DeleteBackup.fsx": (_given("BackupId"),),
    "DeleteBackup.dynamodb": (_given("BackupArn"),),
}
# Creates that AWS has no token for: a second one would be a second thing (EC2, DynamoDB API references).
TOKENLESS = frozenset(
    {
        "CreateSnapshots", "CreateSnapshot", "CopySnapshot", "CreateImage", "RegisterImage", "RestoreTableFromBackup",
        "CreateBackup.dynamodb",
    }
)  # fmt: skip


def _arn(value: Any) -> bool:
    return str(value).startswith("arn:")


def named(service: str, operation: str) -> str:
    """What a call is listed as: two services may have operations of one name."""
    both = f"{operation}.{service}"
    return both if both in WIRE else operation
