"""When a recovery point is too old, from the schedules alone: pure.

A policy's points are too old when two of its slots have come and gone without a newer one. Counting slots instead of
hours follows weekends, disabled ranges and clock changes: a policy that rests on Sunday is not late on Monday.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from coordinator.due import Grid, latest_slot

_BEFORE = timedelta(seconds=1)


def due_since(slots: Iterable[datetime], first_slot: datetime | None) -> datetime | None:
    """The slot since which every target needs a good point; None while two slots have not come.

    `slots` are the newest two of each of the policy's schedules, `first_slot` is its first run: slots before it do
    not count. Points taken before the result are too old.
    """
    if first_slot is None:
        return None
    counted = sorted({slot for slot in slots if slot >= first_slot})
    return counted[-2] if len(counted) >= 2 else None


def newest_slots(grid: Grid, now: datetime) -> list[datetime]:
    """The two newest slots of a grid up to `now`, the newest first; fewer when there are fewer."""
    newest = latest_slot(grid, now)
    if newest is None:
        return []
    earlier = latest_slot(grid, newest - _BEFORE)
    return [newest] if earlier is None else [newest, earlier]


def slots_by_policy(
    specs: Iterable[tuple[int, Mapping[str, Any]]], joins: Iterable[tuple[int, int]], now: datetime
) -> dict[int, list[datetime]]:
    """The newest two slots of each schedule of each policy. `specs` are schedules by id, `joins` (policy, schedule).

    A schedule that many policies share is worked out once. One that cannot be read has no slots (the tick logs it), and
    keeps nobody else's lateness from being seen.
    """
    grids = {schedule: readable_grid(spec) for schedule, spec in specs}
    newest = {schedule: newest_slots(grid, now) if grid else [] for schedule, grid in grids.items()}
    found: dict[int, list[datetime]] = defaultdict(list)
    for policy, schedule in joins:
        found[policy] += newest[schedule]
    return found


def readable_grid(spec: Mapping[str, Any]) -> Grid | None:
    """A schedule as the catalog has it; None for one of another version, or that somebody wrote there."""
    try:
        return Grid.from_spec(spec)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
