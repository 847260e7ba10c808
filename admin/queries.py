"""Questions to the catalog: runs, points and restores as plain rows, in the words that people use.

Rows are dicts whose values are JSON values or aware datetimes. Points are `rp-N`, runs `run-N`, restores
`restore-N`; every function that takes one accepts the bare number too. Names in rows come from clouds: whoever
prints them makes them harmless (admin.safe).
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from peewee import JOIN, fn

from admin.progress import NOTHING, progress_row
from coordinator.reason import Reason
from coordinator.waiting import why_behind
from tasks.catalog import (
    Account,
    Creation,
    Job,
    Operation,
    Part,
    Point,
    Policy,
    Resource,
    Restore,
    RestoreStep,
    Run,
    session,
)
from tasks.catalog.archives import ARCHIVE_PART
from tasks.errors import Invalid
from tasks.states import JobState, OperationState, PointState

Row = dict[str, Any]
LIMIT = 100
_BIGGEST_ID = 2**63 - 1  # the catalog's ids are 64-bit integers


def number_of(text: str, prefix: str) -> int:
    """The number in `rp-12` or `12`. Raises Invalid for another text."""
    digits = text.removeprefix(f"{prefix}-")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > _BIGGEST_ID:
        raise Invalid(f"{text!r} is not written like {prefix}-12.", advice=f"See `snapfleet {_LISTS[prefix]}`.")
    return int(digits)


_LISTS = {"rp": "points", "run": "runs", "restore": "restores", "job": "why run-N"}


def find_policy(name: str, *, deleted: bool = False) -> Policy:
    """The policy of that name. Raises Invalid with close matches."""
    row = Policy.get_or_none(Policy.name == name)
    if row is not None and (deleted or row.deleted_at is None):
        return row
    names = [other.name for other in Policy.select(Policy.name).where(Policy.deleted_at.is_null())]
    raise Invalid(f"There is no policy {name!r}.", advice=near(name, names) or "See `snapfleet policies`.")


def find_point(text: str) -> Point:
    """The point `rp-N`. Raises Invalid."""
    row = Point.get_or_none(Point.id == number_of(text, "rp"))
    if row is None:
        raise Invalid(f"There is no point {text!r}.", advice="See `snapfleet points`.")
    return row


def find_run(text: str) -> Run:
    """The run `run-N`. Raises Invalid."""
    row = Run.get_or_none(Run.id == number_of(text, "run"))
    if row is None:
        raise Invalid(f"There is no run {text!r}.", advice="See `snapfleet runs`.")
    return row


def near(given: str, known: Iterable[str]) -> str:
    """`Did you mean X?` for the closest known names, else nothing."""
    found = difflib.get_close_matches(given, list(known), n=3)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def list_points(
    *,
    resource: str = "",
    policy: str = "",
    state: str = "",
    destination: str | None = None,
    limit: int = LIMIT,
) -> list[Row]:
    """Points, newest first. `resource` is an id or a name; `destination` '' means where the resource lies."""
    with session():
        query = _points()
        if resource:
            query = query.where((Resource.external_id == resource) | (Resource.name == resource))
        if policy:
            query = query.where(Point.policy == find_policy(policy, deleted=True).id)
        if state:
            query = query.where(Point.state == PointState(state))
        if destination is not None:
            query = query.where(Point.destination == destination)
        return [_point(row) for row in query.order_by(Point.taken_at.desc(), Point.id.desc()).limit(limit)]


def show_point(text: str) -> Row:
    """One point with its parts, copies and what was captured of the resource."""
    with session():
        point = find_point(text)
        row = _point(_points().where(Point.id == point.id).get())
        parts: Any = Part.select().where(Part.point == point.id).order_by(Part.id)
        copies: Any = Point.select().where(Point.copy_of == point.id).order_by(Point.id)
        keys = ("external_id", "source_id", "device", "size_gib", "kms_key_id")
        return {
            **row,
            "image_id": point.image_id,
            "warnings": point.warnings,
            "parts": [{**{key: getattr(part, key) for key in keys}, "state": str(part.state)} for part in parts],
            "copies": [
                {"id": f"rp-{copy.id}", "destination": copy.destination, "state": str(copy.state)} for copy in copies
            ],
        }


def _points() -> Any:
    """Points with the names of what they belong to."""
    return (
        Point.select(Point, Resource.id, Resource.external_id, Resource.name, Resource.type, Policy.name, Account.name)
        .join(Resource)
        .switch(Point)
        .join(Policy)
        .switch(Point)
        .join(Account, on=(Point.account == Account.id))
    )


def _point(row: Any) -> Row:
    return {
        "id": f"rp-{row.id}",
        "resource": row.resource.external_id,
        "name": row.resource.name,
        "type": row.resource.type,
        "policy": row.policy.name,
        "account": row.account.name,
        "region": row.region,
        "destination": row.destination,
        "kind": row.kind,
        "state": str(row.state),
        "size_gib": row.size_gib,
        "taken_at": row.taken_at,
        "completed_at": row.completed_at,
        "run": f"run-{row.run_id}" if row.run_id else "",
        "copy_of": f"rp-{row.copy_of_id}" if row.copy_of_id else "",
        "held": row.held,
        "note": row.error_text or row.expire_text,
    }


def list_runs(*, policy: str = "", limit: int = LIMIT) -> list[Row]:
    """Runs, newest first, with how many of their jobs are in which state."""
    with session():
        query: Any = Run.select(Run, Policy.name).join(Policy)
        if policy:
            query = query.where(Run.policy == find_policy(policy, deleted=True).id)
        rows = list(query.order_by(Run.id.desc()).limit(limit))
        counts = _job_counts([row.id for row in rows])
        return [_run(row, counts.get(row.id, {})) for row in rows]


def sum_up_run(text: str) -> Row:
    """One run with the number of its jobs in each state: cheap enough to be asked twice a second."""
    with session():
        found = find_run(text)
        query: Any = Run.select(Run, Policy.name).join(Policy).where(Run.id == found.id)
        return _run(query.get(), _job_counts([found.id]).get(found.id, {}))


def show_run(text: str) -> Row:
    """One run with its jobs, their reasons, and what is under way in the cloud."""
    with session():
        found = find_run(text)
        query: Any = Run.select(Run, Policy.name).join(Policy).where(Run.id == found.id)
        jobs: Any = (
            Job.select(Job, Resource.id, Resource.external_id, Resource.name, Account.name)
            .join(Resource, JOIN.LEFT_OUTER)
            .switch(Job)
            .join(Account)
            .where(Job.run == found.id)
            .order_by(Job.id)
        )
        percents = _percents(found.id)
        counts = _job_counts([found.id]).get(found.id, {})
        parts = _parts(jobs)
        behind = why_behind([job.id for job in jobs if job.state == JobState.PENDING])
        return {
            **_run(query.get(), counts),
            "problems": found.problems,
            "jobs": [
                _job(job, percents.get(job.id), parts.get((job.id, job.epoch), []), behind.get(job.id)) for job in jobs
            ],
        }


def _parts(jobs: Iterable[Any]) -> dict[tuple[int, int], list[Any]]:
    """The jobs that archive ranges of big volumes, by the archive that they are for and its epoch."""
    found: dict[tuple[int, int], list[Any]] = {}
    for job in jobs:
        if job.kind == ARCHIVE_PART:
            found.setdefault((job.spec["lead"], job.spec["epoch"]), []).append(job)
    return found


def _run(row: Any, counts: dict[str, int]) -> Row:
    return {
        "id": f"run-{row.id}",
        "policy": row.policy.name,
        "slot_at": row.slot_at,
        "trigger": row.trigger,
        "state": str(row.state),
        "targets": row.targets,
        "jobs_by_state": counts,
        "problem_count": len(row.problems),
        "started_at": row.created_at,
        "finished_at": row.finished_at,
        "reason": row.reason,
    }


def _job(row: Any, percent: int | None, parts: Sequence[Any] = (), behind: Reason | None = None) -> Row:
    far = progress_row(row, parts)
    return {
        "id": row.id,
        "kind": row.kind,
        "resource": row.resource.external_id if row.resource_id else "",
        "name": row.resource.name if row.resource_id else "",
        "account": row.account.name,
        "region": row.region,
        "state": str(row.state),
        **far,
        "percent": percent if far["percent"] is None else far["percent"],
        "point": f"rp-{row.point_id}" if row.point_id else "",
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "next_at": row.not_before_at if str(row.state) == "pending" else None,
        "error_code": row.error_code,
        "reason": row.error_text or "; ".join(map(str, row.warnings)) or (behind.text if behind else ""),
    }


def _job_counts(runs: list[int]) -> dict[int, dict[str, int]]:
    counted: Any = (
        Job.select(Job.run, Job.state, fn.COUNT(Job.id).alias("n"))
        .where(Job.run.in_(runs))
        .group_by(Job.run, Job.state)
        .tuples()
    )
    found: dict[int, dict[str, int]] = {}
    for run, state, count in counted if runs else ():
        found.setdefault(run, {})[str(state)] = count
    return found


def _percents(run: int) -> dict[int, int]:
    """How far the cloud is with each job of a run, in percent."""
    query: Any = (
        Operation.select(Operation.job, fn.MIN(Operation.percent).alias("n"))
        .join(Job)
        .where(Job.run == run, Operation.state == OperationState.RUNNING)
        .group_by(Operation.job)
        .tuples()
    )
    return dict(query)


def list_restores(*, limit: int = LIMIT) -> list[Row]:
    """Restores, newest first."""
    with session():
        query: Any = Restore.select(Restore, Point, Resource).join(Point).join(Resource)
        return [_restore(row) for row in query.order_by(Restore.id.desc()).limit(limit)]


def show_restore(text: str) -> Row:
    """One restore with its steps and everything it made."""
    with session():
        query: Any = Restore.select(Restore, Point, Resource).join(Point).join(Resource)
        row = query.where(Restore.id == number_of(text, "restore")).first()
        if row is None:
            raise Invalid(f"There is no restore {text!r}.", advice="See `snapfleet restores`.")
        steps: Any = RestoreStep.select().where(RestoreStep.restore == row.id).order_by(RestoreStep.number)
        jobs: Any = Job.select().where(Job.restore_id == row.id)
        by_id = {job.id: job for job in jobs}
        made: Any = Creation.select().where(Creation.restore == row.id).order_by(Creation.id)
        return {
            **_restore(row),
            "steps": [
                {
                    "number": step.number + 1,
                    "name": step.name,
                    "kind": step.kind,
                    "state": str(step.state),
                    "outputs": step.outputs,
                    "reason": by_id[step.job_id].error_text if step.job_id in by_id else "",
                    **(progress_row(by_id[step.job_id]) if step.job_id in by_id else NOTHING),
                }
                for step in steps
            ],
            "made": [
                {"kind": item.kind, "id": item.external_id, "step": item.step, "removed_at": item.removed_at}
                for item in made
            ],
        }


def _restore(row: Any) -> Row:
    return {
        "id": f"restore-{row.id}",
        "point": f"rp-{row.point_id}",
        "resource": row.point.resource.external_id,
        "name": row.point.resource.name,
        "kind": row.request.get("kind", ""),
        "state": str(row.state),
        "started_at": row.created_at,
        "finished_at": row.finished_at,
        "requested_by": row.requested_by,
        "error_code": row.error_code,
        "reason": row.error_text,
    }
