"""When a policy is next due on each of its schedules, written as the estate changes.

A policy that joins a schedule, or whose schedule's grid changes, begins now: slots of the past are neither run nor
called missed. An unchanged pair keeps its row, with what it has dealt with.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from coordinator.due import Grid, next_slot, start_of
from tasks.catalog import Policy, PolicySchedule, Schedule


def join_schedules(policy: Policy, names: Sequence[str], now: datetime) -> None:
    """Give the policy exactly these schedules; call inside a transaction."""
    wanted = {row.id: row for row in Schedule.select().where(Schedule.name.in_(list(names)))} if names else {}
    rows: Any = PolicySchedule.select().where(PolicySchedule.policy == policy.id)
    there = {row.schedule_id for row in rows}
    gone = there - set(wanted)
    if gone:
        PolicySchedule.delete().where(
            PolicySchedule.policy == policy.id, PolicySchedule.schedule.in_(sorted(gone))
        ).execute()
    for schedule_id in sorted(set(wanted) - there):
        begin = _from_now(wanted[schedule_id], policy.name, now)
        PolicySchedule.create(policy=policy.id, schedule=schedule_id, **begin)


def reset_schedules(schedule: Schedule, now: datetime) -> None:
    """Every policy of a changed schedule begins again from now; call inside a transaction."""
    rows = PolicySchedule.select(PolicySchedule, Policy).join(Policy).where(PolicySchedule.schedule == schedule.id)
    for row in rows:
        begin = _from_now(schedule, row.policy.name, now)
        PolicySchedule.update(**begin).where(PolicySchedule.id == row.id).execute()


def _from_now(schedule: Schedule, policy_name: str, now: datetime) -> dict[str, Any]:
    grid = Grid.from_spec(schedule.spec)
    slot = next_slot(grid, now)
    start = None if slot is None else start_of(grid, slot, policy_name)
    return {"next_slot_at": slot, "next_start_at": start, "last_slot_at": now}
