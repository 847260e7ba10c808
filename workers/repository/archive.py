"""Making a generation: start a job, archive slices of its volume, commit. FORMAT.md section 8: the order of writes.

A big volume is split by block ranges over any number of workers; each calls `archive_slice` for its range, in calls
as long as it likes, and whoever sees the last one done calls `commit_archive`. All of it may be repeated after any
crash, with the same job id: parts that are in the store are not read again.

What bounds it (2026-11-22): a full one is bound by the cores (pipeline.py). A small one of changes (28 blocks, 0.2 s)
by the process's start, 0.09 s, and its blocks, 0.06 s; opening, index, lease and commit have 0.02 s, in 20 requests one
after the other: at 30 ms each those would be 0.6 s. Twice as fast again would take a process that runs already, as a
worker's does.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from workers.repository.base import BaseIndex
from workers.repository.crypt import PART
from workers.repository.errors import Conflict, Fenced, Missing, RepositoryError
from workers.repository.lease import COMMITTED, OPEN, Lease
from workers.repository.manifest import Generation, SegmentRef
from workers.repository.mapwriter import MapWriter
from workers.repository.names import PARTS, generation_name, identity_of, part_name, tomb_name
from workers.repository.pipeline import Figures, Progress, Run, Tuning
from workers.repository.repository import Repository
from workers.repository.segment import BLOCKS, ZERO, Part, Segment, decode_part
from workers.repository.source import Source
from workers.repository.store import PLAIN, Put

FULL, CHANGES = "full", "changes"
# A part is written after so many blocks (8 GiB): what a killed worker's successor reads again at most, some 16 s.
STRETCH = 16_384


@dataclass(frozen=True)
class Job:
    """A job in hand. `base` is the generation whose blocks are kept where the source names none; `why_full` says in
    one sentence why there is none, '' when none was asked for."""

    lease: Lease
    base: Generation | None
    why_full: str = ""

    @property
    def id(self) -> str:
        """The job's id; it becomes the generation's."""
        return self.lease.job

    @property
    def blocks(self) -> int:
        """Blocks of the volume."""
        return -(-self.lease.size // self.lease.block_bytes)


@dataclass(frozen=True)
class Slice:
    """What a call of `archive_slice` did: the range is archived up to before block `next`."""

    next: int
    finished: bool
    figures: Figures
    parts: tuple[Part, ...] = ()


def new_job_id() -> str:
    """A random job id, 32 hex digits."""
    return secrets.token_hex(16)


def start_archive(
    repository: Repository,
    lineage: str,
    source: Source,
    base: Generation | None = None,
    job: str | None = None,
    facts: dict[str, str] | None = None,
) -> Job:
    """Take the lease for a new generation of `lineage`; again with the same `job` finds the one taken before.

    The base is pinned by the lease, then looked at: when it is gone, of another size, or not asked for, the archive
    is a full one and `why_full` says why; a source that lists changes only must then be opened anew as a full one.
    Raises Fenced (the job was given up), Unsuitable (a foreign writer).
    """
    repository.assert_writable()
    why = _unfit(base, source)
    pins = () if base is None or why else (_name(repository, base),)
    kind = CHANGES if pins and source.incremental else FULL
    now = repository.clock()
    wanted = Lease(
        job or new_job_id(), kind, lineage, OPEN, now, now, pins, (), source.size, source.block_bytes, facts or {}
    )
    lease = repository.leases.open(wanted)
    if lease.pins and lease.state == OPEN and not _alive(repository, lease.pins[0]):
        lease = repository.leases.unpin(lease, FULL)
        why = "The base generation is gone, so the whole volume is archived."
    kept = repository.read_manifest(lease.pins[0]) if lease.pins else None
    return Job(lease, kept, why)


def resume_archive(repository: Repository, job: str) -> Job:
    """A job that another process started. Raises Missing, Fenced."""
    lease = repository.leases.read(job)
    if lease.state not in (OPEN, COMMITTED):
        raise Fenced(f"Job {job} is {lease.state}.")
    base = repository.read_manifest(lease.pins[0]) if lease.pins else None
    return Job(lease, base)


def archive_slice(
    repository: Repository,
    job: Job,
    source: Source,
    start: int = 0,
    stop: int | None = None,
    halt: Callable[[], bool] = lambda: False,
    how: Put = PLAIN,
    tuning: Tuning | None = None,
    progress: Progress | None = None,
    inline: bool = False,
    stretch: int = STRETCH,
    fresh: bool = False,
) -> Slice:
    """Archive blocks [start, stop) of a job's volume, from where an earlier call came to, until `halt` says so.

    Slices of one job must not overlap. With `inline` a slice that is done within one stretch keeps its part in the
    result, to be handed to `commit_archive`, and saves an object. With `fresh` nobody has worked on the job before, and
    no part of it is looked for. Raises Fenced, RepositoryError.
    """
    stop = job.blocks if stop is None else stop
    if source.size != job.lease.size or source.block_bytes != job.lease.block_bytes:
        raise RepositoryError("The source is not the volume that the job was started for.")
    if source.incremental and job.base is None:
        raise RepositoryError("A source of changes needs a base.", advice="Open it as a full one.")
    at = start if fresh else _resumed(repository, job.id, start, stop)
    known = BaseIndex(repository, job.base).find if job.base is not None and not source.incremental else None
    run = Run(repository, job.id, source, tuning or Tuning(), how, known, progress)
    lease = job.lease
    kept: tuple[Part, ...] = ()
    while at < stop:
        part = run.stretch(at, stop, stretch, halt)
        lease = repository.leases.renew(lease)
        if inline and at == start and part.stop == stop:
            kept = (part,)
            at = stop
        else:
            at = _store_part(repository, job.id, part, stop)
        if halt():
            break
    return Slice(at, at >= stop, run.figures, kept)


def commit_archive(
    repository: Repository,
    job: Job,
    taken_at: datetime,
    parts: tuple[Part, ...] = (),
    how: Put = PLAIN,
    figures: Figures | None = None,
) -> Generation:
    """Make the generation out of all parts; it exists when this returns. Repeating it gives the same generation.

    Raises Fenced when the job was given up, RepositoryError when blocks are missing.
    """
    lease = repository.leases.read(job.id)
    if lease.state == COMMITTED:
        return repository.read_manifest(lease.manifests[0])
    maps = MapWriter(repository, job.id, how)
    segments = _segments(repository, job, _chain(repository, job, parts), maps)
    base = identity_of(lease.pins[0]) if lease.pins else None
    counted = {name: int(value) for name, value in asdict(figures).items()} if figures is not None else {}
    generation = Generation(
        id=job.id,
        lineage=lease.lineage,
        size=lease.size,
        block_bytes=lease.block_bytes,
        taken_at=taken_at,
        created_at=repository.clock(),
        job=job.id,
        segments=segments,
        base=base,
        source=lease.source,
        figures=counted,
        storage_class=how.storage_class,
    )
    identity = repository.write_manifest(generation, Put(retain_until=how.retain_until))
    name = generation_name(repository.sealer.label(lease.lineage), identity)
    try:
        repository.leases.commit(lease, (name,))
    except Fenced:
        now = repository.leases.read(job.id)
        if now.state != COMMITTED:
            raise
        return repository.read_manifest(now.manifests[0])  # another worker of this job was first
    repository.store.delete([stat.name for stat in repository.store.list(f"{PARTS}{job.id}/")])
    return replace(generation, identity=identity)


def archive(
    repository: Repository,
    lineage: str,
    source: Source,
    taken_at: datetime,
    base: Generation | None = None,
    how: Put = PLAIN,
    tuning: Tuning | None = None,
    facts: dict[str, str] | None = None,
    progress: Progress | None = None,
    job: str | None = None,
) -> Generation:
    """All three steps in one process. Raises as they do; a source of changes whose base is gone raises too."""
    started = start_archive(repository, lineage, source, base, job, facts)
    if started.lease.state == COMMITTED:
        return repository.read_manifest(started.lease.manifests[0])
    done = archive_slice(
        repository, started, source, how=how, tuning=tuning, progress=progress, inline=True, fresh=job is None
    )
    return commit_archive(repository, started, taken_at, done.parts, how, done.figures)


def _unfit(base: Generation | None, source: Source) -> str:
    if base is None:
        return ""
    if base.size != source.size:
        return f"The volume has {source.size} bytes, the base {base.size}, so the whole volume is archived."
    if base.block_bytes != source.block_bytes:
        return "The base has blocks of another size, so the whole volume is archived."
    if base.lost:
        return "The base was repaired and has lost blocks, so the whole volume is archived."
    return ""


def _name(repository: Repository, generation: Generation) -> str:
    return generation_name(repository.sealer.label(generation.lineage), generation.identity)


def _alive(repository: Repository, name: str) -> bool:
    """Whether a pinned manifest is to stay: first the tombstone, then the manifest. The order is part of the
    protocol: a collector removes a manifest before its tombstone."""
    try:
        repository.store.stat(tomb_name(identity_of(name) or ""))
        return False
    except Missing:
        pass
    try:
        repository.store.stat(name)
    except Missing:
        return False
    return True


def _resumed(repository: Repository, job: str, start: int, stop: int) -> int:
    """Follow the parts that are in the store already."""
    at = start
    while at < stop:
        try:
            at = _part(repository, job, at).stop
        except Missing:
            break
    return at


def _part(repository: Repository, job: str, start: int) -> Part:
    name = part_name(job, start)
    return decode_part(name, repository.sealer.open(PART, name, repository.store.get(name)[0]))


def _store_part(repository: Repository, job: str, part: Part, stop: int) -> int:
    """Write a part, or follow the one that another worker wrote first; where to go on."""
    name = part_name(job, part.start)
    try:
        repository.store.create(name, repository.sealer.seal(PART, name, part.encode()))
    except Conflict:
        return _resumed(repository, job, part.start, stop)
    return part.stop


def _chain(repository: Repository, job: Job, inline: tuple[Part, ...]) -> Iterator[Part]:
    """All parts of a job in order of blocks, read one at a time. Raises RepositoryError when blocks are missing."""
    ready = {part.start: part for part in inline}
    at = 0
    while at < job.blocks:
        try:
            part = ready.pop(at) if at in ready else _part(repository, job.id, at)
        except Missing:
            raise RepositoryError(
                f"Job {job.id} has not archived the blocks from {at} on yet.", advice="Archive the slice again."
            ) from None
        yield part
        at = part.stop


def _segments(
    repository: Repository, job: Job, parts: Iterator[Part], maps: MapWriter
) -> tuple[SegmentRef | None, ...]:
    """Lay the rows of all parts over the base (or over zeros); unchanged segments are shared by reference."""
    changes = job.lease.kind == CHANGES and job.base is not None
    count = -(-job.blocks // BLOCKS)
    refs: list[SegmentRef | None] = list(job.base.segments) if changes and job.base is not None else [None] * count
    rows = _rows(parts)
    row = next(rows, None)
    for number in range(count):
        last = (number + 1) * BLOCKS
        if row is None or row[1] >= last:
            continue
        first = number * BLOCKS
        if changes and job.base is not None:
            segment = repository.segment(job.base, number)
        else:
            segment = Segment.empty(first, min(BLOCKS, job.blocks - first))
        while row is not None and row[1] < last:
            part, block, pack, frame = row
            segment.set(block, None if pack == ZERO else part.table.places[pack], frame)
            row = next(rows, None)
        if segment.is_empty():
            refs[number] = None
        else:
            maps.add(number, segment, job.base.segments[number] if job.base is not None else None)
    written = maps.finish()
    return tuple(written.get(number, ref) for number, ref in enumerate(refs))


def _rows(parts: Iterator[Part]) -> Iterator[tuple[Part, int, int, int]]:
    for part in parts:
        for offset, pack, frame in zip(part.block, part.pack, part.frame, strict=True):
            yield part, part.start + offset, pack, frame
