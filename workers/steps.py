"""Restore steps as rows: what a step made, what it made known, and its state beside its job's."""

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.catalog import Creation, Job, Operation, RestoreStep
from tasks.catalog.transitions import finish_job
from workers import driver
from workers.context import Context


def step_of(job: Job) -> RestoreStep:
    """The step that this job does."""
    row: RestoreStep = RestoreStep.get(RestoreStep.restore == job.restore_id, RestoreStep.number == job.spec["step"])
    return row


def mirror(job: Job) -> None:
    """Show the job's state at its step. Call inside the transaction that changed it."""
    RestoreStep.update(state=job.state, job_id=job.id).where(
        RestoreStep.restore == job.restore_id, RestoreStep.number == job.spec["step"]
    ).execute()


def record_creations(context: Context, job: Job, created: Iterable[driver.Created]) -> None:
    """Write down what a step made, in the order of making; what is known already stays as it is."""
    step, at = step_of(job), context.clock.timer()
    for one in created:
        Creation.insert(
            restore=job.restore_id, step=step.name, kind=one.kind, external_id=one.external_id, created_at=at
        ).on_conflict_ignore().execute()


def record_removals(context: Context, job: Job, external_ids: Sequence[str]) -> None:
    """Note what a step took away again of what this restore had made: nobody has to look for it any more."""
    if external_ids:
        Creation.update(removed_at=context.clock.timer()).where(
            Creation.restore == job.restore_id,
            Creation.external_id.in_(list(external_ids)),
            Creation.removed_at.is_null(),
        ).execute()


def close_done(context: Context, job: Job, rows: Sequence[Operation], **known: Any) -> None:
    """Every operation of the step is done: what they made known, and what is `known` besides, joins its outputs. Call
    inside a transaction."""
    step = step_of(job)
    outputs = {**step.outputs, **known}
    for row in rows:
        outputs |= row.detail
    RestoreStep.update(outputs=outputs).where(RestoreStep.id == step.id).execute()
    finish_job(job, context.clock.timer())
    mirror(job)
