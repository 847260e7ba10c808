"""Asking one cloud service about everything it is doing for us, and concluding the jobs whose work has ended."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from peewee import Case

from tasks.catalog import Job, Operation, Outbox, lock_rows, session, transaction
from tasks.catalog.copy_slots import note_others, seen_others_at
from tasks.catalog.transitions import fail_attempt, finish_operations, move_operation
from tasks.crash import reach
from tasks.errors import CloudFailed, Retry, SnapfleetError
from tasks.lanes import Lane
from tasks.states import JobState, OperationState, PointState
from workers import driver, operations, orphans, points, steps, together
from workers.context import Context

log = logging.getLogger("snapfleet.worker")

# Slots of others change with their own nightly copies: a look in two minutes costs one call for each busy place.
OTHERS_EVERY = timedelta(minutes=2)
# As many as EC2 describes in five calls of its largest page; keeps one poll within seconds.
MOST_AT_ONCE = 1000
# A poll takes along what will be due within half of the shortest pause: operations begun one after the other are then
# asked about together, and a place is asked once in that time however many there are.
TAKEN_ALONG = 0.5
# Jobs concluded in one transaction: few statements for each, and their rows are locked for milliseconds.
TOGETHER = 100
_MAKES_A_POINT = ("snapshot", "copy")
Answers = list[tuple[Operation, driver.Progress]]


def run(context: Context, job: Job) -> None:
    """Ask about the operations that are due at this place, write the answers, conclude what has ended.

    Raises what kept it from that, a defect too, after putting the next question off, so that a failing cloud is not
    asked at once again. Answers are facts of the cloud: they are written even by a poll that was overtaken.
    """
    with session():
        rows = _due(job, context.clock.timer() + context.settings.poll_floor * TAKEN_ALONG)
    if rows:
        try:
            _ask(context, job, rows)
        except Exception as error:
            _put_off(context, rows, error.wait if isinstance(error, SnapfleetError) else timedelta(0))
            raise
    orphans.look(context, job)  # of a place where nothing is followed the poll was woken for that
    reach("poll.recorded")
    together.finish(job, context.clock.timer(), {"asked": len(rows)})


def _ask(context: Context, job: Job, rows: Sequence[Operation]) -> None:
    with session():
        account = context.account(job.account)
    answers = context.drivers_of(job.service)[0].progress([_value(account, row) for row in rows])
    reach("poll.asked")
    context.counters.add("snapfleet_operations_polled_total", len(rows), service=job.service)
    _write(context, list(zip(rows, answers, strict=True)), eager=_eager(job))
    if any(row.kind == "copy" for row in rows):
        _look_at_others(context, job, account)


def _eager(job: Job) -> bool:
    """Whether copies wait for a slot at this place: a slot that came free is then worth a question at the shortest
    pause, since one question asks about all of them."""
    place = [Outbox.account_id == job.account_id, Outbox.region == job.region, Outbox.service == job.service]
    with session():
        return bool(Outbox.select(Outbox.job).where(Outbox.lane == Lane.COPY, *place).limit(1).exists())


def _look_at_others(context: Context, job: Job, account: driver.Account) -> None:
    """Now and then, while copies of ours run: how many slots others hold. What keeps it from being known is no
    concern of the operations."""
    finder, at = context.drivers_of(job.service)[0], context.clock.timer()
    if not isinstance(finder, driver.SeesCopies):
        return
    with session():
        last = seen_others_at(job.account_id, job.region, job.service)
    if last is not None and at - last < OTHERS_EVERY:
        return
    try:
        others = finder.copies_of_others(account, job.region, context.installation)
    except SnapfleetError as error:
        log.info("how many copies others run in %s is not known: %s", job.region, error.text)
        return
    with transaction():
        note_others(job.account_id, job.region, job.service, others, at)


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


def _value(account: driver.Account, row: Operation) -> driver.Operation:
    return driver.Operation(row.kind, row.external_id, account, row.region, row.detail)


def _put_off(context: Context, rows: Sequence[Operation], wait: timedelta) -> None:
    ready = context.clock.timer() + max(wait, context.settings.poll_floor)
    with transaction():
        _update_running(rows, next_poll_at=ready)


def _update_running(rows: Sequence[Operation], **columns: object) -> None:
    ids = [row.id for row in rows]
    Operation.update(**columns).where(Operation.id.in_(ids), Operation.state == OperationState.RUNNING).execute()


def _write(context: Context, answers: Answers, *, eager: bool = False) -> None:
    """Those still running in a few statements, then what has ended: good jobs together, each other one by itself."""
    _note_running(context, [pair for pair in answers if pair[1].state is OperationState.RUNNING], eager=eager)
    ended: dict[int, Answers] = defaultdict(list)
    for row, answer in answers:
        if answer.state is not OperationState.RUNNING:
            ended[row.job_id].append((row, answer))
    plain = [job_id for job_id, mine in ended.items() if all(_is_plain(answer) for _, answer in mine)]
    concluded: set[int] = set()
    for start in range(0, len(plain), TOGETHER):
        some = {job_id: ended[job_id] for job_id in plain[start : start + TOGETHER]}
        concluded |= _conclude_good(context, some)
        reach("poll.between")
    for job_id, mine in ended.items():
        if job_id not in concluded:
            _conclude(context, job_id, mine)
            reach("poll.between")


def _is_plain(answer: driver.Progress) -> bool:
    """Done, and nothing to write but what its snapshot is like."""
    return answer.state is OperationState.DONE and "parts" not in answer.detail


def _conclude_good(context: Context, ended: Mapping[int, Answers]) -> set[int]:
    """Close the jobs all of whose operations are done now, together; their ids. The others are left as they were."""
    at = context.clock.timer()
    with transaction():
        waiting = Job.select().where(
            Job.id.in_(list(ended)), Job.state == JobState.WAITING, Job.kind.in_(_MAKES_A_POINT)
        )
        jobs = {job.id: job for job in lock_rows(waiting.order_by(Job.id))}
        rows = list(Operation.select().where(Operation.job.in_(list(jobs)))) if jobs else []
        answered = {row.id: answer for mine in ended.values() for row, answer in mine}
        jobs = {row.job_id: jobs[row.job_id] for row in rows}
        for row in rows:
            # What another poll has closed without success stays so, whatever this one was told before.
            done_now = row.state is OperationState.RUNNING and row.id in answered
            if row.state is not OperationState.DONE and not done_now:
                jobs.pop(row.job_id, None)
        good = {row.id: row for row in rows if row.job_id in jobs}
        for number in finish_operations([one for one in good if one in answered], at):
            _count(context, good[number], answered[number], at)
        reach("poll.concluding")
        learnt: dict[int, list[points.Learnt]] = defaultdict(list)
        for row in good.values():
            learnt[row.job_id].append((row.external_id, answered[row.id].detail if row.id in answered else row.detail))
        if jobs:
            points.close_good_all(context, jobs, learnt)
    return set(jobs)


def _note_running(context: Context, answers: Answers, *, eager: bool) -> None:
    """In a statement for each pause, however many operations: pauses are cut to a third of the shortest one."""
    at, step = context.clock.timer(), context.settings.poll_floor / 3
    pauses: dict[timedelta, list[tuple[Operation, int]]] = defaultdict(list)
    for row, answer in answers:
        usual = timedelta(0) if eager and row.kind == "copy" else answer.ask_again
        wait = max(usual, context.settings.poll_floor)
        pauses[wait // step * step if step else wait].append((row, answer.percent))
    with transaction():
        for wait, pairs in pauses.items():
            percent = Case(Operation.id, [(row.id, number) for row, number in pairs], 0)
            rows = [row for row, _ in pairs]
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
        if rows and all(row.state is not OperationState.RUNNING for row in rows):
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
