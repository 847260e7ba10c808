"""Due slots become runs: each once, none lost, whoever ticks and whatever the clock does."""

import threading
from datetime import timedelta
from math import inf

from coordinator.tick import due_in
from tasks.catalog import MissedSlots, PolicySchedule, Run, Schedule, close_catalog, session, transaction
from tasks.states import RunState
from tasks.telemetry import Counters
from tests.coordinator.house import DAY, HOUR, MINUTE, NIGHTLY, House

QUARTERLY = {"every": "15m", "starts_at": "2026-03-01T00:00", "time_zone": "UTC"}


def missed() -> list[tuple[str, int]]:
    with session():
        return [(row.policy.name, row.count) for row in MissedSlots.select().order_by(MissedSlots.id)]


def test_an_outage_of_124_days_coalesces_to_the_newest_slot_and_reports_the_others(house: House) -> None:
    """feature C5"""
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.clock.advance(124 * DAY)
    for _ in range(3):
        house.step()
    runs = house.runs()
    assert [(run.slot_at.isoformat(), run.trigger) for run in runs] == [("2026-07-03T01:00:00+00:00", "schedule")]
    assert missed() == [("gold", 123)]


def test_a_policy_that_is_disabled_runs_nothing_and_misses_nothing(house: House) -> None:
    """feature 37"""
    house.account()
    house.policy("on", [NIGHTLY])
    house.policy("off", [NIGHTLY], enabled=False)
    house.clock.advance(3 * DAY)
    house.step()
    assert [run.policy.name for run in house.runs()] == ["on"]
    assert missed() == [("on", 2)]


def test_the_next_slot_is_known_to_the_second_and_one_that_is_late_is_due_now(house: House) -> None:
    assert due_in(house.clock.now()) == inf
    house.account()
    house.policy(schedules=[NIGHTLY, {**NIGHTLY, "starts_at": "2026-03-01T12:30"}])
    assert due_in(house.clock.now()) == 1800
    house.clock.advance(HOUR)
    assert due_in(house.clock.now()) == 0
    house.step()
    assert due_in(house.clock.now()) == 12 * 3600


def test_a_slot_on_which_two_schedules_meet_runs_once(house: House) -> None:
    """feature 36"""
    house.account()
    house.policy(schedules=[NIGHTLY, {**NIGHTLY, "every": "12h"}])
    for _ in range(26):
        house.clock.advance(HOUR)
        house.step()
    assert [f"{run.slot_at:%d %H}" for run in house.runs()] == ["01 13", "02 01", "02 13"]


def test_a_clock_that_jumps_back_makes_nothing_due_again(house: House) -> None:
    house.account()
    house.policy(schedules=[QUARTERLY])
    house.clock.advance(16 * MINUTE)
    house.step()
    house.clock.advance(-30 * MINUTE)
    for _ in range(10):
        house.clock.advance(3 * MINUTE)
        house.step()
    assert len(house.runs()) == 1


def test_a_schedule_that_cannot_be_read_stops_no_other(house: House) -> None:
    house.account()
    house.policy("good", [NIGHTLY])
    house.policy("bad", [NIGHTLY])
    with transaction():
        Schedule.update(spec={"every": "soon"}).where(Schedule.name == "bad-0").execute()
    house.clock.advance(DAY)
    house.step()
    assert [run.policy.name for run in house.runs()] == ["good"]
    with transaction():
        Schedule.update(spec=NIGHTLY).where(Schedule.name == "bad-0").execute()
    house.clock.advance(10 * MINUTE)
    house.step()
    assert [run.policy.name for run in house.runs()] == ["good", "bad"]


def test_coordinators_that_tick_at_once_write_each_slot_once(house: House) -> None:
    """Both schedules of each of 30 policies are due at every tick; four coordinators in threads, on both databases."""
    house.account()
    for number in range(30):
        house.policy(f"p{number:02}", [QUARTERLY, {**QUARTERLY, "every": "30m"}])
    errors: list[BaseException] = []

    def tick_often(coordinator: object, start: threading.Barrier) -> None:
        try:
            from coordinator.tick import tick

            start.wait()
            for _ in range(6):
                tick(house.clock.now(), house.clock.timer(), Counters())
        except BaseException as error:
            errors.append(error)

    for _ in range(4):
        house.clock.advance(15 * MINUTE)
        barrier = threading.Barrier(4)
        threads = [threading.Thread(target=tick_often, args=(None, barrier)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    with session():
        assert Run.select().count() == 30 * 4
        assert MissedSlots.select().count() == 0
        late = PolicySchedule.select().where(PolicySchedule.next_start_at <= house.clock.now())
        assert late.count() == 0


def test_a_slot_that_was_written_and_not_committed_is_still_due(house: House) -> None:
    """Killed inside the transaction: nothing of it stays, and the next tick writes it."""
    from coordinator.tick import tick

    house.account()
    house.policy(schedules=[NIGHTLY])
    house.clock.advance(DAY)

    class Killed(BaseException):
        pass

    try:
        with transaction():
            assert tick(house.clock.now(), house.clock.timer(), Counters()).begun == 1
            raise Killed
    except Killed:
        close_catalog()
    assert house.runs() == []
    house.step()
    assert [run.state for run in house.runs()] == [RunState.RESOLVING]


def test_a_run_of_now_is_a_slot_of_its_own_also_twice_in_one_round(house: House) -> None:
    """A manual run of a policy that is disabled is allowed: only its schedules are switched off."""
    house.account()
    house.policy(enabled=False)
    first, second = house.wished("run", policy="gold"), house.wished("run", policy="gold")
    assert first["run"] != second["run"]
    runs = house.runs()
    assert runs[1].slot_at - runs[0].slot_at == timedelta(microseconds=1)
    assert "disabled" in runs[0].reason
