"""DocumentDB clusters (instance based; elastic clusters are another service).

Source: Amazon DocumentDB developer guide ("Copying cluster snapshots", "Sharing cluster snapshots") and API reference:
a shared cluster snapshot can be copied inside its region only.
"""

from dataclasses import replace

from tasks.resources.kind import Option
from tasks.resources.rds import AURORA, CLUSTER_OPTIONS, DEFAULT_KEY_NOTE

DOCUMENTDB_OPTIONS = (
    *CLUSTER_OPTIONS,
    Option("network_type", "IPV4 or DUAL", captured="network_type"),
    Option("min_capacity", "least capacity units of serverless members", captured="min_capacity"),
    Option("max_capacity", "most capacity units of serverless members", captured="max_capacity"),
)

# DocumentDB tells tags only when asked for them, one by one.
_TAGS = "rds:ListTagsForResource"

KINDS = (
    replace(
        AURORA,
        backup_actions=(*AURORA.backup_actions, _TAGS),
        undo_actions=(*AURORA.undo_actions, _TAGS),
        restore_actions=(*AURORA.restore_actions, _TAGS),
        delete_actions=(*AURORA.delete_actions, _TAGS),
        name="documentdb",
        service="docdb",
        apart=True,
        notes=(
            DEFAULT_KEY_NOTE,
            "to another account and region at once a copy takes two hops; encrypted ones need reencrypt_key for it",
            "copies are always full",
        ),
        restore_options=DOCUMENTDB_OPTIONS,
    ),
)
