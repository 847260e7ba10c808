"""What types that go through AWS Backup's vaults have in common: its rights.

Source: AWS Backup API permissions reference; "AWS Backup developer guide", IAM service roles: the role that AWS Backup
works as is passed with every job, and has the service's own rights from AWS's managed policies.
"""

VAULT_BACKUP_ACTIONS = (
    "backup:CreateBackupVault",
    "backup:DescribeBackupVault",
    "backup:StartBackupJob",
    "backup:DescribeBackupJob",
    "backup:ListBackupJobs",
    "backup:DescribeRestoreJob",  # whoever follows backups follows restores
    "backup:ListRestoreJobs",
    "backup:TagResource",
    "backup:ListTags",
    "backup:ListRecoveryPointsByBackupVault",
    "backup-storage:MountCapsule",
    "iam:PassRole",
)
VAULT_COPY_ACTIONS = (
    "backup:CreateBackupVault",
    "backup:DescribeBackupVault",
    "backup:GetBackupVaultAccessPolicy",
    "backup:PutBackupVaultAccessPolicy",
    "backup:StartCopyJob",
    "backup:DescribeCopyJob",
    "backup:ListCopyJobs",
    "backup:CopyIntoBackupVault",
    "backup:TagResource",
    "backup-storage:MountCapsule",
    "iam:PassRole",
)
VAULT_RESTORE_ACTIONS = ("backup:StartRestoreJob", "iam:PassRole")
VAULT_DELETE_ACTIONS = (
    "backup:DescribeRecoveryPoint",
    "backup:DeleteRecoveryPoint",
    "backup:ListTags",
    "backup:TagResource",
)
VAULT_KEY_ACTIONS = (
    "kms:DescribeKey",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
