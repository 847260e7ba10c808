"""Due slots become runs: one transaction writes the run and moves the schedule on, so that a slot is neither lost nor
run twice, whoever ticks. Any number of coordinators may do this side by side."""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from coordinator.due import Decision, Grid, Track, decide, start_of
from coordinator.slots import next_slot
from tasks.catalog import MissedSlots, Policy, PolicySchedule, Run, Schedule, lock_rows, transaction
from tasks.crash import reach
from tasks.states import RunState
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.coordinator")

# Policies dealt with in one transaction: large enough to amortise the commit, small enough to share the work.
BATCH = 200
# A schedule that cannot be read is looked at again this much later: its slots are not forgotten, they coalesce.
UNREADABLE_WAIT = timedelta(minutes=5)


def tick(now: datetime, at: datetime, counters: Counters) -> int:
    """Start what is due at calendar time `now` (machine time `at`); how many runs were written."""
    with transaction():
        started = missed = 0
        for policy, rows in _due(now):
            decision = _decide(policy, rows, now)
            if decision is None:
                continue
            started += _write(policy, rows, decision, now, at)
            missed += decision.missed.count if decision.missed and _active(policy) else 0
        reach("coordinator.slots-before-commit")
    if started:
        reach("coordinator.slots-committed")
    counters.add("snapfleet_slots_started_total", started)
    counters.add("snapfleet_slots_missed_total", missed)
    return started


def _due(now: datetime) -> list[tuple[Policy, list[PolicySchedule]]]:
    """Policies with a schedule that is due, each with ALL its schedules: they are decided together.

    The policy's row is locked first, then its schedules'; what somebody else holds is left to the next tick. Rows are
    read after they are locked, so that what another coordinator has just moved on is not due here.
    """
    due = PolicySchedule.select(PolicySchedule.policy).where(PolicySchedule.next_start_at <= now)
    ids = [row.policy_id for row in due.order_by(PolicySchedule.next_start_at).limit(BATCH)]
    if not ids:
        return []
    policies = {row.id: row for row in lock_rows(Policy.select().where(Policy.id.in_(ids)).order_by(Policy.id))}
    mine = PolicySchedule.policy.in_(list(policies))
    locked = list(lock_rows(PolicySchedule.select().where(mine).order_by(PolicySchedule.id)))
    whole = Counter(row.policy_id for row in PolicySchedule.select(PolicySchedule.policy).where(mine))
    schedules = {row.id: row for row in Schedule.select().where(Schedule.id.in_({row.schedule_id for row in locked}))}
    joined: dict[int, list[PolicySchedule]] = {}
    for row in locked:
        row.schedule = schedules[row.schedule_id]
        joined.setdefault(row.policy_id, []).append(row)
    return [
        (policies[policy_id], rows)
        for policy_id, rows in joined.items()
        if len(rows) == whole[policy_id] and any(row.next_start_at and row.next_start_at <= now for row in rows)
    ]


def _decide(policy: Policy, rows: Sequence[PolicySchedule], now: datetime) -> Decision | None:
    """None for a policy whose schedule this version cannot read: it waits, and holds up nobody else's slots."""
    try:
        return decide(policy.name, [_track(row) for row in rows], now)
    except Exception:  # one row that cannot be read must not stop every other policy
        log.exception("The schedules of policy %s cannot be read; they are tried again later.", policy.name)
        ids = [row.id for row in rows]
        PolicySchedule.update(next_start_at=now + UNREADABLE_WAIT).where(PolicySchedule.id.in_(ids)).execute()
        return None


def _track(row: PolicySchedule) -> Track:
    return Track(Grid.from_spec(row.schedule.spec), row.last_slot_at)


def _active(policy: Policy) -> bool:
    return bool(policy.enabled and policy.deleted_at is None)


def _write(policy: Policy, rows: Sequence[PolicySchedule], decision: Decision, now: datetime, at: datetime) -> int:
    started = 0
    if decision.run is not None and _active(policy):
        started = start_run(policy, decision.run, at, trigger="schedule", reason=decision.reason.text) is not None
        if decision.missed is not None:
            MissedSlots.create(
                policy=policy.id,
                first_at=decision.missed.first,
                last_at=decision.missed.last,
                count=decision.missed.count,
                recorded_at=now,
                reason=decision.reason.text,
            )
    for row, track in zip(rows, decision.tracks, strict=True):
        move_schedule(row, track, policy.name, again=now if decision.next_at == now else None)
    return int(started)


def move_schedule(row: PolicySchedule, track: Track, policy_name: str, again: datetime | None = None) -> None:
    """Store a track and when it starts next; `again` when another slot of it is due already."""
    following = next_slot(track.grid, track.after)
    start = None if following is None else start_of(track.grid, following, policy_name)
    PolicySchedule.update(
        last_slot_at=track.after,
        next_slot_at=following,
        next_start_at=start if again is None or start is None else min(start, again),
    ).where(PolicySchedule.id == row.id).execute()


def start_run(
    policy: Policy, slot: datetime, at: datetime, *, trigger: str, reason: str = "", only: Sequence[str] = ()
) -> int | None:
    """Write a run; its id, or None when this slot has one already.

    A run that overlaps the one before is started too: which of its targets wait in line already is seen when it is
    planned. Which success of its policy it is (`ordinal`) is counted when its first backup is good.
    """
    rows = list(
        Run.insert(
            policy=policy.id,
            slot_at=slot,
            trigger=trigger,
            state=RunState.RESOLVING,
            only=list(only),
            reason=reason,
            created_at=at,
        )
        .on_conflict_ignore()
        .returning(Run.id)
        .execute()
    )
    return rows[0].id if rows else None
