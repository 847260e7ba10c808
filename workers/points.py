"""Recovery points as attempts make them: intended before the cloud is called, recorded after, closed by the poll."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.catalog import Job, Operation, Part, Point, transaction
from tasks.catalog.bulk import update_rows
from tasks.catalog.transitions import (
    MAX_TEXT,
    finish_job,
    finish_jobs,
    move_parts,
    move_point,
    move_points,
    start_waiting,
)
from tasks.crash import reach
from tasks.errors import Internal, SnapfleetError
from tasks.states import PointState
from workers import driver, fence, operations
from workers.context import Context

_KNOWN_AT_THE_END = ("size_gib", "encrypted", "kms_key_id")
Learnt = tuple[str, Mapping[str, Any]]
"""An operation's external id, and what the cloud told about it when it was done."""


def intend(job: Job, **columns: Any) -> int:
    """The id of the point this attempt makes: the one an earlier attempt of the same epoch left, else a new row.

    `columns` are those of a new row. Raises FenceLost.
    """
    with transaction():
        if job.point_id is not None:
            fence.keep(job)
            left = Point.get_or_none(Point.id == job.point_id, Point.state == PointState.CREATING)
            if left is not None:
                return int(left.id)
        made = Point.create(run=job.run_id, **columns)
        fence.keep(job, point_id=made.id)
    return int(made.id)


def record(context: Context, job: Job, point_id: int, service: str, started: driver.Started, **columns: Any) -> None:
    """Write what a start began, all of it or nothing: the point, its parts, the operations, the job waiting.

    Raises FenceLost, and Internal when the driver began nothing that can be asked about.
    """
    if not started.operations:
        raise Internal("The driver began no operation.", code="nothing-begun")
    with transaction():
        fence.keep(job)
        captured = {"attributes": dict(started.captured)} if started.captured else {}
        Point.update(
            image_id=started.image_id,
            warnings=list(started.warnings),
            size_gib=sum(part.size_gib for part in started.parts),
            **captured,
            **columns,
        ).where(Point.id == point_id).execute()
        if started.parts:
            _write_parts(point_id, started.parts)
            reach("snapshot.parts")
        operations.begin(context, job, service, started.operations)
        start_waiting(job, warnings=list(started.warnings))


def _write_parts(point_id: int, parts: Sequence[driver.Part]) -> None:
    rows = [
        {
            "point": point_id,
            "external_id": part.external_id,
            "source_id": part.source_id,
            "device": part.device,
            "size_gib": part.size_gib,
            "encrypted": int(part.encrypted),
            "kms_key_id": part.kms_key_id,
            "attributes": dict(part.attributes),
        }
        for part in parts
    ]
    Part.insert_many(rows).on_conflict_ignore().execute()


def close_good(context: Context, job: Job, rows: Sequence[Operation]) -> None:
    """The cloud said completed for every operation of the job: the point is good. Call inside a transaction."""
    point = Point.get_by_id(job.point_id)
    for row in rows:
        _complete_parts(point.id, row)
    sizes = [part.size_gib for part in Part.select(Part.size_gib).where(Part.point == point.id)]
    move_parts(point.id, PointState.GOOD)
    # Calendar time: retention compares it with the times of its passes.
    done = {"completed_at": context.clock.now(), "size_gib": sum(sizes), "error_code": "", "error_text": ""}
    if move_point(point.id, PointState.GOOD, **done):
        context.counters.add("snapfleet_points_completed_total", role=_role(point))
    finish_job(job, context.clock.timer())


def close_good_all(context: Context, jobs: Mapping[int, Job], rows: Mapping[int, Sequence[Learnt]]) -> None:
    """As `close_good` for many jobs at once, by id, in few statements: a night of thousands ends in minutes.

    `rows` are the external ids of each job's operations with what the cloud told of them. Call inside a transaction
    that has locked the jobs.
    """
    made = {job.point_id: rows[job.id] for job in jobs.values() if job.point_id is not None}
    found = list(Point.select(Point.id, Point.size_gib, Point.destination, Point.kind).where(Point.id.in_(list(made))))
    parts: dict[tuple[int, str], Part] = {}
    for part in Part.select().where(Part.point.in_(list(made))):
        parts[part.point_id, part.external_id] = part
    for point_id, learnt in made.items():
        for external_id, detail in learnt:
            _correct(parts.get((point_id, external_id)), detail)
    _keep_learnt(parts, made)
    move_parts([point.id for point in found], PointState.GOOD)
    sizes: Counter[int] = Counter()
    for part in parts.values():
        sizes[part.point_id] += part.size_gib
    groups: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for point in found:
        groups[_role(point), None if sizes[point.id] == point.size_gib else sizes[point.id]].append(point.id)
    done = {"completed_at": context.clock.now(), "error_code": "", "error_text": ""}
    for (role, size), ids in groups.items():
        moved = move_points(ids, PointState.GOOD, **done, **({} if size is None else {"size_gib": size}))
        context.counters.add("snapfleet_points_completed_total", moved, role=role)
    finish_jobs(list(jobs), context.clock.timer())


def _correct(part: Part | None, detail: Mapping[str, Any]) -> None:
    """Write what was not known when the part began, if the cloud says otherwise now."""
    if part is None:
        return
    known = {name: detail[name] for name in _KNOWN_AT_THE_END if detail.get(name)}
    known = {name: value for name, value in known.items() if getattr(part, name) != value}
    if known:
        Part.update(**known).where(Part.id == part.id).execute()
        part.size_gib = known.get("size_gib", part.size_gib)


def _keep_learnt(parts: Mapping[tuple[int, str], Part], made: Mapping[int, Sequence[Learnt]]) -> None:
    """Add what else the cloud told of parts (`attributes` of an operation's detail) to theirs, in one statement."""
    told = [
        (parts[point_id, external_id], detail["attributes"])
        for point_id, learnt in made.items()
        for external_id, detail in learnt
        if detail.get("attributes") and (point_id, external_id) in parts
    ]
    update_rows(Part, [{"id": part.id, "attributes": {**part.attributes, **more}} for part, more in told])


def _role(point: Point) -> str:
    return "copy" if point.destination and point.kind != "archive" else point.kind


def _complete_parts(point_id: int, row: Operation) -> None:
    """What is known only at the end: an image's snapshots, and under which key a snapshot lies."""
    if row.detail.get("parts"):
        _write_parts(point_id, [driver.Part(**found) for found in row.detail["parts"]])
        for found in row.detail["parts"]:
            _correct(Part.get_or_none(Part.point == point_id, Part.external_id == found["external_id"]), found)
    known: dict[str, Any] = {name: row.detail[name] for name in _KNOWN_AT_THE_END if row.detail.get(name)}
    part = Part.get_or_none(Part.point == point_id, Part.external_id == row.external_id)
    if part is not None and row.detail.get("attributes"):
        known["attributes"] = {**part.attributes, **row.detail["attributes"]}
    if known:
        Part.update(**known).where(Part.point == point_id, Part.external_id == row.external_id).execute()


def record_left_over(job: Job, found: Sequence[driver.Found]) -> None:
    """What an attempt whose answer was lost has made after all belongs to its failed point, with which it is deleted.

    Call inside the transaction that fails the job.
    """
    if job.point_id is None or not found:
        return
    snapshots = [driver.Part(one.external_id) for one in found if one.kind != "image"]
    if snapshots:
        _write_parts(job.point_id, snapshots)
    for image in (one for one in found if one.kind == "image"):
        Point.update(image_id=image.external_id).where(Point.id == job.point_id, Point.image_id == "").execute()


def close_failed(context: Context, job: Job, error: SnapfleetError, to: PointState = PointState.FAILED) -> None:
    """The attempt that made the job's point is over without a good one. Only a point being created is touched."""
    point = Point.get_or_none(Point.id == job.point_id, Point.state == PointState.CREATING)
    if point is None:
        return
    move_parts(point.id, PointState.FAILED)
    if move_point(point.id, to, error_code=error.code, error_text=str(error)[:MAX_TEXT]):
        context.counters.add("snapfleet_points_failed_total", role=_role(point))
