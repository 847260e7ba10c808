"""Redshift clusters and Serverless namespaces.

Source: Amazon Redshift management guide ("Amazon Redshift snapshots", "Sharing snapshots", "Snapshots and recovery
points"): another account can restore a shared snapshot and neither copy nor delete it; copies to another region are a
setting of the cluster or namespace, for all of its snapshots from then on.
"""

from tasks.resources.ec2 import EBS_KEY_ACTIONS
from tasks.resources.kind import Cost, Option, ResourceType, Rule

_SHARING = "Amazon Redshift management guide, Sharing snapshots"
_MATERIALISE = {"options.mode": ("materialise",)}

_RULES = (
    Rule(
        "account-and-region",
        "both",
        "A shared Redshift snapshot can only be restored, and in its own region only: it cannot go to another "
        "account and region at once.",
        _SHARING,
    ),
    Rule(
        "redshift-mode",
        "account",
        "Another account can restore a shared Redshift snapshot but not copy it: say options.mode, share-only "
        "(goes with the source account) or materialise (through a temporary cluster or namespace: full, and its hours "
        "are billed).",
        _SHARING,
        needs="options.mode",
    ),
    Rule(
        "redshift-default-key",
        "account",
        "A snapshot under the account's default aws/redshift key can be shared with nobody, and Redshift copies it "
        "under no other key: encrypt the cluster or namespace with a customer-managed key.",
        _SHARING,
        found={"default_key": (True,)},
    ),
    Rule(
        "redshift-copy-key",
        "account",
        "Of an encrypted snapshot the temporary cluster or namespace, and so the copy, would lie under the source "
        "account's key: say kms_key, a key of the other account.",
        _SHARING,
        found={"encrypted": (True,)},
        given=_MATERIALISE,
        needs="kms_key",
    ),
    Rule(
        "cluster-copy",
        "region",
        "Redshift copies to another region only by a setting of the cluster, which then copies all of its "
        "snapshots there, automated ones too, at your cost: allow it with options.cluster_copy: yes.",
        "Amazon Redshift management guide, Cross-Region snapshot copy",
        needs="options.cluster_copy",
    ),
)
_CLUSTER_OPTIONS = (
    Option("id", "name of the new cluster or namespace"),
    Option("node_type", "node type", captured="node_type"),
    Option("nodes", "number of nodes", "number", captured="nodes"),
    Option("subnet_group", "cluster subnet group", captured="subnet_group", local=True),
    Option("security_groups", "VPC security groups", "list", captured="security_group_ids", local=True),
    Option("parameter_group", "cluster parameter group", captured="parameter_group", local=True),
    Option("zone", "availability zone, not with multi_az", captured="zone", local=True),
    Option("multi_az", "compute in two zones", "flag", captured="multi_az"),
    Option("public", "reachable from the internet", "flag", captured="public"),
    Option("elastic_ip", "elastic address, once the old cluster has given it up"),
    Option("port", "port", "number", captured="port"),
    Option("routing", "enhanced VPC routing", "flag", captured="routing"),
    Option("roles", "IAM roles that it may use", "list", captured="roles", local=True),
    Option("default_role", "the one of them used by default", captured="default_role", local=True),
    Option("kms_key", "encrypt with this key"),
    Option("maintenance_window", "when AWS maintains it, ddd:hh:mm-ddd:hh:mm", captured="maintenance_window"),
    Option("track", "maintenance track", captured="track"),
    Option("auto_upgrade", "versions are installed by AWS", "flag", captured="auto_upgrade"),
    Option("automated_retention", "days that automated snapshots stay", "number", captured="automated_retention"),
    Option("relocation", "may be moved to another zone", "flag", captured="relocation"),
    Option("snapshot_schedule", "snapshot schedule", captured="snapshot_schedule", local=True),
    Option("managed_password", "the password lies in Secrets Manager", "flag", captured="managed_password"),
    Option("password_key", "key of that secret", captured="password_key", local=True),
    Option("network_type", "ipv4 or dualstack", captured="network_type"),
)
_NAMESPACE_OPTIONS = (
    Option("into", "an existing namespace, whose database is replaced (needs replace=yes)"),
    Option("replace", "yes: the database of the namespace named with into is lost", choices=("yes",)),
    Option("workgroup", "name of its workgroup; default: ID-workgroup"),
    Option("base_capacity", "capacity units (RPU)", "number", captured="base_capacity"),
    Option("max_capacity", "most capacity units", "number", captured="max_capacity"),
    Option("subnets", "subnets", "list", captured="subnet_ids", local=True),
    Option("logs", "logs that are exported", "list", captured="logs"),
)

KINDS = (
    ResourceType(
        name="redshift",
        cloud="aws",
        service="redshift",
        id_prefix="",
        cross_region=True,
        cross_account=True,
        repository=False,
        cold=False,
        copy_slots=2,  # each materialised copy is a cluster by the hour
        temporary={"mode": "materialise"},
        carried=True,
        notes=(
            "across accounts, mode share-only lends the snapshot, and materialise makes an independent one through a "
            "temporary cluster, of Serverless a temporary namespace: always full, and its hours are billed",
            "to another region the cluster copies all of its snapshots, automated ones too: needs cluster_copy",
        ),
        rules=_RULES,
        costs=(
            Cost(
                "redshift: every copy restores a temporary cluster (of Serverless a namespace) of the source's size in "
                "the other account, billed by the hour until its snapshot is there, and is always full",
                _MATERIALISE,
                full=True,
            ),
            Cost(
                "redshift: from the next backup on the clusters copy all of their snapshots to this region, automated "
                "ones too, billed as transfer and storage there",
                {"options.cluster_copy": ("yes",)},
            ),
        ),
        copy_options=(
            Option("mode", "how another account gets it", choices=("share-only", "materialise")),
            Option("cluster_copy", "allow the cluster's own copying to the region", choices=("yes",)),
            Option("subnet_group", "cluster subnet group in the other account for the temporary cluster"),
            Option("subnets", "subnets in the other account for the temporary namespace, with commas between them"),
        ),
        restores=("cluster", "namespace"),
        restore_options=(*_CLUSTER_OPTIONS, *_NAMESPACE_OPTIONS),
        backup_actions=(
            "redshift:DescribeClusters",
            "redshift:DescribeClusterSnapshots",
            "redshift:CreateClusterSnapshot",
            "redshift:CreateTags",
            "redshift:EnableSnapshotCopy",
            "redshift:CreateSnapshotCopyGrant",
            "redshift-serverless:ListNamespaces",
            "redshift-serverless:GetNamespace",
            "redshift-serverless:GetWorkgroup",  # polls of restores go out by this role
            "redshift-serverless:ListWorkgroups",
            "redshift-serverless:ListTagsForResource",
            "redshift-serverless:CreateSnapshot",
            "redshift-serverless:GetSnapshot",
            "redshift-serverless:ListSnapshots",
            "redshift-serverless:TagResource",
            "redshift-serverless:ListSnapshotCopyConfigurations",
            "redshift-serverless:CreateSnapshotCopyConfiguration",
        ),
        copy_actions=(
            "redshift:DescribeClusters",
            "redshift:DescribeClusterSnapshots",
            "redshift:AuthorizeSnapshotAccess",
            "redshift:RestoreFromClusterSnapshot",
            "redshift:CreateClusterSnapshot",
            "redshift:CreateTags",
            "redshift-serverless:GetResourcePolicy",
            "redshift-serverless:PutResourcePolicy",
            "redshift-serverless:GetSnapshot",
            "redshift-serverless:ListSnapshots",
            "redshift-serverless:TagResource",
            "redshift-serverless:GetNamespace",
            "redshift-serverless:GetWorkgroup",
            "redshift-serverless:ListTagsForResource",
            "redshift-serverless:CreateNamespace",
            "redshift-serverless:CreateWorkgroup",
            "redshift-serverless:RestoreFromSnapshot",
            "redshift-serverless:CreateSnapshot",
        ),
        restore_actions=(
            "redshift:DescribeClusters",
            "redshift:RestoreFromClusterSnapshot",
            "redshift:ModifyCluster",
            "redshift:CreateTags",
            "redshift-serverless:GetNamespace",
            "redshift-serverless:GetWorkgroup",
            "redshift-serverless:ListWorkgroups",
            "redshift-serverless:CreateNamespace",
            "redshift-serverless:CreateWorkgroup",
            "redshift-serverless:RestoreFromSnapshot",
            "redshift-serverless:TagResource",
            "redshift-serverless:ListTagsForResource",
            "iam:PassRole",
        ),
        undo_actions=(
            "redshift:DescribeClusters",
            "redshift:DeleteCluster",
            "redshift-serverless:GetNamespace",
            "redshift-serverless:GetWorkgroup",
            "redshift-serverless:ListTagsForResource",
            "redshift-serverless:DeleteNamespace",
            "redshift-serverless:DeleteWorkgroup",
        ),
        delete_actions=(
            "redshift:DescribeClusters",
            "redshift:DescribeClusterSnapshots",
            "redshift:RevokeSnapshotAccess",
            "redshift:DeleteClusterSnapshot",
            "redshift:DeleteCluster",
            "redshift:CreateTags",
            "redshift-serverless:GetSnapshot",
            "redshift-serverless:ListTagsForResource",
            "redshift-serverless:GetResourcePolicy",
            "redshift-serverless:PutResourcePolicy",
            "redshift-serverless:DeleteResourcePolicy",
            "redshift-serverless:DeleteSnapshot",
            "redshift-serverless:TagResource",
            "redshift-serverless:GetNamespace",
            "redshift-serverless:GetWorkgroup",
            "redshift-serverless:DeleteNamespace",
            "redshift-serverless:DeleteWorkgroup",
        ),
        key_actions=EBS_KEY_ACTIONS,
    ),
)
