"""A policy that names its resources is planned where its slot is decided; whatever hinders that is planned later."""

from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from tasks.catalog import Outbox, PolicySchedule, Run, Scan, close_catalog, database, open_catalog, session, transaction
from tasks.catalog.fields import is_postgres
from tasks.states import JobState, RunState
from tasks.telemetry import Counters
from tests.coordinator.house import DAY, HOME, NIGHTLY, House

FRESH = timedelta(minutes=15)


def _named(name: str = "vol-prod-00000") -> list[dict[str, Any]]:
    return [{"type": "volume", "id": name, "account": "prod", "region": HOME}]


class Noted(Counters):
    """Counters that tell what was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def add(self, name: str, value: int = 1, **labels: object) -> None:
        super().add(name, value, **labels)
        self.names += [name] * value


def _tick(house: House, touched: deque[int] | None = None, counters: Counters | None = None) -> int:
    from coordinator.tick import tick

    return tick(house.clock.now(), house.clock.timer(), counters or Counters(), FRESH, touched).begun


def _looked_at(house: House) -> None:
    with transaction():
        Scan.update(finished_at=house.clock.timer()).execute()


def test_a_named_volume_that_was_looked_at_lately_has_its_job_and_message_with_its_run(house: House) -> None:
    account = house.account()
    house.resources(2, account)
    house.policy("tags", [NIGHTLY])
    house.policy("one", [NIGHTLY], targets=_named())
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
    house.resources(1, house.account())
    house.policy(schedules=[NIGHTLY], targets=_named("vol-nowhere"))
    house.clock.advance(DAY)
    _looked_at(house)
    touched: deque[int] = deque()
    assert _tick(house, touched) == 1
    (run,) = house.runs()
    assert (run.state, list(touched)) == (RunState.OPEN, [run.id])
    assert [problem["code"] for problem in run.problems] == ["gone"]
    house.work()
    assert [run.state for run in house.runs()] == [RunState.FAILED]


def test_a_named_volume_that_still_waits_in_line_keeps_its_place_and_the_next_slot_says_so(house: House) -> None:
    house.resources(1, house.account())
    house.policy(schedules=[NIGHTLY], targets=_named())
    touched: deque[int] = deque()
    for _ in range(2):
        house.clock.advance(DAY)
        _looked_at(house)
        assert _tick(house, touched) == 1
    first, second = house.runs()
    assert [(job.run_id, job.state, job.error_code) for job in house.jobs()] == [
        (first.id, JobState.PENDING, ""),
        (second.id, JobState.CANCELLED, "overlapped"),
    ]
    assert list(touched) == [second.id]


def test_a_slot_is_not_planned_before_an_earlier_one_of_its_policy_that_still_waits(house: House) -> None:
    """Found in review: the later one overtook it, and the earlier was told that an earlier backup stood for it."""
    house.resources(1, house.account())
    house.policy(schedules=[NIGHTLY], targets=_named())
    house.clock.advance(DAY)
    assert _tick(house) == 1  # no look is fresh
    house.clock.advance(DAY)
    _looked_at(house)
    assert _tick(house) == 1
    assert [run.state for run in house.runs()] == [RunState.RESOLVING, RunState.RESOLVING]
    house.step()
    house.step()
    first, second = house.runs()
    assert [(job.run_id, job.error_code) for job in house.jobs()] == [(first.id, ""), (second.id, "overlapped")]


def test_a_policy_that_cannot_be_read_stops_no_slot(house: House) -> None:
    """PostgreSQL reads JSON as it is written; on SQLite it is a text that something else may have put there."""
    house.resources(1, house.account())
    house.policy("bad", [NIGHTLY], targets=_named())
    house.policy("good", [NIGHTLY], targets=_named())
    if not is_postgres(database):
        with transaction():
            database.execute_sql("UPDATE policy SET spec = ? WHERE name = 'bad'", ["\n" + '{"targets": '])
    house.clock.advance(DAY)
    _looked_at(house)
    assert _tick(house) == 2


def test_a_slot_that_has_its_run_already_gets_no_second_job(house: House) -> None:
    """The catalog was put back, or a schedule moved: UNIQUE(policy, slot) decides, and no job hangs in the air."""
    house.resources(1, house.account())
    policy = house.policy(schedules=[NIGHTLY], targets=_named())
    with transaction():
        slot = PolicySchedule.get().next_slot_at
        Run.create(policy=policy, slot_at=slot, state=RunState.DONE, created_at=house.clock.timer())
    house.clock.advance(DAY)
    _looked_at(house)
    assert _tick(house) == 0
    assert (len(house.runs()), house.jobs(), house.outbox()) == (1, [], 0)


def test_a_policy_whose_job_is_refused_holds_up_no_other_slot_and_fails_alone(house: House) -> None:
    """More attempts than the column takes: PostgreSQL refuses the statement that writes the jobs of all."""
    account = house.account()
    house.resources(2, account)
    house.policy("bad", [NIGHTLY], targets=_named(), retries={"attempts": 2**40})
    house.policy("good", [NIGHTLY], targets=_named("vol-prod-00001"))
    house.clock.advance(DAY)
    _looked_at(house)
    counters = Noted()
    assert _tick(house, counters=counters) == 2
    given_up = counters.names.count("snapfleet_tick_errors_total")
    assert (given_up, counters.names.count("snapfleet_slots_started_total")) == (int(is_postgres(database)), 2)
    house.step()
    states = {run.policy.name: run.state for run in house.runs()}
    assert states == {"good": RunState.OPEN, "bad": RunState.FAILED if is_postgres(database) else RunState.OPEN}


def test_planning_that_the_database_does_not_answer_in_time_stops_no_slot(
    postgres_catalog_url: str, tmp_path: Path
) -> None:
    """Somebody holds the table of resources, which the slots themselves do not need."""
    open_catalog(postgres_catalog_url)
    try:
        house = House(tmp_path)
        house.resources(1, house.account())
        house.policy(schedules=[NIGHTLY], targets=_named())
        house.clock.advance(DAY)
        _looked_at(house)
        counters = Noted()
        with psycopg.connect(postgres_catalog_url) as somebody, session():
            somebody.execute("LOCK TABLE resource")
            database.execute_sql("SET statement_timeout = 300")
            assert _tick(house, counters=counters) == 1
            database.execute_sql("SET statement_timeout = 0")
        assert counters.names.count("snapfleet_tick_errors_total") == 1
        assert [run.state for run in house.runs()] == [RunState.RESOLVING]
        house.work()
        assert [job.kind for job in house.jobs() if job.kind == "snapshot"] == ["snapshot"]
    finally:
        close_catalog()
