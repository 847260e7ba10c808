"""Which operations to ask about next, and how runs end. What a finished job leads to is in `coordinator.settle`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from coordinator.routes import TWO_HOPS
from coordinator.standing import Place, wake_all
from tasks.catalog import Account, Job, Operation, Run, rows, transaction
from tasks.catalog.transitions import BATCH, CANCELLED, cancel_jobs
from tasks.lanes import Lane
from tasks.states import JOB_OPEN, JobState, OperationState, RunState
from tasks.telemetry import Counters

RUNS_A_TICK = 100
NO_BACKUP = "no-backup"  # the code of a run whose jobs all ended well, and none of them was a backup


def ask_about_operations(at: datetime) -> int:
    """Wake one poll job for every account, region and service with operations that are due; how many places.

    Only what a waiting job waits for: an operation whose job has ended decides nothing any more.
    """
    places = rows(
        Operation.select(Operation.account, Operation.region, Operation.service)
        .join(Job, on=(Operation.job == Job.id))
        .join(Account, on=(Operation.account == Account.id))
        .where(
            Operation.state == OperationState.RUNNING,
            Operation.next_poll_at <= at,
            Job.state == JobState.WAITING,
            Account.enabled,
        )
        .group_by(Operation.account, Operation.region, Operation.service)
    )
    if places:
        with transaction():
            wake_all("poll", Lane.POLL, [Place(*place) for place in places], at)
    return len(places)


def close_runs(at: datetime, counters: Counters, among: Collection[int] | None = None) -> int:
    """Runs whose jobs are all finished and settled get their outcome; how many were closed.

    `among` are the only ones that can have come to their end, where the caller knows: at tens of thousands of open runs
    a look at all of them takes longer than everything else in a round.
    """
    _cancel_rest(at)
    mine = Job.select(Job.id).where(Job.run == Run.id)
    unfinished = mine.where(Job.state.in_(list(JOB_OPEN)))
    unsettled = mine.where(~Job.settled)
    over = [Run.state == RunState.OPEN, ~fn.EXISTS(unfinished), ~fn.EXISTS(unsettled)]
    if among is None:
        return sum(_close(run, at, counters) for run in Run.select().where(*over).order_by(Run.id).limit(RUNS_A_TICK))
    closed, some = 0, sorted(among)
    for start in range(0, len(some), BATCH):
        found = list(Run.select().where(Run.id.in_(some[start : start + BATCH]), *over).order_by(Run.id))
        closed += sum(_close(run, at, counters) for run in found)
    return closed


def _cancel_rest(at: datetime) -> None:
    """A job that was running when its run was cancelled may have failed since: it is not tried again."""
    cancelled = [
        row.id for row in Run.select(Run.id).where(Run.state == RunState.OPEN, Run.cancelled_at.is_null(False))
    ]
    if cancelled:
        with transaction():
            cancel_jobs(Job.run.in_(cancelled), at, "Its run was cancelled.")


def _close(run: Run, at: datetime, counters: Counters) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    codes: Counter[tuple[str, str]] = Counter()
    for kind, ended, code, count in rows(
        Job.select(Job.kind, Job.state, Job.error_code, fn.COUNT(Job.id))
        .where(Job.run == run.id, Job.error_code != TWO_HOPS)  # two other jobs do what that one could not
        .group_by(Job.kind, Job.state, Job.error_code)
    ):
        counts[kind, str(ended)] += count
        codes[str(ended), code] += count
    state = outcome(counts, len(run.problems))
    why = reason_code(state, codes, [problem["code"] for problem in run.problems], run.cancelled_at is not None)
    with transaction():
        columns = {"state": state, "error_code": why, "finished_at": at}
        closed = Run.update(**columns).where(Run.id == run.id, Run.state == RunState.OPEN).execute()
    if closed:
        counters.add("snapfleet_runs_finished_total", state=state)
    return int(closed)


def outcome(counts: Mapping[tuple[str, str], int], problems: int) -> RunState:
    """A run's outcome from its jobs, counted by (kind, state), and the targets that became no job. Pure."""

    def total(state: JobState, kind: str | None = None) -> int:
        return sum(n for (k, s), n in counts.items() if s == state and (kind is None or k == kind))

    good = total(JobState.DONE, "snapshot")
    if not good and total(JobState.CANCELLED):
        return RunState.CANCELLED
    if not good:
        return RunState.FAILED
    bad = total(JobState.FAILED) + total(JobState.CANCELLED) + problems
    return RunState.PARTIAL if bad else RunState.DONE


def reason_code(state: RunState, codes: Mapping[tuple[str, str], int], problems: Sequence[str], cancelled: bool) -> str:
    """Why a run ended as it did, as one code: '' when it is done, else what most of its jobs, by (state, code), or of
    the targets that became none, failed for, and only without such what they were cancelled for. Pure."""
    if state is RunState.DONE:
        return ""
    if state is RunState.CANCELLED and cancelled:
        return CANCELLED
    failed = Counter(problems)
    failed.update({code: count for (one, code), count in codes.items() if one == JobState.FAILED})
    cancelled_for = Counter({code: count for (one, code), count in codes.items() if one == JobState.CANCELLED})
    found = cancelled_for if state is RunState.CANCELLED else failed or cancelled_for
    return found.most_common(1)[0][0] if found else NO_BACKUP


def operations_overdue(at: datetime, by: timedelta) -> int:
    """Operations nobody has asked about for longer than `by`: the polls do not keep up."""
    query: Any = Operation.select().where(Operation.state == OperationState.RUNNING, Operation.next_poll_at <= at - by)
    return int(query.count())
