"""Letting archives go: every guard is asked again, then their generations are hidden in the repository for good.

A hidden generation is no recovery point any more, so its point is deleted. The bytes that nothing else needs follow
after the repository's grace, by the prune that runs every day.
"""

from collections.abc import Iterable

from tasks.catalog import Job, Part, Point, session, transaction
from tasks.catalog.transitions import finish_job, move_parts, move_point
from tasks.crash import reach
from tasks.states import PointState
from workers import fence
from workers.context import Context
from workers.handlers.cleanup import guarded
from workers.repositories import open_place, place_of, translated
from workers.repository.generations import manifest_name, read_index
from workers.repository.prune import hide
from workers.repository.repository import Repository


def run(context: Context, job: Job) -> None:
    """Hide the generations of the job's points that may go. Raises the family."""
    with transaction():
        fence.keep(job)
        allowed = guarded(context, job.spec["points"])
    reach("forget.marked")
    with session():
        place = place_of(context, job.spec["repository"])
        parts = list(Part.select().where(Part.point.in_(allowed)))
        codes = {row.id: row.expire_code for row in Point.select().where(Point.id.in_(allowed))}
    if parts:
        _hide(open_place(context, place), {part.external_id for part in parts})
    reach("forget.hidden")
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        for point_id in allowed:
            move_parts(point_id, PointState.DELETED)
            move_point(point_id, PointState.DELETED, deleted_at=at, error_code="", error_text="")
        finish_job(job, at, result={"points": len(allowed)})
    for code in codes.values():
        context.counters.add("snapfleet_points_deleted_total", reason=code)


def _hide(repository: Repository, generations: Iterable[str]) -> None:
    """What is hidden or gone already is no error: an earlier attempt may have come this far."""
    wanted = set(generations)
    with translated():
        index = read_index(repository)
        for one in [*index.generations, *index.superseded]:
            if one.id in wanted:
                hide(repository, manifest_name(repository, one), "expired")
