"""EFS file systems, through AWS Backup alone.

Source: AWS Backup developer guide ("Feature availability by resource", "Creating backup copies", "Restore an Amazon EFS
file system": what a restore leaves out is captured and set again).
"""

from tasks.resources.kind import Option, ResourceType
from tasks.resources.vaults import (
    VAULT_BACKUP_ACTIONS,
    VAULT_COPY_ACTIONS,
    VAULT_DELETE_ACTIONS,
    VAULT_KEY_ACTIONS,
    VAULT_RESTORE_ACTIONS,
)

KINDS = (
    ResourceType(
        name="efs",
        cloud="aws",
        service="efs",
        id_prefix="fs-",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=False,  # AWS Backup has cold storage; no policy of ours moves anything there
        copy_limit=100,
        copy_slots=60,  # AWS Backup quotas: 100 copy jobs at once per destination region; 60 % of it is ours
        vault="always",
        notes=("backups are recovery points in a vault of AWS Backup",),
        restores=("file-system",),
        restore_options=(
            Option("into", "an existing file system that takes the files, instead of a new one"),
            Option("items", "paths to bring back; default: all", "list"),
            Option("kms_key", "encrypt with this key", captured="kms_key_id", local=True),
            Option(
                "performance_mode",
                "performance mode",
                choices=("generalPurpose", "maxIO"),
                captured="performance_mode",
            ),
            Option(
                "throughput_mode",
                "throughput mode",
                choices=("bursting", "provisioned", "elastic"),
                captured="throughput_mode",
            ),
            Option("subnets", "subnets with a mount target", "list", captured="subnet_ids", local=True),
            Option("security_groups", "groups of the targets", "list", captured="security_group_ids", local=True),
        ),
        backup_actions=(
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeLifecycleConfiguration",
            "elasticfilesystem:DescribeFileSystemPolicy",
            "elasticfilesystem:DescribeBackupPolicy",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:DescribeMountTargetSecurityGroups",
            "elasticfilesystem:DescribeAccessPoints",
            "elasticfilesystem:Backup",
            *VAULT_BACKUP_ACTIONS,
        ),
        copy_actions=VAULT_COPY_ACTIONS,
        restore_actions=(
            "elasticfilesystem:Restore",
            "elasticfilesystem:CreateFileSystem",
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:TagResource",
            "elasticfilesystem:PutLifecycleConfiguration",
            "elasticfilesystem:PutBackupPolicy",
            "elasticfilesystem:PutFileSystemPolicy",
            "elasticfilesystem:UpdateFileSystem",
            "elasticfilesystem:CreateMountTarget",
            "elasticfilesystem:CreateAccessPoint",
            # CreateMountTarget, EFS API reference: what it does in the network
            "ec2:DescribeSubnets",
            "ec2:DescribeNetworkInterfaces",
            "ec2:CreateNetworkInterface",
            *VAULT_RESTORE_ACTIONS,
        ),
        undo_actions=(
            "backup:DescribeRestoreJob",
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:DeleteMountTarget",
            "elasticfilesystem:DeleteFileSystem",
        ),
        delete_actions=VAULT_DELETE_ACTIONS,
        key_actions=VAULT_KEY_ACTIONS,
    ),
)
