"""When a pass stops, and when it does not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.retention import PointFact, Rule, brake, plan_expiry
from tasks.states import PointState

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def dailies(count: int, targets: int = 1) -> list[PointFact]:
    """`count` daily points per target, the newest taken at NOW."""
    return [
        PointFact(f"{t}-{n}", f"vol-{t}", NOW - n * DAY, PointState.GOOD) for t in range(targets) for n in range(count)
    ]


def test_seven_years_mistyped_as_seven_days_deletes_nothing() -> None:
    """feature C15: the mistake trips the brake; confirming that plan's points lets it go on."""
    facts = dailies(400, targets=3)
    assert not plan_expiry(facts, Rule(keep_for=7 * 366 * DAY), NOW).expire
    plan = plan_expiry(facts, Rule(keep_for=7 * DAY), NOW)
    stopped = brake(plan, NOW - DAY)
    assert stopped is not None  # of 1,200 points, three came since the last pass
    assert (stopped.total, stopped.limit, stopped.plan_hash) == (1197, 239, plan.hash)
    assert stopped.excess == 3 * (400 - 8 - 1)
    assert f"confirm plan {plan.hash}" in stopped.reason.text
    assert brake(plan, NOW - DAY, confirmed=set(plan.expire)) is None


def test_a_stopped_pass_gains_no_room_by_waiting() -> None:
    """feature C15: while nobody confirms, new points come and the excess stays."""
    rule = Rule(generations=4, keep={"daily": 4, "weekly": 1})
    for days in range(1, 60):
        stopped = brake(plan_expiry(dailies(14 + days), rule, NOW), NOW - days * DAY)
        assert stopped is not None
        assert stopped.excess >= 7


def test_rotation_passes_for_a_policy_of_three_points() -> None:
    """One for one is no excess, and rounding a fifth of three locks nobody out."""
    assert brake(plan_expiry(dailies(4), Rule(generations=3), NOW), NOW - DAY) is None
    assert brake(plan_expiry(dailies(3), Rule(generations=2), NOW), NOW) is None


def test_cutting_three_points_to_one_stops() -> None:
    assert brake(plan_expiry(dailies(3), Rule(generations=1), NOW), NOW) is not None


def test_the_first_pass_after_an_installation_may_take_a_fifth_and_no_more() -> None:
    """feature C15: after a migration nothing is known to have been replaced."""
    assert brake(plan_expiry(dailies(10), Rule(generations=8), NOW), None) is None
    assert brake(plan_expiry(dailies(10), Rule(generations=7), NOW), None) is not None


def test_failed_points_and_steps_of_copies_are_not_weighed() -> None:
    junk = [replace(fact, id=f"f{fact.id}", state=PointState.FAILED) for fact in dailies(9)[1:]]
    steps = [replace(fact, id=f"i{fact.id}", kind="intermediate") for fact in dailies(9)[2:]]
    plan = plan_expiry([*dailies(1), *junk, *steps], Rule(generations=1), NOW)
    assert len(plan.expire) == 15
    assert brake(plan, None) is None


def test_new_points_of_one_target_do_not_excuse_the_loss_of_another() -> None:
    """Replacement is counted per target and destination."""
    facts = [
        *dailies(1, targets=20),
        *(PointFact(f"x{n}", "x", NOW - (9 + n) * DAY, PointState.GOOD) for n in range(9)),
    ]
    plan = plan_expiry(facts, Rule(keep_for=5 * DAY), NOW)
    assert len(plan.expire) == 8
    assert brake(plan, NOW - DAY) is not None


def test_what_became_good_since_the_last_pass_counts_also_when_it_was_taken_before() -> None:
    """A copy takes hours: its calendar time is its source's."""
    facts = dailies(6)
    early = [replace(fact, taken_at=fact.taken_at - 5 * DAY, good_at=fact.taken_at) for fact in facts]
    plan = plan_expiry(early, Rule(generations=3), NOW)
    assert brake(plan, NOW - 3 * DAY) is None
    assert brake(plan_expiry([replace(f, good_at=None) for f in early], Rule(generations=3), NOW), NOW - 3 * DAY)


@pytest.mark.long
@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 8),
    st.dictionaries(st.sampled_from(["daily", "weekly", "monthly", "yearly"]), st.integers(1, 5)),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
)
def test_ordinary_daily_rotation_never_stops(
    generations: int, keep: dict[str, int], targets: int, per_day: int
) -> None:
    """feature C15: fourteen months of any rule, whatever day, week, month and year end together."""
    rule = Rule(generations=generations, keep=keep, zone="Europe/Berlin")
    facts: list[PointFact] = []
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    last_pass_at = begin - DAY
    for slot in range(420 * per_day):
        at = begin + slot * DAY / per_day
        facts += [PointFact(f"{t}-{slot}", f"vol-{t}", at, PointState.GOOD) for t in range(targets)]
        if slot % per_day == 0:
            plan = plan_expiry(facts, rule, at)
            assert brake(plan, last_pass_at) is None
            gone, last_pass_at = set(plan.expire), at
            facts = [fact for fact in facts if fact.id not in gone]
