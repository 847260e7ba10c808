"""One volume on its way into a repository: what it builds on, how its blocks are opened, what is noted at its end.

Shared by the jobs that archive a point, those that import a snapshot of others, and those that archive a range of one
big volume for either.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tasks.catalog import Job, Part, Point, Transfer
from tasks.crash import reach
from tasks.errors import CloudFailed
from workers.blocks import Blocks
from workers.context import Context, token
from workers.driver import Account
from workers.progress import Meter, Watched
from workers.provenance import Origin
from workers.repositories import Place, added, checkpoint, locked_until, translated
from workers.repository import archive as engine
from workers.repository.errors import Missing, Unrelated
from workers.repository.generations import read_index
from workers.repository.lease import COMMITTED
from workers.repository.manifest import Generation
from workers.repository.pipeline import Figures
from workers.repository.repository import Repository
from workers.repository.source import BLOCK_BYTES, Source
from workers.repository.store import Put


@dataclass(frozen=True)
class Work:
    """What one attempt at archiving a point has in hand."""

    context: Context
    job: Job
    source: Point
    account: Account
    place: Place
    blocks: Blocks
    resource_id: str
    base: Mapping[str, Part]  # the parts of the generation before this one, by volume
    type: str = "volume"  # of the resource
    policy: str = ""
    parts: int = 1  # volumes that the point has


@dataclass(frozen=True)
class Opened:
    """A volume with its right to become a generation. `since` is the snapshot it is the difference to, '' for none;
    `why_full` says why it is not."""

    started: engine.Job
    source: Source
    since: str
    why_full: str


@dataclass(frozen=True)
class Task:
    """One attempt at making generations of volumes at `taken_at`. `open` takes the right to make a volume's next
    generation, the same again after a crash, and opens its blocks; it raises the family."""

    context: Context
    job: Job
    taken_at: datetime
    open: Callable[[Repository, Transfer], Opened]
    meter: Meter

    def how(self) -> Put:
        """The storage class and the lock that were decided."""
        return how_of(self.context, self.job)


def how_of(context: Context, job: Job) -> Put:
    """The storage class and the lock that were decided for what a job writes."""
    return Put(job.spec.get("class", ""), locked_until(context, job))


def lineage_of(account: Account, region: str, volume: str) -> str:
    """What a repository calls one volume for ever, whatever resource or policy it is archived for."""
    return f"{account.number or account.name}/{region}/{volume}"


def stretch_of(context: Context) -> int:
    """Blocks between two checkpoints in the repository."""
    return max(1, int(context.settings.checkpoint_gib * (1 << 30)) // BLOCK_BYTES)


def open_volume(work: Work, repository: Repository, part: Part, volume: str) -> Opened:
    """Take the right to make a volume's next generation, the same again after a crash, and open its blocks.

    Raises the family.
    """
    lineage = lineage_of(work.account, work.source.region, volume)
    facts = _origin(work, part, volume).to_source()
    before = work.base.get(volume)
    with translated():
        base, why = _generation(repository, lineage, before)
        source, why = _open(work, part.external_id, base, before, why)
        mode = engine.CHANGES if source.incremental else engine.FULL
        started = engine.start_archive(repository, lineage, source, base, engine_job(work.job, volume, mode), facts)
        if source.incremental and started.base is None:
            source = work.blocks.source(work.account, work.source.region, part.external_id)
    since = _since(before) if source.incremental else ""
    return Opened(started, source, since, started.why_full or why)


def _origin(work: Work, part: Part, volume: str) -> Origin:
    return Origin(
        account=work.account.name,
        region=work.source.region,
        volume=volume,
        snapshot=part.external_id,
        resource=work.resource_id,
        installation=work.context.installation,
        point=f"rp-{work.source.id}",
        parts=work.parts,
        type=work.type,
        policy=work.policy,
        device=part.device,
        encrypted=bool(part.encrypted),
        kms_key_id=part.kms_key_id,
        consistency=work.source.consistency,
        captured=work.source.attributes,
        disk=part.attributes,
    )


def archive_volume(
    task: Task, repository: Repository, transfer: Transfer, late: Callable[[], bool], offset: int = 0
) -> bool:
    """One slice of one volume; whether its generation exists now. Raises the family; FenceLost when overtaken."""
    context, job = task.context, task.job
    opened = task.open(repository, transfer)
    reach("archive.opened")
    started, figures = opened.started, dict(transfer.figures)
    kept: tuple[Any, ...] = ()
    if started.lease.state != COMMITTED:
        source = Watched(opened.source, task.meter, offset)
        done = archive_range(context, repository, started, source, 0, started.blocks, late, task.how(), inline=True)
        figures, kept = added(figures, figures_of(done)), done.parts
        reach("archive.stored")
        noted = {"blocks": started.blocks, "figures": figures, "why_full": opened.why_full}
        if not done.finished:
            checkpoint(context, job, transfer, next_block=done.next, **noted)
            return False
    with translated():
        generation = engine.commit_archive(repository, started, task.taken_at, kept, task.how(), Figures(**figures))
    reach("archive.committed")
    close_volume(context, job, transfer, generation, figures, opened.why_full)
    task.meter.reached(offset + generation.size)
    return True


def archive_range(
    context: Context,
    repository: Repository,
    started: engine.Job,
    source: Source,
    start: int,
    stop: int,
    late: Callable[[], bool],
    how: Put,
    inline: bool = False,
) -> engine.Slice:
    """One slice of blocks [start, stop), from the last checkpoint in the repository on. Raises the family.

    CloudFailed when what changed cannot be listed any more: what was begun can then never be finished as it is.
    """
    stretch = stretch_of(context)
    with translated():
        try:
            return engine.archive_slice(
                repository, started, source, start, stop, halt=late, how=how, inline=inline, stretch=stretch
            )
        except (Missing, Unrelated) as error:
            if not source.incremental:
                raise
            raise CloudFailed(f"What changed cannot be read any more: {error.text}") from None


def close_volume(
    context: Context, job: Job, transfer: Transfer, done: Generation, figures: dict[str, int], why_full: str
) -> None:
    """A volume's generation exists: that is in the catalog now, and in the metrics. Raises FenceLost."""
    checkpoint(
        context,
        job,
        transfer,
        done=True,
        generation=done.id,
        next_block=done.blocks,
        blocks=done.blocks,
        figures=figures,
        why_full=why_full,
    )
    for moved in ("read", "stored"):
        context.counters.add("snapfleet_repository_bytes_total", figures.get(f"{moved}_bytes", 0), moved=moved)


def figures_of(done: engine.Slice) -> dict[str, int]:
    """A slice's figures as the catalog keeps them."""
    return {name: int(value) for name, value in asdict(done.figures).items()}


def _generation(repository: Repository, lineage: str, before: Part | None) -> tuple[Generation | None, str]:
    """The generation to build on, and why there is none."""
    if before is None:
        return None, "It is the first generation of this volume here."
    try:
        return read_index(repository, lineage).of(before.external_id), ""
    except Missing:
        return None, "The generation before is not in the repository any more, so the whole volume is archived."


def _since(before: Part | None) -> str:
    return str(before.attributes.get("snapshot_id", "")) if before is not None else ""


def _open(work: Work, snapshot_id: str, base: Generation | None, before: Part | None, why: str) -> tuple[Source, str]:
    """The source: what changed since the base's snapshot where that can be told, else the whole volume, and why."""
    since = _since(before) if base is not None else ""
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


def engine_job(job: Job, volume: str, mode: str) -> str:
    """The engine's id of this attempt at a volume: the same after a crash, another in another epoch."""
    return hashlib.sha256(f"{token(job)}\x1f{volume}\x1f{mode}".encode()).hexdigest()[:32]
