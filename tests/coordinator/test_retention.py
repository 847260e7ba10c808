"""Golden tables of what stays and why; a person can check them against a calendar."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.retention import INTERMEDIATE_GRACE, LEFT_GRACE, PointFact, Rule, plan_expiry
from tasks.states import PointState

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
DAY = timedelta(days=1)


def point(name: str, days_ago: float, state: PointState = PointState.GOOD, **more: Any) -> PointFact:
    return PointFact(name, more.pop("target", "vol-1"), NOW - days_ago * DAY, state, **more)


def codes(facts: list[PointFact], rule: Rule, destinations: Mapping[str, Rule] | None = None) -> dict[Any, str]:
    """'+' kept, '-' may go, then the codes."""
    plan = plan_expiry(facts, rule, NOW, destinations)
    assert list(plan.expire) == [f.id for f in sorted(facts, key=lambda f: f.order) if f.id in plan.expire]
    return {
        name: ("+" if verdict.keep else "-") + " ".join(reason.code for reason in verdict.reasons)
        for name, verdict in plan.verdicts.items()
    }


def test_the_newest_generations_stay_and_older_ones_go() -> None:
    """feature 10: generations count per target."""
    facts = [point(f"p{n}", n) for n in range(4)]
    assert codes(facts, Rule(generations=2)) == {
        "p0": "+generation floor",
        "p1": "+generation",
        "p2": "-outlived",
        "p3": "-outlived",
    }


def test_each_destination_ages_by_its_own_rule() -> None:
    """feature 11: a DR copy may be kept longer than its source."""
    vault = "vault/eu-central-1"
    facts = [point(f"p{n}", n) for n in range(3)] + [point(f"c{n}", n, destination=vault) for n in range(3)]
    found = codes(facts, Rule(generations=1), {vault: Rule(generations=2)})
    assert {name for name in found if found[name].startswith("-")} == {"p2", "p1", "c2"}


def test_one_of_which_something_is_lost_takes_no_whole_ones_place() -> None:
    """It stays for as long as if it were whole, the only one of its year too; the whole ones are counted without it."""
    facts = [point("p0", 0, damaged=True), point("p1", 1), point("p2", 2), point("p3", 3, damaged=True)]
    assert codes(facts, Rule(generations=1)) == {
        "p0": "+generation floor damaged",
        "p1": "+generation floor",
        "p2": "-outlived",
        "p3": "-outlived damaged",
    }
    facts = [point("now", 0), point("last year", 365, damaged=True)]
    assert codes(facts, Rule(keep={"yearly": 2}))["last year"] == "+yearly damaged"


def test_only_good_points_count_and_failed_ones_go_once_a_later_one_is_good() -> None:
    """feature C1: a failed attempt neither uses up a generation nor stays for ever."""
    facts = [
        point("good-old", 5),
        point("failed-old", 4, PointState.FAILED),
        point("good-new", 3),
        point("failed-since", 2, PointState.FAILED),
        point("failed-newest", 1, PointState.FAILED),
    ]
    assert codes(facts, Rule(generations=2)) == {
        "good-old": "+generation",
        "failed-old": "-failed_superseded",
        "good-new": "+generation floor",
        "failed-since": "+no_later_good",
        "failed-newest": "+newest_attempt",
    }


def test_what_is_being_created_or_already_going_is_left_alone() -> None:
    facts = [
        point("creating", 9, PointState.CREATING),
        point("expiring", 8, PointState.EXPIRING),
        point("outdated", 7, PointState.OUTDATED),
        point("good", 1),
    ]
    plan = plan_expiry(facts, Rule(generations=1), NOW)
    assert plan.expire == ()
    assert codes(facts, Rule(generations=1)) == {
        "creating": "+creating",
        "expiring": "-expiring",
        "outdated": "-outdated",
        "good": "+generation floor",
    }


def test_a_hold_a_lock_and_use_keep_a_point_and_say_so() -> None:
    """feature C10: each blocker is named; freed, the point may go."""
    facts = [
        point("held", 9, held="legal case 7"),
        point("locked", 8, locked_until=NOW + DAY),
        point("unlocked", 7, locked_until=NOW),
        point("used", 6, in_use=("copy:41", "restore:12")),
        point("newest", 1),
    ]
    plan = plan_expiry(facts, Rule(generations=1), NOW)
    assert plan.expire == ("unlocked",)
    texts = {name: verdict.reasons[0].text for name, verdict in plan.verdicts.items()}
    assert texts["held"] == "held: legal case 7"
    assert texts["locked"] == "locked until 2026-11-23 12:00 UTC"
    assert texts["used"] == "in use by copy:41, restore:12"
    freed = [point("held", 9), point("locked", 8), point("used", 6), point("newest", 1)]
    assert plan_expiry(freed, Rule(generations=1), NOW).expire == ("held", "locked", "used")


def test_points_of_one_run_are_one_generation_and_stay_together() -> None:
    """A run's points count once; a hold on one keeps its siblings; one failure makes the run not good."""
    facts = [
        *(point(f"a{n}", 5, run_id="a") for n in range(2)),
        point("b0", 4, run_id="b", held="audit"),
        point("b1", 4, run_id="b"),
        point("c0", 3, run_id="c"),
        point("c1", 3, PointState.FAILED, run_id="c"),
        *(point(f"d{n}", 2, run_id="d") for n in range(2)),
        point("e0", 1, run_id="e"),
        point("e1", 1, PointState.CREATING, run_id="e"),
    ]
    assert codes(facts, Rule(generations=1)) == {
        "a0": "-outlived",
        "a1": "-outlived",
        "b0": "+held outlived",
        "b1": "+together outlived",
        "c0": "-failed_superseded",
        "c1": "-failed_superseded",
        "d0": "+generation floor",
        "d1": "+generation floor",
        "e0": "+creating",
        "e1": "+creating",
    }


def test_the_newest_of_each_day_week_month_and_year_stays() -> None:
    """feature C14: a calendar table. 22 November 2026 is a Sunday; weeks begin on Monday."""
    dates = [
        "2024-12-30",
        "2025-06-01",
        "2025-12-31",
        "2026-09-30",
        "2026-10-31",
        "2026-11-08",
        "2026-11-14",
        "2026-11-15",
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
    ]
    facts = [PointFact(on, "vol-1", datetime.fromisoformat(on).replace(tzinfo=UTC), PointState.GOOD) for on in dates]
    rule = Rule(keep={"daily": 2, "weekly": 3, "monthly": 3, "yearly": 2})
    assert codes(facts, rule) == {
        "2024-12-30": "-outlived",
        "2025-06-01": "-outlived",
        "2025-12-31": "+yearly",
        "2026-09-30": "+monthly",
        "2026-10-31": "+monthly",
        "2026-11-08": "+weekly",
        "2026-11-14": "-outlived",
        "2026-11-15": "+weekly",
        "2026-11-20": "-outlived",
        "2026-11-21": "+daily",
        "2026-11-22": "+daily weekly monthly yearly floor",
    }


def test_the_same_month_of_two_years_is_two_months() -> None:
    """feature C14: fourteen months keep fourteen points."""
    facts = [point(f"p{n}", 30.4 * n) for n in range(20)]
    kept = [name for name, found in codes(facts, Rule(keep={"monthly": 14})).items() if found.startswith("+")]
    assert kept == [f"p{n}" for n in range(14)]


def test_a_day_is_that_of_the_rules_zone() -> None:
    """feature C14: 23:30 UTC is the next day in Berlin."""
    facts = [
        PointFact("late", "vol-1", datetime(2026, 11, 20, 23, 30, tzinfo=UTC), PointState.GOOD),
        PointFact("next", "vol-1", datetime(2026, 11, 21, 12, tzinfo=UTC), PointState.GOOD),
    ]
    assert codes(facts, Rule(keep={"daily": 9}, zone="UTC"))["late"] == "+daily"
    assert codes(facts, Rule(keep={"daily": 9}, zone="Europe/Berlin"))["late"] == "-outlived"


def test_the_repeated_hour_of_autumn_is_two_hours() -> None:
    """feature C14: both passes of 02:xx in Berlin keep a point of their own."""
    facts = [
        PointFact(hour, "vol-1", datetime(2026, 10, 25, hour, 15, tzinfo=UTC), PointState.GOOD) for hour in (0, 1, 2)
    ]
    assert not plan_expiry(facts, Rule(keep={"hourly": 3}, zone="Europe/Berlin"), NOW).expire


def test_a_point_stays_while_any_clause_wants_it() -> None:
    """The estate file's rule: generations or keep."""
    facts = [point(f"p{n}", n) for n in range(0, 40, 10)]
    rule = Rule(generations=2, keep={"monthly": 2}, keep_for=25 * DAY)
    assert codes(facts, rule) == {
        "p0": "+generation keep_for monthly floor",
        "p10": "+generation keep_for",
        "p20": "+keep_for",
        "p30": "+monthly",
    }


def test_a_rule_that_limits_nothing_keeps_everything() -> None:
    assert codes([point("old", 9999), point("new", 1)], Rule()) == {"old": "+no_rule", "new": "+no_rule floor"}


def test_the_last_good_points_never_go_however_old() -> None:
    """feature C1: the floor."""
    facts = [point("p0", 900), point("p1", 800), point("p2", 700), point("failed", 1, PointState.FAILED)]
    found = codes(facts, Rule(keep_for=30 * DAY, floor=2))
    assert found == {"p0": "-outlived", "p1": "+floor", "p2": "+floor", "failed": "+newest_attempt"}


def test_a_target_that_left_ages_on_unchanged_for_a_month() -> None:
    """An account that could not be reached or a tag removed by mistake costs no point."""
    left = NOW - LEFT_GRACE + timedelta(seconds=1)
    facts = [point(f"p{n}", 30 + n, left_at=left) for n in range(3)]
    assert not plan_expiry(facts, Rule(generations=3), NOW).expire


def test_after_that_a_left_targets_generations_go_down_to_the_floor_and_its_calendar_runs_out() -> None:
    """Nothing newer comes to push its points out, so the calendar does; the floor stays."""
    left = NOW - LEFT_GRACE
    facts = [point(name, ago, left_at=left) for name, ago in [("p400", 400), ("p300", 300), ("p60", 60), ("p31", 31)]]
    assert codes(facts, Rule(generations=9))["p60"] == "-outlived"
    assert codes(facts, Rule(generations=9)) == {
        "p400": "-outlived",
        "p300": "-outlived",
        "p60": "-outlived",
        "p31": "+floor",
    }
    assert codes(facts, Rule(generations=9, keep={"daily": 7, "monthly": 12}, keep_for=50 * DAY)) == {
        "p400": "-outlived",
        "p300": "+monthly",
        "p60": "+monthly",
        "p31": "+keep_for monthly floor",
    }


def test_a_step_of_a_copy_never_counts_and_goes_a_day_after_nothing_uses_it() -> None:
    """feature 11: the intermediate of a copy across account and region."""
    old = INTERMEDIATE_GRACE / DAY
    facts = [
        point("fresh", old / 2, kind="intermediate"),
        point("used", 3, kind="intermediate", in_use=("copy:5",)),
        point("done", 3, kind="intermediate"),
        point("good", 5),
    ]
    assert codes(facts, Rule(generations=1)) == {
        "fresh": "+intermediate",
        "used": "+in_use intermediate_done",
        "done": "-intermediate_done",
        "good": "+generation floor",
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"generations": 0}, "generations"),
        ({"floor": 0}, "floor"),
        ({"keep": {"fortnightly": 2}}, "hourly, daily, weekly, monthly, yearly"),
        ({"keep": {"daily": 0}}, "keep"),
        ({"keep_for": timedelta(0)}, "keep_for"),
        ({"zone": "Nowhere"}, "time_zone"),
    ],
)
def test_a_rule_that_would_keep_nothing_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rule(**fields)


def test_the_plans_hash_names_the_set_that_goes_and_nothing_else() -> None:
    facts = [point(f"p{n}", n) for n in range(5)]
    plan = plan_expiry(facts, Rule(generations=2), NOW)
    assert plan.hash == plan_expiry(facts[::-1], Rule(generations=2), NOW + DAY).hash
    assert plan.hash != plan_expiry(facts, Rule(generations=3), NOW).hash
