"""An export goes to the cold class that its policy names, once RDS has written it; five minutes of it a message."""

from typing import Any

from tasks.catalog import Job, Part, Point, session, transaction
from tasks.catalog.transitions import finish_job
from tasks.errors import Gone, Impossible
from tasks.states import PointState
from workers import fence
from workers.context import Context
from workers.cooling import Cooled, CoolsExports
from workers.repositories import slice_end
from workers.syncing import again

_FIGURES = ("moved", "moved_bytes")


def run(context: Context, job: Job) -> None:
    """Move the objects of the job's point to the class in its spec. Raises the family; FenceLost when overtaken."""
    with session():
        row = Point.get_or_none(Point.id == job.point_id)
        if row is None or row.state is not PointState.GOOD:
            raise Gone("The export is not there any more.")
        point = context.point(row)
    mover, wanted = context.driver_of(point.resource.type), str(job.spec["class"])
    if not isinstance(mover, CoolsExports):
        raise Impossible(f"Exports of {point.resource.type} have no storage class.")
    late, done = slice_end(context), Cooled()
    sums = {name: int((job.result or {}).get(name, 0)) for name in _FIGURES}
    for part in point.parts:
        done = mover.cool_export(point, part, wanted, late, context.proceed(job))
        sums = {name: sums[name] + getattr(done, name) for name in _FIGURES}
        if not done.ended:
            again(job, context.clock.timer(), result=sums)
            return
    _conclude(context, job, wanted, {**sums, "kept": done.kept}, [done.note] if done.note else [])


def _conclude(context: Context, job: Job, wanted: str, figures: dict[str, Any], warnings: list[str]) -> None:
    with transaction():
        fence.keep(job)
        for part in Part.select().where(Part.point == job.point_id):
            Part.update(attributes={**part.attributes, "storage_class": wanted}).where(Part.id == part.id).execute()
        finish_job(job, context.clock.timer(), result=figures, warnings=warnings)
