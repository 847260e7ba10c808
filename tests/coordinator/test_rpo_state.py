"""Whether a resource keeps what its policies promise, from points and slots."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.load import forecast_day
from admin.protection import STATES, count_states, judge_targets, rpo_of
from admin.queries_estate import list_resources
from coordinator.rpo import slots_by_policy
from coordinator.rpo_state import RpoState, rpo_state, worst
from tasks.catalog import Point, Policy, PolicySchedule, Resource, Run, Schedule, session, transaction
from tasks.catalog.freshness import target_freshness
from tasks.telemetry import METRICS
from tests.admin.catalogue import AT, seed
from tests.coordinator.house import NIGHTLY, House

HOUR = timedelta(hours=1)
SLOTS = [AT - 2 * HOUR, AT - HOUR, AT]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("point", "later", "expected"),
    [
        (AT, timedelta(minutes=50), RpoState.MET),
        (AT - HOUR, timedelta(minutes=29), RpoState.MET),
        (AT - HOUR, timedelta(minutes=30), RpoState.AT_RISK),
        (AT - HOUR - timedelta(seconds=1), timedelta(0), RpoState.BREACHED),
        (None, timedelta(0), RpoState.BREACHED),
    ],
)
def test_a_target_is_judged_by_the_slots_that_came_since_its_newest_point(
    point: datetime | None, later: timedelta, expected: RpoState
) -> None:
    """Feature C6."""
    assert rpo_state(point, SLOTS[0], SLOTS, AT + HOUR, AT + later) is expected


@pytest.mark.unit
def test_a_target_that_is_new_is_not_late_for_slots_before_it() -> None:
    assert rpo_state(None, None, SLOTS, AT + HOUR, AT) is RpoState.WAITING
    assert rpo_state(None, AT, SLOTS, AT + HOUR, AT) is RpoState.MET
    assert rpo_state(None, AT, SLOTS, AT + HOUR, AT + HOUR / 2) is RpoState.AT_RISK
    assert worst([RpoState.MET, RpoState.BREACHED, RpoState.AT_RISK]) is RpoState.BREACHED


@pytest.mark.unit
@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 119))
def test_a_newer_point_is_never_worse_and_time_alone_never_makes_it_better(older: int, newer: int, minute: int) -> None:
    def state(age: int, at: int) -> int:
        return list(RpoState).index(
            rpo_state(AT - timedelta(minutes=age), SLOTS[0], SLOTS, AT + 2 * HOUR, AT + timedelta(minutes=at))
        )

    assert state(min(older, newer), minute) <= state(max(older, newer), minute)
    assert state(older, minute) <= state(older, min(119, minute + 30))


def test_resources_are_counted_and_listed_by_what_their_points_say(catalog: str) -> None:
    """Feature C6: the column, the filter and the metric are one judgement."""
    found = seed(("fresh", "old", "stray"))
    rows = [resource for resource, *_ in found["rows"]]
    with transaction():
        Run.update(planned_at=AT, slot_at=AT - 6 * HOUR).execute()
        PolicySchedule.delete().execute()
        grid = Schedule.create(
            name="hourly", spec={"every": "1h", "starts_at": "2026-01-01T00:00"}, created_at=AT, changed_at=AT
        )
        PolicySchedule.create(policy=found["policy"], schedule=grid)
        Point.update(taken_at=AT - 5 * HOUR).where(Point.resource == rows[1].id).execute()
        Resource.create(
            account=found["account"], region="us-east-1", type="volume", external_id="vol-9", found_at=AT, seen_at=AT
        )
    now = AT + timedelta(minutes=10)
    with session():
        targets = target_freshness(now)
        states = judge_targets(targets, now)
        counts = count_states(targets, 4, now)
        assert rpo_of([rows[1].id], now) == {rows[1].id: str(states[rows[1].id])}
    assert {counts[state] for state in ("met", "breached", "unprotected")} == {2, 1}
    assert (counts["breached"], counts["unprotected"], sum(counts.values())) == (1, 1, 4)
    listed = {row["id"]: row["rpo"] for row in list_resources(now)}
    for state in set(listed.values()):
        only = list_resources(now, rpo=state)
        assert {row["id"] for row in only} == {name for name, each in listed.items() if each == state}
    assert METRICS["snapfleet_resources_rpo"].values["state"] == set(STATES)


def test_what_a_policy_will_back_up_at_its_first_slot_waits_and_is_forecast(house: House) -> None:
    """From the first look at its accounts on, and not an hour later."""
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.volumes(2)
    house.step()
    house.wished("discover", account="prod")
    house.deliver()
    house.clock.advance(timedelta(seconds=6))
    house.step()
    with session():
        found = [row.id for row in Resource.select()]
        assert rpo_of(found, house.clock.now()) == dict.fromkeys(found, "waiting")
    hours = forecast_day(date(2026, 3, 2), ZoneInfo("UTC"), house.clock)["hours"]
    assert [hour["snapshots"] for hour in hours[:3]] == [0, 2, 0]
    house.clock.advance(14 * HOUR)
    house.work(timedelta(minutes=3))
    with session():
        assert rpo_of(found, house.clock.now()) == dict.fromkeys(found, "met")


@pytest.mark.parametrize("spec", [{"every": "soon"}, {}, {**NIGHTLY, "time_zone": "Nowhere/At_All"}])
def test_a_schedule_that_cannot_be_read_hides_no_other_policys_lateness(house: House, spec: dict[str, str]) -> None:
    account = house.account()
    house.resources(1, account)
    house.policy("bad", [NIGHTLY])
    house.policy("good", [NIGHTLY])
    with transaction():
        Schedule.update(spec=spec).where(Schedule.name == "bad-0").execute()
        policies = {row.name: row.id for row in Policy.select()}
        specs, joins = Schedule.select(Schedule.id, Schedule.spec), PolicySchedule.select()
        slots = slots_by_policy(
            [(one.id, one.spec) for one in specs],
            [(one.policy_id, one.schedule_id) for one in joins],
            house.clock.now(),
        )
        assert len(slots[policies["good"]]) == 1
        assert slots[policies["bad"]] == []
        assert judge_targets([], house.clock.now()) == {}
