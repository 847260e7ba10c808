"""All operations that this package answers itself. A new service is a new module, named here."""

from importlib import import_module

from deploy.sandbox.call import OPERATIONS

MODULES = (
    "attributes",
    "copies",
    "ebsdirect",
    "ebsdirect_write",
    "iam",
    "images",
    "imagesharing",
    "instances",
    "interfaces",
    "launch",
    "locks",
    "rootswap",
    "sharing",
    "snapshots",
    "sts",
    "tags",
    "tiers",
    "volumes",
)

for _name in MODULES:
    import_module(f"deploy.sandbox.{_name}")

__all__ = ["OPERATIONS"]
