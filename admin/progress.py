"""How far jobs are that move bytes: percent, rate and time left, as their workers wrote it down some seconds ago."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from peewee import JOIN

from tasks.catalog import Job, Resource
from tasks.catalog.archives import ARCHIVE, ARCHIVE_PART, IMPORT, parts_of_archives
from tasks.lanes import Lane
from tasks.progress import Progress
from tasks.states import JOB_OPEN, JobState

Row = dict[str, Any]
_BLOCK = 512 << 10  # bytes of a block as EBS counts them
_MIB = 1 << 20
_LANES = [str(Lane.REPOSITORY), str(Lane.RESTORE)]
_MOST = 200  # on one page: more than a fleet's threads
NOTHING: Row = {
    "percent": None,
    "done_bytes": None,
    "total_bytes": None,
    "moved_bytes": None,
    "bytes_per_second": None,
    "mib_per_second": None,
    "seconds_left": None,
    "progress_at": None,
}


def progress_row(job: Any, parts: Sequence[Job] = ()) -> Row:
    """An open job's progress, with that of the jobs that archive ranges of its big volumes; all None for one that moves
    no bytes, has not begun or is over."""
    far = _joined(Progress.of(job.progress), parts) if job.state in JOB_OPEN else None
    if far is None:
        return dict(NOTHING)
    return {
        "percent": far.percent,
        "done_bytes": far.done,
        "total_bytes": far.total,
        "moved_bytes": far.moved,
        "bytes_per_second": far.rate,
        "mib_per_second": round(far.rate / _MIB, 1),
        "seconds_left": far.seconds_left,
        "progress_at": datetime.fromisoformat(far.changed_at),
    }


def timed(rows: Iterable[Row]) -> list[Row]:
    """Rows for people, with the time left as a span too."""
    spans = ((row, row["seconds_left"]) for row in rows)
    return [{**row, "time_left": None if left is None else timedelta(seconds=left)} for row, left in spans]


def _joined(far: Progress | None, parts: Sequence[Job]) -> Progress | None:
    """The ranges are of the same bytes that the job itself counts in all."""
    if far is None:
        return None
    for part in parts:
        mine = Progress.of(part.progress) or replace(far, done=0, moved=0)
        if part.state == JobState.DONE:
            mine = replace(mine, done=(part.spec["stop"] - part.spec["start"]) * _BLOCK)
        if part.state != JobState.RUNNING:
            mine = replace(mine, rate=0, pace=0)
        far = far.joined(replace(mine, total=0))
    return far


def moving() -> list[Row]:
    """Jobs that move bytes just now, whatever they are for: kind, what, and how far."""
    query: Any = (
        Job.select(Job, Resource.external_id)
        .join(Resource, JOIN.LEFT_OUTER)
        .where(Job.lane.in_(_LANES), Job.state.in_([JobState.RUNNING, JobState.WAITING]), Job.progress.is_null(False))
        .order_by(Job.id)
        .limit(_MOST)
    )
    found = [job for job in query if job.kind != ARCHIVE_PART]
    parts = parts_of_archives([job for job in found if job.kind in (ARCHIVE, IMPORT)])
    return [
        {
            "job": job.id,
            "kind": job.spec.get("verb", "") or job.kind,
            "what": job.resource.external_id if job.resource_id else str(job.spec.get("repository", "")),
            "state": str(job.state),
            **progress_row(job, parts.get(job.id, [])),
        }
        for job in found
    ]
