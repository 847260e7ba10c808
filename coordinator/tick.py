"""Due slots become runs: one transaction writes the run and moves the schedule on, so that a slot is neither lost nor
run twice, whoever ticks. Any number of coordinators may do this side by side."""

from collections.abc import Sequence
from datetime import datetime

from coordinator.due import Decision, Grid, Track, decide, start_of
from coordinator.slots import next_slot
from tasks.catalog import MissedSlots, Policy, PolicySchedule, Run, Schedule, lock_rows, transaction
from tasks.crash import reach
from tasks.states import RunState
from tasks.telemetry import Counters

# Policies dealt with in one transaction: large enough to amortise the commit, small enough to share the work.
BATCH = 200


def tick(now: datetime, at: datetime, counters: Counters) -> int:
    """Start what is due at calendar time `now` (machine time `at`); how many runs were written."""
    with transaction():
        started = missed = 0
        for policy, rows in _due(now):
            decision = decide(policy.name, [_track(row) for row in rows], now)
            started += _write(policy, rows, decision, now, at)
            missed += decision.missed.count if decision.missed else 0
        reach("coordinator.slots-before-commit")
    if started:
        reach("coordinator.slots-committed")
    counters.add("snapfleet_slots_started_total", started)
    counters.add("snapfleet_slots_missed_total", missed)
    return started


def _due(now: datetime) -> list[tuple[Policy, list[PolicySchedule]]]:
    """Policies with a schedule that is due, each with ALL its schedules: they are decided together."""
    due = lock_rows(
        PolicySchedule.select(PolicySchedule.policy)
        .where(PolicySchedule.next_start_at <= now)
        .order_by(PolicySchedule.next_start_at)
        .limit(BATCH)
    )
    ids = {row.policy_id for row in due}
    if not ids:
        return []
    policies = {row.id: row for row in lock_rows(Policy.select().where(Policy.id.in_(ids)))}
    joined: dict[int, list[PolicySchedule]] = {}
    query = (
        PolicySchedule.select(PolicySchedule, Schedule)
        .join(Schedule)
        .where(PolicySchedule.policy.in_(list(policies)))
        .order_by(PolicySchedule.id)
    )
    for row in query:
        joined.setdefault(row.policy_id, []).append(row)
    return [(policies[policy_id], rows) for policy_id, rows in joined.items()]


def _track(row: PolicySchedule) -> Track:
    return Track(Grid.from_spec(row.schedule.spec), row.last_slot_at)


def _write(policy: Policy, rows: Sequence[PolicySchedule], decision: Decision, now: datetime, at: datetime) -> int:
    active = policy.enabled and policy.deleted_at is None
    started = 0
    if decision.run is not None and active:
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
    """Write a run; its id, or None when this slot has one already. An overlapping scheduled run is let be: each
    resource's own jobs keep their order, and a slot that is due is run."""
    rows = list(
        Run.insert(
            policy=policy.id,
            slot_at=slot,
            trigger=trigger,
            ordinal=policy.successes + 1,
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
