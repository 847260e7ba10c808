"""DynamoDB tables: native backups, and AWS Backup's where they are to be copied.

Source: DynamoDB developer guide ("Using on-demand backup and restore"): a native backup cannot be copied; API reference
(RestoreTableFromBackup) for what a restore leaves out, which is captured and set again.
"""

from tasks.resources.kind import Option, ResourceType
from tasks.resources.vaults import (
    VAULT_BACKUP_ACTIONS,
    VAULT_COPY_ACTIONS,
    VAULT_DELETE_ACTIONS,
    VAULT_KEY_ACTIONS,
    VAULT_RESTORE_ACTIONS,
)

_CLASSES = ("STANDARD", "STANDARD_INFREQUENT_ACCESS")
_STREAMS = ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES")

KINDS = (
    ResourceType(
        name="dynamodb",
        cloud="aws",
        service="dynamodb",
        id_prefix="",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=False,  # AWS Backup has cold storage; no policy of ours moves anything there
        copy_limit=100,
        copy_slots=60,  # AWS Backup quotas: 100 copy jobs at once per destination region; 60 % of it is ours
        vault="any",
        notes=(
            "a native backup cannot be copied: policies with dr entries go through AWS Backup, with its advanced "
            "features for DynamoDB",
        ),
        restores=("table",),
        restore_options=(
            Option("name", "name of the new table", required=True),
            Option("kms_key", "encrypt with this key"),
            Option("billing_mode", "how capacity is paid", choices=("PROVISIONED", "PAY_PER_REQUEST")),
            Option("table_class", "table class", choices=_CLASSES, captured="table_class"),
            Option("ttl", "attribute with each item's end of life", captured="ttl"),
            Option("stream", "what its stream carries", choices=_STREAMS, captured="stream"),
            Option("pitr", "point-in-time recovery", "flag", captured="pitr"),
            Option("scaling", "auto scaling as it was; none leaves it out", "flag", captured="scaling"),
            Option("deletion_protection", "refuse to be deleted", "flag", captured="deletion_protection"),
        ),
        backup_actions=(
            "dynamodb:ListTables",
            "dynamodb:DescribeTable",
            "dynamodb:ListTagsOfResource",
            "dynamodb:DescribeTimeToLive",
            "dynamodb:DescribeContinuousBackups",
            "dynamodb:CreateBackup",
            "dynamodb:DescribeBackup",
            "dynamodb:ListBackups",
            "dynamodb:StartAwsBackupJob",
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
            "backup:DescribeRegionSettings",
            *VAULT_BACKUP_ACTIONS,
        ),
        copy_actions=VAULT_COPY_ACTIONS,
        restore_actions=(
            "dynamodb:RestoreTableFromBackup",
            "dynamodb:RestoreTableFromAwsBackup",
            "dynamodb:DescribeTable",
            "dynamodb:DescribeTimeToLive",
            "dynamodb:TagResource",
            "dynamodb:UpdateTable",
            "dynamodb:UpdateTimeToLive",
            "dynamodb:UpdateContinuousBackups",
            # RestoreTableFromBackup, developer guide: item-level rights on the new table
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
            "application-autoscaling:RegisterScalableTarget",
            "application-autoscaling:PutScalingPolicy",
            *VAULT_RESTORE_ACTIONS,
        ),
        undo_actions=(
            "dynamodb:DescribeTable",
            "dynamodb:ListTagsOfResource",
            "dynamodb:UpdateTable",
            "dynamodb:DeleteTable",
        ),
        delete_actions=("dynamodb:DescribeBackup", "dynamodb:DeleteBackup", *VAULT_DELETE_ACTIONS),
        key_actions=VAULT_KEY_ACTIONS,
    ),
)
