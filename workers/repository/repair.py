"""Repair: save what is sound, list what is lost, and never pretend.

A generation with damage gets a new manifest in which the lost blocks are zeros and are listed; a lease that is
missing or unreadable beside a whole manifest is written anew, and so is repository.json; a manifest that is lost is
hidden, so that pruning works again. Nothing is deleted here.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from workers.repository.archive import new_job_id
from workers.repository.errors import Archived, Newer
from workers.repository.generations import Index, manifest_name, read_index
from workers.repository.lease import COMMITTED, OPEN, REVOKED, Lease
from workers.repository.manifest import Generation, SegmentRef
from workers.repository.mapwriter import MapWriter
from workers.repository.names import generation_name
from workers.repository.prune import hide
from workers.repository.repository import Repository
from workers.repository.segment import BLOCKS, Segment
from workers.repository.verify import Verified, spans


@dataclass
class Repaired:
    """What was done: whether repository.json was written anew; generations with their lost spans of (first block,
    blocks); leases written anew; manifests given up for lost."""

    described: bool = False

    lost: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    leases: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


def repair(repository: Repository, found: Verified) -> Repaired:
    """Act on what a verification found (best a full one). Raises Newer, Archived, Fenced, StoreUnavailable."""
    repository.assert_writable()
    done = Repaired(repository.put_back_description())
    index = read_index(repository)
    _all_known(index, found)
    _leases(repository, index, done)
    for name in sorted(index.lost):
        hide(repository, name, "lost")
        done.given_up.append(name)
    for name in _needed(index):
        if name.startswith("generations/"):
            hide(repository, name, "damaged")
            done.given_up.append(name)
    for generation in read_index(repository).generations:
        blocks = found.affected.get(generation.id)
        if blocks:
            _salvage(repository, generation, blocks)
            done.lost[generation.id] = blocks
    return done


def _needed(index: Index) -> list[str]:
    """What cannot be read and was not given up before."""
    return sorted(index.broken() & index.unreadable.keys())


def _all_known(index: Index, found: Verified) -> None:
    """Raises Newer, Archived: what a later release wrote, or somebody archived, must not be given up as damaged."""
    kinds = {problem.name: problem.kind for problem in found.problems}
    newer = {name for name, kind in kinds.items() if kind == "newer"}
    newer |= {name for name in _needed(index) if isinstance(index.unreadable[name], Newer)}
    archived = {name for name, kind in kinds.items() if kind == "archived"}
    archived |= {name for name in _needed(index) if isinstance(index.unreadable[name], Archived)}
    if archived:
        text = f"{len(archived)} objects are archived, the first is {min(archived)}; nothing was given up."
        raise Archived(text, advice="Have the store retrieve them, and repair when they can be read.")
    if newer:
        text = f"{len(newer)} objects have a newer version, the first is {min(newer)}; nothing was given up."
        advice = "Repair with a release that knows it. If there is none, that object is damaged: delete it first."
        raise Newer(text, advice=advice)


def _leases(repository: Repository, index: Index, done: Repaired) -> None:
    """A whole manifest whose lease is gone or unreadable counts again; a job that made nothing is given up: with a
    lease that nobody can read it would keep every collector away."""
    broken = {name.removeprefix("leases/") for name in index.unreadable if name.startswith("leases/")}
    missing = {index.jobs[name] for name in index.unowned}
    for job in sorted(broken | missing):
        names = tuple(sorted(name for name, owner in index.jobs.items() if owner == job))
        now = repository.clock()
        lineage = repository.read_manifest(names[0]).lineage if names else ""
        repository.leases.forget([job])
        state = COMMITTED if names else REVOKED
        repository.leases.open(Lease(job, "repair", lineage, state, now, now, (), names))
        done.leases.append(job)


def _salvage(repository: Repository, generation: Generation, lost: list[tuple[int, int]]) -> Generation:
    """Write a manifest without the lost blocks, in a job of its own."""
    now = repository.clock()
    old = manifest_name(repository, generation)
    lease = repository.leases.open(Lease(new_job_id(), "repair", generation.lineage, OPEN, now, now, (old,)))
    maps = MapWriter(repository, lease.job)
    gone = [block for first, count in lost for block in range(first, first + count)]
    refs: list[SegmentRef | None] = list(generation.segments)
    for number in sorted({block // BLOCKS for block in gone}):
        mine = [block for block in gone if block // BLOCKS == number]
        length = min(BLOCKS, generation.blocks - number * BLOCKS)
        if len(mine) == length:
            refs[number] = None
            continue
        segment: Segment = repository.segment(generation, number)
        for block in mine:
            segment.set(block, None, 0)
        refs[number] = None
        if not segment.is_empty():
            maps.add(number, segment)
    written = maps.finish()
    all_lost = sorted({*gone, *(b for first, count in generation.lost for b in range(first, first + count))})
    new = replace(
        generation,
        job=lease.job,
        segments=tuple(written.get(number, ref) for number, ref in enumerate(refs)),
        replaces=generation.identity,
        created_at=max(now, generation.created_at + timedelta(seconds=1)),
        lost=tuple(spans(all_lost)),
    )
    identity = repository.write_manifest(new)
    repository.leases.commit(lease, (generation_name(repository.sealer.label(new.lineage), identity),))
    hide(repository, old, "repaired")
    return replace(new, identity=identity)
