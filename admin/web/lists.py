"""The page's lists, a page at a time: filters, and the newest first by the rows' numbers.

Every list is `{"rows": [...], "next": number or None}`; `next` is the `before` of the following page. Rows are JSON
values and aware datetimes; names in them are hostile and made harmless where they are shown.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from peewee import JOIN, fn

from admin.progress import progress_row
from admin.protection import rpo_of
from coordinator.reason import Reason
from coordinator.waiting import why_behind
from tasks.catalog import Account, Job, MissedSlots, Point, Policy, Resource, Run, Schedule
from tasks.catalog.archives import ARCHIVE, IMPORT, parts_of_archives
from tasks.states import JOB_OPEN, JobState, PointState, RunState

Row = dict[str, Any]
PAGE = 50


def runs(policy: str = "", state: str = "", before: int | None = None) -> Row:
    """Runs with how many jobs are in which state."""
    query: Any = Run.select(Run, Policy.name).join(Policy).order_by(Run.id.desc())
    if policy:
        query = query.where(Policy.name == policy)
    if state in set(RunState):
        query = query.where(Run.state == state)
    rows, following = _page(query, Run.id, before)
    counts = _job_counts([row.id for row in rows])
    return {"rows": [_run(row, counts.get(row.id, {})) for row in rows], "next": following}


def run(number: int) -> Row | None:
    """One run; None when there is none."""
    found: Any = Run.select(Run, Policy.name).join(Policy).where(Run.id == number).first()
    if found is None:
        return None
    return {**_run(found, _job_counts([number]).get(number, {})), "problems": found.problems}


def jobs(number: int, state: str = "", before: int | None = None) -> Row:
    """The jobs of a run."""
    query: Any = (
        Job.select(Job, Resource.id, Resource.external_id, Resource.name, Account.name)
        .join(Resource, JOIN.LEFT_OUTER)
        .switch(Job)
        .join(Account)
        .where(Job.run == number)
        .order_by(Job.id.desc())
    )
    if state in set(JobState):
        query = query.where(Job.state == state)
    rows, following = _page(query, Job.id, before)
    parts = parts_of_archives([row for row in rows if row.kind in (ARCHIVE, IMPORT) and row.state in JOB_OPEN])
    behind = why_behind([row.id for row in rows if row.state == JobState.PENDING])
    return {
        "rows": [{**_job(row, behind.get(row.id)), **progress_row(row, parts.get(row.id, []))} for row in rows],
        "next": following,
    }


def resources(now: datetime, text: str = "", kind: str = "", before: int | None = None) -> Row:
    """Resources that exist, with the newest good point of each and at calendar time `now` their state.

    `text` is the beginning of an id or a name.
    """
    query: Any = Resource.select(Resource, Account.name).join(Account).where(Resource.gone_at.is_null())
    if text:
        query = query.where(Resource.external_id.startswith(text) | Resource.name.startswith(text))
    if kind:
        query = query.where(Resource.type == kind)
    rows, following = _page(query.order_by(Resource.id.desc()), Resource.id, before)
    numbers = [row.id for row in rows]
    newest, states = _newest_points(numbers), rpo_of(numbers, now)
    return {"rows": [_resource(row, newest.get(row.id), states[row.id]) for row in rows], "next": following}


def resource(number: int, now: datetime) -> Row | None:
    """One resource, also one that is gone; None when there never was one."""
    found: Any = Resource.select(Resource, Account.name).join(Account).where(Resource.id == number).first()
    if found is None:
        return None
    return _resource(found, _newest_points([number]).get(number), rpo_of([number], now)[number])


def points(number: int | None = None, state: str = "", before: int | None = None) -> Row:
    """Recovery points, of one resource or of all."""
    query: Any = (
        Point.select(Point, Resource, Policy.name, Account.name)
        .join(Resource)
        .switch(Point)
        .join(Policy)
        .switch(Point)
        .join(Account, on=(Point.account == Account.id))
        .order_by(Point.id.desc())
    )
    if number is not None:
        query = query.where(Point.resource == number)
    if state in set(PointState):
        query = query.where(Point.state == state)
    rows, following = _page(query, Point.id, before)
    return {"rows": [_point(row) for row in rows], "next": following}


def missed(before: int | None = None) -> Row:
    """Slots that no coordinator was there for, as they were reported."""
    query: Any = (
        MissedSlots.select(MissedSlots, Policy.name, Schedule.name)
        .join(Policy)
        .switch(MissedSlots)
        .join(Schedule, JOIN.LEFT_OUTER)
        .order_by(MissedSlots.id.desc())
    )
    rows, following = _page(query, MissedSlots.id, before)
    keys = ("id", "first_at", "last_at", "count", "recorded_at", "reason")
    found = [{**{key: getattr(row, key) for key in keys}, "policy": row.policy.name} for row in rows]
    return {"rows": found, "next": following}


def policy_names() -> list[str]:
    """Policies for a filter, deleted ones left out."""
    query: Any = Policy.select(Policy.name).where(Policy.deleted_at.is_null()).order_by(Policy.name)
    return [row.name for row in query]


def _page(query: Any, number: Any, before: int | None) -> tuple[list[Any], int | None]:
    """One page, and where the next begins. One row more is read to know whether there is one."""
    if before is not None:
        query = query.where(number < before)
    rows = list(query.limit(PAGE + 1))
    return rows[:PAGE], rows[PAGE - 1].id if len(rows) > PAGE else None


def _run(row: Any, counts: dict[str, int]) -> Row:
    return {
        "id": row.id,
        "policy": row.policy.name,
        "slot_at": row.slot_at,
        "trigger": row.trigger,
        "state": str(row.state),
        "targets": row.targets,
        "jobs_by_state": counts,
        "started_at": row.created_at,
        "finished_at": row.finished_at,
        "reason": row.reason,
    }


def _job(row: Any, behind: Reason | None = None) -> Row:
    waits = row.state in (JobState.PENDING, JobState.QUEUED)
    return {
        "id": row.id,
        "kind": row.kind,
        "resource_id": row.resource_id,
        "resource": row.resource.external_id if row.resource_id else "",
        "name": row.resource.name if row.resource_id else "",
        "account": row.account.name,
        "region": row.region,
        "state": str(row.state),
        "point": row.point_id,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "next_at": row.not_before_at if waits else None,
        "error_code": row.error_code,
        "reason": row.error_text or (behind.text if behind else ""),
        "warnings": row.warnings,
        "finished_at": row.finished_at,
    }


def _resource(row: Any, newest: Any, rpo: str) -> Row:
    keys = ("id", "external_id", "name", "type", "region", "seen_at", "gone_at", "tags")
    return {**{key: getattr(row, key) for key in keys}, "account": row.account.name, "last_good_at": newest, "rpo": rpo}


def _point(row: Any) -> Row:
    return {
        "id": row.id,
        "resource_id": row.resource_id,
        "resource": row.resource.external_id,
        "name": row.resource.name,
        "policy": row.policy.name,
        "account": row.account.name,
        "region": row.region,
        "destination": row.destination,
        "kind": row.kind,
        "state": str(row.state),
        "size_gib": row.size_gib,
        "taken_at": row.taken_at,
        "completed_at": row.completed_at,
        "run": row.run_id,
        "copy_of": row.copy_of_id,
        "why": list(_why(row)),
    }


def _why(row: Any) -> Iterable[str]:
    """Why a point is as it is: what holds it, why it goes or went, what failed."""
    if row.held:
        yield f"held: {row.held}"
    if row.locked_until_at is not None:
        yield f"locked until {row.locked_until_at:%Y-%m-%d %H:%M} UTC"
    if row.expire_code:
        yield f"{row.expire_code}: {row.expire_text}"
    if row.error_text:
        yield row.error_text
    yield from map(str, row.warnings)


def _newest_points(numbers: list[int]) -> dict[int, Any]:
    if not numbers:
        return {}
    newest: Any = (
        Point.select(Point.resource, fn.MAX(Point.taken_at).alias("at"))
        .where(Point.resource.in_(numbers), Point.state == PointState.GOOD)
        .group_by(Point.resource)
    )
    read: Callable[[Any], Any] = Point.taken_at.python_value
    return {row.resource_id: read(row.at) for row in newest}


def _job_counts(numbers: list[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    if numbers:
        counted: Any = Job.select(Job.run, Job.state, fn.COUNT(Job.id)).where(Job.run.in_(numbers))
        for number, state, count in counted.group_by(Job.run, Job.state).tuples():
            found.setdefault(number, {})[str(state)] = count
    return found
