"""Taking one snapshot that others made into a repository: the oldest of a volume whole, later ones by what changed.

Nothing is ever written to such a snapshot, and none is deleted. Its start time is the recovery point's, so that
retention and people see when it was really taken.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from tasks.catalog import Job, Part, Point, Resource, Transfer, session, transaction
from tasks.catalog.archives import ARCHIVE, repository_destination
from tasks.catalog.transitions import finish_job, move_parts, move_point
from tasks.states import PointState
from workers import fence, points
from workers.archiving import Opened, Task, archive_volume, engine_job, lineage_of
from workers.blocks import Blocks
from workers.context import Context
from workers.driver import Account
from workers.handlers.archive_part import gather
from workers.provenance import Origin
from workers.repositories import (
    Place,
    blocks_of,
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
from workers.repository.manifest import Generation
from workers.repository.repository import Repository
from workers.repository.source import BLOCK_BYTES, Source


@dataclass(frozen=True)
class _Work:
    """What one attempt at a snapshot has in hand."""

    context: Context
    job: Job
    account: Account
    place: Place
    blocks: Blocks
    base: Part | None  # of the newest good archive of the volume that is older than the snapshot
    origin: Origin

    @property
    def lineage(self) -> str:
        """What a repository calls the volume for ever: as policies' archives call it."""
        return lineage_of(self.account, self.job.region, self.origin.volume)


def run(context: Context, job: Job) -> None:
    """Import what is left of the job's snapshot, for one slice at most; a big one is left to several workers.

    Raises the family; FenceLost when overtaken.
    """
    spec = job.spec
    taken_at = datetime.fromisoformat(spec["taken_at"])
    with session():
        place, account = place_of(context, spec["repository"]), context.account(job.account)
        blocks = blocks_of(context, cast(Resource, job.resource).type)
        work = _Work(context, job, account, place, blocks, _base(job), _origin(context, job, account))
    point_id = points.intend(
        job,
        resource=job.resource_id,
        policy=spec["policy"],
        account=place.account_id,
        region=place.region,
        destination=repository_destination(place.name),
        kind=ARCHIVE,
        attributes=dict(work.origin.captured),
        taken_at=taken_at,
    )
    repository = open_place(context, place)
    transfer = transfer_of(context, job, spec["volume"], snapshot_id=spec["snapshot"])
    meter = context.meters.begin(job, context.clock.timer(), spec["size_gib"] << 30, transfer.next_block * BLOCK_BYTES)
    task = Task(context, job, taken_at, lambda opened, row: _open(work, opened, row.volume), meter)
    if transfer.done or _import(task, repository, transfer):
        _conclude(work, point_id, transfer)


def _import(task: Task, repository: Repository, transfer: Transfer) -> bool:
    """Whether the snapshot is a generation; when not, the job was put back in line, or waits for its parts."""
    if task.job.spec["size_gib"] >= task.context.settings.split_gib:
        return gather(task, repository, [transfer])
    if archive_volume(task, repository, transfer, slice_end(task.context)):
        return True
    go_on_later(task.context, task.job)
    return False


def _base(job: Job) -> Part | None:
    found: Part | None = (
        Part.select()
        .join(Point)
        .where(
            Point.resource == job.resource_id,
            Point.destination == repository_destination(job.spec["repository"]),
            Point.state == PointState.GOOD,
            Point.taken_at < datetime.fromisoformat(job.spec["taken_at"]),
            Part.source_id == job.spec["volume"],
        )
        .order_by(Point.taken_at.desc(), Point.id.desc())
        .first()
    )
    return found


def _origin(context: Context, job: Job, account: Account) -> Origin:
    spec, resource = job.spec, cast(Resource, job.resource)
    return Origin(
        account=account.name,
        region=job.region,
        volume=spec["volume"],
        snapshot=spec["snapshot"],
        resource=resource.external_id,
        installation=context.installation,
        point=f"import-{spec['snapshot']}",
        type=resource.type,
        policy=spec.get("policy_name", ""),
        encrypted=spec["encrypted"],
        kms_key_id=spec["kms_key_id"],
        captured=resource.attributes,
    )


def _open(work: _Work, repository: Repository, volume: str) -> Opened:
    with translated():
        base, source, why = _source(work, repository)
        since = str(work.base.attributes["snapshot_id"]) if source.incremental and work.base is not None else ""
        number = engine_job(work.job, volume, engine.CHANGES if source.incremental else engine.FULL)
        started = engine.start_archive(repository, work.lineage, source, base, number, work.origin.to_source())
        if source.incremental and started.base is None:
            source, since = work.blocks.source(work.account, work.job.region, work.origin.snapshot), ""
    return Opened(started, source, since, started.why_full or why)


def _source(work: _Work, repository: Repository) -> tuple[Generation | None, Source, str]:
    """The generation to build on, what is to be read, and why that is all of the volume ('' when it is not)."""
    before, where = work.base, (work.account, work.job.region, work.origin.snapshot)
    if before is None:
        return None, work.blocks.source(*where), "It is the oldest generation of this volume here."
    try:
        base = read_index(repository, work.lineage).of(before.external_id)
    except Missing:
        return None, work.blocks.source(*where), "The generation before is not in the repository any more."
    try:
        if not before.attributes.get("snapshot_id"):
            raise Missing("Nobody knows which snapshot the generation before was read of.")
        source = work.blocks.source(*where, str(before.attributes["snapshot_id"]))
    except (Missing, Unrelated) as error:
        why = f"{error.text} So the whole volume is read, and what is in the repository is not stored again."
        return base, work.blocks.source(*where), why
    if source.size == base.size:
        return base, source, ""
    return None, work.blocks.source(*where), "The volume has another size than before."


def _conclude(work: _Work, point_id: int, transfer: Transfer) -> None:
    """The point and its part are good, and the job is done: all of it or nothing."""
    job, spec, at = work.job, work.job.spec, work.context.clock.timer()
    attributes = {
        "snapshot_id": spec["snapshot"],
        "lineage": work.lineage,
        "stored_bytes": transfer.figures.get("stored_bytes", 0),
    }
    part = {
        "point": point_id,
        "external_id": transfer.generation,
        "source_id": spec["volume"],
        "size_gib": spec["size_gib"],
        "encrypted": int(spec["encrypted"]),
        "kms_key_id": spec["kms_key_id"],
        "attributes": attributes,
    }
    with transaction():
        fence.keep(job)
        Part.insert(part).on_conflict_ignore().execute()
        move_parts(point_id, PointState.GOOD)
        columns = {"completed_at": work.context.clock.now(), "size_gib": spec["size_gib"]}
        move_point(point_id, PointState.GOOD, error_code="", error_text="", **columns)
        finish_job(job, at, result={"figures": transfer.figures, "full": transfer.why_full})
    work.context.counters.add("snapfleet_points_completed_total", role=ARCHIVE)
