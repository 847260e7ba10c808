"""Deleting what retention has marked, after every guard was asked again: plan, re-check, delete, record.

The point's state is the mark: while it is EXPIRING no restore and no copy begins from it, so what the guards allowed
stays allowed until the deletion is recorded.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tasks.catalog import Job, Point, Restore, lock_rows, session, transaction
from tasks.catalog.archives import bases_in_use, read_by_archives
from tasks.catalog.images import RESTORING, images_in_use
from tasks.catalog.shares import lent
from tasks.catalog.transitions import MAX_TEXT, finish_job, move_parts, move_point, open_jobs_of
from tasks.crash import reach
from tasks.errors import InUse, NotReady, Retry, SnapfleetError
from tasks.states import JOB_OPEN, PointState
from workers import driver, fence
from workers.context import Context
from workers.duties import entered

# A deletion that no waiting cures (a missing right, a foreign object) is tried this seldom: people must act first.
SELDOM = timedelta(hours=1)
_WORDS: Mapping[str, str] = {
    "held": "it is held",
    "locked": "it is locked",
    "in-use": "a copy, an archive or a restore still needs it",
    "floor": "it is the last good point of its line",
}


def run(context: Context, job: Job) -> None:
    """Delete the job's points that may go. Raises the reason for which one is still there, to be tried again."""
    with transaction():
        fence.keep(job)
        allowed = guarded(context, job.spec["points"])
    reach("cleanup.marked")
    with session():
        rows = {row.id: row for row in Point.select().where(Point.id.in_(allowed))}
        wanted = {point_id: _for_cleanup(context, row) for point_id, row in rows.items()}
    answers = {one.external_id: one for one in _delete(context, list(wanted.values()))}
    reach("cleanup.deleted")
    with transaction():
        fence.keep(job)
        kept = [
            error
            for point_id, point in wanted.items()
            for error in [_settle(context, rows[point_id], point, answers)]
            if error is not None
        ]
        if not kept:
            finish_job(job, context.clock.timer(), result={"points": len(allowed)})
    reach("cleanup.recorded")
    if kept:
        raise _again(kept)


def guarded(context: Context, ids: Sequence[int]) -> list[int]:
    """The points that may be deleted now; the others go back to what they were, with the reason. The newest is judged
    first, so that of a line whose points are all marked the newest is the one that stays."""
    locked = lock_rows(Point.select().where(Point.id.in_(list(ids)), Point.state == PointState.EXPIRING))
    rows = list(locked.order_by(Point.taken_at.desc(), Point.id.desc()))
    busy, now = _busy(rows), context.clock.now()
    allowed = []
    for row in rows:
        reason = _refusal(row, busy, now)
        if reason:
            back = PointState.GOOD if row.completed_at else PointState.FAILED
            text = f"Kept: {_WORDS[reason]}."
            move_point(row.id, back, expire_code="", expire_text=text, marked_at=None)
            context.counters.add("snapfleet_deletions_refused_total", reason=reason)
        else:
            move_parts(row.id, PointState.EXPIRING)
            allowed.append(int(row.id))
    return allowed


def _refusal(row: Point, busy: set[int], now: datetime) -> str:
    """'' or the guard that keeps this point. The floor is for what was ever good, and is not a step of a copy."""
    if row.held:
        return "held"
    if row.locked_until_at is not None and row.locked_until_at > now:
        return "locked"
    if row.id in busy:
        return "in-use"
    if row.completed_at is not None and row.kind != "intermediate" and not _another_good(row):
        return "floor"
    return ""


def _another_good(row: Point) -> bool:
    query = Point.select().where(
        Point.policy == row.policy_id,
        Point.resource == row.resource_id,
        Point.destination == row.destination,
        Point.kind != "intermediate",
        Point.state == PointState.GOOD,
        Point.id != row.id,
    )
    return bool(query.exists())


def _busy(rows: Sequence[Point]) -> set[int]:
    """Which points an unfinished job works on or copies from, an unfinished copy is made of, or a restore reads
    or launches from, now or later."""
    ids = [row.id for row in rows]
    resources = {row.resource_id for row in rows}
    copying = Job.select(Job.spec).where(
        Job.kind == "copy", Job.state.in_(list(JOB_OPEN)), Job.resource.in_(list(resources))
    )
    half = Point.select(Point.copy_of).where(Point.copy_of.in_(ids), Point.state == PointState.CREATING)
    restoring = Restore.select(Restore.point).where(Restore.point.in_(ids), Restore.state.in_(RESTORING))
    return (
        open_jobs_of(ids)
        | {job.spec.get("point") for job in copying}
        | {row.copy_of_id for row in half}
        | set(read_by_archives())
        | set(bases_in_use(Point.copy_of.in_(ids)))
        | set(lent(Point.copy_of.in_(ids)))
        | set(images_in_use(Point.id.in_(ids)))
        | {row.point_id for row in restoring}
    )


def _for_cleanup(context: Context, row: Point) -> driver.Point:
    point = context.point(row)
    home = replace(point.resource, account=entered(point.resource.account, row.resource.account, "cleanup"))
    return replace(point, account=entered(point.account, row.account, "cleanup"), resource=home)


def _delete(context: Context, points: Sequence[driver.Point]) -> list[driver.Deleted]:
    groups: dict[int, list[driver.Point]] = defaultdict(list)
    removers: dict[int, Callable[[Sequence[driver.Point]], list[driver.Deleted]]] = {}
    for point in points:
        remover = context.driver_of(point.resource.type)
        removers[id(remover)] = remover.delete
        groups[id(remover)].append(point)
    return [answer for key, some in groups.items() for answer in removers[key](some)]


def _settle(
    context: Context, row: Point, point: driver.Point, answers: Mapping[str, driver.Deleted]
) -> SnapfleetError | None:
    """Write what became of one point; the error when it is still there and should be tried again."""
    ids = [part.external_id for part in point.parts] + ([point.image_id] if point.image_id else [])
    kept = [one for one in ids if one not in answers or answers[one].outcome == "kept"]
    move_parts(row.id, PointState.DELETED, [one for one in ids if one not in kept])
    at = context.clock.timer()
    if not kept:
        move_point(row.id, PointState.DELETED, deleted_at=at, error_code="", error_text="")
        context.counters.add("snapfleet_points_deleted_total", reason=row.expire_code)
        return None
    if not point.account.may_delete:
        move_parts(row.id, PointState.OUTDATED)
        move_point(row.id, PointState.OUTDATED)
        context.counters.add("snapfleet_points_deleted_total", reason="outdated")
        return None
    error = _why(kept[0], answers)
    Point.update(error_code=error.code, error_text=str(error)[:MAX_TEXT]).where(Point.id == row.id).execute()
    return error


def _why(external_id: str, answers: Mapping[str, driver.Deleted]) -> SnapfleetError:
    answer = answers.get(external_id)
    return (answer and answer.error) or InUse(f"{external_id} was not deleted, and the cloud did not say why.")


def _again(kept: Sequence[SnapfleetError]) -> SnapfleetError:
    """The error that decides when the next try comes: one that passes by itself, if there is one."""
    passing = next((error for error in kept if error.retry is not Retry.NEVER), None)
    return passing or NotReady(kept[0].text, code=kept[0].code, advice=kept[0].advice, wait=SELDOM)
