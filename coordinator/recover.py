"""Restores, step by step: each finished step releases the next one; a failure is undone unless it is to be kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coordinator.facts import installation, restore_point_facts
from coordinator.plan import MANUAL_PRIORITY, derived_key
from coordinator.restore import plan_restore
from coordinator.restore_facts import RestoreRequest
from coordinator.restore_plan import RestorePlan, resolve
from tasks.catalog import Creation, Job, Point, Resource, Restore, RestoreStep
from tasks.catalog.transitions import MAX_TEXT, add_jobs
from tasks.errors import Invalid
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JobState, PointState, RestoreState

# Steps that may meet a passing state (an instance still stopping): tried again a little later, this often.
STEP_ATTEMPTS = 5
STEP_WAIT_S = 10
RESTORABLE = (PointState.GOOD, PointState.OUTDATED)


def begin_restore(point_id: int, request: Mapping[str, Any], keep_on_failure: bool, who: str, at: datetime) -> int:
    """Plan a restore and write it with its first step's job; call inside a transaction. Returns its id.

    Raises Invalid when the point cannot be restored from, or the request does not fit it.
    """
    point = Point.get_or_none(Point.id == point_id)
    if point is None:
        raise Invalid(f"There is no point rp-{point_id}.", advice="See `snapfleet points`.")
    if point.state not in RESTORABLE:
        raise Invalid(f"Point rp-{point_id} is {point.state}, so nothing can be restored from it.")
    wish = RestoreRequest.from_json(request)
    plan = plan_restore(restore_point_facts(point, wish), wish)
    restore = Restore.create(
        point=point.id,
        state=RestoreState.RUNNING,
        request=dict(request),
        plan=plan.to_json(),
        keep_on_failure=keep_on_failure,
        requested_by=who,
        created_at=at,
    )
    _write_steps(restore, plan)
    _release(restore, point, 0, at)
    return int(restore.id)


def _write_steps(restore: Restore, plan: RestorePlan) -> None:
    rows = [
        {"restore": restore.id, "number": n, "name": step.name, "kind": step.kind, "params": dict(step.params)}
        for n, step in enumerate(plan.steps)
    ]
    RestoreStep.insert_many(rows).execute()


def _release(restore: Restore, point: Point, number: int, at: datetime) -> None:
    step = RestoreStep.get(RestoreStep.restore == restore.id, RestoreStep.number == number)
    outputs = {
        row.name: row.outputs
        for row in RestoreStep.select().where(RestoreStep.restore == restore.id, RestoreStep.number < number)
    }
    resource = Resource.get_by_id(point.resource_id)
    row = {
        "kind": "restore-step",
        "lane": str(Lane.RESTORE),
        "key": derived_key(installation(), "restore", restore.id, number),
        "account": point.account_id,
        "region": point.region,
        "service": TYPES[resource.type].service,
        "resource": point.resource_id,
        "point_id": point.id,
        "restore_id": restore.id,
        "priority": MANUAL_PRIORITY,
        "max_attempts": STEP_ATTEMPTS,
        "retry_wait_s": STEP_WAIT_S,
        "spec": {"step": number, "kind": step.kind, "params": resolve(step.params, outputs)},
    }
    (job_id,) = add_jobs([row], at)
    RestoreStep.update(job_id=job_id).where(RestoreStep.id == step.id).execute()


def settle_restore(job: Job, at: datetime) -> None:
    """A step or an undo has finished: the next step, the end, or the undo. Call inside the settling transaction."""
    restore = Restore.get_by_id(job.restore_id)
    if job.kind == "restore-undo":
        _end(restore, RestoreState.FAILED, at)
    elif job.state == JobState.DONE:
        number = job.spec["step"] + 1
        if number < RestoreStep.select().where(RestoreStep.restore == restore.id).count():
            _release(restore, Point.get_by_id(restore.point_id), number, at)
        else:
            _end(restore, RestoreState.DONE, at)
    else:
        _fail(restore, job, at)


def _fail(restore: Restore, job: Job, at: datetime) -> None:
    error = {"error_code": job.error_code, "error_text": job.error_text[:MAX_TEXT]}
    made = Creation.select().where(Creation.restore == restore.id, Creation.removed_at.is_null()).count()
    if restore.keep_on_failure or not made:
        _end(restore, RestoreState.FAILED, at, **error)
        return
    Restore.update(state=RestoreState.UNDOING, **error).where(Restore.id == restore.id).execute()
    row = {
        "kind": "restore-undo",
        "lane": str(Lane.RESTORE),
        "key": derived_key(installation(), "undo", restore.id),
        "account": job.account_id,
        "region": job.region,
        "service": job.service,
        "resource": job.resource_id,
        "point_id": job.point_id,
        "restore_id": restore.id,
        "priority": MANUAL_PRIORITY,
        "max_attempts": STEP_ATTEMPTS,
        "retry_wait_s": STEP_WAIT_S,
    }
    add_jobs([row], at)


def _end(restore: Restore, state: RestoreState, at: datetime, **columns: Any) -> None:
    Restore.update(state=state, finished_at=at, **columns).where(Restore.id == restore.id).execute()
