"""Retention against a second, naive implementation, and against itself day after day."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.retention import PointFact, Rule, brake, plan_expiry, simulate
from tasks.states import PointState

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
NAMES: dict[str, Callable[[datetime], Any]] = {
    "hourly": lambda local: (local.date(), local.hour, local.utcoffset()),
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}

_rules = st.builds(
    Rule,
    generations=st.none() | st.integers(1, 6),
    keep=st.dictionaries(st.sampled_from(["hourly", "daily", "weekly", "monthly", "yearly"]), st.integers(1, 6)),
    keep_for=st.none() | st.integers(1, 60 * 24).map(lambda hours: timedelta(hours=hours)),
    floor=st.integers(1, 3),
    zone=st.sampled_from(ZONES),
)
_points = st.builds(
    lambda n, minutes, target, destination, state, held, damaged: PointFact(
        n, target, BEGIN + timedelta(minutes=minutes), state, destination, held=held, damaged=damaged
    ),
    st.just(0),
    st.integers(0, 400 * 1440).map(lambda minute: minute * 7),
    st.sampled_from("ab"),
    st.sampled_from(["", "vault/eu"]),
    st.sampled_from([PointState.GOOD] * 4 + [PointState.FAILED, PointState.CREATING]),
    st.sampled_from([None] * 6 + ["hold"]),
    st.sampled_from([False] * 4 + [True]),
)


def numbered(facts: list[PointFact]) -> list[PointFact]:
    return [
        replace(f, id=n, taken_at=f.taken_at + timedelta(seconds=n), damaged=f.damaged and f.state is PointState.GOOD)
        for n, f in enumerate(facts)
    ]


def kept_by_hand(facts: list[PointFact], rule: Rule, now: datetime) -> set[Any]:
    """Each sentence of the rule on its own, quadratic and without shortcuts."""
    zone = ZoneInfo(rule.zone)
    kept = set()
    for fact in facts:
        line = [other for other in facts if (other.target, other.destination) == (fact.target, fact.destination)]
        newer = [other for other in line if other.taken_at > fact.taken_at]
        newer_good = [
            other for other in newer if other.state is PointState.GOOD and (fact.damaged or not other.damaged)
        ]
        if fact.held or fact.state is PointState.CREATING:
            kept.add(fact.id)
        elif fact.state is PointState.FAILED:
            if not newer or not newer_good:
                kept.add(fact.id)
        else:
            limits = [rule.generations is not None, bool(rule.keep), rule.keep_for is not None]
            wants = [not any(limits), len(newer_good) < rule.floor]
            wants.append(rule.generations is not None and len(newer_good) < rule.generations)
            wants.append(rule.keep_for is not None and now - fact.taken_at <= rule.keep_for)
            for kind, count in rule.keep.items():
                mine = NAMES[kind](fact.taken_at.astimezone(zone))
                later = [NAMES[kind](other.taken_at.astimezone(zone)) for other in newer_good]
                wants.append(mine not in later and len(set(later)) < count)
            if any(wants):
                kept.add(fact.id)
    return kept


@settings(deadline=None, max_examples=150)
@given(st.lists(_points, max_size=40), _rules)
def test_what_stays_is_what_each_sentence_of_the_rule_wants(facts: list[PointFact], rule: Rule) -> None:
    """features 10 and C14: against brute force, in four zones."""
    facts = numbered(facts)
    now = BEGIN + timedelta(days=2000)
    plan = plan_expiry(facts, rule, now)
    kept = {name for name, verdict in plan.verdicts.items() if verdict.keep}
    assert kept == kept_by_hand(facts, rule, now)
    assert set(plan.expire) == {fact.id for fact in facts} - kept
    assert all(verdict.reasons for verdict in plan.verdicts.values())


@pytest.mark.long
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 9 * 1440), min_size=1, max_size=120),
    _rules,
    st.lists(st.integers(0, 119), max_size=5),
)
def test_deleting_day_after_day_leaves_what_one_look_at_the_end_would_keep(
    pauses: list[int], rule: Rule, held: list[int]
) -> None:
    """feature C14: no pass ever deletes a point that the rule wants later."""
    alive: list[PointFact] = []
    history: list[PointFact] = []
    at = BEGIN
    for n, pause in enumerate(pauses):
        at += timedelta(minutes=pause)
        taken = PointFact(n, "vol-1", at, PointState.GOOD, held="hold" if n in held else None)
        alive.append(taken)
        history.append(taken)
        gone = set(plan_expiry(alive, rule, at).expire)
        alive = [fact for fact in alive if fact.id not in gone]
    whole = plan_expiry(history, rule, at)
    assert [fact.id for fact in alive] == [fact.id for fact in history if whole.verdicts[fact.id].keep]


@pytest.mark.long
@settings(deadline=None, max_examples=15)
@given(_rules, st.sampled_from([12, 24, 60]), st.integers(1, 40))
def test_the_simulator_shows_what_the_passes_delete(rule: Rule, hours: int, pass_hours: int) -> None:
    """feature C14: a hundred days; every slot is either still kept or was named by one step."""
    slots = [BEGIN + timedelta(hours=hours * n) for n in range(1, 100 * 24 // hours)]
    until = slots[-1] + DAY
    steps, kept = simulate(rule, slots, until, timedelta(hours=pass_hours))
    expired = [slot for step in steps for slot in step.expired]
    assert sorted([*expired, *kept]) == slots
    assert [slot for step in steps for slot in step.taken] == slots
    assert steps[-1].kept == len(kept)
    history = [PointFact(n, "vol-1", slot, PointState.GOOD) for n, slot in enumerate(slots)]
    assert set(kept) == {slots[int(n)] for n in kept_by_hand(history, rule, until)}


def test_three_years_of_grandfather_father_son_end_as_a_person_would_list_them() -> None:
    """feature C14: daily slots, 3 days, 2 weeks, 3 months, 2 years, in Berlin."""
    rule = Rule(keep={"daily": 3, "weekly": 2, "monthly": 3, "yearly": 2}, zone="Europe/Berlin")
    slots = [datetime(2024, 1, 1, 0, 30, tzinfo=UTC) + n * DAY for n in range(3 * 366)]
    _, kept = simulate(rule, slots, datetime(2026, 11, 25, 12, tzinfo=UTC))
    assert [f"{slot:%a %Y-%m-%d}" for slot in kept] == [
        "Wed 2025-12-31",
        "Wed 2026-09-30",
        "Sat 2026-10-31",
        "Sun 2026-11-22",
        "Mon 2026-11-23",
        "Tue 2026-11-24",
        "Wed 2026-11-25",
    ]


@pytest.mark.long
def test_one_sick_volume_of_a_hundred_freezes_nothing_and_keeps_its_last_good_point() -> None:
    """feature C1: sixty virtual days; 99 stay at their generations, the sick one keeps what it has, the brake rests."""
    rule = Rule(generations=7, keep_for=10 * DAY)
    facts: list[PointFact] = []
    last_pass_at = BEGIN
    for day in range(60):
        at = BEGIN + day * DAY + timedelta(hours=1)
        for target in range(100):
            sick = target == 42 and day >= 3
            state = PointState.FAILED if sick else PointState.GOOD
            facts.append(PointFact(f"{target}-{day}", f"vol-{target}", at, state, run_id=day))
        plan = plan_expiry(facts, rule, at)
        assert brake(plan, last_pass_at) is None
        gone, last_pass_at = set(plan.expire), at
        facts = [fact for fact in facts if fact.id not in gone]
    good: dict[str, list[str]] = {}
    for fact in facts:
        if fact.state is PointState.GOOD:
            good.setdefault(fact.target, []).append(str(fact.id))
    healthy = [points for target, points in good.items() if target != "vol-42"]
    assert len(healthy) == 99
    assert {len(points) for points in healthy} == {11}  # ten days and the day itself
    assert good["vol-42"] == ["42-0", "42-1", "42-2"]
    only_age = plan_expiry(facts, Rule(keep_for=10 * DAY), BEGIN + 60 * DAY)
    assert [point for point in good["vol-42"] if only_age.verdicts[point].keep] == ["42-2"]
