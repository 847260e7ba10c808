"""Request throttling: one token bucket per (account, region, API), see "Request throttling for the Amazon EC2 API".

The EBS direct APIs have quotas of requests a second ("Amazon EBS endpoints and quotas", AWS general reference).

Only the non-mutating bucket (100, 20/s) and the RunInstances resource bucket (1000, 2/s) are documented numbers; the
others are working values, so all of them can be overridden in the configuration.
"""

import threading
import time

from deploy.sandbox.config import Config
from deploy.sandbox.errors import AwsError

LIMITS: dict[str, tuple[float, float]] = {  # API: (bucket size, refill per second)
    "CreateSnapshot": (100, 5),
    "CreateSnapshots": (100, 5),
    "DeleteSnapshot": (100, 5),
    "CreateVolume": (100, 5),
    "CreateTags": (100, 10),
    "CopyImage": (100, 1),
    "RunInstances": (5, 2),
    "RunInstances:instances": (1000, 2),
}
EBS_DIRECT: dict[str, tuple[float, float]] = {
    "GetSnapshotBlock": (1000, 1000),
    "PutSnapshotBlock": (1000, 1000),
    "ListSnapshotBlocks": (50, 50),
    "ListChangedBlocks": (50, 50),
    "StartSnapshot": (10, 10),
    "CompleteSnapshot": (10, 10),
}
READING = (100, 20)
READING_UNBOUNDED = (50, 10)
MUTATING = (50, 5)
# "Unfiltered and unpaginated non-mutating actions" of the same page; every other reading call has the larger bucket.
LISTINGS = frozenset(
    {
        "DescribeInstances",
        "DescribeInstanceStatus",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeSnapshots",
        "DescribeSpotInstanceRequests",
        "DescribeVolumes",
    }
)


def blocks_throttled() -> AwsError:
    return AwsError("RequestThrottledException", "Rate exceeded", 400, "ACCOUNT_THROTTLED")


class Meter:
    """Token buckets; `take` raises RequestLimitExceeded (503) when one is empty."""

    def __init__(self, config: Config):
        self._config = config
        self._lock = threading.Lock()
        self._buckets: dict[tuple, tuple[float, float]] = {}

    def clear(self) -> None:
        with self._lock:
            self._buckets.clear()

    def check(self, account: str, region: str, operation: str, parameters: dict) -> None:
        if not self._config.metering:
            return
        self._take(account, region, operation, self._limit(operation, parameters), 1)
        if operation == "RunInstances":
            wanted = int(parameters.get("MaxCount") or 1)
            self._take(account, region, "RunInstances:instances", LIMITS["RunInstances:instances"], wanted)

    def check_blocks(self, account: str, region: str, operation: str) -> None:
        """The quota of one of the EBS direct APIs: RequestThrottledException."""
        if self._config.metering and operation in EBS_DIRECT:
            limit = self._config.limits.get(operation) or EBS_DIRECT[operation]
            if not self._taken(account, region, operation, (limit[0], limit[1]), 1):
                raise blocks_throttled()

    def _limit(self, operation: str, parameters: dict) -> tuple[float, float]:
        if operation in self._config.limits:
            size, refill = self._config.limits[operation]
            return size, refill
        if operation in LIMITS:
            return LIMITS[operation]
        if not operation.startswith(("Describe", "Get", "List")):
            return MUTATING
        bounded = operation not in LISTINGS or "MaxResults" in parameters or "Filters" in parameters
        bounded = bounded or any(name.endswith("Ids") and name != "OwnerIds" for name in parameters)
        return READING if bounded else READING_UNBOUNDED

    def _take(self, account: str, region: str, bucket: str, limit: tuple[float, float], amount: int) -> None:
        if not self._taken(account, region, bucket, limit, amount):
            raise AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)

    def _taken(self, account: str, region: str, bucket: str, limit: tuple[float, float], amount: int) -> bool:
        size, refill = (value * self._config.meter_scale for value in limit)
        key, now = (account, region, bucket), time.monotonic()
        with self._lock:
            level, since = self._buckets.get(key, (size, now))
            level = min(size, level + (now - since) * refill)
            enough = level >= amount
            self._buckets[key] = (level - amount if enough else level, now)
        return enough
