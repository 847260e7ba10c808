"""Archived snapshots: cheap, full, and not usable until they are restored.

"ModifySnapshotTier", "RestoreSnapshotTier", "DescribeSnapshotTierStatus" (EC2 API reference); "Archive Amazon EBS
snapshots" (EBS user guide): completed and owned, not of an image; sharing ends with archiving.
"""

from datetime import timedelta
from functools import partial
from typing import Any

from deploy.sandbox import sharing
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, page, select
from deploy.sandbox.errors import AwsError, bad_combination, bad_value

DAYS_MAX = 180  # RestoreSnapshotTier, TemporaryRestoreDays


def _begin(call: Call, snapshot: Any, what: str, tier: str) -> None:
    """Enter a tiering operation that ends after `tier_seconds`."""
    if snapshot.tiering.endswith("in-progress"):
        raise AwsError("IncorrectState", f"The snapshot {snapshot.id} is being moved between tiers.")
    snapshot.tiering, snapshot.tiering_at = f"{what}-in-progress", call.now
    done = call.now + timedelta(seconds=call.config.tier_seconds)
    call.world.at(done, partial(_end, snapshot, what, tier))


def _end(snapshot: Any, what: str, tier: str) -> None:
    snapshot.tiering, snapshot.tier = f"{what}-completed", tier


@operation("ec2", "ModifySnapshotTier")
def modify_snapshot_tier(call: Call, parameters: dict) -> dict:
    snapshot = sharing.owned(call, parameters)
    if parameters.get("StorageTier", "archive") != "archive":
        raise bad_value("Only the tier archive can be chosen; restoring is RestoreSnapshotTier.")
    if snapshot.state(call.now) != "completed" or snapshot.tier == "archive":
        raise AwsError("IncorrectState", f"The snapshot {snapshot.id} cannot be archived now.")
    if any(snapshot in image.snapshots for image in call.here.images.values()):
        raise AwsError("InvalidSnapshot.InUse", f"The snapshot {snapshot.id} belongs to an image.")
    sharing.forget(call.world, snapshot)
    _begin(call, snapshot, "archival", "archive")
    return {"SnapshotId": snapshot.id, "TieringStartTime": call.now}


@operation("ec2", "RestoreSnapshotTier")
def restore_snapshot_tier(call: Call, parameters: dict) -> dict:
    snapshot = sharing.owned(call, parameters)
    days, permanent = parameters.get("TemporaryRestoreDays"), parameters.get("PermanentRestore")
    if bool(days) == bool(permanent):
        raise bad_combination("Specify either TemporaryRestoreDays or PermanentRestore.")
    if days and not 1 <= days <= DAYS_MAX:
        raise bad_value(f"TemporaryRestoreDays must be between 1 and {DAYS_MAX}.")
    if snapshot.tier != "archive":
        raise AwsError("IncorrectState", f"The snapshot {snapshot.id} is not archived.")
    _begin(call, snapshot, "permanent-restore" if permanent else "temporary-restore", "standard")
    if days:
        back = call.now + timedelta(days=days)
        call.world.at(back, partial(_end, snapshot, "archival", "archive"))
    answer = {"SnapshotId": snapshot.id, "RestoreStartTime": call.now, "IsPermanentRestore": bool(permanent)}
    return {**answer, "RestoreDuration": days}


FIELDS: Fields = {
    "snapshot-id": lambda s, _: s.id,
    "volume-id": lambda s, _: s.volume_id,
    "last-tiering-operation": lambda s, _: s.tiering,
}


@operation("ec2", "DescribeSnapshotTierStatus")
def describe_snapshot_tier_status(call: Call, parameters: dict) -> dict:
    check_page(parameters, "SnapshotIds")
    found = select(call, call.here.snapshots, None, parameters.get("Filters", []), FIELDS)
    shown, token = page(found, parameters)
    rows = [
        {
            "SnapshotId": s.id,
            "VolumeId": s.volume_id,
            "Status": s.state(call.now),
            "OwnerId": s.owner,
            "StorageTier": s.tier,
            "LastTieringStartTime": s.tiering_at,
            "LastTieringOperationStatus": s.tiering or None,
        }
        for s in shown
    ]
    return {"SnapshotTierStatuses": rows, "NextToken": token}
