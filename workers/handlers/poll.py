"""Asking one cloud service about everything it is doing for us, and concluding the jobs whose work has ended."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.catalog import Job, Operation, lock_rows, session, transaction
from tasks.catalog.transitions import fail_attempt, finish_job, move_operation
from tasks.crash import reach
from tasks.errors import CloudFailed, Retry, SnapfleetError
from tasks.states import JobState, OperationState, PointState
from workers import driver, fence, operations, points, steps
from workers.context import Context

# As many as EC2 describes in five calls of its largest page; keeps one poll within seconds.
MOST_AT_ONCE = 1000
# A poll takes along what will be due within half of the shortest pause: operations begun one after the other are then
# asked about together, and a place is asked once in that time however many there are.
TAKEN_ALONG = 0.5
Answers = list[tuple[Operation, driver.Progress]]


def run(context: Context, job: Job) -> None:
    """Ask about the operations that are due at this place, write the answers, conclude what has ended.

    Raises what the driver raises, after putting the next question off, so that a failing cloud is not asked at once
    again. Answers are facts of the cloud: they are written even by a poll that was overtaken.
    """
    with session():
        rows = _due(job, context.clock.timer() + context.settings.poll_floor * TAKEN_ALONG)
        asked = [_value(context, row) for row in rows]
    if rows:
        try:
            answers = context.drivers_of(job.service)[0].progress(asked)
        except SnapfleetError as error:
            _put_off(context, rows, error)
            raise
        reach("poll.asked")
        context.counters.add("snapfleet_operations_polled_total", len(rows), service=job.service)
        _write(context, list(zip(rows, answers, strict=True)))
    reach("poll.recorded")
    with transaction():
        finish_job(fence.reread(job), context.clock.timer(), result={"asked": len(rows)})


def _due(job: Job, until: datetime) -> list[Operation]:
    query = (
        Operation.select(Operation)
        .join(Job, on=(Operation.job == Job.id))
        .where(
            Operation.account == job.account_id,
            Operation.region == job.region,
            Operation.service == job.service,
            Operation.state == OperationState.RUNNING,
            Operation.next_poll_at <= until,
            Job.state == JobState.WAITING,
        )
    )
    return list(query.order_by(Operation.next_poll_at).limit(MOST_AT_ONCE))


def _value(context: Context, row: Operation) -> driver.Operation:
    return driver.Operation(row.kind, row.external_id, context.account(row.account), row.region, row.detail)


def _put_off(context: Context, rows: Sequence[Operation], error: SnapfleetError) -> None:
    ready = context.clock.timer() + max(error.wait, context.settings.poll_floor)
    with transaction():
        _update_running(rows, next_poll_at=ready)


def _update_running(rows: Sequence[Operation], **columns: object) -> None:
    ids = [row.id for row in rows]
    Operation.update(**columns).where(Operation.id.in_(ids), Operation.state == OperationState.RUNNING).execute()


def _write(context: Context, answers: Answers) -> None:
    """Those still running in a few statements, then one transaction for each job that something ended for."""
    _note_running(context, [pair for pair in answers if pair[1].state is OperationState.RUNNING])
    ended: dict[int, Answers] = defaultdict(list)
    for row, answer in answers:
        if answer.state is not OperationState.RUNNING:
            ended[row.job_id].append((row, answer))
    for job_id, mine in ended.items():
        _conclude(context, job_id, mine)
        reach("poll.between")


def _note_running(context: Context, answers: Answers) -> None:
    at = context.clock.timer()
    groups: dict[tuple[int, timedelta], list[Operation]] = defaultdict(list)
    for row, answer in answers:
        groups[answer.percent, max(answer.ask_again, context.settings.poll_floor)].append(row)
    with transaction():
        for (percent, wait), rows in groups.items():
            _update_running(rows, percent=percent, polls=Operation.polls + 1, next_poll_at=at + wait)
        for row, answer in answers:
            if answer.detail:
                _update_running([row], detail={**row.detail, **answer.detail})


def _conclude(context: Context, job_id: int, answers: Answers) -> None:
    """Close operations; the job too when none is left. The job's row is locked first, so that of two polls that race
    one sees the other's closings: a row held elsewhere is left to the next poll."""
    at = context.clock.timer()
    with transaction():
        job = lock_rows(Job.select().where(Job.id == job_id, Job.state == JobState.WAITING)).first()
        if job is None:
            return
        for row, answer in answers:
            if move_operation(row, answer.state, at, **operations.closing(row, answer)):
                _count(context, row, answer, at)
        reach("poll.concluding")
        rows = operations.of_job(job)
        if all(row.state is not OperationState.RUNNING for row in rows):
            _close(context, job, rows)


def _count(context: Context, row: Operation, answer: driver.Progress, at: datetime) -> None:
    context.counters.add("snapfleet_operations_finished_total", service=row.service, state=answer.state)
    seconds = (at - row.started_at).total_seconds()
    context.counters.observe("snapfleet_operation_duration_seconds", seconds, service=row.service)


def _close(context: Context, job: Job, rows: Sequence[Operation]) -> None:
    """The outcome of a job all of whose operations have ended, as one unit: one failed part fails all of it."""
    lost = [row for row in rows if row.state is OperationState.GONE]
    failed = [row for row in rows if row.state is OperationState.FAILED]
    if not lost and not failed:
        if job.kind == "restore-step":
            steps.close_done(context, job, rows)
        else:
            points.close_good(context, job, rows)
        return
    error = _error((failed or lost)[0])
    if job.kind == "restore-step":
        fail_attempt(job, error, context.clock.timer(), over=True)
        steps.mirror(job)
        return
    points.close_failed(context, job, error, PointState.LOST if len(lost) == len(rows) else PointState.FAILED)
    fail_attempt(job, error, context.clock.timer(), over=True)


def _error(row: Operation) -> SnapfleetError:
    """Why an operation ended badly. What the cloud broke, or somebody deleted, is worth another attempt."""
    if row.detail.get("retry") == Retry.NEVER and row.state is OperationState.FAILED:
        return SnapfleetError(row.error_text, code=row.error_code)
    return CloudFailed(row.error_text or f"The cloud ended the {row.kind} {row.external_id} without success.")
