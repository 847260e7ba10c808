"""Copying a good point to another region or account: an intent, one start in the cloud, one record."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.catalog import Job, Point, session
from tasks.catalog.shares import SHARE
from tasks.crash import reach
from tasks.errors import Gone, Impossible
from tasks.resources import type_of
from tasks.states import PointState
from workers import driver, points
from workers.context import Context, is_first, token
from workers.turns import await_turn, judge_refusal


def run(context: Context, job: Job) -> None:
    """Begin the copy that the job names and leave it waiting. Raises the error family, NotItsTurn where another
    copy of a disk goes first; FenceLost when overtaken."""
    spec = job.spec
    with session():
        source = Point.get_or_none(Point.id == spec["point"])
        if source is None or source.state is not PointState.GOOD:
            raise Gone(f"The source rp-{spec['point']} is not a good recovery point any more.")
        point = context.point(source)
        if type_of(point.resource.type).copies_in_order:
            await_turn(job, source, context.clock)
        destination = driver.Destination(context.account(job.account), job.region, spec.get("kms_key", ""))
        request = driver.CopyRequest(
            key=token(job),
            tags=context.tags(job, point.resource.external_id),
            description=_title(source),
            fresh=is_first(job),
            proceed=context.proceed(job),
            options=spec.get("options", {}),
        )
    copier = context.driver_of(point.resource.type)
    problem = copier.plan_copy_problem(point, destination)
    if problem:
        raise Impossible(problem, code="copy-impossible")
    point_id = points.intend(
        job,
        resource=source.resource_id,
        policy=source.policy_id,
        account=job.account_id,
        region=job.region,
        destination=spec["destination"],
        kind="intermediate" if spec.get("role") == "intermediate" else "snapshots",
        copy_of=source.id,
        attributes=source.attributes,
        consistency=source.consistency,
        taken_at=source.taken_at,
    )
    reach("copy.intended")
    with _judged(context, job, source):
        started = copier.start_copy(point, destination, request)
    reach("copy.called")
    kind = {"kind": "image"} if started.image_id and spec.get("role") != "intermediate" else {}
    kind = {"kind": SHARE} if started.lent else kind
    kind = {"kind": "export"} if spec.get("role") == "export" else kind
    points.record(context, job, point_id, type_of(point.resource.type).service, started, **kind)
    reach("copy.recorded")


@contextmanager
def _judged(context: Context, job: Job, source: Point) -> Iterator[None]:
    """What a refusal for another copy of a disk means, the catalog knows."""
    try:
        yield
    except driver.OutOfTurn as refused:
        with session():
            judge_refusal(job, source, refused, context.clock)
        raise


def _title(source: Point) -> str:
    return f"Snapfleet {source.policy.name} copy of rp-{source.id}"
