"""What was written under a clock that was ahead is mended when the clock is right again, and somebody is told."""

from datetime import timedelta

from coordinator.ahead import mend_times, set_schedules_back
from coordinator.lease import take
from tasks.catalog import (
    Budget,
    Job,
    MissedSlots,
    Operation,
    PolicySchedule,
    Process,
    Scan,
    Schedule,
    session,
    transaction,
)
from tasks.catalog.transitions import claim
from tasks.lanes import LANES, Lane
from tasks.states import JobState
from tests.coordinator.house import DAY, HOUR, MINUTE, NIGHTLY, House

MONTH = 30 * DAY
SECOND = timedelta(seconds=1)


def slots(house: House, policy: str = "gold") -> list[str]:
    return [f"{run.slot_at:%m-%d %H:%M}" for run in house.runs() if run.policy.name == policy]


def steps(house: House, every: timedelta, count: int) -> None:
    for _ in range(count):
        house.clock.advance(every)
        house.step()


def excursion(house: House) -> None:
    """The clock is a month ahead for two minutes."""
    house.clock.advance(MONTH)
    house.step()
    steps(house, MINUTE, 2)
    house.clock.advance(-MONTH)


def open_alerts(house: House) -> set[str]:
    return {alert.key for alert in house.alerts() if alert.open_key}


def test_two_minutes_a_month_ahead_cost_no_slot_that_comes_after_them(house: House) -> None:
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.policy("two", [{**NIGHTLY, "spread": "30m"}, {**NIGHTLY, "every": "1w", "starts_at": "2026-03-05T00:00"}])
    steps(house, DAY, 2)
    excursion(house)
    steps(house, 12 * HOUR, 6)
    assert slots(house) == ["03-02 01:00", "03-03 01:00", "04-02 01:00", "03-04 01:00", "03-05 01:00", "03-06 01:00"]
    assert set(slots(house, "two")) >= {"03-04 01:00", "03-05 00:00", "03-05 01:00", "03-06 01:00"}
    with session():
        assert MissedSlots.select().where(MissedSlots.first_at > house.clock.now()).count() == 0


def test_a_clock_that_was_ahead_is_told_for_a_day(house: House) -> None:
    house.account()
    house.policy(schedules=[NIGHTLY])
    steps(house, DAY, 2)
    excursion(house)
    steps(house, MINUTE, 2)
    (alert,) = house.alerts("clock-wrong")
    assert (alert.open_key, alert.severity) == (alert.key, "critical")
    assert alert.title == "The clock was wrong: 1 schedules stood in the future"
    assert "2026-04-02 01:00" in alert.text
    assert "slots-missed:gold" not in open_alerts(house)
    steps(house, 13 * HOUR, 2)
    assert "clock-wrong:schedules" not in open_alerts(house)


def test_a_slot_that_came_while_the_clock_was_ahead_runs_late(house: House) -> None:
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.clock.advance(13 * HOUR - MINUTE)
    excursion(house)
    steps(house, 10 * SECOND, 2)
    assert slots(house) == ["03-31 01:00", "04-01 01:00", "03-02 01:00"]
    assert "slots-missed:gold" not in open_alerts(house)
    with session():
        assert not MissedSlots.select().exists()


def test_a_policy_that_is_new_runs_no_slot_from_before_it(house: House) -> None:
    house.account()
    house.policy(schedules=[NIGHTLY])
    excursion(house)
    steps(house, MINUTE, 5)
    assert slots(house) == ["03-31 01:00"]
    steps(house, DAY, 1)
    assert slots(house)[1:] == ["03-02 01:00"]


def test_a_schedule_that_cannot_be_read_keeps_no_other_in_the_future(house: House) -> None:
    house.account()
    house.policy("good", [NIGHTLY])
    house.policy("bad", [NIGHTLY])
    excursion(house)
    with transaction():
        Schedule.update(spec={"every": "soon"}).where(Schedule.name == "bad-0").execute()
    steps(house, DAY, 1)
    with transaction():
        Schedule.update(spec=NIGHTLY).where(Schedule.name == "bad-0").execute()
    steps(house, 10 * MINUTE, 1)
    assert slots(house, "good")[1:] == ["03-02 01:00"]
    steps(house, DAY, 1)
    assert slots(house, "good")[2:] == slots(house, "bad")[1:] == ["03-03 01:00"]


def test_whoever_lost_the_lease_sets_nothing_back(house: House) -> None:
    house.policy(schedules=[NIGHTLY])
    mine = take("sweep", "a", house.clock.timer())
    assert mine is not None
    assert take("sweep", "b", house.clock.timer() + MINUTE) is not None
    with transaction():
        PolicySchedule.update(last_slot_at=house.clock.now() + MONTH).execute()
    with session():
        assert set_schedules_back(mine, house.clock.now()) == 0


def test_a_job_whose_worker_died_under_a_clock_that_was_ahead_goes_on_within_a_lease(house: House) -> None:
    """Also when the coordinator that swept died with it."""
    house.account()
    house.policy()
    house.volumes(1)
    house.clock.advance(MONTH)
    house.wished("run", policy="gold")
    house.deliver()
    house.step()
    ((lane, message),) = house.queue.take()
    with transaction():
        assert claim(message.job, message.fence, "host:1:worker", house.clock.timer(), LANES[lane].lease)
    house.workers_live()
    house.clock.advance(-MONTH)
    house.staff = [house.coordinator("host:9:coordinator")]
    house.step()
    (job,) = house.jobs()
    assert (job.state, job.lease_until_at) == (JobState.RUNNING, house.clock.timer() + LANES[lane].lease)
    with session():
        assert Process.select().where(Process.seen_at > house.clock.timer()).count() == 0
    steps(house, LANES[lane].lease + 6 * SECOND, 1)
    (job,) = house.jobs()
    assert job.state != JobState.RUNNING
    house.work(5 * MINUTE)
    assert len(house.points()) == 1


def test_what_was_under_way_while_the_clock_was_ahead_goes_on_and_nothing_waits_for_that_date(house: House) -> None:
    """Questions about snapshots, paces of the fleet, messages that were not yet sent, runs that wait for a look."""
    house.account()
    house.policy(schedules=[NIGHTLY])
    house.policy("late")
    house.volumes(2)
    house.clock.advance(MONTH)
    house.wished("run", policy="gold")
    house.deliver()
    house.step()
    house.deliver()
    house.step()
    house.wished("run", policy="late")
    with transaction():
        Job.update(error_code="denied", state=JobState.FAILED).where(Job.kind == "discover").execute()
        Scan.delete().execute()
    house.clock.advance(-MONTH)
    house.work(10 * MINUTE, MINUTE)
    assert [str(run.state) for run in house.runs()] == ["done", "done", "done"]
    with session():
        late = house.clock.timer() + HOUR
        assert not Operation.select().where(Operation.next_poll_at > late, Operation.state == "running").exists()
        assert not Budget.select().where(Budget.tat_at > late).exists()
        assert not Scan.select().where(Scan.finished_at > late).exists()
    house.clock.advance(DAY)
    house.work(5 * MINUTE, MINUTE)
    assert house.runs()[-1].state == "done"
    assert slots(house)[-1] == "03-02 01:00"


def test_what_is_planned_for_soon_is_left_as_it_is(house: House) -> None:
    """Also by a clock that is set back by less than a lease."""
    house.account()
    house.policy()
    house.volumes(1)
    house.wished("run", policy="gold")
    house.work(MINUTE)
    house.clock.advance(-MINUTE)
    held = take("sweep", house.staff[0].name, house.clock.timer())
    assert held is not None
    with session():
        assert mend_times(held, house.clock.timer(), LANES[Lane.SNAPSHOT].lease) == 0
