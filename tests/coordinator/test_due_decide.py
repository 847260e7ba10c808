"""What runs now, what was missed, when to look again."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.due import (
    Decision,
    Grid,
    Interval,
    MissedRange,
    Track,
    decide,
    next_slot,
    offset_for,
    slots_between,
    start_of,
)

pytestmark = pytest.mark.unit

SECOND = timedelta(seconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def track(every: str, starts_at: str, after: str, **more: Any) -> Track:
    return Track(Grid.from_spec({"every": every, "starts_at": starts_at, **more}), utc(after))


def test_a_punctual_slot_runs_once_and_the_next_is_named() -> None:
    """feature 37: the coordinator's tick finds what is due by itself."""
    nightly = track("1d", "2026-11-02T01:30", "2026-11-02T01:30")
    before = decide("web", [nightly], utc("2026-11-03T01:29:59"))
    assert (before.run, before.next_at, before.reason.code) == (None, utc("2026-11-03T01:30"), "not_due")
    at = decide("web", [nightly], utc("2026-11-03T01:30:00"))
    assert (at.run, at.missed, at.next_at, at.reason.code) == (
        utc("2026-11-03T01:30"),
        None,
        utc("2026-11-04T01:30"),
        "on_time",
    )
    again = decide("web", at.tracks, utc("2026-11-03T01:30:01"))
    assert again.run is None


def test_after_124_days_down_one_run_starts_and_123_slots_are_reported() -> None:
    """feature C5: no pile-up, no silent miss."""
    nightly = track("1d", "2026-01-01T01:30", "2026-01-01T01:30")
    decision = decide("web", [nightly], utc("2026-05-05T12:00"))
    assert decision.run == utc("2026-05-05T01:30")
    assert decision.missed == MissedRange(utc("2026-01-02T01:30"), utc("2026-05-04T01:30"), 123)
    assert decision.reason.code == "catch_up"
    assert "123 earlier slots were missed" in decision.reason.text
    assert decide("web", decision.tracks, utc("2026-05-05T12:00")).run is None


def test_a_late_slot_runs_even_when_the_next_is_minutes_away() -> None:
    """A coordinator that is up only shortly before the slots still makes backups."""
    nightly = track("1d", "2026-11-02T01:30", "2026-11-02T01:30")
    decision = decide("web", [nightly], utc("2026-11-05T01:29"))
    assert (decision.run, decision.next_at) == (utc("2026-11-04T01:30"), utc("2026-11-05T01:30"))


def test_a_new_policy_does_not_run_slots_from_before_it_was_active() -> None:
    decision = decide("web", [track("1d", "2020-01-01T00:00", "2026-11-02T12:00")], utc("2026-11-02T12:00:01"))
    assert (decision.run, decision.next_at) == (None, utc("2026-11-03T00:00"))


def test_an_ended_schedule_says_so() -> None:
    ended = track("1d", "2026-11-01T00:00", "2026-11-02T00:00", ends_at="2026-11-02T12:00")
    decision = decide("web", [ended], utc("2026-12-01T00:00"))
    assert (decision.run, decision.next_at, decision.reason.code) == (None, None, "ended")


def test_two_schedules_that_meet_on_a_slot_make_one_run() -> None:
    """feature 36."""
    tracks = [
        track("6h", "2026-11-01T00:00", "2026-11-01T18:00"),
        track("1d", "2026-11-01T00:00", "2026-11-01T00:00"),
    ]
    decision = decide("web", tracks, utc("2026-11-02T00:00:05"))
    assert (decision.run, decision.missed) == (utc("2026-11-02T00:00"), None)
    assert decide("web", decision.tracks, utc("2026-11-02T00:00:05")).run is None


def test_slots_of_two_schedules_that_are_missed_together_are_counted_once() -> None:
    """feature 36 and C5: 6-hourly and daily meet at midnight; 2 days are 8 distinct slots, the newest runs."""
    tracks = [
        track("1d", "2026-11-01T00:00", "2026-11-01T00:00"),
        track("6h", "2026-11-01T00:00", "2026-11-01T00:00"),
    ]
    decision = decide("web", tracks, utc("2026-11-03T03:00"))
    assert decision.run == utc("2026-11-03T00:00")
    assert decision.missed == MissedRange(utc("2026-11-01T06:00"), utc("2026-11-02T18:00"), 7)


def test_punctual_slots_of_two_schedules_both_run_one_after_the_other() -> None:
    """feature 36: a slot that spread delayed is not swallowed by the other schedule's next."""
    key = next(name for name in map(str, range(99)) if offset_for(name, timedelta(minutes=45)) >= 15 * 60 * SECOND)
    nightly = track("1d", "2026-11-01T01:30", "2026-11-01T01:30", spread="45m")
    start = start_of(nightly.grid, utc("2026-11-02T01:30"), key)
    quarter = Track(Grid(Interval("m", 15), start.replace(tzinfo=None)), start - SECOND)
    first = decide(key, [nightly, quarter], start)
    assert (first.run, first.missed, first.next_at) == (utc("2026-11-02T01:30"), None, start)
    second = decide(key, first.tracks, start)
    assert (second.run, second.missed, second.next_at) == (start, None, start + timedelta(minutes=15))


def test_after_an_outage_the_late_schedule_gives_way_to_the_punctual_one() -> None:
    tracks = [
        track("1d", "2026-11-01T01:30", "2026-11-01T01:30"),
        track("1h", "2026-11-01T00:00", "2026-11-04T11:00"),
    ]
    decision = decide("web", tracks, utc("2026-11-04T12:00:30"))
    assert decision.run == utc("2026-11-04T12:00")
    assert decision.missed == MissedRange(utc("2026-11-02T01:30"), utc("2026-11-04T01:30"), 3)
    assert decision.reason.code == "on_time"


def test_when_all_schedules_are_late_the_newest_slot_of_any_runs() -> None:
    """feature C5: nightly at 01:30 and weekly on Monday; found on a Wednesday, only the nightly slot runs."""
    tracks = [
        track("1w", "2026-11-02T03:00", "2026-11-02T03:00"),
        track("1d", "2026-11-02T01:30", "2026-11-02T01:30"),
    ]
    decision = decide("web", tracks, utc("2026-11-11T12:00"))
    assert (decision.run, decision.reason.code) == (utc("2026-11-11T01:30"), "catch_up")
    assert decision.missed == MissedRange(utc("2026-11-03T01:30"), utc("2026-11-10T01:30"), 9)


def test_a_clock_that_jumps_back_makes_nothing_due_again() -> None:
    nightly = track("1d", "2026-11-02T01:30", "2026-11-05T01:30")
    decision = decide("web", [nightly], utc("2026-11-03T12:00"))
    assert (decision.run, decision.next_at) == (None, utc("2026-11-06T01:30"))


def test_the_offset_is_the_same_on_every_host_and_fills_the_window_evenly() -> None:
    """feature C7: 10,000 midnight policies spread over 45 minutes; a golden value guards against a changed hash."""
    window = timedelta(minutes=45)
    assert offset_for("web", window) == timedelta(seconds=2325)
    minutes = Counter(offset_for(f"policy-{n}", window) // timedelta(minutes=1) for n in range(10_000))
    assert set(minutes) == set(range(45))
    assert max(minutes.values()) < 1.4 * 10_000 / 45
    assert offset_for("web", timedelta(0)) == timedelta(0)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=8), st.sampled_from(["Pacific/Apia", "Europe/Berlin"]), st.integers(0, 40))
def test_a_spread_start_stays_before_the_next_slot_even_where_a_date_is_skipped(key: str, zone: str, days: int) -> None:
    """feature C7: capped below the next slot."""
    grid = Grid(Interval("d", 1), datetime(2011, 12, 1, 23, 30), time_zone=zone, spread=timedelta(hours=23, minutes=59))
    slot = next_slot(grid, utc("2011-12-01T00:00") + timedelta(days=days))
    assert slot is not None
    following = next_slot(grid, slot)
    assert following is not None
    assert slot <= start_of(grid, slot, key) < following


def _settle(key: str, tracks: tuple[Track, ...], now: datetime) -> list[Decision]:
    decisions = [decide(key, tracks, now)]
    while decisions[-1].next_at == now:
        decisions.append(decide(key, decisions[-1].tracks, now))
    return decisions


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from([("7m", "0m"), ("15m", "10m"), ("4h", "1h"), ("1d", "45m"), ("1d", "0m")]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    st.lists(st.integers(1, 30 * 3600), min_size=1, max_size=25),
    st.integers(0, 99),
)
def test_every_slot_is_run_or_reported_missed_exactly_once_whatever_the_ticks(
    shapes: list[tuple[str, str]], pauses: list[int], key: int
) -> None:
    """Promise 1: nothing is lost, nothing counted twice; a slot that two schedules share may meet UNIQUE again."""
    begin = now = utc("2026-10-23T00:00")
    grids = [
        Grid.from_spec(
            {
                "every": every,
                "starts_at": f"2026-10-01T0{n}:00",
                "time_zone": "Europe/Berlin",
                "spread": spread if spread != "0m" else None,
            }
        )
        for n, (every, spread) in enumerate(shapes)
    ]
    tracks = tuple(Track(grid, begin) for grid in grids)
    ran: Counter[datetime] = Counter()
    missed = 0
    for pause in pauses:
        now += timedelta(seconds=pause)
        for decision in _settle(str(key), tracks, now):
            tracks = decision.tracks
            if decision.run is not None:
                ran[decision.run] += 1
            if decision.missed is not None:
                assert begin < decision.missed.first <= decision.missed.last <= now
                missed += decision.missed.count
        assert tracks == decide(str(key), tracks, now).tracks
    started = [
        slot for grid in grids for slot in slots_between(grid, begin, now) if start_of(grid, slot, str(key)) <= now
    ]
    assert set(ran) <= set(started)
    assert max(Counter(started)[slot] - times for slot, times in ran.items()) >= 0 if ran else True
    assert len(set(started)) <= sum(ran.values()) + missed <= len(started)


def test_a_decision_is_the_same_wherever_it_is_made() -> None:
    """Pure: two coordinators that see the same rows decide the same."""
    tracks = [track("15m", "2026-11-01T00:07", "2026-11-01T00:07", spread="10m")]
    now = utc("2026-11-02T00:00")
    assert decide("web", tracks, now) == decide("web", [replace(t) for t in tracks], now)
