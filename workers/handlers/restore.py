"""One step of a restore, and the undoing of all that a failed one made.

Whatever a step created is in the catalog before the next call to the cloud, so that an undo finds it.
"""

from dataclasses import replace

from tasks.catalog import Creation, Job, Restore, RestoreStep, session, transaction
from tasks.catalog.transitions import finish_job, start_waiting
from tasks.crash import reach
from tasks.errors import InUse, SnapfleetError
from tasks.resources import type_of
from workers import driver, fence, operations, steps
from workers.context import Context, token
from workers.duties import duty_of_step, entered
from workers.files import KIND
from workers.handlers import fetch, filing, sync_restore


def run_step(context: Context, job: Job) -> None:
    """Begin one step; leave the job waiting, or done when there is nothing to wait for. Raises the error family."""
    with session():
        point = context.point(Restore.get_by_id(job.restore_id).point)
        # a generation of a repository is restored wherever the plan says, anything else where it lies
        duty = duty_of_step(str(job.spec["kind"]))
        account = entered(context.account(job.account), job.account, duty)
        point = replace(point, account=account, region=job.region)
        tags = context.tags(job, point.resource.external_id)
    if job.spec["kind"] in fetch.KINDS:
        fetch.run(context, job, point, tags)
        return
    if job.spec["kind"] == "restore-bucket":
        sync_restore.run(context, job, tags)
        return
    step = driver.RestoreStep(job.spec["kind"], job.spec.get("params", {}))
    started = context.driver_of(point.resource.type).start_restore(point, step, token(job), tags)
    reach("restore.created")
    with transaction():
        fence.keep(job)
        steps.record_creations(context, job, started.created)
        steps.record_removals(context, job, started.removed)
        RestoreStep.update(outputs=dict(started.outputs)).where(
            RestoreStep.restore == job.restore_id, RestoreStep.number == job.spec["step"]
        ).execute()
        if started.operations:
            operations.begin(context, job, type_of(point.resource.type).service, started.operations)
            start_waiting(job)
        else:
            finish_job(job, context.clock.timer())
        steps.mirror(job)
    reach("restore.recorded")


def run_undo(context: Context, job: Job) -> None:
    """Remove what the restore made, last made first. Raises the first reason for which something is still there."""
    with session():
        point = Restore.get_by_id(job.restore_id).point
        remover = context.driver_of(point.resource.type)
        account = entered(context.account(job.account), job.account, "cleanup")
        rows = list(
            Creation.select()
            .where(Creation.restore == job.restore_id, Creation.removed_at.is_null())
            .order_by(Creation.id)  # as made: the driver takes the last made first
        )
        mine = Job.select(Job.key).where(Job.restore_id == job.restore_id, Job.kind == "restore-step")
        keys = tuple(one.key for one in mine)
    answers: list[driver.Deleted] = []
    if any(row.kind == KIND for row in rows):  # a restore to files makes nothing else
        found = filing.undo(context, job, rows)
        if found is None:
            return
        answers = found
    elif rows:
        created = [driver.Created(row.kind, row.external_id, keys) for row in rows]
        answers = remover.undo_restore(account, job.region, created)
    if rows:
        reach("undo.removed")
    kept = [one for one in answers if one.outcome == "kept"]
    # A machine may be there twice, as launched and as stopped: both are over or neither is.
    removed = {one.external_id for one in answers} - {one.external_id for one in kept}
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        Creation.update(removed_at=at).where(
            Creation.restore == job.restore_id, Creation.external_id.in_(list(removed))
        ).execute()
        if not kept:
            finish_job(job, at, result={"removed": len(removed)})
    if kept:
        raise _reason(kept[0])


def _reason(kept: driver.Deleted) -> SnapfleetError:
    return kept.error or InUse(f"{kept.external_id} could not be removed yet.")
