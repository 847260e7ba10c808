"""Runs that have begun become jobs: first a fresh look at what exists, then targets, then one transaction.

Most slots of a large estate never come here: a policy that names its resources is planned where its slot is decided
(coordinator.tick). Here are runs that mean resources by tags, that wait for looks, or that somebody asked for.
"""

import json
import logging
from datetime import datetime, timedelta
from functools import lru_cache

from peewee import InterfaceError, OperationalError, PeeweeException

from coordinator.looks import ask_for_looks, read_looks
from coordinator.planned import write_jobs
from coordinator.planner import ESTATES_A_TICK, Begun, Planned, Planner, PolicyRow, read_spec
from coordinator.targets import Problem
from tasks.catalog import Policy, Run, lock_rows, look_up_rows, rows, transaction
from tasks.catalog.bulk import find_rows, update_rows
from tasks.crash import reach
from tasks.states import RunState

log = logging.getLogger("snapfleet.coordinator")

# Runs looked through in one round: some wait for looks, and must not hide those that can be planned.
EXAMINED_A_TICK = 1000


def resolve_runs(at: datetime, freshness: timedelta, touched: set[int] | None = None) -> int:
    """Plan the runs whose looks are fresh (machine time `at`), ask for the looks of the others; how many planned.
    Adds to `touched` those that have nothing to wait for.

    All of a round are planned in one transaction, with their rows locked: other coordinators plan others. When the
    database refuses what one of them would write, they are planned one by one, and only that one fails.
    """
    try:
        planned = _round(at, freshness)
    except (OperationalError, InterfaceError):
        raise
    except PeeweeException:
        log.exception("Runs could not be planned together; they are planned one by one.")
        waiting = rows(Run.select(Run.id).where(Run.state == RunState.RESOLVING).order_by(Run.id).limit(ESTATES_A_TICK))
        return sum(_alone(number, at, freshness) for (number,) in waiting)
    if touched is not None:
        touched.update(one.run.id for one in planned if not one.waits)
    return len(planned)


def _alone(number: int, at: datetime, freshness: timedelta) -> int:
    try:
        return len(_round(at, freshness, only=number))
    except (OperationalError, InterfaceError):
        raise
    except PeeweeException as error:
        problem = Problem(f"run-{number}", "malformed", f"What it would write is refused ({type(error).__name__}).")
        why = {"error_code": problem.code, "problems": [problem.to_json()]}
        columns = {"state": RunState.FAILED, "finished_at": at, **why}
        with transaction():
            return int(Run.update(**columns).where(Run.id == number, Run.state == RunState.RESOLVING).execute())


def _round(at: datetime, freshness: timedelta, only: int | None = None) -> list[Planned]:
    which = (Run.state == RunState.RESOLVING) if only is None else (Run.state == RunState.RESOLVING) & (Run.id == only)
    if not rows(Run.select(Run.id).where(which).limit(1)):
        return []
    looks = read_looks()
    with transaction():
        columns = [getattr(Run, name) for name in Begun._fields[:-1]]
        begun = Run.select(*columns, Run.only.cast("text")).where(which).order_by(Run.id).limit(EXAMINED_A_TICK)
        waiting = [Begun._make((*row, _names(only))) for *row, only in rows(lock_rows(begun))]
        wanted, columns = sorted({(run.policy,) for run in waiting}), ["id", "name", "priority", "deleted_at", "spec"]
        found = find_rows(Policy, ["id"], wanted, columns, as_text=["spec"])
        policies = {row[0]: PolicyRow._make((*row, *read_spec(spec))) for *row, spec in found}
        planner = Planner(looks, policies, at, freshness)
        planned = planner.plan(waiting)
        ask_for_looks(looks, planner.wanted, at)
        look_up_rows()
        write_jobs(planned, at)
        update_rows(Run, [{"id": one.run.id, **one.columns(at)} for one in planned])
        reach("coordinator.plan-before-commit")
    reach("coordinator.plan-committed")
    return planned


@lru_cache(maxsize=1024)  # nearly always none
def _names(only: str) -> tuple[str, ...]:
    return tuple(json.loads(only))
