"""EFS file systems, through AWS Backup alone.

Source: AWS Backup developer guide ("Feature availability by resource", "Creating backup copies").
"""

from tasks.resources.kind import ResourceType

KINDS = (
    ResourceType(
        name="efs",
        cloud="aws",
        service="efs",
        id_prefix="fs-",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=True,
        copy_slots=60,  # AWS Backup quotas: 100 copy jobs at once per destination region; 60 % of it is ours
        built=False,
        vault="always",
        notes=("backups are recovery points in a vault of AWS Backup",),
        restores=("file-system",),
    ),
)
