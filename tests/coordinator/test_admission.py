"""Who may go next: lanes in order, accounts in turn, short queues, copy slots and paces."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.admission import STARTS, Candidate, InFlight, choose
from tasks.lanes import LANES, Lane
from tasks.limits import Pace

pytestmark = pytest.mark.unit

AT = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
SLOTS = {"ec2": 18, "aurora": 4}


def candidate(job: int, lane: Lane = Lane.SNAPSHOT, account: int = 1, **more: object) -> Candidate:
    facts = {"region": "us-east-1", "priority": 50, "turn": job, "service": "ec2", **more}
    return Candidate(job, lane, account, **facts)  # type: ignore[arg-type]


def jobs(chosen: list[Candidate]) -> list[int]:
    return [item.job for item in chosen]


def test_a_restore_goes_before_everything_else() -> None:
    line = [candidate(1, Lane.CLEANUP), candidate(2), candidate(3, Lane.RESTORE), candidate(4, Lane.POLL)]
    assert jobs(choose(line, InFlight(), SLOTS)) == [3, 4, 2, 1]


def test_what_was_asked_for_now_is_next_in_line_behind_a_backlog() -> None:
    """feature 12"""
    backlog = [candidate(n, account=n % 7) for n in range(1, 200)]
    asked = candidate(5000, priority=1000, account=3, turn=200)
    assert jobs(choose([*backlog, asked], InFlight(), SLOTS))[0] == 5000


def test_accounts_take_turns_within_a_priority() -> None:
    large = [candidate(n, account=1, turn=n) for n in range(1, 40)]
    small = [candidate(100 + n, account=2, turn=n) for n in range(1, 4)]
    first_six = choose([*large, *small], InFlight(), SLOTS)[:6]
    assert Counter(item.account for item in first_six) == {1: 3, 2: 3}


def test_a_full_lane_takes_nothing_and_holds_up_no_other_lane() -> None:
    flight = InFlight(queued=Counter({Lane.SNAPSHOT: LANES[Lane.SNAPSHOT].capacity}))
    assert jobs(choose([candidate(1), candidate(2, Lane.CLEANUP)], flight, SLOTS)) == [2]


def test_copies_stop_at_the_slots_of_their_destination() -> None:
    line = [candidate(n, Lane.COPY, slots=2) for n in range(1, 20)]
    flight = InFlight(copies=Counter({(1, "us-east-1", "ec2"): 4}))
    assert len(choose(line, flight, SLOTS)) == 7
    elsewhere = [candidate(99, Lane.COPY, slots=2, region="eu-west-1")]
    full = InFlight(copies=Counter({(1, "us-east-1", "ec2"): 18}))
    assert jobs(choose([*line, *elsewhere], full, SLOTS)) == [99]


def test_a_copy_larger_than_all_slots_goes_alone() -> None:
    huge = candidate(1, Lane.COPY, slots=40)
    assert jobs(choose([huge], InFlight(), SLOTS)) == [1]
    assert choose([huge], InFlight(copies=Counter({(1, "us-east-1", "ec2"): 1})), SLOTS) == []


def test_starts_in_one_place_stop_at_its_pace_and_polls_do_not() -> None:
    line = [candidate(n) for n in range(1, 10)] + [candidate(50, Lane.POLL)]
    chosen = choose(line, InFlight(starts={(1, "us-east-1", "ec2.create-snapshot"): 3}), SLOTS)
    assert jobs(chosen) == [50, 1, 2, 3]


def test_a_place_that_has_not_started_anything_may_use_its_burst() -> None:
    line = [candidate(n) for n in range(1, 200)]
    assert len(choose(line, InFlight(), SLOTS)) == STARTS.burst


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 30)), max_size=60))
def test_a_pace_never_admits_more_than_its_burst_and_rate_allow(steps: list[tuple[int, int]]) -> None:
    """Against an oracle: within any stretch of time at most burst + rate x length may start."""
    pace, at, tat = Pace(per_second=3.0, burst=60), AT, None
    starts: list[datetime] = []
    for milliseconds, wanted in steps:
        at += timedelta(milliseconds=milliseconds)
        count = min(wanted, pace.allowed(tat, at))
        if count:
            tat = pace.spent(tat, at, count)
            starts += [at] * count
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            length = (starts[last] - starts[first]).total_seconds()
            assert last - first + 1 <= 60 + 3.0 * length + 1e-2
