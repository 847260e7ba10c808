"""The changes of state of jobs (with `claims`), operations and points, all of them: compare-and-set, under the fence.

Every function says whether it changed something; nothing changed is an answer (a duplicate, a late worker), not an
error, except where a fence is given: there FenceLost tells the caller to stop and write nothing more. Callers open
the transaction, so that what belongs together is written together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from peewee import EXCLUDED, Case

from tasks.catalog.bulk import Along, delete_rows, find_rows, insert_rows, update_rows
from tasks.catalog.claims import Wanted, take_and_end
from tasks.catalog.database import transaction
from tasks.catalog.job import Job, Operation, Outbox
from tasks.catalog.point import Part, Point
from tasks.errors import FenceLost, Retry, SnapfleetError
from tasks.lanes import Lane
from tasks.states import JOB_EDGES, JOB_OPEN, POINT_EDGES, JobState, OperationState, PointState

# A job that was claimed this often, and no attempt came to an end, kills whoever takes it: it ends as failed, with an
# alert. It counts above the attempts a policy allows, since workers are also stopped while they are healthy.
CLAIMS_BEYOND_ATTEMPTS = 20
# What the cloud asks us to wait for costs nothing for so long: more than the longest night of copies. What has not come
# by then (a quota that never frees) counts as attempts, so that the job ends and somebody is told. What is seen to be
# under way meanwhile (errors.renews) has the day begin anew.
FREE_FOR = timedelta(hours=24)
BATCH = 400  # rows in one statement: SQLite takes 32,766 parameters, a job has some thirty columns
CANCELLED = "cancelled"  # the code of what somebody cancelled
MAX_TEXT = 500  # an error's text in the catalog: one sentence, never a page


@dataclass(frozen=True)
class Verdict:
    """What follows a failed attempt: again (when, and whether it counts) or not."""

    again: bool
    wait: timedelta = timedelta(0)
    burns: bool = True


def verdict(
    error: SnapfleetError, *, attempt: int, max_attempts: int, retry_wait: timedelta, age: timedelta = timedelta(0)
) -> Verdict:
    """The retry decision for attempt number `attempt` (from 1) of a job whose first one was `age` ago; pure."""
    if error.retry is Retry.FREE and (error.renews or age < FREE_FOR):
        return Verdict(True, error.wait, burns=False)
    if error.retry is not Retry.NEVER and attempt < max_attempts:
        return Verdict(True, max(error.wait, retry_wait))
    return Verdict(False)


def verdict_on(job: Job, error: SnapfleetError, at: datetime) -> Verdict:
    """The retry decision for the attempt that is under way."""
    return verdict(
        error,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        retry_wait=timedelta(seconds=job.retry_wait_s),
        age=at - (job.started_at or at),
    )


def add_job(*, lane: Lane, at: datetime, ready_at: datetime | None = None, **columns: Any) -> Job:
    """Write a job and its outbox row. `ready_at` (machine time, default `at`) is when it may be published."""
    ready = ready_at or at
    columns.setdefault("key", uuid4().hex)
    job = Job.create(lane=str(lane), created_at=at, not_before_at=ready, **columns)
    _to_outbox(job, ready, at)
    return job


# What the outbox keeps of a job, so that admission reads one table.
_MESSAGE = Along(
    Outbox,
    {
        "job": "id",
        "lane": "lane",
        "account_id": "account",
        "region": "region",
        "service": "service",
        "priority": "priority",
        "ready_at": "not_before_at",
        "created_at": "created_at",
    },
)


def add_jobs(rows: Sequence[dict[str, Any]], at: datetime) -> list[int]:
    """Write many jobs and their outbox rows in one statement; `rows` hold columns as for `add_job`.

    Returns the ids in the order of the rows. Rows whose key exists already are left as they are (a crash between two
    lines planned them before), and get no second message.
    """
    complete = [row if "key" in row else {**row, "key": uuid4().hex} for row in rows]
    same = {"created_at": at, "not_before_at": at}
    new = dict(insert_rows(Job, complete, same=same, ignore=True, returning=["key", "id"], along=_MESSAGE))
    if len(new) == len(rows):
        return [new[row["key"]] for row in complete]
    missing = [(row["key"],) for row in complete if row["key"] not in new]
    ids = {**new, **dict(find_rows(Job, ["key"], missing, ["key", "id"]))}
    return [ids[row["key"]] for row in complete]


def _to_outbox(job: Job, ready_at: datetime, at: datetime) -> None:
    Outbox.insert(
        job=job.id,
        lane=job.lane,
        account_id=job.account_id,
        region=job.region,
        service=job.service,
        priority=job.priority,
        ready_at=ready_at,
        created_at=at,
    ).on_conflict(
        conflict_target=[Outbox.job], update={Outbox.ready_at: ready_at, Outbox.priority: job.priority}
    ).execute()


def mark_published(jobs: Sequence[int], at: datetime) -> None:
    """Confirmed by the broker: the outbox rows go, jobs that nobody has claimed meanwhile become queued."""
    delete_rows(Outbox, "job", jobs)
    queued = {"state": JobState.QUEUED, "published_at": at}
    update_rows(Job, [{"id": job} for job in sorted(jobs)], same=queued, given="\"state\" = 'pending'")


def claim(job_id: int, fence: int, owner: str, at: datetime, lease: timedelta) -> Job | None:
    """Take the job if its fence is still `fence` and nobody holds it; None for a duplicate or a stale message."""
    with transaction():
        return take_and_end([Wanted(job_id, fence, owner, at, lease)], ())[0][0]


def renew(holder: str, held: Iterable[tuple[int, int]], until: datetime) -> int:
    """Extend the leases of jobs (id, fence) that `holder` works on; how many were still its own."""
    held = list(held)
    if not held:
        return 0
    fences = dict(held)
    return int(
        Job.update(lease_until_at=until)
        .where(
            Job.id.in_(list(fences)),
            Job.lease_owner == holder,
            Job.state == JobState.RUNNING,
            Job.fence.in_(set(fences.values())),
        )
        .execute()
    )


def disown(holder: str) -> int:
    """What a dead process of this name had in hand is nobody's: whoever has its name now, as a container that starts
    again in its place, neither renews it nor speaks for it. Before its first claim; how many jobs."""
    mine = (Job.lease_owner == holder) & (Job.state == JobState.RUNNING)
    return int(Job.update(lease_owner="").where(mine).execute())


def move_job(job: Job, to: JobState, **columns: Any) -> None:
    """Move a job whose row was read (its state and fence are what must still hold). Raises FenceLost otherwise."""
    if to not in JOB_EDGES[JobState(job.state)]:
        raise ValueError(f"no edge from {job.state} to {to}")
    changed = (
        Job.update(state=to, **columns)
        .where(Job.id == job.id, Job.state == job.state, Job.fence == job.fence)
        .execute()
    )
    if not changed:
        raise FenceLost(f"Job {job.id} was taken over by another worker.")
    job.state = to
    for name, value in columns.items():
        setattr(job, name, value)


def start_waiting(job: Job, **columns: Any) -> None:
    """The cloud works now: the lease is given back and the job waits for its operations."""
    move_job(job, JobState.WAITING, lease_owner="", lease_until_at=None, error_code="", error_text="", **columns)


def finish_job(job: Job, at: datetime, **columns: Any) -> None:
    """The job has done what it was for."""
    columns = {"error_code": "", "error_text": "", **columns}
    move_job(job, JobState.DONE, lease_owner="", lease_until_at=None, finished_at=at, **columns)


def finish_jobs(job_ids: Sequence[int], at: datetime) -> int:
    """Waiting jobs, locked by the caller, that have done what they were for; how many."""
    return sum(
        Job.update(state=JobState.DONE, finished_at=at, error_code="", error_text="")
        .where(Job.id.in_(list(job_ids[start : start + BATCH])), Job.state == JobState.WAITING)
        .execute()
        for start in range(0, len(job_ids), BATCH)
    )


def fail_attempt(job: Job, error: SnapfleetError, at: datetime, *, over: bool = False) -> Verdict:
    """Record a failed attempt: again later, as the error and the job's retries say, or failed for good.

    `over` says that what this attempt began in the cloud has ended without success: the next attempt, if only after
    an operator's requeue, gets a new epoch (a new token) and adopts none of it. Any other failure keeps the epoch,
    so that the next attempt adopts what this one may have made.
    """
    decision = verdict_on(job, error, at)
    text = {
        "claims": 0,
        "error_code": error.code,
        "error_text": str(error)[:MAX_TEXT],
        "lease_owner": "",
        "lease_until_at": None,
        "epoch": job.epoch + 1 if over or error.code == "cloud-failed" else job.epoch,
    }
    if not decision.again:
        move_job(job, JobState.FAILED, finished_at=at, **text)
        return decision
    ready_at = at + decision.wait
    move_job(
        job,
        JobState.PENDING,
        not_before_at=ready_at,
        attempt=job.attempt if decision.burns else max(0, job.attempt - 1),
        started_at=None if error.renews else job.started_at,
        **text,
    )
    _to_outbox(job, ready_at, at)
    return decision


def requeue(job: Job, at: datetime, ready_at: datetime | None = None, **columns: Any) -> None:
    """Back to pending with a message to come: an expired lease, a standing job that is due, an operator's wish."""
    ready = ready_at or at
    move_job(
        job, JobState.PENDING, not_before_at=ready, lease_owner="", lease_until_at=None, published_at=None, **columns
    )
    _to_outbox(job, ready, at)


def requeue_idle(job_ids: Sequence[int], at: datetime, **columns: Any) -> int:
    """Have standing jobs that are idle run once more; those pending, queued or running are left as they are.

    How many were idle. Two coordinators that do this at once write one message a job.
    """
    woken = [
        row
        for start in range(0, len(job_ids), BATCH)
        for row in Job.update(
            state=JobState.PENDING,
            attempt=0,
            claims=0,
            not_before_at=at,
            started_at=None,
            finished_at=None,
            published_at=None,
            progress=None,
            **columns,
        )
        .where(Job.id.in_(list(job_ids[start : start + BATCH])), Job.state.in_([JobState.DONE, JobState.FAILED]))
        .returning(Job.id, Job.lane, Job.account, Job.region, Job.service, Job.priority, Job.not_before_at)
        .execute()
    ]
    add_messages(woken, at)
    return len(woken)


def add_messages(jobs: Sequence[Job], at: datetime) -> int:
    """Outbox rows for pending jobs, at once or when their time has come; how many."""
    for start in range(0, len(jobs), BATCH):
        rows = [
            {
                "job": row.id,
                "lane": row.lane,
                "account_id": row.account_id,
                "region": row.region,
                "service": row.service,
                "priority": row.priority,
                "ready_at": max(at, row.not_before_at),
                "created_at": at,
            }
            for row in jobs[start : start + BATCH]
        ]
        Outbox.insert_many(rows).on_conflict(
            conflict_target=[Outbox.job], update={Outbox.ready_at: EXCLUDED.ready_at}
        ).execute()
    return len(jobs)


def publish_again(job: Job, at: datetime) -> None:
    """A queued job nobody claimed: its message may be lost, so another one goes. Duplicates are harmless."""
    changed = (
        Job.update(published_at=at)
        .where(Job.id == job.id, Job.state == JobState.QUEUED, Job.fence == job.fence)
        .execute()
    )
    if changed:
        _to_outbox(job, at, at)


def cancel_job(job: Job, at: datetime, reason: str) -> bool:
    """Cancel a job that has not started; False when it is too late for that."""
    return bool(cancel_jobs(Job.id == job.id, at, reason))


def cancel_jobs(which: Any, at: datetime, reason: str) -> int:
    """Cancel every job that `which` (an expression over Job) holds for and that has not started; how many.

    One whose worker died on it may have begun something that only its next attempt finds: it is not cancelled.
    Outbox rows go first, the order in which publishing takes its locks too.
    """
    waiting = Job.state.in_([JobState.PENDING, JobState.QUEUED]) & (Job.claims == 0)
    Outbox.delete().where(Outbox.job.in_(Job.select(Job.id).where(which, waiting))).execute()
    return int(
        Job.update(
            state=JobState.CANCELLED, finished_at=at, error_code=CANCELLED, error_text=reason, fence=Job.fence + 1
        )
        .where(which, waiting)
        .execute()
    )


def fail_unclaimed(which: Any, at: datetime, code: str, text: str) -> int:
    """Fail every job that `which` holds for and that no worker has in hand just now, also one the cloud works for.

    How many. The fence rises, so that messages on their way start nothing; and the epoch where the cloud works, because
    what it makes goes with the point that fails now, and no later attempt may adopt it.
    """
    open_states = Job.state.in_([JobState.PENDING, JobState.QUEUED, JobState.WAITING])
    Outbox.delete().where(Outbox.job.in_(Job.select(Job.id).where(which, open_states))).execute()
    return int(
        Job.update(
            state=JobState.FAILED,
            finished_at=at,
            error_code=code,
            error_text=text[:MAX_TEXT],
            fence=Job.fence + 1,
            epoch=Case(None, [(Job.state == JobState.WAITING, Job.epoch + 1)], Job.epoch),
        )
        .where(which, open_states)
        .execute()
    )


def fail_stranded(job: Job, at: datetime, text: str) -> None:
    """A job that was claimed too often without finishing ends as failed."""
    move_job(
        job,
        JobState.FAILED,
        finished_at=at,
        lease_owner="",
        lease_until_at=None,
        error_code="crash-loop",
        error_text=text[:MAX_TEXT],
    )


def move_operation(operation: Operation, to: OperationState, at: datetime, **columns: Any) -> bool:
    """Close a running operation; False when another poll has closed it already."""
    return bool(
        Operation.update(state=to, finished_at=at, **columns)
        .where(Operation.id == operation.id, Operation.state == OperationState.RUNNING)
        .execute()
    )


def finish_operations(operation_ids: Sequence[int], at: datetime) -> set[int]:
    """Close running operations that the cloud has completed; the ids of those that no other poll had closed."""
    return {
        row.id
        for start in range(0, len(operation_ids), BATCH)
        for row in Operation.update(state=OperationState.DONE, finished_at=at, percent=100, polls=Operation.polls + 1)
        .where(Operation.id.in_(list(operation_ids[start : start + BATCH])), Operation.state == OperationState.RUNNING)
        .returning(Operation.id)
        .execute()
    }


def move_point(point_id: int, to: PointState, **columns: Any) -> bool:
    """Move a point along an allowed edge; False when its state is not one that leads there."""
    sources = [state for state, targets in POINT_EDGES.items() if to in targets]
    return bool(Point.update(state=to, **columns).where(Point.id == point_id, Point.state.in_(sources)).execute())


def move_points(point_ids: Sequence[int], to: PointState, **columns: Any) -> int:
    """Move many points along allowed edges with the same columns; how many were in a state that leads there."""
    sources = [state for state, targets in POINT_EDGES.items() if to in targets]
    return sum(
        Point.update(state=to, **columns)
        .where(Point.id.in_(list(point_ids[start : start + BATCH])), Point.state.in_(sources))
        .execute()
        for start in range(0, len(point_ids), BATCH)
    )


def move_parts(point_id: int | Sequence[int], to: PointState, external_ids: Sequence[str] | None = None) -> None:
    """Move the parts of a point or of several (all parts, or those named) along allowed edges."""
    sources = [state for state, targets in POINT_EDGES.items() if to in targets]
    of_point = Part.point == point_id if isinstance(point_id, int) else Part.point.in_(list(point_id))
    where = [of_point, Part.state.in_(sources)]
    if external_ids is not None:
        where.append(Part.external_id.in_(list(external_ids)))
    Part.update(state=to).where(*where).execute()


def open_jobs_of(point_ids: Sequence[int]) -> set[int]:
    """Which of these points an unfinished job works on."""
    query = Job.select(Job.point_id).where(Job.point_id.in_(list(point_ids)), Job.state.in_(list(JOB_OPEN)))
    return {row.point_id for row in query if row.point_id is not None}
