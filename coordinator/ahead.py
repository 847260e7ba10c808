"""What a clock that was ahead has left behind, mended once the clock is right again, and told.

The tick moves schedules forward only. Two minutes under a clock that is a month ahead would therefore leave every
policy without a run for that month. Whatever a schedule dealt with lies in the past; one that stands in the future was
moved there by a wrong clock, and is set back. What ran ahead of its time is not run again when its time comes.

It is the same with machine time: leases of the dead, questions to a cloud, the fleet's paces and looks at accounts
would wait for that month (`mend_times`), and with them every backup that is behind them.

Runs under the sweep lease; twice at once would set back the same rows to the same places.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL

from coordinator.due import Grid, Track, next_slot, set_back, start_of
from coordinator.lease import CLOCKS_DIFFER, Held, still_held
from tasks.catalog import (
    Budget,
    CopySlots,
    Delivery,
    Job,
    MissedSlots,
    Operation,
    Outbox,
    Point,
    PolicySchedule,
    Process,
    Run,
    Scan,
    meta,
    rows,
    set_meta,
    transaction,
)
from tasks.catalog.bulk import find_rows, update_rows
from tasks.clock import DATED_AHEAD
from tasks.lanes import Lane
from tasks.states import JobState, OperationState, PointState, RunState

log = logging.getLogger("snapfleet.coordinator")

# Schedules set back in one transaction, and in one sweep: a sweep has other things to do, and the next one goes on.
BATCH = 1000
MOST = 20_000
# Nobody plans machine time so far ahead: the longest is a webhook's pause of an hour.
PLANNED_AHEAD = timedelta(hours=2)
# How long it is worth an alert: what it ended is over, but somebody should learn why runs are missing, and mend the
# clock.
TOLD_FOR = timedelta(hours=24)
_KEY = "clock:set-back"
_READ = ("id", "last_slot_at", "policy.name", "policy.created_at", "schedule.changed_at", "schedule.spec")


@dataclass(frozen=True)
class WrongClock:
    """So many schedules stood in the future, up to `furthest`, when it was last noticed. Calendar times."""

    schedules: int
    noticed_at: datetime
    furthest: datetime


def set_schedules_back(held: Held, now: datetime) -> int:
    """Set schedules back that stand in the future of calendar time `now`; how many, and not all when there are many.

    Reads every schedule's row once, which no index serves: not for every sweep. Of a million in PostgreSQL 32 ms, and
    0.9 s for `MOST` that are set back (measured 2026-11-23).
    """
    ahead = PolicySchedule.select(PolicySchedule.id).where(PolicySchedule.last_slot_at > now + DATED_AHEAD)
    ids = rows(ahead.order_by(PolicySchedule.id).limit(MOST))
    count = 0
    for start in range(0, len(ids), BATCH):
        with transaction():
            if not still_held(held):
                break
            count += _set_back(ids[start : start + BATCH], now)
    if count:
        log.error("The clock was wrong: %d schedules stood in the future. They are set back and go on from now.", count)
    return count


def mend_times(held: Held, at: datetime, longest: timedelta) -> int:
    """Bring back machine times that nobody can have written at `at`; how many rows. `longest` is the longest lease.

    A job's lease ends then as one that is taken now, and not at once: a worker that lives has the time to renew it, or
    to end the creating call that it guards.
    """
    count = 0
    for model, which, columns in _repairs(at, longest):
        if not rows(model.select(SQL("1")).where(which).limit(1)):
            continue
        with transaction():
            if not still_held(held):
                break
            count += model.update(**columns).where(which).execute()
    if count:
        log.error("The clock was wrong: %d leases, pauses and looks lay in the future and are brought back.", count)
    return count


def _repairs(at: datetime, longest: timedelta) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Table, which of its rows, and what they become."""
    written, planned, given = at + CLOCKS_DIFFER, at + PLANNED_AHEAD, at + longest + CLOCKS_DIFFER
    look = (Job.lane == Lane.DISCOVER) & (Job.kind == "discover") & (Job.state == JobState.FAILED)
    yield Job, (Job.state == JobState.RUNNING) & (Job.lease_until_at > given), {"lease_until_at": at + longest}
    yield Job, (Job.state == JobState.QUEUED) & (Job.published_at > written), {"published_at": at}
    yield Job, look & (Job.finished_at > written), {"finished_at": at}
    yield Run, (Run.state == RunState.RESOLVING) & (Run.created_at > written), {"created_at": at}
    waits = Operation.state == OperationState.RUNNING
    yield Operation, waits & (Operation.next_poll_at > planned), {"next_poll_at": at}
    yield Outbox, Outbox.created_at > written, {"ready_at": at, "created_at": at}
    yield Budget, Budget.tat_at > planned, {"tat_at": at}
    yield Budget, Budget.lowered_at > written, {"lowered_at": at}
    yield CopySlots, CopySlots.refused_at > written, {"refused_at": at}
    yield Scan, Scan.finished_at > written, {"finished_at": at}
    yield Scan, Scan.wanted_at > written, {"wanted_at": at}
    yield Point, (Point.state == PointState.EXPIRING) & (Point.marked_at > written), {"marked_at": at}
    yield Process, Process.seen_at > written, {"seen_at": at}
    yield Delivery, Delivery.next_at > planned, {"next_at": at}


def read_wrong_clock(now: datetime) -> WrongClock | None:
    """What was found within `TOLD_FOR` before calendar time `now`; None when there was nothing."""
    text = meta(_KEY)
    if not text:
        return None
    found = json.loads(text)
    noticed_at, furthest = datetime.fromisoformat(found["noticed_at"]), datetime.fromisoformat(found["furthest"])
    recent = now - TOLD_FOR < noticed_at <= now + DATED_AHEAD
    return WrongClock(found["schedules"], noticed_at, furthest) if recent else None


def _set_back(ids: Sequence[tuple[int]], now: datetime) -> int:
    locked = find_rows(PolicySchedule, ["id"], ids, _READ, lock=True, as_text=["schedule.spec"])
    found = [row for row in locked if row[1] > now + DATED_AHEAD]
    if not found:
        return 0
    update_rows(PolicySchedule, [_moved(row, now) for row in found])
    # What was called missed under that clock comes yet, and runs.
    MissedSlots.delete().where(MissedSlots.recorded_at > now + DATED_AHEAD).execute()
    furthest, before = max(row[1] for row in found), read_wrong_clock(now)
    schedules = len(found) + (before.schedules if before else 0)
    furthest = max(furthest, before.furthest) if before else furthest
    told = {"schedules": schedules, "noticed_at": now.isoformat(), "furthest": furthest.isoformat()}
    set_meta(_KEY, json.dumps(told))
    return len(found)


def _moved(row: tuple[Any, ...], now: datetime) -> dict[str, Any]:
    number, _, policy, created_at, changed_at, spec = row
    try:
        grid = Grid.from_spec(json.loads(spec))
        track = set_back(Track(grid, now), policy, now, max(created_at, changed_at))
        slot = next_slot(grid, track.after)
        start = None if slot is None else start_of(grid, slot, policy)
    except Exception:  # one row that cannot be read must not keep the others in the future; the tick deals with it
        log.exception("A schedule of policy %s that stood in the future cannot be read.", policy)
        return {"id": number, "last_slot_at": now, "next_slot_at": now, "next_start_at": now}
    return {"id": number, "last_slot_at": track.after, "next_slot_at": slot, "next_start_at": start}
