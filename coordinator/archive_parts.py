"""Big volumes on several workers: parts for the archives that wait for them, and the archives' next turn.

An archive job, or one that imports a snapshot of others, that meets a volume above the size that one worker takes
begins it, says so and waits. Here it gets jobs for ranges of the volume's blocks, and goes on when all of them are
done. A part that failed for good fails the archive with its reason.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tasks.catalog import Job, lock_rows, transaction
from tasks.catalog.archives import ARCHIVE, ARCHIVE_PART, IMPORT, PART_LOST, parts_of_archives
from tasks.catalog.transitions import add_jobs, fail_attempt, fail_unclaimed, requeue
from tasks.crash import reach
from tasks.errors import CloudFailed, Refused, SnapfleetError
from tasks.lanes import Lane
from tasks.states import JobState

# EBS gives 1000 blocks a second of one snapshot (500 MiB/s), and one worker's 16 readers take 264 MiB/s of them at 30
# ms: four fill that even where two of them share a process or the way is longer, and more would only wait.
PARTS = 4
_BAD = (JobState.FAILED, JobState.CANCELLED)


def look_after_parts(at: datetime) -> int:
    """Plan what archives wait for and wake those whose parts are all done; how many archives moved."""
    waiting = Job.select().where(Job.kind.in_([ARCHIVE, IMPORT]), Job.state == JobState.WAITING)
    if not waiting.exists():
        return 0
    with transaction():
        leads = list(lock_rows(waiting.order_by(Job.id)))
        parts = parts_of_archives(leads)
        moved = sum(_look_after(lead, parts[lead.id], at) for lead in leads)
        reach("part.planned")
    return moved


def _look_after(lead: Job, parts: Sequence[Job], at: datetime) -> bool:
    known = {part.key for part in parts}
    missing = [row for row in plan_parts(lead) if row["key"] not in known]
    add_jobs(missing, at)
    failed = next((part for part in parts if part.state in _BAD), None)
    if failed is not None:
        _give_up(lead, failed, parts, at)
    elif not missing and all(part.state is JobState.DONE for part in parts):
        requeue(lead, at, attempt=max(0, lead.attempt - 1), claims=0)
    else:
        return bool(missing)
    return True


def _give_up(lead: Job, failed: Job, parts: Sequence[Job], at: datetime) -> None:
    """The archive's attempt fails by its part, and the other parts end. What they stored is not read again unless the
    archive begins anew."""
    lost = failed.error_code == PART_LOST
    if lost:
        error: SnapfleetError = CloudFailed(failed.error_text)
    else:
        error = Refused(f"A part of {failed.spec['volume']} failed: {failed.error_text}", code=failed.error_code)
    fail_attempt(lead, error, at, over=lost or failed.state is JobState.CANCELLED)
    text = "Another part of the same volume, or of another one of the same archive, failed."
    fail_unclaimed(Job.id.in_([part.id for part in parts]), at, "archive-over", text)


def plan_parts(lead: Job) -> list[dict[str, Any]]:
    """The jobs for what an archive job asks for, the same ones whenever it is asked; pure."""
    return [
        {
            "kind": ARCHIVE_PART,
            "lane": str(Lane.REPOSITORY),
            "key": f"{lead.key}:{lead.point_id}:{lead.epoch}:{wish['volume']}:{start}",
            "run": lead.run_id,
            "account": lead.account_id,
            "region": lead.region,
            "service": lead.service,
            "resource": lead.resource_id,
            "point_id": lead.point_id,
            "priority": lead.priority,
            "max_attempts": lead.max_attempts,
            "retry_wait_s": lead.retry_wait_s,
            "spec": {
                "lead": lead.id,
                "epoch": lead.epoch,
                "repository": lead.spec["repository"],
                "class": lead.spec.get("class", ""),
                "lock_days": lead.spec.get("lock_days", 0),
                "start": start,
                "stop": stop,
                **{name: wish[name] for name in ("volume", "snapshot", "since", "engine")},
            },
        }
        for wish in lead.result.get("split", ())
        for start, stop in ranges(wish["blocks"], PARTS)
    ]


def ranges(blocks: int, most: int) -> Iterator[tuple[int, int]]:
    """At most `most` ranges of about the same length, none of them empty, that cover all blocks; pure."""
    length = max(1, -(-blocks // most))
    for start in range(0, blocks, length):
        yield start, min(blocks, start + length)
