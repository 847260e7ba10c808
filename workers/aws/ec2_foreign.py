"""Snapshots that others have made: what can be read block by block, and why the rest cannot.

Facts of EBS (EBS user guide, EBS direct APIs): only completed snapshots in the standard tier are read; a copy's
`VolumeId` is arbitrary, `vol-ffffffff`. Asked with OwnerIds=self: anything else would list the public ones.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from workers.aws.session import Clients
from workers.aws.tags import read_tags
from workers.blocks import Foreign

# CopySnapshot reference: "Snapshots copied ... have an arbitrary volume ID"; this one is what AWS gives.
NO_VOLUME = "vol-ffffffff"
_PAGE = 1000


def list_foreign(clients: Clients, tags: Mapping[str, str]) -> Iterator[Foreign]:
    """Snapshots that the account owns and that carry all of `tags`, in no order."""
    filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in sorted(tags.items())]
    pages = (
        clients.read()
        .get_paginator("describe_snapshots")
        .paginate(OwnerIds=["self"], Filters=filters, PaginationConfig={"PageSize": _PAGE})
    )
    for page in pages:
        yield from (_foreign(snapshot) for snapshot in page["Snapshots"])


def _foreign(snapshot: Mapping[str, Any]) -> Foreign:
    volume = str(snapshot.get("VolumeId", ""))
    return Foreign(
        snapshot_id=snapshot["SnapshotId"],
        volume_id="" if volume in ("", NO_VOLUME) else volume,
        size_gib=int(snapshot.get("VolumeSize", 0)),
        taken_at=snapshot["StartTime"],
        encrypted=bool(snapshot.get("Encrypted")),
        kms_key_id=str(snapshot.get("KmsKeyId", "")),
        tags=read_tags(snapshot.get("Tags")),
        why_not=_why_not(snapshot),
    )


def _why_not(snapshot: Mapping[str, Any]) -> str:
    if snapshot.get("State") != "completed":
        return f"It is {snapshot.get('State', 'in an unknown state')}, not completed."
    if snapshot.get("StorageTier", "standard") != "standard":
        return "It lies in the archive tier; restore it to the standard tier first."
    return ""
