"""Archiving one recovery point into a repository: volume by volume, in slices, each a checkpoint for the next worker.

The blocks of a slice are in the repository before its checkpoint is in the catalog, so that a worker that dies at any
point costs at most what it had read since. A volume's generation exists when the engine has committed it, and the
point is good when all its volumes have theirs. Big volumes are left to several workers (`archive_part`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.catalog import Job, Part, Point, Transfer, session, transaction
from tasks.catalog.transitions import finish_job, move_parts, move_point
from tasks.crash import reach
from tasks.errors import Gone, Invalid
from tasks.states import PointState
from workers import fence, points
from workers.archiving import Task, Work, archive_volume, lineage_of, open_volume
from workers.context import Context
from workers.handlers.archive_part import gather
from workers.repositories import (
    added,
    blocks_of,
    go_on_later,
    open_place,
    opened_blocks,
    place_of,
    slice_end,
    transfer_of,
)
from workers.repository.repository import Repository
from workers.repository.source import BLOCK_BYTES


def run(context: Context, job: Job) -> None:
    """Archive what is left of the job's point, for one slice at most. Raises the family; FenceLost when overtaken."""
    with session():
        source = Point.get_or_none(Point.id == job.spec["point"])
        if source is None or source.state is not PointState.GOOD:
            raise Gone(f"The source rp-{job.spec['point']} is not a good recovery point any more.")
        place = place_of(context, job.spec["repository"])
        account = context.account(source.account)
        blocks = blocks_of(context, source.resource.type)
        base = _base(source, job)
        parts = list(Part.select().where(Part.point == source.id).order_by(Part.id))
        resource, policy = source.resource, source.policy.name
        work = Work(
            context, job, source, account, place, blocks, resource.external_id, base, resource.type, policy, len(parts)
        )
    point_id = _intend(work)
    repository = open_place(context, place)
    with opened_blocks(context, work.type) as opened:
        whole = _archived(replace(work, blocks=opened), parts, repository)
    if whole:
        _conclude(work, point_id, parts)


def _archived(work: Work, parts: list[Part], repository: Repository) -> bool:
    """Whether all volumes are generations; when not, the job was put back in line, or waits for its parts."""
    context, job = work.context, work.job
    transfers = [transfer_of(context, job, _volume(part), snapshot_id=part.external_id) for part in parts]
    task, late = _task(work, parts, transfers), slice_end(context)
    big, offset = [], 0
    for part, transfer in zip(parts, transfers, strict=True):
        if part.size_gib >= context.settings.split_gib and not transfer.done:
            big.append(transfer)
        elif not transfer.done:
            whole = archive_volume(task, repository, transfer, late, offset)
            if not whole or (late() and part is not parts[-1]):
                go_on_later(context, job)
                return False
        offset += part.size_gib << 30
    return not big or gather(task, repository, big)


def _task(work: Work, parts: list[Part], transfers: list[Transfer]) -> Task:
    of = {_volume(part): part for part in parts}
    total = sum(part.size_gib for part in parts) << 30
    done = sum(
        part.size_gib << 30 if row.done else row.next_block * BLOCK_BYTES
        for part, row in zip(parts, transfers, strict=True)
    )
    return Task(
        work.context,
        work.job,
        work.source.taken_at,
        lambda repository, row: open_volume(work, repository, of[row.volume], row.volume),
        work.context.meters.begin(work.job, work.context.clock.timer(), total, done),
    )


def destination_of(repository: str) -> str:
    """What the points of a repository have as their destination."""
    return f"repository:{repository}"


def _volume(part: Part) -> str:
    return str(part.source_id or part.external_id)


def _base(source: Point, job: Job) -> dict[str, Part]:
    """The parts of the newest good archive of the same resource in that repository."""
    newest = (
        Point.select()
        .where(
            Point.resource == source.resource_id,
            Point.destination == destination_of(job.spec["repository"]),
            Point.state == PointState.GOOD,
            Point.taken_at < source.taken_at,
        )
        .order_by(Point.taken_at.desc(), Point.id.desc())
        .first()
    )
    if newest is None:
        return {}
    return {part.source_id: part for part in Part.select().where(Part.point == newest.id)}


def _intend(work: Work) -> int:
    source, job = work.source, work.job
    return points.intend(
        job,
        resource=source.resource_id,
        policy=source.policy_id,
        account=work.place.account_id,
        region=work.place.region,
        destination=destination_of(work.place.name),
        kind="archive",
        copy_of=source.id,
        attributes=source.attributes,
        consistency=source.consistency,
        taken_at=source.taken_at,
    )


def _conclude(work: Work, point_id: int, parts: list[Part]) -> None:
    """The point and its parts are good, and the job is done: all of it or nothing."""
    job, at = work.job, work.context.clock.timer()
    with transaction():
        fence.keep(job)
        moved = {
            row.volume: row for row in Transfer.select().where(Transfer.job == job.id, Transfer.epoch == job.epoch)
        }
        if any(not row.done for row in moved.values()) or len(moved) != len(parts):
            raise Invalid("The volumes of this point are not all archived.", code="archive-incomplete")
        Part.insert_many([_part(work, point_id, part, moved) for part in parts]).on_conflict_ignore().execute()
        move_parts(point_id, PointState.GOOD)
        full = [f"{row.volume}: {row.why_full}" for row in moved.values() if row.why_full]
        columns = {"completed_at": work.context.clock.now(), "size_gib": sum(part.size_gib for part in parts)}
        move_point(point_id, PointState.GOOD, error_code="", error_text="", **columns)
        sums: dict[str, int] = {}
        for row in moved.values():
            sums = added(sums, row.figures)
        finish_job(job, at, result={"figures": sums, "full": full})
    reach("archive.recorded")
    work.context.counters.add("snapfleet_points_completed_total", role="archive")


def _part(work: Work, point_id: int, part: Part, moved: Mapping[str, Transfer]) -> dict[str, Any]:
    row = moved[_volume(part)]
    return {
        "point": point_id,
        "external_id": row.generation,
        "source_id": part.source_id,
        "device": part.device,
        "size_gib": part.size_gib,
        "encrypted": part.encrypted,
        "kms_key_id": part.kms_key_id,
        "attributes": {
            **part.attributes,
            "snapshot_id": part.external_id,
            "lineage": lineage_of(work.account, work.source.region, row.volume),
            "stored_bytes": row.figures.get("stored_bytes", 0),
        },
    }
