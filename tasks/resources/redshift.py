"""Redshift clusters and Serverless namespaces.

Source: Amazon Redshift management guide ("Amazon Redshift snapshots", "Sharing snapshots"): another account can restore
a shared snapshot and neither copy nor delete it; copies to another region are a setting of the cluster, for all of its
snapshots.
"""

from tasks.resources.kind import Option, ResourceType, Rule

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
        built=False,
        notes=(
            "across accounts, mode share-only lends the snapshot, and materialise makes an independent one through a "
            "temporary cluster: always full, and its cluster hours are billed",
            "to another region the cluster copies all of its snapshots, automated ones too: needs cluster_copy",
        ),
        rules=(
            Rule(
                "account-and-region",
                "both",
                "A shared Redshift snapshot can only be restored, and in its own region only: it cannot go to another "
                "account and region at once.",
                "Amazon Redshift management guide, Sharing snapshots",
            ),
            Rule(
                "redshift-mode",
                "account",
                "Another account can restore a shared Redshift snapshot but not copy it: say options.mode, share-only "
                "(goes with the source account) or materialise (through a temporary cluster: full, billed by hour).",
                "Amazon Redshift management guide, Sharing snapshots",
                needs="options.mode",
            ),
            Rule(
                "cluster-copy",
                "region",
                "Redshift copies to another region only by a setting of the cluster, which then copies all of its "
                "snapshots there, automated ones too, at your cost: allow it with options.cluster_copy: yes.",
                "Amazon Redshift management guide, Cross-Region snapshot copy",
                needs="options.cluster_copy",
            ),
        ),
        copy_options=(
            Option("mode", "how another account gets it", choices=("share-only", "materialise")),
            Option("cluster_copy", "allow the cluster's own copying to the region", choices=("yes",)),
        ),
        restores=("cluster", "namespace"),
    ),
)
