"""From the wall clock of a zone to UTC and back, on integers.

Days are numbered from 1970-01-01, instants are UTC epoch seconds. Python's aware datetimes of one zone compare
without regard to `fold` and lose it in additions, so they are used only here, to ask zoneinfo for an offset.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAY = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clock, no zone
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)

# zoneinfo and datetime stop at year 9999; the last year is left out so that day + 1 and offsets always fit.
END_OF_TIME = (date(9999, 1, 1).toordinal() - EPOCH_ORDINAL) * DAY

# Ten years of days in eighteen zones; an entry is about 200 bytes.
_CACHED_DAYS = 65_536


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The IANA zone of that name; ValueError names it when there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"time_zone: {name!r} is not an IANA zone such as Europe/Berlin or UTC") from None


def weekday(day: int) -> int:
    """0 for Monday to 6 for Sunday."""
    return (day + 3) % 7  # 1970-01-01 was a Thursday


def day_of(on: date) -> int:
    """The number of a calendar day."""
    return on.toordinal() - EPOCH_ORDINAL


def to_epoch(at: datetime) -> int:
    """Whole seconds, rounded down; ValueError when `at` carries no zone."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; instants are aware UTC")
    since = at - _EPOCH_UTC
    return since.days * DAY + since.seconds


def from_epoch(second: int) -> datetime:
    """The aware UTC datetime of an instant."""
    return datetime.fromtimestamp(second, UTC)


def wall_seconds(wall: datetime) -> int:
    """A naive wall time as seconds since 1970-01-01 00:00 of the same wall clock."""
    since = wall - _EPOCH
    return since.days * DAY + since.seconds


def offset_at(zone: ZoneInfo, second: int) -> int:
    """Seconds that the zone's wall clock is ahead of UTC at an instant."""
    return _seconds(datetime.fromtimestamp(second, zone))


def instant(zone: ZoneInfo, wall: int) -> int:
    """The first instant at which the zone's wall clock shows `wall` seconds or later.

    So a time that a clock change skips becomes the instant of the change, and a time that occurs twice becomes its
    first occurrence. The result never decreases as `wall` grows, also where a zone skips a whole day.
    """
    offset = _whole_day_offset(zone, wall // DAY)
    return _instant_at_change(zone, wall) if offset is None else wall - offset


@lru_cache(maxsize=_CACHED_DAYS)
def segments(zone: ZoneInfo, utc_day: int) -> tuple[tuple[int, int, int], ...]:
    """A UTC day cut where the zone's offset changes: (from instant, to instant, offset)."""
    start, end = utc_day * DAY, (utc_day + 1) * DAY
    cuts = []
    while start < end:
        offset = offset_at(zone, start)
        change = end if offset_at(zone, end - 1) == offset else _first_change(zone, start, end - 1)
        cuts.append((start, change, offset))
        start = change
    return tuple(cuts)


@lru_cache(maxsize=_CACHED_DAYS)
def _whole_day_offset(zone: ZoneInfo, day: int) -> int | None:
    """The offset that holds from one local midnight to the next, None when the clocks change in between."""
    midnight = _EPOCH + timedelta(days=day)
    offset = _seconds(midnight.replace(tzinfo=zone))
    return offset if _seconds((midnight + timedelta(days=1)).replace(tzinfo=zone)) == offset else None


def _instant_at_change(zone: ZoneInfo, wall: int) -> int:
    shown = (_EPOCH + timedelta(seconds=wall)).replace(tzinfo=zone)
    before, after = _seconds(shown), _seconds(shown.replace(fold=1))
    if before >= after:
        return wall - before
    return _first_change(zone, wall - after, wall - before)


def _first_change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first instant in (low, high] whose offset is not the one at `low`; there is exactly one change in between."""
    old = offset_at(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, middle) == old:
            low = middle
        else:
            high = middle
    return high


def _seconds(local: datetime) -> int:
    ahead = local.utcoffset()
    assert ahead is not None  # noqa: S101 - every ZoneInfo datetime has one
    return ahead // timedelta(seconds=1)
