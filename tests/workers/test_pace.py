"""When to ask again: ever more seldom, and never less often than the ceiling."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clock import FixedClock
from workers.pace import Pace

pytestmark = pytest.mark.unit
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
AGES = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3))


@settings(deadline=None)
@given(AGES, AGES)
def test_the_pause_grows_with_the_age_between_its_bounds(one: timedelta, other: timedelta) -> None:
    pace = Pace(clock=FixedClock(NOW))
    assert pace.floor <= pace.again(one) <= pace.ceiling
    assert (pace.again(one) <= pace.again(other)) or one > other


def test_a_day_long_copy_is_asked_about_less_often_than_every_four_minutes() -> None:
    """Feature 31: polling thousands of long copies leaves the account's request budget alone."""
    pace, age, questions = Pace(clock=FixedClock(NOW)), timedelta(0), 0
    while age < timedelta(days=1):
        age += pace.again(age)
        questions += 1
    assert questions <= 24 * 12 + 6


def test_the_age_counts_from_the_start_and_is_never_negative() -> None:
    clock = FixedClock(NOW)
    pace = Pace(clock=clock)
    clock.advance(timedelta(minutes=2))
    assert pace.age(NOW.isoformat()) == timedelta(minutes=2)
    assert pace.age((NOW + timedelta(hours=1)).isoformat()) == timedelta(0)
    assert pace.age(None) is None
    assert pace.age("") is None
