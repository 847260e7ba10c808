"""Golden tables of slots that a person can check with a calendar."""

from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Any

import pytest

from coordinator.due import Grid, count_slots, latest_slot, next_slot, slots_between

pytestmark = pytest.mark.unit

FAR = datetime(2100, 1, 1, tzinfo=UTC)


def grid_of(every: str, starts_at: str, zone: str = "UTC", **more: Any) -> Grid:
    return Grid.from_spec({"every": every, "starts_at": starts_at, "time_zone": zone, **more})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def first_slots(grid: Grid, after: str, count: int) -> list[str]:
    return [f"{slot:%Y-%m-%dT%H:%M}" for slot in islice(slots_between(grid, utc(after), FAR), count)]


GOLDEN = {
    "hourly at 17 past": (
        grid_of("1h", "2026-11-01T00:17"),
        "2026-11-02T09:30",
        ["2026-11-02T10:17", "2026-11-02T11:17", "2026-11-02T12:17"],
    ),
    "daily at 10:00 in Berlin, over the end of summer time": (
        grid_of("1d", "2026-10-01T10:00", "Europe/Berlin"),
        "2026-10-23T12:00",
        ["2026-10-24T08:00", "2026-10-25T09:00", "2026-10-26T09:00"],
    ),
    "every four hours counts in UTC from the start": (
        grid_of("4h", "2026-10-24T10:00", "Europe/Berlin"),
        "2026-10-24T20:00",
        ["2026-10-25T00:00", "2026-10-25T04:00", "2026-10-25T08:00"],
    ),
    "weekdays only, by the day in New York": (
        grid_of("12h", "2026-11-01T21:00", "America/New_York", days=["mon", "tue", "wed", "thu", "fri"]),
        "2026-11-05T20:00",  # a Thursday
        ["2026-11-06T02:00", "2026-11-06T14:00", "2026-11-07T02:00", "2026-11-09T14:00"],  # the third is Friday 21:00
    ),
    "Friday 22:00 to Saturday 02:00 is disabled": (
        grid_of("2h", "2026-11-01T00:00", disabled=[{"days": ["fri"], "from": "22:00", "to": "02:00"}]),
        "2026-11-06T19:00",
        ["2026-11-06T20:00", "2026-11-07T02:00", "2026-11-07T04:00"],
    ),
    "a masked day still gets the tail of the night before disabled": (
        grid_of("1h", "2026-11-01T00:30", days=["sat"], disabled=[{"days": ["fri"], "from": "22:00", "to": "02:00"}]),
        "2026-11-06T12:00",
        ["2026-11-07T02:30", "2026-11-07T03:30"],
    ),
    "a date is left out": (
        grid_of("1d", "2026-11-01T01:30", disabled=[{"date": "2026-12-24"}, {"date": "2026-12-25"}]),
        "2026-12-22T12:00",
        ["2026-12-23T01:30", "2026-12-26T01:30"],
    ),
    "part of a date is left out": (
        grid_of("6h", "2026-11-01T00:00", disabled=[{"date": "2026-12-24", "from": "18:00", "to": "06:00"}]),
        "2026-12-24T10:00",
        ["2026-12-24T12:00", "2026-12-25T06:00"],
    ),
    "every two weeks on the weekday of the start": (
        grid_of("2w", "2026-11-05T03:00", "Europe/Berlin"),
        "2026-11-05T02:00",
        ["2026-11-19T02:00", "2026-12-03T02:00", "2026-12-17T02:00"],
    ),
    "the 31st falls on the last day of shorter months and comes back": (
        grid_of("1mo", "2027-01-31T12:00"),
        "2027-01-01T00:00",
        ["2027-01-31T12:00", "2027-02-28T12:00", "2027-03-31T12:00", "2027-04-30T12:00", "2027-05-31T12:00"],
    ),
    "every three months keeps the 30th and meets a leap day": (
        grid_of("3mo", "2027-11-30T12:00"),
        "2027-11-30T12:00",
        ["2028-02-29T12:00", "2028-05-30T12:00"],
    ),
    "02:30 in Berlin is skipped on the spring day and runs at the change": (
        grid_of("1d", "2026-11-01T02:30", "Europe/Berlin"),
        "2027-03-26T12:00",
        ["2027-03-27T01:30", "2027-03-28T01:00", "2027-03-29T00:30"],
    ),
    "01:30 in New York occurs twice on the autumn day and runs the first time": (
        grid_of("1d", "2026-10-01T01:30", "America/New_York"),
        "2026-10-31T00:00",
        ["2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30"],
    ),
    "half-hourly runs through both passes of the repeated hour": (
        grid_of("30m", "2026-10-01T00:00", "Europe/Berlin"),
        "2026-10-24T23:30",
        ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"],
    ),
    "Apia had no 30 December 2011: that slot runs at the change, and one at midnight merges with the next day's": (
        grid_of("1d", "2011-12-01T00:00", "Pacific/Apia"),
        "2011-12-29T00:00",
        ["2011-12-29T10:00", "2011-12-30T10:00", "2011-12-31T10:00"],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_slots_are_those_of_the_calendar(name: str) -> None:
    """features 32, 33, 34, 35: start, zone, interval, mask, disabled ranges."""
    grid, after, expected = GOLDEN[name]
    assert first_slots(grid, after, len(expected)) == expected


def test_the_first_slot_is_the_start_and_none_comes_at_or_after_the_end() -> None:
    """feature 32: ends_at is exclusive."""
    grid = grid_of("1d", "2026-11-02T10:00", ends_at="2026-11-04T10:00")
    assert first_slots(grid, "2020-01-01T00:00", 9) == ["2026-11-02T10:00", "2026-11-03T10:00"]
    assert next_slot(grid, utc("2026-11-03T10:00")) is None
    assert latest_slot(grid, utc("2030-01-01T00:00")) == utc("2026-11-03T10:00")
    assert latest_slot(grid, utc("2026-11-02T09:59")) is None


def test_a_grid_whose_every_slot_is_closed_has_none() -> None:
    grids = [
        grid_of("15m", "2026-11-01T00:00", disabled=[{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}]),
        grid_of("7d", "2026-11-03T00:00", days=["mon"]),
        grid_of("1mo", "2026-11-03T05:00", disabled=[{"from": "04:00", "to": "06:00"}]),
    ]
    for grid in grids:
        assert next_slot(grid, utc("2026-11-05T00:00")) is None
        assert latest_slot(grid, utc("2026-11-25T00:00")) is None
        assert count_slots(grid, utc("2026-11-05T00:00"), utc("2027-11-05T00:00")) == 0


def test_the_far_past_and_the_far_future_are_answered_at_once() -> None:
    """No walking from the start, and no overflow at the ends of the calendar."""
    ends = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    for every in ("1m", "4h", "1d", "2w", "1mo", "99999d"):
        grid = grid_of(every, "1999-12-31T23:00", "Australia/Lord_Howe")
        assert next_slot(grid, ends[0]) == utc("1999-12-31T12:00")
        assert next_slot(grid, ends[1]) is None
        assert latest_slot(grid, ends[0]) is None
        last = latest_slot(grid, ends[1])
        assert last is not None
        assert next_slot(grid, last) is None
        assert count_slots(grid, last, ends[1]) == 0


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        next_slot(grid_of("1d", "2026-11-01T00:00"), datetime(2026, 11, 1))


def test_a_fraction_of_a_second_decides_which_side_a_slot_is_on() -> None:
    grid = grid_of("1m", "2026-11-01T00:00")
    just_after = utc("2026-11-01T00:05").replace(microsecond=1)
    assert next_slot(grid, just_after) == utc("2026-11-01T00:06")
    assert latest_slot(grid, just_after) == utc("2026-11-01T00:05")


def test_slots_that_a_skipped_date_brings_together_are_counted_once() -> None:
    """feature 32: midnight of 30 and of 31 December 2011 are one instant in Apia."""
    grid = grid_of("1d", "2011-12-01T00:00", "Pacific/Apia")
    assert count_slots(grid, utc("2011-12-29T00:00"), utc("2011-12-31T12:00")) == 3


def test_124_days_of_a_masked_quarter_hourly_grid_are_counted_by_division() -> None:
    """124 days from a Friday hold 88 weekdays: 88 * 96 slots."""
    grid = grid_of("15m", "2026-11-01T00:00", days=["mon", "tue", "wed", "thu", "fri"])
    start, end = utc("2026-12-31T23:59"), utc("2027-05-04T23:59")
    assert count_slots(grid, start, end) == 88 * 96
    assert sum(1 for _ in slots_between(grid, start, end)) == 88 * 96
    assert all(a < b for a, b in pairwise(slots_between(grid, start, end)))
