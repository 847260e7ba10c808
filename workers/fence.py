"""Writing under the fence: a worker that was overtaken finds out before it changes anything."""

from typing import Any

from tasks.catalog import Job
from tasks.errors import FenceLost
from tasks.states import JobState


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


def reread(job: Job) -> Job:
    """The job's row as it is now, still ours. Raises FenceLost otherwise.

    After a transaction that was rolled back the object in memory may claim a state that was never committed.
    """
    keep(job)
    row: Job = Job.get_by_id(job.id)
    return row
