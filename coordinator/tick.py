"""Due slots become runs: one transaction writes the run and moves the schedule on, so that a slot is neither lost nor
run twice, whoever ticks. Any number of coordinators may do this side by side."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from coordinator.due import Decision, Grid, Track, decide, start_of
from coordinator.slots import next_slot
from tasks.catalog import MissedSlots, Policy, PolicySchedule, Run, Schedule, rows, session, transaction
from tasks.catalog.bulk import find_rows, insert_rows, update_rows
from tasks.crash import reach
from tasks.states import RunState
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.coordinator")

# Policies dealt with in one transaction: large enough to amortise its statements, and a tenth of a second of work, so
# that a wave of slots never keeps a restore from being published.
BATCH = 1000
# A schedule that cannot be read is looked at again this much later: its slots are not forgotten, they coalesce.
UNREADABLE_WAIT = timedelta(minutes=5)


class _Entry(NamedTuple):
    """A policy's next slot on one schedule, as it is locked."""

    id: int
    grid: str  # the schedule's spec as JSON
    last_slot_at: datetime
    next_start_at: datetime | None


class _Policy(NamedTuple):
    id: int
    name: str
    active: bool


@dataclass
class _Written:
    """What a tick writes, gathered so that it takes a statement a table."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    missed: list[dict[str, Any]] = field(default_factory=list)
    moves: list[dict[str, Any]] = field(default_factory=list)


def tick(now: datetime, at: datetime, counters: Counters) -> int:
    """Start what is due at calendar time `now` (machine time `at`); how many runs were written."""
    if not _anything_due(now):
        return 0
    written = _Written()
    with transaction():
        for policy, entries in _due(now):
            decision = _decide(policy, entries, now)
            if decision is not None:
                _note(written, policy, entries, decision, now, at)
        new = insert_rows(Run, written.runs, ignore=True, returning=["id"])
        insert_rows(MissedSlots, written.missed)
        update_rows(PolicySchedule, written.moves)
        reach("coordinator.slots-before-commit")
    if new:
        reach("coordinator.slots-committed")
    counters.add("snapfleet_slots_started_total", len(new))
    counters.add("snapfleet_slots_missed_total", sum(row["count"] for row in written.missed))
    return len(new)


def _anything_due(now: datetime) -> bool:
    """One look at the index: most ticks of a day find nothing, and need no transaction."""
    due = PolicySchedule.select(PolicySchedule.id).where(PolicySchedule.next_start_at <= now)
    with session():
        return bool(rows(due.order_by(PolicySchedule.next_start_at).limit(1)))


def _due(now: datetime) -> list[tuple[_Policy, list[_Entry]]]:
    """Policies with a schedule that is due, each with ALL its schedules: they are decided together.

    The policy's row is locked first, then its schedules'; what somebody else holds is left to the next tick. Rows are
    read after they are locked, so that what another coordinator has just moved on is not due here.
    """
    due = PolicySchedule.select(PolicySchedule.policy).where(PolicySchedule.next_start_at <= now)
    ids = [policy for (policy,) in rows(due.order_by(PolicySchedule.next_start_at).limit(BATCH))]
    if not ids:
        return []
    columns = ["id", "name", "enabled", "deleted_at"]
    policies = {
        number: _Policy(number, name, enabled and deleted_at is None)
        for number, name, enabled, deleted_at in find_rows(
            Policy, ["id"], sorted({(one,) for one in ids}), columns, lock=True
        )
    }
    mine = [(number,) for number in policies]
    columns = ["id", "policy", "schedule", "last_slot_at", "next_start_at"]
    locked = find_rows(PolicySchedule, ["policy"], mine, columns, lock=True)
    whole = Counter(policy for (policy,) in find_rows(PolicySchedule, ["policy"], mine, ["policy"]))
    needed = sorted({(schedule,) for _, _, schedule, _, _ in locked})
    specs = dict(find_rows(Schedule, ["id"], needed, ["id", "spec"], as_text=["spec"]))
    joined: dict[int, list[_Entry]] = {}
    for number, policy, schedule, last_slot_at, next_start_at in locked:
        joined.setdefault(policy, []).append(_Entry(number, specs[schedule], last_slot_at, next_start_at))
    return [
        (policies[policy], entries)
        for policy, entries in joined.items()
        if len(entries) == whole[policy] and any(one.next_start_at and one.next_start_at <= now for one in entries)
    ]


def _decide(policy: _Policy, entries: Sequence[_Entry], now: datetime) -> Decision | None:
    """None for a policy whose schedule this version cannot read: it waits, and holds up nobody else's slots."""
    try:
        return decide(policy.name, [Track(_grid(one.grid), one.last_slot_at) for one in entries], now)
    except Exception:  # one row that cannot be read must not stop every other policy
        log.exception("The schedules of policy %s cannot be read; they are tried again later.", policy.name)
        ids = [one.id for one in entries]
        PolicySchedule.update(next_start_at=now + UNREADABLE_WAIT).where(PolicySchedule.id.in_(ids)).execute()
        return None


@lru_cache(maxsize=16_384)  # a grid is read once and asked for years; as many as `coordinator.slots` keeps lines of
def _grid(spec: str) -> Grid:
    return Grid.from_spec(json.loads(spec))


def _note(
    written: _Written, policy: _Policy, entries: Sequence[_Entry], decision: Decision, now: datetime, at: datetime
) -> None:
    if decision.run is not None and policy.active:
        reason = decision.reason.text
        written.runs.append(_run_row(policy.id, decision.run, at, trigger="schedule", reason=reason))
        if decision.missed is not None:
            written.missed.append(
                {
                    "policy": policy.id,
                    "first_at": decision.missed.first,
                    "last_at": decision.missed.last,
                    "count": decision.missed.count,
                    "recorded_at": now,
                    "reason": reason,
                }
            )
    again = now if decision.next_at == now else None
    for one, track in zip(entries, decision.tracks, strict=True):
        written.moves.append({"id": one.id, **_position(track, policy.name, again)})


def _position(track: Track, policy_name: str, again: datetime | None) -> dict[str, datetime | None]:
    """Where a schedule stands and when it starts next; `again` when another slot of it is due already."""
    following = next_slot(track.grid, track.after)
    start = None if following is None else start_of(track.grid, following, policy_name)
    return {
        "last_slot_at": track.after,
        "next_slot_at": following,
        "next_start_at": start if again is None or start is None else min(start, again),
    }


def _run_row(
    policy: int, slot: datetime, at: datetime, *, trigger: str, reason: str, only: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "policy": policy,
        "slot_at": slot,
        "trigger": trigger,
        "state": RunState.RESOLVING,
        "only": list(only),
        "reason": reason,
        "created_at": at,
    }


def start_run(
    policy: Policy, slot: datetime, at: datetime, *, trigger: str, reason: str = "", only: Sequence[str] = ()
) -> int | None:
    """Write a run; its id, or None when this slot has one already.

    A run that overlaps the one before is started too: which of its targets wait in line already is seen when it is
    planned. Which success of its policy it is (`ordinal`) is counted when its first backup is good.
    """
    row = _run_row(policy.id, slot, at, trigger=trigger, reason=reason, only=only)
    written = insert_rows(Run, [row], ignore=True, returning=["id"])
    return written[0][0] if written else None
