"""A policy that names its resources is planned where its slot is decided; whatever hinders that is planned later."""

from datetime import timedelta
from typing import Any

from tasks.catalog import Outbox, PolicySchedule, Run, Scan, database, session, transaction
from tasks.catalog.fields import is_postgres
from tasks.states import JobState, RunState
from tasks.telemetry import Counters
from tests.coordinator.house import DAY, HOME, NIGHTLY, House

FRESH = timedelta(minutes=15)


def _named(name: str = "vol-prod-00000") -> list[dict[str, Any]]:
    return [{"type": "volume", "id": name, "account": "prod", "region": HOME}]


def _tick(house: House) -> int:
    from coordinator.tick import tick

    return tick(house.clock.now(), house.clock.timer(), Counters(), FRESH)


def _looked_at(house: House) -> None:
    with transaction():
        Scan.update(finished_at=house.clock.timer()).execute()


def test_a_named_volume_that_was_looked_at_lately_has_its_job_and_message_with_its_run(house: House) -> None:
    account = house.account()
    house.resources(2, account)
    house.policy("one", [NIGHTLY], targets=_named())
    house.policy("tags", [NIGHTLY])
    house.clock.advance(DAY)
    _looked_at(house)
    assert _tick(house) == 2
    states = {run.policy.name: (run.state, run.targets, run.planned_at is not None) for run in house.runs()}
    assert states == {"one": (RunState.OPEN, 1, True), "tags": (RunState.RESOLVING, 0, False)}
    (job,) = house.jobs()
    with session():
        assert (Run.get_by_id(job.run_id).policy.name, job.state) == ("one", JobState.PENDING)
        assert [row.job_id for row in Outbox.select()] == [job.id]


def test_a_named_volume_waits_for_a_look_when_none_is_fresh(house: House) -> None:
    account = house.account()
    house.resources(1, account)
    house.policy(schedules=[NIGHTLY], targets=_named())
    house.clock.advance(DAY)
    assert _tick(house) == 1
    assert [run.state for run in house.runs()] == [RunState.RESOLVING]
    assert house.jobs() == []


def test_a_named_volume_that_is_not_there_ends_its_run_with_the_reason(house: House) -> None:
    house.account()
    house.resources(1, house.account("other"))
    house.policy(schedules=[NIGHTLY], targets=_named("vol-nowhere"))
    house.clock.advance(DAY)
    with transaction():
        Scan.update(finished_at=house.clock.timer()).execute()
    house.work()
    (run,) = house.runs()
    assert run.state == RunState.FAILED
    assert [problem["code"] for problem in run.problems] == ["gone"]


def test_a_slot_that_has_its_run_already_gets_no_second_job(house: House) -> None:
    """The catalog was put back, or a schedule moved: UNIQUE(policy, slot) decides, and no job hangs in the air."""
    account = house.account()
    house.resources(1, account)
    house.policy(schedules=[NIGHTLY], targets=_named())
    house.clock.advance(DAY)
    _looked_at(house)
    with session():
        row = PolicySchedule.get()
        back = {"last_slot_at": row.last_slot_at, "next_start_at": row.next_start_at}
    assert _tick(house) == 1
    with transaction():
        PolicySchedule.update(**back).execute()
    assert _tick(house) == 0
    assert (len(house.runs()), len(house.jobs())) == (1, 1)


def test_a_policy_whose_job_is_refused_holds_up_no_other_slot_and_fails_alone(house: House) -> None:
    """More attempts than the column takes: PostgreSQL refuses the statement that writes the jobs of all."""
    account = house.account()
    house.resources(2, account)
    house.policy("bad", [NIGHTLY], targets=_named(), retries={"attempts": 2**40})
    house.policy("good", [NIGHTLY], targets=_named("vol-prod-00001"))
    house.clock.advance(DAY)
    _looked_at(house)
    assert _tick(house) == 2
    house.step()
    states = {run.policy.name: run.state for run in house.runs()}
    assert states == {"good": RunState.OPEN, "bad": RunState.FAILED if is_postgres(database) else RunState.OPEN}
