"""The slot arithmetic against minute stepping: the wall clock read every minute around the clock changes of ten years.

The oracle knows one sentence per unit. m and h: a slot is a minute that is a whole number of steps after the start.
d, w, mo: a slot is the first minute at which the wall clock, taken as only ever advancing, has reached a nominal time.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.due import DisabledRange, Grid, Interval, count_slots, latest_slot, next_slot, slots_between

pytestmark = pytest.mark.unit

MINUTE = timedelta(minutes=1)
DECADES = {
    "Europe/Berlin": 2024,
    "America/New_York": 2024,
    "Australia/Lord_Howe": 2024,  # changes by 30 minutes
    "Pacific/Apia": 2005,  # skipped 30 December 2011
    "America/St_Johns": 2002,  # changed at 00:01 until 2011, so that a date comes back
}


def changes_of(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of ten years in which the offset changes."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=3 * n) for n in range(10 * 366 * 8)]
    return [b for a, b in pairwise(hours) if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()]


CHANGES = {name: changes_of(ZoneInfo(name), year) for name, year in DECADES.items()}


def wall_at(zone: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def is_closed(grid: Grid, wall: datetime) -> bool:
    if grid.days and wall.weekday() not in grid.days:
        return True
    for closed in grid.disabled:
        for begins in (wall.date(), wall.date() - timedelta(days=1)):
            named = begins == closed.on if closed.on else not closed.days or begins.weekday() in closed.days
            midnight = datetime.combine(begins, time())
            until = closed.end if closed.end > closed.start else closed.end + 1440
            if named and midnight + closed.start * MINUTE <= wall < midnight + until * MINUTE:
                return True
    return False


def is_nominal(grid: Grid, wall: datetime) -> bool:
    start, count = grid.starts_at, grid.every.count
    if wall < start or wall.time() != start.time():
        return False
    if grid.every.unit == "mo":
        months = (wall.year - start.year) * 12 + wall.month - start.month
        return months % count == 0 and wall.day == min(start.day, monthrange(wall.year, wall.month)[1])
    return (wall.date() - start.date()).days % (count * {"d": 1, "w": 7}[grid.every.unit]) == 0


def first_minute_showing(zone: ZoneInfo, wall: datetime) -> datetime:
    """Steps minute by minute from a day and a half before: no zone is that far from UTC."""
    instant = wall.replace(tzinfo=UTC) - timedelta(hours=36)
    while wall_at(zone, instant) < wall:
        instant += MINUTE
    return instant


def oracle(grid: Grid, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The slots in [begin, end), minute by minute."""
    zone = ZoneInfo(grid.time_zone)
    if grid.every.unit in ("m", "h"):
        anchor = first_minute_showing(zone, grid.starts_at)
        step = grid.every.duration
        instant = begin
        while instant < end:
            if instant >= anchor and not (instant - anchor) % step and not is_closed(grid, wall_at(zone, instant)):
                yield instant
            instant += MINUTE
        return
    instant = begin - timedelta(days=2)
    reached = wall_at(zone, instant)
    while instant < end:
        shown = wall_at(zone, instant)
        fires = False
        while reached < shown:
            reached += MINUTE
            fires = fires or (is_nominal(grid, reached) and not is_closed(grid, reached))
        if fires and instant >= begin:
            yield instant
        instant += MINUTE


def agree(grid: Grid, begin: datetime, end: datetime) -> None:
    expected = list(oracle(grid, begin, end))
    just_before, last = begin - MINUTE / 2, end - MINUTE / 2
    found = list(slots_between(grid, just_before, last))
    assert found == expected
    assert count_slots(grid, just_before, last) == len(expected)
    for slot in expected:
        assert latest_slot(grid, slot) == slot
    for earlier, later in pairwise(expected):
        assert latest_slot(grid, later - MINUTE / 2) == earlier
        assert next_slot(grid, earlier) == later


def grids_for(zone: str, year: int, change: datetime) -> list[Grid]:
    """Grids that meet the change: nominal times in the hour that it skips or repeats."""
    local = wall_at(ZoneInfo(zone), change - timedelta(hours=1))
    start = datetime(year - 1, 12, 31)
    friday_night = (DisabledRange(days=(4,), start=22 * 60, end=2 * 60),)
    return [
        Grid(Interval("m", 15), start.replace(minute=7), time_zone=zone),
        Grid(Interval("m", 37), start, time_zone=zone, days=(0, 1, 2, 3, 4), disabled=friday_night),
        Grid(Interval("h", 5), start, time_zone=zone, disabled=(DisabledRange(on=local.date(), start=90, end=200),)),
        Grid(Interval("d", 1), start.replace(hour=2, minute=15), time_zone=zone),
        Grid(Interval("d", 1), start.replace(hour=0, minute=0), time_zone=zone, days=(5, 6)),
        Grid(Interval("d", 1), start.replace(hour=1, minute=45), time_zone=zone, disabled=friday_night),
        Grid(Interval("w", 1), datetime.combine(local.date() - timedelta(days=70), time(2, 30)), time_zone=zone),
        Grid(Interval("mo", 1), start.replace(day=31, hour=2), time_zone=zone),
    ]


@pytest.mark.parametrize("zone", DECADES)
def test_around_every_clock_change_of_ten_years_the_slots_are_the_minutes_that_the_wall_clock_shows(zone: str) -> None:
    """features 6, 32, 34, 35: sampled changes, three days each, eight grids."""
    changes = CHANGES[zone]
    assert len(changes) >= 9
    for number, change in enumerate(changes):
        grids = grids_for(zone, DECADES[zone], change)
        for grid in {grids[number % 3], grids[3], grids[4 + number % 4]}:
            agree(grid, change - timedelta(hours=40), change + timedelta(hours=32))


@pytest.mark.parametrize("zone", DECADES)
@pytest.mark.parametrize("at", [time(0), time(2, 30), time(1, 45), time(23, 59)])
def test_a_daily_grid_runs_once_for_every_date_of_ten_years(zone: str, at: time) -> None:
    """feature 32: strictly increasing; once per date, gap and fold, also where the date itself is skipped."""
    year = DECADES[zone]
    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 10, 1, 1, tzinfo=UTC)
    grid = Grid(Interval("d", 1), datetime.combine(date(year - 1, 6, 1), at), time_zone=zone)
    slots = list(slots_between(grid, begin, end))
    assert all(a < b for a, b in pairwise(slots))
    assert all(timedelta(hours=22) <= b - a <= timedelta(hours=26) for a, b in pairwise(slots) if b.year != 2011)
    dates = [wall_at(ZoneInfo(zone), slot).date() for slot in slots]
    skipped = date(2011, 12, 30)
    apia = zone == "Pacific/Apia"
    every_date = {dates[0] + timedelta(days=n) for n in range((dates[-1] - dates[0]).days + 1)}
    assert set(dates) == every_date - ({skipped} if apia else set())
    twice = len(dates) - len(set(dates))
    assert twice == (1 if apia and at != time(0) else 0)  # the slot of the skipped date runs as the next date begins


@pytest.mark.parametrize("zone", DECADES)
def test_an_interval_grid_never_changes_its_pace(zone: str) -> None:
    """feature 33: ten years of 4 h slots lie exactly 4 h apart."""
    begin = datetime(DECADES[zone], 1, 1, tzinfo=UTC)
    grid = Grid(Interval("h", 4), datetime(DECADES[zone] - 1, 6, 1, 2, 30), time_zone=zone)
    slots = list(slots_between(grid, begin, begin + timedelta(days=3650)))
    assert len(slots) == 3650 * 6
    assert {b - a for a, b in pairwise(slots)} == {timedelta(hours=4)}


_ranges = st.builds(
    lambda days, start, length: DisabledRange(
        days=tuple(sorted(days)), start=start, end=(start + length) % 1440 or 1440
    ),
    st.sets(st.integers(0, 6)),
    st.integers(0, 1438),
    st.integers(1, 1430),
)


@st.composite
def _grids(draw: st.DrawFn) -> tuple[Grid, datetime]:
    zone = draw(st.sampled_from(sorted(DECADES)))
    change = draw(st.sampled_from(CHANGES[zone]))
    unit, count = draw(
        st.sampled_from([("m", 1), ("m", 45), ("h", 3), ("d", 1), ("d", 3), ("w", 1), ("mo", 1), ("mo", 5)])
    )
    local = wall_at(ZoneInfo(zone), change)
    minutes = draw(st.integers(-3 * 1440, 1440))
    start = local + minutes * MINUTE
    if unit in ("w", "mo"):
        start -= timedelta(days=draw(st.sampled_from([0, 14, 59, 365])))
    ends = draw(st.none() | st.integers(1, 4000).map(lambda late: max(start, local) + late * MINUTE))
    days = () if unit in ("w", "mo") else tuple(sorted(draw(st.sets(st.integers(0, 6)))))
    disabled = tuple(draw(st.lists(_ranges, max_size=2)))
    return Grid(Interval(unit, count), start, ends, zone, days, disabled), change


@pytest.mark.long
@settings(deadline=None, max_examples=50)
@given(_grids())
def test_any_grid_near_a_clock_change_agrees_with_minute_stepping(case: tuple[Grid, datetime]) -> None:
    """features 32 to 35, with random starts, ends, masks and ranges."""
    grid, change = case
    begin, end = change - timedelta(hours=30), change + timedelta(hours=30)
    zone = ZoneInfo(grid.time_zone)
    expected = list(oracle(grid, begin, end))
    if grid.ends_at is not None:
        expected = [slot for slot in expected if slot < first_minute_showing(zone, grid.ends_at)]
    assert list(slots_between(grid, begin - MINUTE / 2, end - MINUTE / 2)) == expected
    assert count_slots(grid, begin - MINUTE / 2, end - MINUTE / 2) == len(expected)
    if expected:
        assert latest_slot(grid, end - MINUTE / 2) == expected[-1]
