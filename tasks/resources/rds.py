"""RDS instances and Aurora clusters.

Sources: the RDS and Aurora user guides ("Copying a DB snapshot", "Sharing a DB snapshot", "Restoring to a DB
instance"), the RDS API reference. RDS runs 20 snapshot copies at once per destination region and account, Aurora 5.
"""

from collections.abc import Mapping

from tasks.resources.ec2 import EBS_KEY_ACTIONS
from tasks.resources.kind import Option, ResourceType, Rule

DEFAULT_KEY_NOTE = "across accounts a customer-managed key is needed: nothing under the default aws/rds key is shared"
# One or two of the cloud's slots are left to others.
_RDS_COPY_SLOTS, _AURORA_COPY_SLOTS = 18, 4

_RULES = (
    Rule(
        "option-group",
        "account",
        "A snapshot whose option group has a persistent or permanent option (such as TDE) cannot be shared.",
        "RDS user guide, Sharing a DB snapshot",
        found={"persistent_options": (True,)},
    ),
)

INSTANCE_OPTIONS = (
    Option("id", "identifier of the new database", required=True),
    Option("class", "instance class", captured="instance_class"),
    Option("subnet_group", "DB subnet group", captured="subnet_group", local=True),
    Option("security_groups", "VPC security groups", "list", captured="security_group_ids", local=True),
    Option("parameter_group", "DB parameter group", captured="parameter_group", local=True),
    Option("option_group", "option group", captured="option_group", local=True),
    Option("zone", "availability zone, not with multi_az", captured="zone", local=True),
    Option("multi_az", "a standby in another zone", "flag", captured="multi_az"),
    Option("public", "reachable from the internet", "flag", captured="public"),
    Option("port", "port", "number", captured="port"),
    Option("storage_type", "storage type", captured="storage_type"),
    Option("iops", "provisioned operations per second", "number", captured="iops"),
    Option("storage_throughput", "MiB per second (gp3)", "number", captured="storage_throughput"),
    Option("iam_auth", "log in through IAM", "flag", captured="iam_auth"),
    Option("deletion_protection", "refuse to be deleted", "flag", captured="deletion_protection"),
    Option("auto_minor_upgrade", "minor versions are installed by AWS", "flag", captured="auto_minor_upgrade"),
    Option("copy_tags", "snapshots carry the database's tags", "flag", captured="copy_tags"),
    Option("backup_retention", "days that automated backups stay", "number", captured="backup_retention"),
    Option("backup_window", "when automated backups are made, hh:mm-hh:mm", captured="backup_window"),
    Option("ca", "CA certificate identifier", captured="ca"),
    Option("logs", "logs that go to CloudWatch", "list", captured="logs"),
    Option("domain", "directory for Kerberos or Windows logins", captured="domain", local=True),
    Option("domain_role", "role for the directory", captured="domain_role", local=True),
    Option("license_model", "licence model", captured="license_model"),
    Option("network_type", "IPV4 or DUAL", captured="network_type"),
)
CLUSTER_OPTIONS = (
    Option("id", "identifier of the new cluster", required=True),
    Option("class", "instance class of every member; default: each as it was"),
    Option("members", "how many instances; default: as many as there were", "number"),
    Option("subnet_group", "DB subnet group", captured="subnet_group", local=True),
    Option("security_groups", "VPC security groups", "list", captured="security_group_ids", local=True),
    Option("parameter_group", "cluster parameter group", captured="parameter_group", local=True),
    Option("engine_version", "another version of the engine"),
    Option("zones", "availability zones", "list", captured="zones", local=True),
    Option("port", "port", "number", captured="port"),
    Option("storage_type", "storage type", captured="storage_type"),
    Option("kms_key", "encrypt with this key"),
    Option("deletion_protection", "refuse to be deleted", "flag", captured="deletion_protection"),
    Option("copy_tags", "snapshots carry the cluster's tags", "flag", captured="copy_tags"),
    Option("logs", "logs that go to CloudWatch", "list", captured="logs"),
)
_AURORA_OPTIONS = (
    *CLUSTER_OPTIONS,
    Option("backup_retention", "days that automated backups stay", "number", captured="backup_retention"),
    Option("backup_window", "when automated backups are made, hh:mm-hh:mm", captured="backup_window"),
    Option("iam_auth", "log in through IAM", "flag", captured="iam_auth"),
    Option("domain", "directory for Kerberos logins", captured="domain", local=True),
    Option("domain_role", "role for the directory", captured="domain_role", local=True),
    Option("network_type", "IPV4 or DUAL", captured="network_type"),
    Option("min_capacity", "least capacity units of Serverless", captured="min_capacity"),
    Option("max_capacity", "most capacity units of Serverless", captured="max_capacity"),
    Option("serverless_v1", "make Serverless v1 again, which AWS has ended, instead of v2", "flag"),
)
AURORA = ResourceType(
    name="aurora",
    cloud="aws",
    service="aurora",
    id_prefix="cluster-",
    cross_region=True,
    cross_account=True,
    repository=False,
    cold=False,
    copy_slots=_AURORA_COPY_SLOTS,
    copy_limit=5,
    notes=(DEFAULT_KEY_NOTE, "copies are always full"),
    restores=("cluster",),
    restore_options=_AURORA_OPTIONS,
    backup_actions=(
        "rds:DescribeDBClusters",
        "rds:DescribeDBInstances",
        "rds:DescribeDBClusterSnapshots",
        "rds:CreateDBClusterSnapshot",
        "rds:AddTagsToResource",
    ),
    copy_actions=(
        "rds:CopyDBClusterSnapshot",
        "rds:ModifyDBClusterSnapshotAttribute",
        "rds:DescribeDBClusterSnapshots",
        "rds:AddTagsToResource",
    ),
    restore_actions=(
        "rds:RestoreDBClusterFromSnapshot",
        "rds:CreateDBInstance",
        "rds:DescribeDBClusters",
        "rds:DescribeDBInstances",
        "rds:AddTagsToResource",
    ),
    undo_actions=(
        "rds:DescribeDBClusters",
        "rds:DescribeDBInstances",
        "rds:ModifyDBCluster",
        "rds:DeleteDBInstance",
        "rds:DeleteDBCluster",
    ),
    delete_actions=(
        "rds:DeleteDBClusterSnapshot",
        "rds:DescribeDBClusterSnapshots",
        "rds:AddTagsToResource",
    ),
    key_actions=EBS_KEY_ACTIONS,
)

# StartExportTask (RDS API reference): engines whose snapshots are exported.
EXPORT_ENGINES = ("mysql", "postgres", "mariadb")
# The estate's words for the classes that exports may lie in ("Using Amazon S3 storage classes", S3 user guide).
EXPORT_CLASSES: Mapping[str, str] = {
    "standard-ia": "STANDARD_IA", "onezone-ia": "ONEZONE_IA", "intelligent-tiering": "INTELLIGENT_TIERING",
    "glacier-ir": "GLACIER_IR", "glacier": "GLACIER", "deep-archive": "DEEP_ARCHIVE",
}  # fmt: skip

KINDS = (
    ResourceType(
        name="rds",
        cloud="aws",
        service="rds",
        id_prefix="db-",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=True,
        copy_slots=_RDS_COPY_SLOTS,
        copy_limit=20,
        notes=(
            DEFAULT_KEY_NOTE,
            "repository: no images of databases; MySQL, MariaDB and PostgreSQL are exported to S3 as Parquet by a "
            "policy's export, for reading and not for restoring",
            "cold: exports alone, moved inside S3 to the class that the policy names once RDS has written them",
        ),
        rules=_RULES,
        restores=("database",),
        restore_options=INSTANCE_OPTIONS,
        backup_actions=(
            "rds:DescribeDBInstances",
            "rds:DescribeDBSnapshots",
            "rds:DescribeExportTasks",
            "rds:DescribeOptionGroups",
            "rds:CreateDBSnapshot",
            "rds:AddTagsToResource",
        ),
        copy_actions=(
            "rds:CopyDBSnapshot",
            "rds:ModifyDBSnapshotAttribute",
            "rds:DescribeDBSnapshots",
            "rds:AddTagsToResource",
        ),
        restore_actions=(
            "rds:RestoreDBInstanceFromDBSnapshot",
            "rds:ModifyDBInstance",
            "rds:DescribeDBInstances",
            "rds:AddTagsToResource",
            "iam:PassRole",
        ),
        undo_actions=("rds:DescribeDBInstances", "rds:ModifyDBInstance", "rds:DeleteDBInstance"),
        # exports into S3; their objects go with the versions that a bucket keeps
        archive_actions=("rds:StartExportTask", "iam:PassRole"),
        cooling_actions=(
            "s3:ListBucket",
            "s3:GetBucketVersioning",
            "s3:GetObject",
            "s3:GetObjectTagging",  # S3 asks for it where the objects that are copied have tags
            "s3:PutObject",
            "kms:Decrypt",
            "kms:GenerateDataKey",  # of the export's key, under which S3 writes the copy
        ),
        delete_actions=(
            "rds:DeleteDBSnapshot",
            "rds:DescribeDBSnapshots",
            "rds:AddTagsToResource",
            "s3:ListBucketVersions",
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
        ),
        key_actions=EBS_KEY_ACTIONS,
    ),
    AURORA,
)
