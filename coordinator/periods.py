"""Hours, days, weeks, months and years of a zone's calendar: which one an instant falls in, and how people name it."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from coordinator.wallclock import offset_at

KINDS = ("hourly", "daily", "weekly", "monthly", "yearly")


@lru_cache(maxsize=131_072)  # the points of a policy of four thousand targets, seen again at every pass
def periods_of(zone: ZoneInfo, second: int) -> tuple[int, int, int, int, int]:
    """The numbers of the hour, day, week, month and year (as KINDS) that hold a UTC epoch second in the zone.

    Numbers of one kind grow with time and are consecutive, so their difference counts periods. Weeks begin on Monday.
    Of two clock hours with one name (when clocks go back) each has its own number.
    """
    offset = offset_at(zone, second)
    wall = datetime.fromtimestamp(second + offset, UTC)
    day = wall.toordinal()
    hour = (second - (second + offset) % 3600) // 3600
    return hour, day, (day - 1) // 7, wall.year * 12 + wall.month, wall.year


def name_of(zone: ZoneInfo, second: int, kind: str) -> str:
    """How people write that period: 2026-11-22 14h, 2026-11-22, 2026-W47, 2026-11, 2026."""
    wall = datetime.fromtimestamp(second, zone)
    match kind:
        case "hourly":
            return f"{wall:%Y-%m-%d %H}h"
        case "daily":
            return f"{wall:%Y-%m-%d}"
        case "weekly":
            year, week, _ = wall.isocalendar()
            return f"{year}-W{week:02}"
        case "monthly":
            return f"{wall:%Y-%m}"
        case _:
            return f"{wall:%Y}"
