"""DynamoDB tables: native backups, and AWS Backup's where they are to be copied.

Source: DynamoDB developer guide ("Using on-demand backup and restore"): a native backup cannot be copied.
"""

from tasks.resources.kind import ResourceType

KINDS = (
    ResourceType(
        name="dynamodb",
        cloud="aws",
        service="dynamodb",
        id_prefix="",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=True,
        copy_slots=60,  # AWS Backup quotas: 100 copy jobs at once per destination region; 60 % of it is ours
        built=False,
        vault="any",
        notes=("a native backup cannot be copied: policies with dr entries go through AWS Backup",),
        restores=("table",),
    ),
)
