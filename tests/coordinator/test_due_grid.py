"""What a schedule of the estate file may say, and what is refused."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.due import DisabledRange, Grid, Interval

pytestmark = pytest.mark.unit

START = {"every": "15m", "starts_at": "2026-11-01T00:07"}


def test_the_example_schedule_reads_from_yaml_and_writes_itself_back() -> None:
    """feature 6: the estate file's form round-trips."""
    spec = yaml.safe_load("""
        name: quarter-hourly
        every: 15m
        starts_at: 2026-11-01T00:07
        ends_at: 2027-11-01T00:00
        time_zone: Europe/Berlin
        days: [mon, tue, wed, thu, fri]
        disabled:
          - {days: [fri], from: "22:00", to: "02:00"}
          - {date: 2026-12-24}
        spread: 5m
    """)
    grid = Grid.from_spec(spec)
    assert grid == Grid(
        every=Interval("m", 15),
        starts_at=datetime(2026, 11, 1, 0, 7),
        ends_at=datetime(2027, 11, 1),
        time_zone="Europe/Berlin",
        days=(0, 1, 2, 3, 4),
        disabled=(DisabledRange(days=(4,), start=22 * 60, end=120), DisabledRange(on=date(2026, 12, 24))),
        spread=timedelta(minutes=5),
    )
    assert grid.to_spec() == {
        "every": "15m",
        "starts_at": "2026-11-01T00:07",
        "ends_at": "2027-11-01T00:00",
        "time_zone": "Europe/Berlin",
        "days": ["mon", "tue", "wed", "thu", "fri"],
        "disabled": [{"days": ["fri"], "from": "22:00", "to": "02:00"}, {"date": "2026-12-24"}],
        "spread": "5m",
    }


def test_what_a_yaml_reader_makes_of_unquoted_times_is_understood() -> None:
    """YAML 1.1 turns 22:00 into 1320 and a full timestamp into a datetime."""
    spec = yaml.safe_load(
        "{every: 1d, starts_at: 2026-11-01T10:00:00, disabled: [{days: [sat], from: 22:00, to: 23:30}]}"
    )
    grid = Grid.from_spec(spec)
    assert grid.starts_at == datetime(2026, 11, 1, 10)
    assert grid.disabled == (DisabledRange(days=(5,), start=1320, end=1410),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"every": "15"}, "every: '15' is not a whole number followed by one of m, h, d, w, mo"),
        ({"every": "1y"}, "every: '1y'"),
        ({"every": "0m"}, "every: '0m'"),
        ({"every": None}, "every: missing"),
        ({"every": 15}, "every: 15"),
        ({"starts_at": "tomorrow"}, "starts_at: 'tomorrow' is not a date and time such as"),
        ({"starts_at": "2026-11-01T00:07+01:00"}, "starts_at: .* carries an offset"),
        ({"ends_at": "2026-11-01T00:07"}, "ends_at: must be later than starts_at"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: 'Mars/Olympus' is not an IANA zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone: "),
        ({"time_zone": 3}, "time_zone: 3"),
        ({"days": ["monday"]}, "days: .* is not a list of mon, tue, wed, thu, fri, sat, sun"),
        ({"every": "2w", "days": ["mon"]}, "days: not for w and mo"),
        ({"every": "1mo", "days": ["mon"]}, "days: not for w and mo"),
        ({"spread": "15m"}, "spread: must be shorter than every"),
        ({"spread": "5"}, "spread: '5' is not"),
        ({"disabled": {"date": "2026-12-24"}}, "disabled: must be a list"),
        ({"disabled": [{"from": "22:00"}]}, "disabled: from and to go together"),
        ({"disabled": [{"from": "25:00", "to": "02:00"}]}, "disabled.from: '25:00' is not a time of day"),
        ({"disabled": [{"from": "10:00", "to": "10:00"}]}, "disabled: from and to must differ"),
        ({"disabled": [{"days": ["fri"], "date": "2026-12-24"}]}, "disabled: give days or date, not both"),
        ({"disabled": [{}]}, "disabled: an empty range"),
        ({"disabled": [{"until": "10:00"}]}, "disabled: unknown field 'until'; allowed are days, date, from, to"),
        ({"timezone": "UTC"}, "schedule: unknown field 'timezone'; allowed are every, starts_at"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name_with_what_it_may_be(change: dict[str, Any], said: str) -> None:
    """feature 6: an operator sees which field to mend."""
    with pytest.raises(ValueError, match=said):
        Grid.from_spec({**START, **change})


def test_durations_end_late_rather_than_early() -> None:
    """A month or year that guards data is never shorter than a calendar's."""
    assert Interval.parse("90d", "keep").duration == timedelta(days=90)
    assert Interval.parse("3mo", "keep").duration == timedelta(days=93)
    assert Interval.parse("7y", "keep").duration >= datetime(2031, 1, 1) - datetime(2024, 1, 1)


_ranges = st.one_of(
    st.builds(
        DisabledRange,
        days=st.sets(st.integers(0, 6)).map(lambda days: tuple(sorted(days))),
        start=st.integers(0, 719),
        end=st.integers(720, 1440),
    ),
    st.builds(
        DisabledRange, on=st.dates(date(2020, 1, 1), date(2030, 1, 1)), start=st.just(1320), end=st.integers(1, 1300)
    ),
)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["1m", "17m", "4h", "1d", "2w", "3mo"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.lists(_ranges, max_size=3),
)
def test_every_grid_survives_writing_and_reading(every: str, start: datetime, disabled: list[DisabledRange]) -> None:
    """feature 6: export then apply changes nothing."""
    grid = Grid(Interval.parse(every, "every"), start.replace(microsecond=0), disabled=tuple(disabled))
    assert Grid.from_spec(grid.to_spec()) == grid
