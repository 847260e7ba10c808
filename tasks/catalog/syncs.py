"""Buckets kept in step, or restored: one job leads, and jobs for ranges of keys do the copying.

The leading job is a backup's or a restore step's. Its `result` says what it asks for, in `wanted`: {"stage", "account"
(id), "region", "ranges": [[after, until, most], ...]}; it waits until all parts of that stage are done.
"""

from collections.abc import Sequence

from tasks.catalog.job import Job
from tasks.states import JobState

SERVICE = "s3"
SYNC_PART = "sync-part"
LEADS = ("snapshot", "restore-step")
COPYING, DELETING = "copying", "deleting"


def waiting_leads() -> list[int]:
    """Jobs that wait for parts of theirs."""
    query = Job.select(Job.id).where(Job.state == JobState.WAITING, Job.service == SERVICE, Job.kind.in_(list(LEADS)))
    return [row.id for row in query]


def parts_of(lead: Job) -> list[Job]:
    """All parts that a job ever had, oldest first; which beginning and stage they are of is in their spec."""
    mine = Job.restore_id == lead.restore_id if lead.restore_id is not None else Job.point_id == lead.point_id
    if lead.restore_id is None and lead.point_id is None:
        return []
    query = Job.select().where(mine, Job.kind == SYNC_PART).order_by(Job.id)
    return [row for row in query if row.spec.get("lead") == lead.id]


def of_stage(parts: Sequence[Job], epoch: int, stage: str) -> list[Job]:
    """Those of one beginning and stage."""
    return [row for row in parts if (row.spec["epoch"], row.spec["stage"]) == (epoch, stage)]
