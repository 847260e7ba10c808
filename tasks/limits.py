"""What clouds allow, as data: request buckets by family of calls, our share of them, and how a share follows throttles.

EC2 meters each API by a token bucket for each account and region (EC2 API reference, "Request throttling"). Documented
are the reading bucket and RunInstances; the other figures are working values that an account's `limits` may override.
Other services publish no figures, so they are treated as EC2's reading and changing calls. The buckets are shared with
the customer's own automation: by default 60 % of each is ours. Copies in flight stand in tasks.resources.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tasks.lanes import Lane

SHARE = 0.6
# A throttle halves our share, a minute without one gives a tenth back: the shape by which senders on a network find
# what is free (additive increase, multiplicative decrease). Never below a tenth, or nobody would find out that the
# cloud has room again.
CUT, GROWTH_A_MINUTE, LEAST = 0.5, 0.1, 0.1
# Calls that were under way together are throttled together: that is one answer, not many.
ONE_EVENT = timedelta(seconds=5)

_ROUNDING = 1e-3  # of a call: instants have microseconds, and what was spent in portions must add up to the burst


@dataclass(frozen=True)
class Pace:
    """A steady rate with a burst, as the cloud's own token bucket: GCRA over one instant per name."""

    per_second: float
    burst: int

    def allowed(self, tat: datetime | None, at: datetime) -> int:
        """How many may start now when `tat` is the theoretical arrival time of the next one."""
        if tat is None or tat <= at:
            return self.burst
        used = (tat - at).total_seconds() * self.per_second
        return max(0, int(self.burst - used + _ROUNDING))

    def worth(self, count: int) -> timedelta:
        """How far `count` starts move the theoretical arrival time ahead."""
        return timedelta(seconds=count / self.per_second)

    def spent(self, tat: datetime | None, at: datetime, count: int) -> datetime:
        """The new theoretical arrival time after `count` starts."""
        base = at if tat is None or tat < at else tat
        return base + self.worth(count)

    def scaled(self, share: float) -> "Pace":
        """The same bucket at a share of it; at least one call is always allowed after a while."""
        return Pace(self.per_second * share, max(1, int(self.burst * share)))


@dataclass(frozen=True)
class Bucket:
    """A cloud's bucket: its size, and how many calls a second it is refilled by."""

    size: float
    per_second: float

    def ours(self, share: float) -> Pace:
        """Our share of it as a pace."""
        return Pace(self.per_second * share, max(1, int(self.size * share)))

    def spare(self, share: float) -> int:
        """How many calls may come late, all at once, on top of our burst and still fit: what the share leaves."""
        return max(1, int(self.size * (1 - share)))


READING, CHANGING = Bucket(100, 20), Bucket(50, 5)
BUCKETS: Mapping[str, Bucket] = {
    "ec2.create-snapshot": Bucket(100, 5),
    "ec2.copy-snapshot": CHANGING,
    "ec2.copy-image": Bucket(100, 1),
    "ec2.delete-snapshot": Bucket(100, 5),
    "ec2.create-volume": Bucket(100, 5),
    "ec2.create-tags": Bucket(100, 10),
    "ec2.run-instances": Bucket(5, 2),
    # Azure: 1,000 snapshots begun in three minutes for each subscription and region (HighCostSnapshotCreateHydrate3Min,
    # recordings of 2023): a bucket whose size and three minutes of refill are that. Reads and writes of a subscription
    # are ARM's token buckets (working values). What its answers tell is followed beside this (workers.azure.rates).
    "azure-compute.snapshot": Bucket(250, 4.1),
    "azure-compute.read": Bucket(250, 25),
    "azure-compute.change": Bucket(200, 10),
    "azure-sql.read": Bucket(250, 25),
    "azure-sql.change": Bucket(50, 1),
    # Quotas of the DynamoDB API reference, "CreateBackup", "DeleteBackup", "ListBackups", "RestoreTableFromBackup".
    "dynamodb.create-backup": Bucket(50, 50),
    "dynamodb.delete-backup": Bucket(10, 10),
    "dynamodb.list-backups": Bucket(5, 5),
    "dynamodb.restore": Bucket(10, 10),
}
_FAMILIES: Mapping[tuple[str, str], str] = {
    ("ec2", "CreateSnapshot"): "ec2.create-snapshot",
    ("ec2", "CreateSnapshots"): "ec2.create-snapshot",
    ("ec2", "CopySnapshot"): "ec2.copy-snapshot",
    ("ec2", "CopyImage"): "ec2.copy-image",
    ("ec2", "DeleteSnapshot"): "ec2.delete-snapshot",
    ("ec2", "CreateVolume"): "ec2.create-volume",
    ("ec2", "CreateTags"): "ec2.create-tags",
    ("ec2", "RunInstances"): "ec2.run-instances",
    ("azure-compute", "put-snapshots"): "azure-compute.snapshot",
    ("dynamodb", "CreateBackup"): "dynamodb.create-backup",
    ("dynamodb", "DeleteBackup"): "dynamodb.delete-backup",
    ("dynamodb", "ListBackups"): "dynamodb.list-backups",
    ("dynamodb", "RestoreTableFromBackup"): "dynamodb.restore",
}
# Services of the SDKs whose calls are counted. Blocks and objects have paces of their own, and STS is no resource's.
_SERVICES = frozenset(
    {
        "ec2", "rds", "dynamodb", "fsx", "efs", "backup", "redshift", "redshift-serverless",
        "azure-compute", "azure-sql",
    }
)  # fmt: skip
FAMILIES = tuple(sorted({*BUCKETS, *(f"{name}.{kind}" for name in _SERVICES for kind in ("change", "read"))}))
"""Every family of calls, as an account's `limits` name them."""
_READS = ("Describe", "Get", "List", "get-", "list-")
_UNCOUNTED = "get-operation"  # of Azure: 50,000 in three minutes for each subscription
# What a job starts, where that is a family of its own; every other start is one of its API's changing calls.
_STARTS: Mapping[tuple[str, Lane], str] = {
    ("ec2", Lane.SNAPSHOT): "ec2.create-snapshot",
    ("ec2", Lane.COPY): "ec2.copy-snapshot",
    ("azure-compute", Lane.SNAPSHOT): "azure-compute.snapshot",
    ("azure-compute", Lane.COPY): "azure-compute.snapshot",
    ("dynamodb", Lane.SNAPSHOT): "dynamodb.create-backup",
    ("dynamodb", Lane.COPY): "backup.change",
}
_APIS: Mapping[str, str] = {"aurora": "rds", "documentdb": "rds", "efs": "backup"}
# Jobs of these lanes are dealt their start when they are published; what they start is not counted again.
METERED = frozenset({Lane.SNAPSHOT, Lane.COPY})


def family_of(service: str, operation: str) -> str:
    """The family of a call of the SDK (`ec2`, `CreateSnapshot`); '' for calls that are not counted."""
    if service not in _SERVICES or operation == _UNCOUNTED:
        return ""
    kind = "read" if operation.startswith(_READS) else "change"
    return _FAMILIES.get((service, operation), f"{service}.{kind}")


def family_of_start(service: str, lane: Lane) -> str:
    """The family of what a job of a metered lane starts; `service` is the job's."""
    return _STARTS.get((service, lane), f"{_APIS.get(service, service)}.change")


@dataclass(frozen=True)
class Limits:
    """One account's limits: our share, and what differs from the published buckets and the table's copy slots."""

    share: float = SHARE
    requests: Mapping[str, Bucket] = field(default_factory=dict)
    copy_slots: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Limits":
        """From an account's settings: {"limits": {"share", "requests": {family: [size, per second]}, "copy_slots"}}."""
        given = settings.get("limits") or {}
        requests = {name: Bucket(*map(float, pair)) for name, pair in (given.get("requests") or {}).items()}
        return cls(float(given.get("share", SHARE)), requests, dict(given.get("copy_slots") or {}))

    def bucket(self, family: str) -> Bucket:
        """The cloud's bucket of a family, as this account's settings or the table have it."""
        usual = READING if family.endswith(".read") else CHANGING
        return self.requests.get(family) or BUCKETS.get(family, usual)

    def pace(self, family: str) -> Pace:
        """What the whole fleet may use of it while the cloud does not throttle us."""
        return self.bucket(family).ours(self.share)


USUAL = Limits()


def share_at(share: float, lowered_at: datetime | None, at: datetime) -> float:
    """What a share that a throttle lowered has grown back to by now."""
    if lowered_at is None:
        return share
    minutes = max(0.0, (at - lowered_at).total_seconds() / 60)
    return min(1.0, share + GROWTH_A_MINUTE * minutes)


def lowered(share: float, lowered_at: datetime | None, at: datetime) -> float:
    """The share after a throttle at `at`; throttles of one moment count once."""
    if lowered_at is not None and at - lowered_at < ONE_EVENT:
        return share
    return max(LEAST, share_at(share, lowered_at, at) * CUT)
