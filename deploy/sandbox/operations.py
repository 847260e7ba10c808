"""All operations that this package answers itself. A new service is a new module, named here."""

from importlib import import_module

from deploy.sandbox.call import OPERATIONS

MODULES = (
    "attributes",
    "backupjobs",
    "backupkinds",
    "copies",
    "ebsdirect",
    "ebsdirect_write",
    "efs",
    "fsx",
    "fsx_backups",
    "iam",
    "images",
    "imagesharing",
    "instances",
    "interfaces",
    "launch",
    "locks",
    "rds_databases",
    "rds_exports",
    "rds_snapshots",
    "redshift_clusters",
    "redshift_namespaces",
    "redshift_serverless",
    "redshift_snapshots",
    "rootswap",
    "sharing",
    "snapshots",
    "sts",
    "tables",
    "tags",
    "tiers",
    "vaults",
    "volumes",
)

for _name in MODULES:
    import_module(f"deploy.sandbox.{_name}")

__all__ = ["OPERATIONS"]
