"""Backing up one resource: a point is intended, the cloud is asked to begin, what it began is recorded."""

from tasks.catalog import Job, Point, Policy, session
from tasks.crash import reach
from tasks.errors import Gone
from tasks.resources import type_of
from workers import driver, points
from workers.context import Context, token


def run(context: Context, job: Job) -> None:
    """Begin the backup that the job names and leave it waiting. Raises the error family; FenceLost when overtaken."""
    with session():
        row = job.resource
        if row is None or row.gone_at is not None or job.run is None:
            raise Gone("The resource does not exist any more.")
        resource, policy = context.resource(row), job.run.policy
        request = _request(context, job, resource, policy)
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
    taken = {} if started.adopted else {Point.taken_at.name: asked_at}
    points.record(context, job, point_id, type_of(resource.type).service, started, **taken)
    reach("snapshot.recorded")


def _request(context: Context, job: Job, resource: driver.Resource, policy: Policy) -> driver.BackupRequest:
    return driver.BackupRequest(
        key=token(job),
        tags=context.tags(job, resource.external_id),
        description=f"Snapfleet {policy.name} run-{job.run_id}",
        mode=job.spec.get("mode", "snapshots"),
        exclude=frozenset(job.spec.get("exclude", ())),
        reboot=bool(job.spec.get("reboot", False)),
    )
