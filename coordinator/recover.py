"""Restores, step by step: each finished step releases the next one; a failure is undone unless it is to be kept."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from coordinator.exports import EXPORT, NOT_RESTORABLE, is_export
from coordinator.facts import check_restorable, restore_point_facts, token_base
from coordinator.plan import MANUAL_PRIORITY, derived_key
from coordinator.restore import plan_restore
from coordinator.restore_claims import look_again, refuse_second
from coordinator.restore_facts import RestoreRequest
from coordinator.restore_plan import RestorePlan, resolve
from tasks.catalog import Account, Creation, Job, Point, Resource, Restore, RestoreStep, hold_rows
from tasks.catalog.images import base_image_of
from tasks.catalog.transitions import MAX_TEXT, add_jobs
from tasks.errors import Invalid, SnapfleetError
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JobState, RestoreState

# Steps that may meet a passing state (an instance still stopping): tried again a little later, this often.
STEP_ATTEMPTS = 5
STEP_WAIT_S = 10
_UNDER_WAY = (RestoreState.RUNNING, RestoreState.UNDOING)


def begin_restore(point_id: int, request: Mapping[str, Any], keep_on_failure: bool, who: str, at: datetime) -> int:
    """Plan a restore and write it with its first step's job; call inside a transaction. Returns its id.

    Raises Invalid when the point cannot be restored from, or the request does not fit it; Refused while another restore
    writes into the same machine, file system, namespace or bucket.
    """
    point = _held_point(point_id)
    hold_rows(base_image_of(point)).first()  # so that cleanup sees the one or the other of it too
    wish = RestoreRequest.from_json(request)
    plan = plan_restore(restore_point_facts(point, wish), wish)
    refuse_second(plan, at)
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


def _held_point(point_id: int) -> Point:
    """The point, held as it is until the restore is written: cleanup then sees the one or the other."""
    point: Point | None = hold_rows(Point.select().where(Point.id == point_id)).first()
    if point is None:
        raise Invalid(f"There is no point rp-{point_id}.", advice="See `snapfleet points`.")
    check_restorable(point)
    if is_export(point.destination):
        raise Invalid(f"Point rp-{point_id} is {NOT_RESTORABLE}", code=EXPORT)
    account = Account.get_by_id(point.account_id)
    if not account.enabled:
        raise Invalid(
            f"Point rp-{point_id} lies in the account {account.name}, which was removed.",
            advice="Apply an estate file that has the account again.",
        )
    return point


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
        "key": derived_key(token_base(), "restore", restore.id, number),
        "account": Account.get(Account.name == restore.plan["account"]).id,
        "region": restore.plan["region"],
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
    if restore.state not in _UNDER_WAY:
        return
    if job.kind == "restore-undo":
        _end(restore, RestoreState.FAILED, at, **_left_over(restore, job))
        return
    number = job.spec["step"]
    RestoreStep.update(state=job.state).where(RestoreStep.restore == restore.id, RestoreStep.number == number).execute()
    if job.state != JobState.DONE:
        _fail(restore, job, job.error_code, job.error_text, at)
    elif number + 1 < RestoreStep.select().where(RestoreStep.restore == restore.id).count():
        _release(restore, Point.get_by_id(restore.point_id), number + 1, at)
    else:
        _end(restore, RestoreState.DONE, at)


def give_up_restore(job: Job, error: SnapfleetError, at: datetime) -> None:
    """The next step cannot be planned: the restore fails for that reason, and what it made is undone."""
    restore = Restore.get_by_id(job.restore_id)
    if restore.state == RestoreState.RUNNING:
        _fail(restore, job, error.code, str(error), at)


def _left_over(restore: Restore, undo: Job) -> dict[str, Any]:
    """What to say when the undo failed too: somebody has to look after what is still there."""
    if undo.state == JobState.DONE:
        return {}
    left = [
        f"{row.kind} {row.external_id}"
        for row in Creation.select()
        .where(Creation.restore == restore.id, Creation.removed_at.is_null())
        .order_by(Creation.id)
    ]
    text = f"{restore.error_text} What it made could not be removed ({undo.error_text}): {', '.join(left)}."
    return {"error_text": text[:MAX_TEXT]}


def _fail(restore: Restore, job: Job, code: str, text: str, at: datetime) -> None:
    error = {"error_code": code, "error_text": text[:MAX_TEXT]}
    made = Creation.select().where(Creation.restore == restore.id, Creation.removed_at.is_null()).count()
    if restore.keep_on_failure or not made:
        _end(restore, RestoreState.FAILED, at, **error)
        return
    Restore.update(state=RestoreState.UNDOING, **error).where(Restore.id == restore.id).execute()
    row = {
        "kind": "restore-undo",
        "lane": str(Lane.RESTORE),
        "key": derived_key(token_base(), "undo", restore.id),
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
    look_again(restore, restore.point.resource, at)
