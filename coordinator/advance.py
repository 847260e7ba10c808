"""What a finished job leads to: the next copy, the next restore step, an undo, the end of a run; and which operations
to ask about next. Every follow-up is written in the transaction that marks the job as settled."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from coordinator.facts import policy_facts, source_facts
from coordinator.plan import Refusal, destination_of, destinations_due, plan_copy
from coordinator.recover import settle_restore
from coordinator.standing import wake
from tasks.catalog import Account, Job, Operation, Point, Policy, Run, lock_rows, rows, transaction
from tasks.catalog.transitions import add_jobs, move_point
from tasks.crash import reach
from tasks.lanes import Lane
from tasks.states import JOB_OPEN, JobState, OperationState, PointState, RunState
from tasks.telemetry import Counters

SETTLED_A_TICK = 500
RUNS_A_TICK = 100


def ask_about_operations(at: datetime) -> int:
    """Wake one poll job for every account, region and service with operations that are due; how many places."""
    places = rows(
        Operation.select(Operation.account, Operation.region, Operation.service)
        .where(Operation.state == OperationState.RUNNING, Operation.next_poll_at <= at)
        .group_by(Operation.account, Operation.region, Operation.service)
    )
    if places:
        with transaction():
            for account, region, service in places:
                wake("poll", Lane.POLL, account, region, service, at)
    return len(places)


def settle_jobs(at: datetime) -> int:
    """Plan what follows the jobs that finished; how many were settled."""
    with transaction():
        jobs = list(
            lock_rows(
                Job.select()
                .where(~Job.settled, Job.state.in_([JobState.DONE, JobState.FAILED, JobState.CANCELLED]))
                .order_by(Job.id)
                .limit(SETTLED_A_TICK)
            )
        )
        accounts = {row.name: row.id for row in Account.select()} if jobs else {}
        for job in jobs:
            _settle(job, accounts, at)
        Job.update(settled=True).where(Job.id.in_([job.id for job in jobs])).execute()
        reach("coordinator.settle-before-commit")
    return len(jobs)


def _settle(job: Job, accounts: Mapping[str, int], at: datetime) -> None:
    if job.kind in {"restore-step", "restore-undo"}:
        settle_restore(job, at)
    elif job.kind in {"snapshot", "copy"} and job.state == JobState.DONE and job.run_id is not None:
        _plan_copies(job, accounts, at)
    if job.kind == "copy" and job.state == JobState.DONE:
        _retire_intermediate(job, at)


def _plan_copies(job: Job, accounts: Mapping[str, int], at: datetime) -> None:
    """A good primary fans out to the DR entries that are due; a re-encrypted intermediate goes on to its one."""
    onward = job.spec.get("onward", "")
    if job.kind == "copy" and not onward:
        return
    run = Run.get_by_id(job.run_id)
    policy = policy_facts(Policy.get_by_id(run.policy_id))
    point = Point.get_or_none(Point.id == job.point_id, Point.state == PointState.GOOD)
    if point is None:
        return
    source = source_facts(point)
    for entry in destinations_due(policy, run.ordinal):
        if onward and destination_of(entry, source) != onward:
            continue
        row = plan_copy(policy, run.id, source, entry, accounts, job.priority)
        if isinstance(row, Refusal):
            _record_refusal(job, row, accounts, source.point_id, at)
        else:
            add_jobs([row], at)


def _record_refusal(job: Job, refusal: Refusal, accounts: Mapping[str, int], point_id: int, at: datetime) -> None:
    """A copy that cannot work is a failed job with the cloud's reason: the run shows it, nothing was called."""
    account, region = refusal.destination.split("/", 1)
    Job.insert(
        kind="copy",
        lane=str(Lane.COPY),
        key=f"refused:{job.key}:{refusal.destination}",
        run=job.run_id,
        account=accounts.get(account, job.account_id),
        region=region,
        service=job.service,
        resource=job.resource_id,
        spec={"point": point_id, "destination": refusal.destination, "role": "copy"},
        state=JobState.FAILED,
        not_before_at=at,
        created_at=at,
        finished_at=at,
        settled=True,
        error_code=refusal.code,
        error_text=refusal.text,
    ).on_conflict_ignore().execute()


def _retire_intermediate(job: Job, at: datetime) -> None:
    """The last copy made from an intermediate point is done: the intermediate may go."""
    source = Point.get_by_id(job.spec["point"])
    if source.kind == "intermediate":
        move_point(
            source.id,
            PointState.EXPIRING,
            expire_code="intermediate",
            expire_text="It was only made to be copied onward, and that copy is good.",
            marked_at=at,
        )


def close_runs(at: datetime, counters: Counters) -> int:
    """Runs whose jobs are all finished and settled get their outcome; how many were closed."""
    unfinished = Job.select(Job.run).where(Job.run == Run.id, (Job.state.in_(list(JOB_OPEN))) | (~Job.settled))
    ready = list(
        Run.select().where(Run.state == RunState.OPEN, ~fn.EXISTS(unfinished)).order_by(Run.id).limit(RUNS_A_TICK)
    )
    return sum(_close(run, at, counters) for run in ready)


def _close(run: Run, at: datetime, counters: Counters) -> int:
    counts: dict[tuple[str, str], int] = {
        (kind, str(state)): count
        for kind, state, count in rows(
            Job.select(Job.kind, Job.state, fn.COUNT(Job.id)).where(Job.run == run.id).group_by(Job.kind, Job.state)
        )
    }
    state = outcome(counts, len(run.problems))
    with transaction():
        closed = Run.update(state=state, finished_at=at).where(Run.id == run.id, Run.state == RunState.OPEN).execute()
        if closed and state in {RunState.DONE, RunState.PARTIAL}:
            # A partial run counts too: one sick target among a hundred must neither stop nor flood the others' DR.
            Policy.update(successes=Policy.successes + 1).where(Policy.id == run.policy_id).execute()
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


def operations_overdue(at: datetime, by: timedelta) -> int:
    """Operations nobody has asked about for longer than `by`: the polls do not keep up."""
    query: Any = Operation.select().where(Operation.state == OperationState.RUNNING, Operation.next_poll_at <= at - by)
    return int(query.count())
