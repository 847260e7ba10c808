"""Backing up one resource: a point is intended, the cloud is asked to begin, what it began is recorded."""

from dataclasses import replace
from datetime import datetime, timedelta

from tasks.catalog import Account, Job, Point, Policy, Resource, Run, session
from tasks.catalog.syncs import SERVICE as BUCKETS
from tasks.crash import reach
from tasks.errors import Gone
from tasks.resources import type_of
from tasks.states import PointState
from workers import driver, points
from workers.context import Context, is_first, token
from workers.handlers import sync

# A look this young need not be repeated before the backup: planning wants one of at most 15 minutes, and this allows
# for a queue. After a longer wait the resource is described again.
LOOK_IS_FRESH = timedelta(hours=1)


def run(context: Context, job: Job) -> None:
    """Begin the backup that the job names and leave it waiting. Raises the error family; FenceLost when overtaken."""
    if job.service == BUCKETS:
        sync.run(context, job)
        return
    with session():
        row, run = _read(job)
        resource, policy = _with_known(context.resource(row), row.id), run.policy
        request = _request(context, job, resource, policy, row.seen_at)
    asked_at = context.clock.now()
    point_id = points.intend(
        job,
        resource=row.id,
        policy=policy.id,
        account=job.account_id,
        region=job.region,
        kind="image" if request.mode == "image" else "snapshots",
        attributes=row.attributes,
        taken_at=asked_at,
    )
    reach("snapshot.intended")
    started = context.driver_of(resource.type).start_backup(resource, request)
    reach("snapshot.called")
    # What an earlier attempt made is as old as that attempt's intent; what was made now is not.
    taken = {} if started.adopted else {Point.taken_at.name: started.taken_at or asked_at}
    points.record(context, job, point_id, type_of(resource.type).service, started, **taken)
    reach("snapshot.recorded")


def _read(job: Job) -> tuple[Resource, Run]:
    """The resource with its account, the run with its policy: two statements for all four."""
    row: Resource | None = (
        Resource.select(Resource, Account).join(Account).where(Resource.id == job.resource_id).first()
    )
    run: Run | None = Run.select(Run, Policy).join(Policy).where(Run.id == job.run_id).first()
    if row is None or row.gone_at is not None or run is None:
        raise Gone("The resource does not exist any more.")
    job.run = run
    return row, run


def _request(
    context: Context, job: Job, resource: driver.Resource, policy: Policy, seen_at: datetime
) -> driver.BackupRequest:
    return driver.BackupRequest(
        key=token(job),
        tags=context.tags(job, resource.external_id),
        description=f"Snapfleet {policy.name} run-{job.run_id}",
        mode=job.spec.get("mode", "snapshots"),
        exclude=frozenset(job.spec.get("exclude", ())),
        reboot=bool(job.spec.get("reboot", False)),
        fresh=is_first(job) and context.clock.timer() - seen_at < LOOK_IS_FRESH,
        proceed=context.proceed(job),
        options=job.spec.get("options", {}),
    )


def _with_known(resource: driver.Resource, row_id: int) -> driver.Resource:
    """The resource with what its last point knows of the same launch and a look at the estate does not tell."""
    last = (
        Point.select(Point.attributes)
        .where(Point.resource == row_id, Point.state == PointState.GOOD, Point.destination == "")
        .order_by(Point.id.desc())
        .first()
    )
    launched = resource.attributes.get("launched_at")
    if last is None or not launched or last.attributes.get("launched_at") != launched:
        return resource
    return replace(resource, attributes={**last.attributes, **resource.attributes})
