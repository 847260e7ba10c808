"""Standing jobs: one row per account, region and service for polls and looks, used again and again.

Being one row is what makes them single-flight: while it is pending, queued or running, no second one is published.
"""

from datetime import datetime
from typing import Any

from tasks.catalog import Job
from tasks.catalog.transitions import add_jobs, requeue
from tasks.lanes import Lane
from tasks.states import JobState

_IDLE = (JobState.DONE, JobState.FAILED)


def wake(
    kind: str, lane: Lane, account_id: int, region: str, service: str, at: datetime, spec: dict[str, Any] | None = None
) -> int:
    """Have the standing job of this place run (again); call inside a transaction. Returns its id."""
    key = f"{kind}:{account_id}:{region}:{service}"
    job = Job.get_or_none(Job.key == key)
    if job is None:
        row = {
            "kind": kind,
            "lane": str(lane),
            "key": key,
            "account": account_id,
            "region": region,
            "service": service,
            "spec": spec or {},
            "settled": True,
            "max_attempts": 1,  # a failed one is simply woken again when it is next due
        }
        return add_jobs([row], at)[0]
    if job.state in _IDLE:
        requeue(job, at, attempt=0, claims=0, spec=spec if spec is not None else job.spec, finished_at=None)
    return int(job.id)
