"""DocumentDB clusters (instance based; elastic clusters are another service).

Source: Amazon DocumentDB developer guide ("Copying cluster snapshots", "Sharing cluster snapshots") and API reference:
a shared cluster snapshot can be copied inside its region only.
"""

from dataclasses import replace

from tasks.resources.rds import AURORA, CLUSTER_OPTIONS, DEFAULT_KEY_NOTE

KINDS = (
    replace(
        AURORA,
        name="documentdb",
        service="docdb",
        built=False,
        apart=True,
        notes=(
            DEFAULT_KEY_NOTE,
            "to another account and region at once a copy takes two hops; encrypted ones need reencrypt_key for it",
            "copies are always full",
        ),
        restore_options=CLUSTER_OPTIONS,
    ),
)
