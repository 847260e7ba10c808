"""Azure's documented limits of single disks and machines, as data, and a guard that asks before a call is refused.

What is limited for a subscription and a region stands beside it: request buckets in tasks.limits and in Azure's own
answers (workers.azure.rates), copies in flight in tasks.resources. The guard counts what this process began: another
process's snapshots of the same disk are met as a refusal, which says the same.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from tasks.errors import QuotaReached


@dataclass(frozen=True)
class Limit:
    """At most `most` of `what` for each disk or machine (`per`), in all or, with `within`, in so long."""

    what: str
    per: str
    most: int
    source: str
    within: timedelta | None = None


_SNAPSHOTS = "managed disks documentation, Create an incremental snapshot: restrictions"
_COPIES = "managed disks documentation, Copy an incremental snapshot to a new region: restrictions"
_POINTS = "virtual machine documentation, restore points: limitations"
SNAPSHOT, RESTORE_POINT = "incremental snapshots", "restore points"
SIGNATURES = "snapshots of one family with an access signature"
LIMITS = (
    Limit(SNAPSHOT, "disk", 7, _SNAPSHOTS, timedelta(minutes=5)),
    Limit(SNAPSHOT, "disk", 500, _SNAPSHOTS),
    Limit(SIGNATURES, "disk", 5, _SNAPSHOTS),
    Limit("copies into a region at once", "disk", 1, _COPIES),
    Limit(RESTORE_POINT, "machine", 3, _POINTS, timedelta(hours=1)),
    Limit(RESTORE_POINT, "machine", 500, _POINTS),
)
_TIMED: Mapping[str, Limit] = {one.what: one for one in LIMITS if one.within is not None}


class Starts:
    """What this process has begun lately, by object; shared by threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, str], deque[float]] = {}

    def begin(self, what: str, object_id: str) -> None:
        """Count one that is about to be begun. Raises QuotaReached, with the wait, when the limit allows no more."""
        limit, at = _TIMED[what], self._now()
        within = (limit.within or timedelta(0)).total_seconds()
        with self._lock:
            recent = self._begun.setdefault((what, object_id), deque())
            while recent and recent[0] <= at - within:
                recent.popleft()
            if len(recent) < limit.most:
                recent.append(at)
                self._forget(at - within)
                return
            wait = timedelta(seconds=recent[0] + within - at)
        text = f"Azure makes {limit.most} {what} of a {limit.per} in {within / 60:.0f} minutes: the next one waits."
        raise QuotaReached(text, code="object-limit", wait=wait)

    def _forget(self, before: float) -> None:
        """Objects whose last start is over; so few are looked at that a call costs nothing."""
        for key in list(self._begun)[:4]:
            if key[0] == SNAPSHOT and self._begun[key] and self._begun[key][-1] <= before:
                del self._begun[key]
