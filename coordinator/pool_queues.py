"""The queues of worker pools, made before anything is sent there.

With the least rights a worker may not make its own: it would try again every three seconds, in each lane, until the
first message to that lane comes by, which of restores may be in a year.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Process, session
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.pools import COMMON, read_pools
from tasks.errors import SnapfleetError
from tasks.lanes import POOL

log = logging.getLogger("snapfleet.coordinator")

# Queues are also missing when a broker lost its data; the first message then makes its own.
AGAIN_AFTER = timedelta(minutes=10)


@dataclass
class PoolQueues:
    """The pools whose queues this coordinator has made, and when it began to."""

    made: set[str] = field(default_factory=set)
    since: datetime | None = None

    def look_after(self, url: str, at: datetime) -> None:
        """Make what is missing for pools that accounts are bound to or workers are in, at machine time `at`. A broker
        that is away is tried again at the next call. Raises Unavailable without a catalog."""
        from coordinator.rabbitmq import declare_pools

        if self.since is None or not self.since <= at < self.since + AGAIN_AFTER:
            self.made, self.since = set(), at
        missing = sorted(_pools(at) - self.made)
        if not missing:
            return
        try:
            declare_pools(url, missing)
        except SnapfleetError as error:
            log.warning("The queues of worker pools were not made: %s", error.text)
            return
        self.made.update(missing)


def _pools(at: datetime) -> set[str]:
    with session():
        working: Any = Process.select(Process.pool).where(Process.seen_at > at - SILENT_AFTER).distinct().tuples()
        found = {*read_pools().names, *(pool for (pool,) in working)}
    return {pool for pool in found - {COMMON} if POOL.fullmatch(pool)}
