"""Locked snapshots: nobody deletes one before its time.

"LockSnapshot", "UnlockSnapshot", "DescribeLockedSnapshots" (EC2 API reference); "Amazon EBS snapshot lock" (EBS user
guide). The error code of deleting a locked snapshot is not documented; the working value is SnapshotLocked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import sharing
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import check_page, page
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, required

MODES = ("governance", "compliance")
DAYS_MAX = 36500
COOL_OFF_MAX = 72


@dataclass
class Lock:
    """In compliance mode nothing shortens it once the cooling-off period (hours) is over."""

    mode: str
    created_at: datetime
    expires_at: datetime
    days: int
    cool_off: int

    def state(self, now: datetime) -> str:
        if now >= self.expires_at:
            return "expired"
        cooling = self.mode == "compliance" and now < self.created_at + timedelta(hours=self.cool_off)
        return "compliance-cooloff" if cooling else self.mode

    def view(self, now: datetime) -> dict[str, Any]:
        cooled = self.created_at + timedelta(hours=self.cool_off)
        return {
            "LockState": self.state(now),
            "LockDuration": self.days,
            "LockCreatedOn": self.created_at,
            "LockDurationStartTime": self.created_at,
            "LockExpiresOn": self.expires_at,
            "CoolOffPeriod": self.cool_off or None,
            "CoolOffPeriodExpiresOn": cooled if self.cool_off else None,
        }


def check_unlocked(snapshot: Any, now: datetime) -> None:
    if snapshot.lock is not None and snapshot.lock.state(now) != "expired":
        raise AwsError("SnapshotLocked", f"The snapshot {snapshot.id} is locked until {snapshot.lock.expires_at}.")


def _ends(call: Call, parameters: dict) -> tuple[datetime, int]:
    """(end, whole days) from a duration or a date, exactly one of which must be given."""
    days, date = parameters.get("LockDuration"), parameters.get("ExpirationDate")
    if (days is None) == (date is None):
        raise bad_combination("Specify either LockDuration or ExpirationDate.")
    if date is not None:
        ends = datetime.fromisoformat(date)
        if ends < call.now + timedelta(days=1):
            raise bad_value("ExpirationDate must be at least one day ahead.")
        return ends, (ends - call.now).days
    if not 1 <= days <= DAYS_MAX:
        raise bad_value(f"LockDuration must be between 1 and {DAYS_MAX} days.")
    return call.now + timedelta(days=days), days


@operation("ec2", "LockSnapshot")
def lock_snapshot(call: Call, parameters: dict) -> dict:
    snapshot, mode = sharing.owned(call, parameters), required(parameters, "LockMode")
    if mode not in MODES:
        raise bad_value(f"Value ({mode}) for parameter LockMode is invalid.")
    cool_off = parameters.get("CoolOffPeriod", 0)
    if cool_off and (mode != "compliance" or not 1 <= cool_off <= COOL_OFF_MAX):
        raise bad_value(f"CoolOffPeriod is 1 to {COOL_OFF_MAX} hours, in compliance mode only.")
    ends, days = _ends(call, parameters)
    old = snapshot.lock
    if old is not None and old.state(call.now) == "compliance" and (mode != "compliance" or ends < old.expires_at):
        raise AwsError("SnapshotLocked", "A compliance lock can only be extended.")
    snapshot.lock = Lock(mode, call.now, ends, days, cool_off)
    return {"SnapshotId": snapshot.id, **snapshot.lock.view(call.now)}


@operation("ec2", "UnlockSnapshot")
def unlock_snapshot(call: Call, parameters: dict) -> dict:
    snapshot = sharing.owned(call, parameters)
    if snapshot.lock is not None and snapshot.lock.state(call.now) == "compliance":
        raise AwsError("SnapshotLocked", "A compliance lock cannot be taken away after its cooling-off period.")
    snapshot.lock = None
    return {"SnapshotId": snapshot.id}


@operation("ec2", "DescribeLockedSnapshots")
def describe_locked_snapshots(call: Call, parameters: dict) -> dict:
    check_page(parameters, "SnapshotIds")
    ids = parameters.get("SnapshotIds") or []
    found = [s for s in call.here.snapshots.values() if s.lock is not None and (not ids or s.id in ids)]
    for entry in parameters.get("Filters", []):
        if entry["Name"] != "lock-state":
            raise bad_value(f"The filter '{entry['Name']}' is invalid")
        found = [s for s in found if s.lock.state(call.now) in entry["Values"]]
    shown, token = page(found, parameters)
    rows = [{"SnapshotId": s.id, "OwnerId": s.owner, **s.lock.view(call.now)} for s in shown]
    return {"Snapshots": rows, "NextToken": token}
