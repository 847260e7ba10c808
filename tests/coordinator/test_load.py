"""A day's load before it comes: slots, spread, what follows, and what does not fit."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.load import forecast_day
from coordinator.admission import STARTS
from coordinator.due import Grid, Track, decide
from coordinator.load import PolicyLoad, forecast
from tasks.catalog import Schedule, transaction
from tasks.settings import Settings
from tests.admin.catalogue import seed
from tests.admin.cli.conftest import Cli, cli, home

__all__ = ["cli", "home"]
DAY = datetime(2026, 12, 1, tzinfo=UTC)
PLACE = ("prod", "us-east-1")


def grid(every: str = "1d", at: str = "02:00", spread: str = "") -> Grid:
    spec = {"every": every, "starts_at": f"2026-01-01T{at}:00", **({"spread": spread} if spread else {})}
    return Grid.from_spec(spec)


@pytest.mark.unit
def test_runs_jobs_calls_and_work_are_told_hour_by_hour() -> None:
    """Feature C7: a nightly policy with a copy every second time, and one every four hours."""
    nightly = PolicyLoad("nightly", [grid()], {PLACE: 10}, copies=[(2, ("dr", "eu-west-1"))], archive_every=10)
    often = PolicyLoad("often", [grid("4h", "00:30")], {PLACE: 1})
    hours, crowded = forecast([nightly, often], DAY, 24, {"snapshot": 3.0, "copy": 1.0, "archive": 60.0}, threads=8)
    assert [hour.begins_at.hour for hour in hours if hour.runs] == [0, 2, 4, 8, 12, 16, 20]
    two = hours[2]
    assert (two.runs, two.jobs["snapshot"], two.jobs["copy"], two.jobs["archive"]) == (1, 10, 5, 1)
    assert (two.calls, two.seconds) == (10 * 4 + 5 * 4 + 8, 10 * 3.0 + 5 + 60)
    assert crowded == []


@pytest.mark.unit
def test_a_place_that_is_full_is_named_with_the_slot_that_will_not_be_begun_in_time() -> None:
    """Feature C7: 20,000 targets of one account go at its pace; the slot after two hours is reached before they end."""
    full = PolicyLoad("full", [grid("1h", "02:00")], {PLACE: 20_000})
    hours, crowded = forecast([full], DAY, 4, {}, threads=1)
    assert [bool(hour.saturated) for hour in hours] == [True] * 4
    assert hours[0].saturated[PLACE] == pytest.approx(20_000 - 3600 * STARTS.per_second)
    assert [(one.policy, one.place) for one in crowded] == [("full", PLACE)] * 4
    assert crowded[0].wait == timedelta(seconds=20_000 / STARTS.per_second)
    assert hours[3].over_capacity


@pytest.mark.unit
@settings(deadline=None, max_examples=40)
@given(
    st.text("abcdefgh", min_size=1, max_size=8),
    st.sampled_from(["15m", "1h", "4h", "1d"]),
    st.sampled_from(["", "5m", "10m"]),
    st.integers(0, 40),
)
def test_every_start_that_the_tick_will_make_is_in_the_forecast(name: str, every: str, spread: str, day: int) -> None:
    """The same arithmetic that decides: running the decisions through a day gives as many runs in each hour."""
    since = DAY + timedelta(days=day)
    spec = grid(every, "00:07", spread)
    hours, _ = forecast([PolicyLoad(name, [spec], {PLACE: 1})], since, 24, {}, threads=0)
    begun = [0] * 24
    track, now = Track(spec, since - timedelta(days=2)), since - timedelta(days=1)
    while now < since + timedelta(days=1):
        decision = decide(name, [track], now)
        track = decision.tracks[0]
        if decision.run is not None and now >= since:
            begun[(now - since) // timedelta(hours=1)] += 1
        assert decision.next_at is not None
        now = max(decision.next_at, now + timedelta(seconds=1))
    assert [hour.runs for hour in hours] == begun


def test_a_day_is_forecast_in_its_own_zone_with_the_targets_of_the_newest_runs(catalog: str, tmp_path: Path) -> None:
    seed(("a", "b"))
    found = forecast_day(date(2026, 10, 25), ZoneInfo("Europe/Berlin"), Settings(home=tmp_path).clock())
    assert len(found["hours"]) == 25  # the clocks go back on that day
    assert found["hours"][0]["begins_at"] == datetime(2026, 10, 24, 22, tzinfo=UTC)


@pytest.mark.unit
def test_a_schedule_that_cannot_be_read_is_named_and_hides_nobody_elses_load(cli: Cli) -> None:
    """The tick goes on without it, and so does the forecast."""
    seed(("a", "b"))
    whole = cli("forecast", "--day", "2026-12-01", "-o", "json").json
    assert sum(hour["runs"] for hour in whole["hours"]) > 0
    with transaction():
        Schedule.create(name="strange", spec={"every": "7q"}, created_at=DAY, changed_at=DAY)
    found = cli("forecast", "--day", "2026-12-01", "-o", "json").json
    assert (found["hours"], found["unreadable"]) == (whole["hours"], ["strange"])
    assert "cannot be read, so not counted: strange." in cli("forecast").out


@pytest.mark.unit
def test_the_commands_tell_what_will_come_and_who_is_needed(cli: Cli) -> None:
    """Features C7, C17: for people and for programs."""
    assert "hours" in cli("forecast", "--day", "2026-12-01", "-o", "json").json
    assert cli("forecast", "--time-zone", "Mars").code == 2
    assert "No slot is over capacity" in cli("forecast").out
    (need,) = cli("workers", "needed", "-o", "json").json
    assert (need["pool"], need["workers"], need["needed"]) == ("common", 0, 0)
    assert need["lanes"]["restore"] == {"backlog_s": 0, "clears_s": 0}
    assert cli("status", "-o", "json").json["rpo_breached"] == 0
    assert "workers_needed" in cli("status").out
