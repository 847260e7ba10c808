"""Buckets kept in step by several workers: parts for the jobs that wait for them, and those jobs' next turn.

A job that leads a sync says which ranges of keys there are and waits. Here each range gets a job, and the lead goes on
when all are done. A part that failed for good fails the lead's attempt with its reason; its next attempt begins anew,
which copies nothing twice because it compares first.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tasks.catalog import Job, Outbox, lock_rows, transaction
from tasks.catalog.syncs import SYNC_PART, of_stage, parts_of, waiting_leads
from tasks.catalog.transitions import add_jobs, fail_attempt, fail_unclaimed, requeue
from tasks.crash import reach
from tasks.errors import CloudFailed, Refused, SnapfleetError
from tasks.lanes import Lane
from tasks.states import JOB_TERMINAL, JobState

# Ranges of one bucket that are worked at together: at sixteen copies at once each, some 1,600 requests a second, half
# of what S3 takes for one prefix (3,500 writes a second, "Best practices design patterns", S3 user guide).
TOGETHER = 8
# A part's attempts: each page that it gets through counts as a new beginning.
ATTEMPTS, WAIT_S = 10, 5
_BAD = (JobState.FAILED, JobState.CANCELLED)


def look_after_syncs(at: datetime) -> int:
    """Plan what leading jobs wait for and wake those whose parts are all done; how many moved."""
    leads = waiting_leads()
    if not leads:
        return 0
    with transaction():
        rows = lock_rows(Job.select().where(Job.id.in_(leads), Job.state == JobState.WAITING).order_by(Job.id))
        moved = sum(_look_after(lead, at) for lead in list(rows))
        reach("sync.planned")
    return moved


def _look_after(lead: Job, at: datetime) -> bool:
    every = parts_of(lead)
    stale = [part.id for part in every if part.spec["epoch"] != lead.epoch and part.state in JOB_TERMINAL]
    if stale:
        Outbox.delete().where(Outbox.job.in_(stale)).execute()
        Job.delete().where(Job.id.in_(stale)).execute()  # their outcome is told by the attempt that failed
    wanted = lead.result.get("wanted") or {}
    mine = of_stage(every, lead.epoch, str(wanted.get("stage", "")))
    known = {part.key for part in mine}
    missing = [row for row in plan_parts(lead) if row["key"] not in known]
    add_jobs(missing, at)
    failed = next((part for part in mine if part.state in _BAD), None)
    if failed is not None:
        _give_up(lead, failed, mine, at)
    elif not missing and all(part.state is JobState.DONE for part in mine):
        requeue(lead, at, attempt=max(0, lead.attempt - 1), claims=0)
    else:
        return bool(missing)
    return True


def _give_up(lead: Job, failed: Job, parts: Sequence[Job], at: datetime) -> None:
    """The lead's attempt fails by its part, and the other parts end; what they copied stays copied."""
    if failed.state is JobState.CANCELLED:
        error: SnapfleetError = Refused("It was cancelled.", code="cancelled")
    elif failed.error_code in ("denied", "gone", "no-bucket", "impossible", "invalid"):
        error = Refused(failed.error_text, code=failed.error_code)
    else:
        error = CloudFailed(failed.error_text)
    fail_attempt(lead, error, at, over=True)
    text = "Another part of the same sync failed."
    fail_unclaimed(Job.id.in_([part.id for part in parts]), at, "sync-over", text)


def plan_parts(lead: Job) -> list[dict[str, Any]]:
    """The jobs for what a leading job asks for, the same ones whenever it is asked; pure."""
    wanted = lead.result.get("wanted") or {}
    return [
        {
            "kind": SYNC_PART,
            "lane": str(Lane.RESTORE if lead.restore_id is not None else Lane.REPOSITORY),
            "key": f"{lead.key}:{lead.epoch}:{wanted['stage']}:{number}",
            "run": lead.run_id,
            "account": wanted["account"],
            "region": wanted["region"],
            "service": lead.service,
            "resource": lead.resource_id,
            "point_id": lead.point_id,
            "restore_id": lead.restore_id,
            "priority": lead.priority,
            "max_attempts": ATTEMPTS,
            "retry_wait_s": WAIT_S,
            "chain": f"sync:{lead.id}:{number % TOGETHER}",
            "spec": {
                "lead": lead.id,
                "epoch": lead.epoch,
                "stage": wanted["stage"],
                "after": after,
                "until": until,
                "most": most,
            },
        }
        for number, (after, until, most) in enumerate(wanted.get("ranges", ()))
    ]
