"""Writing under the fence: a worker that was overtaken finds out before it changes anything."""

from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Job, session, transaction
from tasks.errors import FenceLost
from tasks.states import JobState

# Longer than a creating call may take: it is sent once and given up 35 s after it began to connect, and may have to
# fetch credentials first, for at most 50 s (workers.aws.session).
CALL = timedelta(seconds=90)


def keep(job: Job, **columns: Any) -> None:
    """Write columns of a running job, or nothing but hold its row until the transaction ends.

    The first statement of every transaction that records what an attempt did. Raises FenceLost when the job was taken
    over: the transaction then writes nothing.
    """
    changed = (
        Job.update(fence=job.fence, **columns)
        .where(Job.id == job.id, Job.state == JobState.RUNNING, Job.fence == job.fence)
        .execute()
    )
    if not changed:
        raise FenceLost(f"Job {job.id} was taken over by another worker.")
    for name, value in columns.items():
        setattr(job, name, value)


def may_create(job: Job, at: datetime, lease: timedelta) -> None:
    """Whether this attempt may still make something in the cloud, asked right before the call that makes it.

    The lease outlasts the call from here on: it is renewed for `lease` when it would not. What remains is a process
    that is frozen inside the call itself. Raises FenceLost, and Unavailable without a catalog to ask.
    """
    with session():
        row = (
            Job.select(Job.lease_until_at)
            .where(Job.id == job.id, Job.state == JobState.RUNNING, Job.fence == job.fence)
            .first()
        )
    if row is None:
        raise FenceLost(f"Job {job.id} was taken over by another worker.")
    if row.lease_until_at - at < CALL:
        with transaction():
            keep(job, lease_until_at=at + lease)


def reread(job: Job) -> Job:
    """The job's row as it is now, still ours. Raises FenceLost otherwise.

    After a transaction that was rolled back the object in memory may claim a state that was never committed.
    """
    keep(job)
    row: Job = Job.get_by_id(job.id)
    return row
