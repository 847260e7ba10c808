"""Due slots become runs: one transaction writes the run and moves the schedule on, so that a slot is neither lost nor
run twice, whoever ticks. Any number of coordinators may do this side by side.

A policy that names its resources, looked at lately, has its jobs written in that same transaction: what else would be a
second writing of the run and a second commit. All others are planned later (coordinator.resolve).
"""

import json
import logging
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from peewee import fn

from coordinator.due import Decision, Grid, Track, decide, start_of
from coordinator.looks import read_looks
from coordinator.planned import write_jobs
from coordinator.planner import UNWRITTEN, Begun, Planned, Planner, PolicyRow, read_spec
from coordinator.sharing import ALONE, Share
from coordinator.slots import next_slot
from tasks.catalog import MissedSlots, Policy, PolicySchedule, Run, look_up_rows, rows, session, transaction
from tasks.catalog.bulk import among, find_rows, insert_rows, update_rows
from tasks.crash import reach
from tasks.states import RunState
from tasks.telemetry import Counters

log = logging.getLogger("snapfleet.coordinator")

# Policies dealt with in one transaction: large enough to amortise its statements, and small enough that of a wave the
# first are published while others are being decided. Measured 2026-11-23 on two cores in turns: of 1,000 due at once
# 7,270 a second in batches of 1,000, 7,150 of 500, 6,430 of 334, 5,950 of 250; and 60,000 in 6.7 to 7.4 s in batches of
# 1,000, in 8.1 s of 500 and in 6.8 s of 2,000.
BATCH = 1000
# Runs that wait to be planned, from which on no other is planned before them.
BACKLOG = 1000
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
    enabled: bool
    priority: int
    deleted_at: datetime | None
    spec: str  # as JSON


_READ = (
    *("policy", "policy.name", "policy.enabled", "policy.priority", "policy.deleted_at", "policy.spec"),
    *("id", "schedule.spec", "last_slot_at", "next_start_at"),
)


class Ticked(NamedTuple):
    """How many runs a tick has written, and how many of them have been planned with that."""

    begun: int
    planned: int


class _Decided(NamedTuple):
    """What a policy does now, and where each of its schedules stands then."""

    decision: Decision
    positions: tuple[dict[str, datetime | None], ...]


@dataclass
class _Written:
    """What a tick writes, gathered so that it takes a statement a table."""

    runs: list[Begun] = field(default_factory=list)
    missed: list[dict[str, Any]] = field(default_factory=list)
    moves: list[dict[str, Any]] = field(default_factory=list)
    named: dict[int, PolicyRow] = field(default_factory=dict)  # the runs' policies that name their resources


def tick(
    now: datetime,
    at: datetime,
    counters: Counters,
    freshness: timedelta | None = None,
    touched: deque[int] | None = None,
    share: Share = ALONE,
) -> Ticked:
    """Start what is due at calendar time `now` (machine time `at`). Of much that is due, only this coordinator's
    `share`.

    Runs of policies that name their resources are planned at once where the looks are of `freshness` before them, or
    later (None: none is planned at once), and left to the planning of all others when the database refuses what they
    would read or write. Adds to `touched` those that have nothing to wait for.
    """
    if due_in(now):
        return Ticked(0, 0)
    try:
        begun, planned = _tick(now, at, counters, freshness, share)
    except Exception as error:
        if freshness is None:
            raise
        # What cannot be planned, not be written or not be read in time must not keep slots from being started. When it
        # is the catalog that is away, this raises too.
        begun, planned = _tick(now, at, counters, None, share)
        text = "Runs could not be planned where their slots were decided; they are planned later."
        log.error(text, exc_info=error)
        counters.add("snapfleet_tick_errors_total")
    if touched is not None:
        touched.extend(one.run.id for one in planned if not one.waits)
    return Ticked(begun, len(planned))


def _tick(
    now: datetime, at: datetime, counters: Counters, freshness: timedelta | None, share: Share
) -> tuple[int, list[Planned]]:
    written = _Written()
    with transaction():
        look_up_rows()
        for policy, entries in _due(now, share):
            decided = _decide(policy, entries, now)
            if decided is not None:
                _note(written, policy, entries, decided, now, at)
        planned = [] if freshness is None else _plan(written, at, freshness)
        begun = _begin(written.runs, planned, at)
        insert_rows(MissedSlots, written.missed)
        update_rows(PolicySchedule, written.moves)
        reach("coordinator.slots-before-commit")
    if begun:
        reach("coordinator.slots-committed")
    counters.add("snapfleet_slots_started_total", begun)
    counters.add("snapfleet_slots_missed_total", sum(row["count"] for row in written.missed))
    return begun, planned


def _plan(written: _Written, at: datetime, freshness: timedelta) -> list[Planned]:
    """What becomes of the runs of policies that name their resources, as far as it can be said now."""
    runs = [run for run in written.runs if run.policy in written.named]
    before = _unplanned() if runs else []
    if not runs or len(before) == BACKLOG:
        return []
    planner = Planner(read_looks(), written.named, at, freshness)
    return planner.plan([run for run in runs if run.policy not in before])


def _unplanned() -> Collection[int]:
    """Policies with a run that began before and is not planned yet: it goes first, and what it finds in line is older.
    Of many, so many that nothing is planned before them."""
    return [policy for (policy,) in rows(Run.select(Run.policy).where(Run.state == RunState.RESOLVING).limit(BACKLOG))]


def _begin(runs: Sequence[Begun], planned: list[Planned], at: datetime) -> int:
    """Write the runs, and the jobs of those that are planned; how many have begun. Of what is planned, keeps in
    `planned` what has begun."""
    ends = {one.run.policy: one for one in planned}
    rows = [_run_row(run) | (ends[run.policy].columns(at) if run.policy in ends else {}) for run in runs]
    new = insert_rows(Run, rows, ignore=True, returning=["policy", "id"])
    planned[:] = [ends[policy] for policy, _ in new if policy in ends]
    for policy, number in new:
        if policy in ends:
            ends[policy].written_as(number)
    write_jobs(planned, at)
    return len(new)


def due_in(now: datetime) -> float:
    """Seconds until the next slot starts, 0 when one should have started: one look at the index. Most ticks of a day
    find nothing, and need no transaction."""
    first = PolicySchedule.select(PolicySchedule.next_start_at).where(PolicySchedule.next_start_at.is_null(False))
    with session():
        found = rows(first.order_by(PolicySchedule.next_start_at).limit(1))
    return max(0.0, (found[0][0] - now).total_seconds()) if found else inf


def _due(now: datetime, share: Share) -> list[tuple[_Policy, list[_Entry]]]:
    """Policies with a schedule that is due, each with ALL its schedules: they are decided together.

    The schedules' rows are locked; a policy of which somebody else holds one is left to the next tick. Positions are
    read after they are locked, so that what another coordinator has just moved on is not due here.
    """
    due = PolicySchedule.select(PolicySchedule.policy).where(PolicySchedule.next_start_at <= now)
    ids = {policy for (policy,) in rows(due.order_by(PolicySchedule.next_start_at).limit(BATCH * share.of))}
    first = [(policy,) for policy in share.first(sorted(ids), BATCH)]
    found = find_rows(PolicySchedule, ["policy"], first, _READ, lock=True, as_text=["schedule.spec", "policy.spec"])
    joined: dict[_Policy, list[_Entry]] = {}
    for *policy, number, grid, last_slot_at, next_start_at in found:
        entry = _Entry(number, grid, last_slot_at, next_start_at)
        joined.setdefault(_Policy._make(policy), []).append(entry)
    whole = _counts([policy.id for policy in joined])
    return [
        (policy, entries)
        for policy, entries in joined.items()
        if len(entries) == whole.get(policy.id, 1) and any(_is_due(one, now) for one in entries)
    ]


def _is_due(entry: _Entry, now: datetime) -> bool:
    return entry.next_start_at is not None and entry.next_start_at <= now


def _counts(policies: Collection[int]) -> dict[int, int]:
    """How many schedules each of these policies has, where there are several."""
    if not policies:
        return {}
    several = fn.COUNT(PolicySchedule.id)
    found = PolicySchedule.select(PolicySchedule.policy, several).where(among(PolicySchedule.policy, policies))
    return dict(rows(found.group_by(PolicySchedule.policy).having(several > 1)))


def _decide(policy: _Policy, entries: Sequence[_Entry], now: datetime) -> _Decided | None:
    """None for a policy whose schedule this version cannot read: it waits, and holds up nobody else's slots."""
    try:
        spread = any(_grid(one.grid).spread for one in entries)
        return _decided(policy.name if spread else "", tuple([(one.grid, one.last_slot_at) for one in entries]), now)
    except Exception:  # one row that cannot be read must not stop every other policy
        log.exception("The schedules of policy %s cannot be read; they are tried again later.", policy.name)
        ids = [one.id for one in entries]
        PolicySchedule.update(next_start_at=now + UNREADABLE_WAIT).where(PolicySchedule.id.in_(ids)).execute()
        return None


@lru_cache(maxsize=1024)  # all policies on one grid without a spread are one decision: a midnight's are of few grids
def _decided(key: str, positions: tuple[tuple[str, datetime], ...], now: datetime) -> _Decided:
    decision = decide(key, [Track(_grid(grid), last_slot_at) for grid, last_slot_at in positions], now)
    again = now if decision.next_at == now else None
    return _Decided(decision, tuple(_position(track, key, again) for track in decision.tracks))


@lru_cache(maxsize=16_384)  # a grid is read once and asked for years; as many as `coordinator.slots` keeps lines of
def _grid(spec: str) -> Grid:
    return Grid.from_spec(json.loads(spec))


def _note(
    written: _Written, policy: _Policy, entries: Sequence[_Entry], decided: _Decided, now: datetime, at: datetime
) -> None:
    decision = decided.decision
    if decision.run is not None and policy.enabled and policy.deleted_at is None:
        reason = decision.reason.text
        written.runs.append(Begun(UNWRITTEN, policy.id, decision.run, "schedule", reason, at, ()))
        if (named := _named(policy)) is not None:
            written.named[policy.id] = named
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
    for one, position in zip(entries, decided.positions, strict=True):
        written.moves.append({"id": one.id, **position})


def _named(policy: _Policy) -> PolicyRow | None:
    """The policy when all its targets name resources; None also when it cannot be read, which planning will tell."""
    try:
        spec, named = read_spec(policy.spec)
    except ValueError:
        return None
    return PolicyRow(policy.id, policy.name, policy.priority, policy.deleted_at, spec, named) if named else None


def _position(track: Track, policy_name: str, again: datetime | None) -> dict[str, datetime | None]:
    """Where a schedule stands and when it starts next; `again` when another slot of it is due already."""
    following = next_slot(track.grid, track.after)
    start = None if following is None else start_of(track.grid, following, policy_name)
    return {
        "last_slot_at": track.after,
        "next_slot_at": following,
        "next_start_at": start if again is None or start is None else min(start, again),
    }


def _run_row(run: Begun) -> dict[str, Any]:
    return {
        "policy": run.policy,
        "slot_at": run.slot_at,
        "trigger": run.trigger,
        "state": RunState.RESOLVING,
        "only": list(run.only),
        "reason": run.reason,
        "created_at": run.created_at,
    }


def start_run(
    policy: Policy, slot: datetime, at: datetime, *, trigger: str, reason: str = "", only: Sequence[str] = ()
) -> int | None:
    """Write a run; its id, or None when this slot has one already.

    A run that overlaps the one before is started too: which of its targets wait in line already is seen when it is
    planned. Which success of its policy it is (`ordinal`) is counted when its first backup is good.
    """
    row = _run_row(Begun(UNWRITTEN, policy.id, slot, trigger, reason, at, only))
    written = insert_rows(Run, [row], ignore=True, returning=["id"])
    return written[0][0] if written else None
