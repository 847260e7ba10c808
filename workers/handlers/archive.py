"""Archiving one recovery point into a repository: volume by volume, in slices, each a checkpoint for the next worker.

The blocks of a slice are in the repository before its checkpoint is in the catalog, so that a worker that dies at any
point costs at most what it had read since. A volume's generation exists when the engine has committed it, and the
point is good when all its volumes have theirs.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.catalog import Job, Part, Point, Transfer, session, transaction
from tasks.catalog.transitions import finish_job, move_parts, move_point
from tasks.errors import Gone, Invalid
from tasks.states import PointState
from workers import fence, points
from workers.blocks import Blocks
from workers.context import Context, token
from workers.driver import Account
from workers.repositories import (
    Place,
    added,
    blocks_of,
    checkpoint,
    go_on_later,
    open_place,
    place_of,
    slice_end,
    transfer_of,
    translated,
)
from workers.repository import archive as engine
from workers.repository.errors import Missing, Unrelated
from workers.repository.generations import read_index
from workers.repository.lease import COMMITTED
from workers.repository.manifest import Generation
from workers.repository.pipeline import Figures
from workers.repository.repository import Repository
from workers.repository.source import Source
from workers.repository.store import Put


@dataclass(frozen=True)
class _Work:
    """What one attempt has in hand."""

    context: Context
    job: Job
    source: Point
    account: Account
    place: Place
    blocks: Blocks
    resource_id: str
    base: Mapping[str, Part]  # the parts of the generation before this one, by volume

    def how(self) -> Put:
        """The storage class that was decided."""
        return Put(storage_class=self.job.spec.get("class", ""))


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
        work = _Work(context, job, source, account, place, blocks, source.resource.external_id, base)
    point_id = _intend(work)
    repository = open_place(context, blocks, place)
    late = slice_end(context)
    for part in parts:
        transfer = transfer_of(context, job, part.source_id or part.external_id, snapshot_id=part.external_id)
        if transfer.done:
            continue
        if not _archive(work, repository, part, transfer, late) or (late() and part is not parts[-1]):
            go_on_later(context, job)
            return
    _conclude(work, point_id, parts)


def destination_of(repository: str) -> str:
    """What the points of a repository have as their destination."""
    return f"repository:{repository}"


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


def _intend(work: _Work) -> int:
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


def lineage_of(account: Account, region: str, volume: str) -> str:
    """What a repository calls one volume for ever, whatever resource or policy it is archived for."""
    return f"{account.number or account.name}/{region}/{volume}"


def _archive(work: _Work, repository: Repository, part: Part, transfer: Transfer, late: Callable[[], bool]) -> bool:
    """One slice of one volume; whether the volume is done."""
    lineage = lineage_of(work.account, work.source.region, transfer.volume)
    facts = {
        "account": work.account.name,
        "region": work.source.region,
        "volume": transfer.volume,
        "snapshot": part.external_id,
        "device": part.device,
        "point": f"rp-{work.source.id}",
        "resource": work.resource_id,
        "installation": work.context.installation,
    }
    with translated():
        base, why = _generation(repository, lineage, work.base.get(transfer.volume))
        source, why = _open(work, part.external_id, base, work.base.get(transfer.volume), why)
        mode = "changes" if source.incremental else "full"
        started = engine.start_archive(
            repository, lineage, source, base, _engine_job(work.job, transfer.volume, mode), facts
        )
        if source.incremental and started.base is None:
            source = work.blocks.source(work.account, work.source.region, part.external_id)
        why = started.why_full or why
        if started.lease.state == COMMITTED:
            generation = repository.read_manifest(started.lease.manifests[0])
            _done(work, transfer, generation, dict(transfer.figures), why)
            return True
        done = engine.archive_slice(repository, started, source, halt=late, how=work.how(), inline=True)
    figures = added(transfer.figures, asdict(done.figures))
    if not done.finished:
        checkpoint(
            work.context,
            work.job,
            transfer,
            next_block=done.next,
            blocks=started.blocks,
            figures=figures,
            why_full=why,
        )
        return False
    with translated():
        generation = engine.commit_archive(
            repository, started, work.source.taken_at, done.parts, work.how(), Figures(**figures)
        )
    _done(work, transfer, generation, figures, why)
    return True


def _generation(repository: Repository, lineage: str, before: Part | None) -> tuple[Generation | None, str]:
    """The generation to build on, and why there is none."""
    if before is None:
        return None, "It is the first generation of this volume here."
    try:
        return read_index(repository, lineage).of(before.external_id), ""
    except Missing:
        return None, "The generation before is not in the repository any more, so the whole volume is archived."


def _open(work: _Work, snapshot_id: str, base: Generation | None, before: Part | None, why: str) -> tuple[Source, str]:
    """The source: what changed since the base's snapshot where that can be told, else the whole volume, and why."""
    since = str(before.attributes.get("snapshot_id", "")) if before is not None and base is not None else ""
    if since:
        try:
            source = work.blocks.source(work.account, work.source.region, snapshot_id, since)
        except (Unrelated, Missing) as error:
            why = f"{error.text} So the whole volume is read, and what is in the repository is not stored again."
        else:
            if base is not None and source.size == base.size:
                return source, ""
            why = "The volume has another size than before, so the whole volume is archived."
    return work.blocks.source(work.account, work.source.region, snapshot_id), why


def _engine_job(job: Job, volume: str, mode: str) -> str:
    """The engine's id of this attempt at a volume: the same after a crash, another in another epoch."""
    return hashlib.sha256(f"{token(job)}\x1f{volume}\x1f{mode}".encode()).hexdigest()[:32]


def _done(work: _Work, transfer: Transfer, generation: Generation, figures: dict[str, int], why: str) -> None:
    checkpoint(
        work.context,
        work.job,
        transfer,
        done=True,
        generation=generation.id,
        next_block=generation.blocks,
        blocks=generation.blocks,
        figures=figures,
        why_full=why,
    )
    for moved in ("read", "stored"):
        work.context.counters.add("snapfleet_repository_bytes_total", figures.get(f"{moved}_bytes", 0), moved=moved)


def _conclude(work: _Work, point_id: int, parts: list[Part]) -> None:
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
    work.context.counters.add("snapfleet_points_completed_total", role="archive")


def _part(work: _Work, point_id: int, part: Part, moved: Mapping[str, Transfer]) -> dict[str, Any]:
    row = moved[part.source_id or part.external_id]
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
