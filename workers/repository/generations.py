"""Which generations a repository holds: the rebuild of an index from the store alone.

A manifest counts when its job's lease is committed and names it, and no tombstone hides it. Where compaction or
repair wrote a manifest anew, the newest stands for the generation.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from workers.repository.errors import Archived, Damaged, Missing, Newer, RepositoryError
from workers.repository.lease import COMMITTED, OPEN, Lease
from workers.repository.manifest import Generation
from workers.repository.names import GENERATIONS, LEASES, TOMBS, generation_name, identity_of, lease_name, tomb_name
from workers.repository.repository import Repository

# Manifests and leases are small: latency is all, and 32 requests at a time hide it.
_TOGETHER = 32


@dataclass
class Index:
    """What a repository holds.

    `hidden` are manifests with a tombstone, by name; `orphans` names of manifests that no committed lease names, and
    `unowned` those of them whose job has no lease at all; `jobs` whose each manifest is; `unreadable` maps an object
    to what is wrong with it; `lost` names manifests that a committed lease names and that are neither there nor
    tombstoned.
    """

    generations: list[Generation] = field(default_factory=list)
    superseded: list[Generation] = field(default_factory=list)
    hidden: dict[str, Generation] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    tombs: set[str] = field(default_factory=set)
    orphans: set[str] = field(default_factory=set)
    unowned: set[str] = field(default_factory=set)
    jobs: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    unreadable: dict[str, RepositoryError] = field(default_factory=dict)

    def broken(self) -> set[str]:
        """What is damaged, lost or without its lease, and may be needed; what a tombstone hides is not."""
        unreadable = {name for name in self.unreadable if identity_of(name) not in self.tombs}
        return unreadable | self.lost | self.unowned

    def doubtful(self, label: str) -> set[str]:
        """Manifests of a lineage, by its label, that may be generations and do not count: its newest may be one."""
        unsure = {name for name, job in self.jobs.items() if lease_name(job) in self.unreadable}
        return {name for name in self.broken() | unsure if name.startswith(f"{GENERATIONS}{label}/")}

    def open_jobs(self) -> list[Lease]:
        """Jobs that are under way, or died without a word."""
        return [lease for lease in self.leases.values() if lease.state == OPEN]

    def of(self, generation: str) -> Generation:
        """By id (a unique beginning is enough) or identity. Raises Missing."""
        found = [g for g in self.generations if g.id.startswith(generation) or g.identity == generation]
        if len(found) == 1:
            return found[0]
        text = (
            f"{len(found)} generations are called {generation}." if found else f"No generation is called {generation}."
        )
        if not found and self.broken():
            text += f" It may be one that cannot be read: {min(self.broken())}."
        raise Missing(text, advice="List the generations.")


def read_index(repository: Repository, lineage: str | None = None, seen: Index | None = None) -> Index:
    """Read every manifest (of one lineage, or all), lease and tombstone. Generations come in order of their time.

    Objects that cannot be read are in `unreadable`; the others are still found. Costs one request for each manifest
    and lease. `seen` holds leases that were read before; only those are read again whose manifests they do not explain.
    """
    index = seen or Index()
    index.tombs = {stat.name.removeprefix(TOMBS) for stat in repository.store.list(TOMBS)}
    prefix = GENERATIONS + (f"{repository.sealer.label(lineage)}/" if lineage is not None else "")
    manifests = _manifests(repository, index, prefix)
    if seen is None:
        read_leases(repository, index, {g.job for g in manifests.values()} if lineage is not None else None)
    else:  # a job may have begun or committed since its lease was read: what it made counts now
        read_leases(repository, index, {g.job for name, g in manifests.items() if not _counts(index, name, g)})
    listed = set(manifests) | set(index.unreadable)
    late = {name for lease in index.leases.values() if lease.state == COMMITTED for name in lease.manifests} - listed
    manifests.update(each(sorted(late), repository.read_manifest, index))  # committed since the listing
    known = set(manifests) | set(index.unreadable)
    index.lost = {name for name in late - known if _is_lost(repository, index, name)}
    found: list[Generation] = []
    index.jobs = {name: generation.job for name, generation in manifests.items()}
    for name, generation in manifests.items():
        if generation.identity in index.tombs:
            index.hidden[name] = generation
        elif _counts(index, name, generation):
            found.append(generation)
        elif f"leases/{generation.job}" not in index.unreadable:
            index.orphans.add(name)
            # in this order: a collector removes a manifest before its lease
            gone = generation.job not in index.leases and _is_missing(repository, lease_name(generation.job))
            if gone and not _is_missing(repository, name):
                index.unowned.add(name)
    _sort(index, found)
    return index


def _manifests(repository: Repository, index: Index, prefix: str) -> dict[str, Generation]:
    """Every manifest of one moment by name. One that a collector removes between listing and reading may have a
    successor that the listing did not show, so the listing is taken again until all of it could be read."""
    read: dict[str, Generation] = {}
    while True:
        names = [stat.name for stat in repository.store.list(prefix)]
        read.update(each([name for name in names if name not in read], repository.read_manifest, index))
        if all(name in read or name in index.unreadable for name in names):
            return {name: read[name] for name in names if name in read}


def _counts(index: Index, name: str, generation: Generation) -> bool:
    lease = index.leases.get(generation.job)
    return lease is not None and lease.state == COMMITTED and name in lease.manifests


def _is_lost(repository: Repository, index: Index, name: str) -> bool:
    """Whether a manifest that a committed lease names is gone for no reason; a collector that was quicker than our
    listings is one."""
    identity = identity_of(name) or ""
    if identity in index.tombs or not _is_missing(repository, tomb_name(identity)):
        return False
    owners = [job for job, lease in index.leases.items() if name in lease.manifests]
    return any(not _is_missing(repository, lease_name(job)) for job in owners)


def _is_missing(repository: Repository, name: str) -> bool:
    try:
        repository.leases.read(name.removeprefix(LEASES)) if name.startswith(LEASES) else repository.store.stat(name)
    except Missing:
        return True
    except (Archived, Damaged, Newer):
        return False
    return False


def read_leases(repository: Repository, index: Index, jobs: set[str] | None = None) -> None:
    """Read the leases of some jobs, or of all, into an index."""
    wanted = repository.leases.jobs() if jobs is None else sorted(jobs)
    index.leases.update({lease.job: lease for _, lease in each(wanted, repository.leases.read, index)})


def manifest_name(repository: Repository, generation: Generation) -> str:
    """Where a generation's manifest lies."""
    return generation_name(repository.sealer.label(generation.lineage), generation.identity)


def _sort(index: Index, found: list[Generation]) -> None:
    newest: dict[str, Generation] = {}
    for generation in sorted(found, key=lambda g: (g.created_at, g.identity)):
        older = newest.get(generation.id)
        if older is not None:
            index.superseded.append(older)
        newest[generation.id] = generation
    index.generations = sorted(newest.values(), key=lambda g: (g.taken_at, g.id))


T = TypeVar("T")


def each(names: Iterable[str], read: Callable[[str], T], index: Index) -> list[tuple[str, T]]:
    """Read many small objects at once; what is gone is left out, what cannot be read is noted in the index."""

    def one(name: str) -> tuple[str, T | None]:
        try:
            return name, read(name)
        except Missing:
            return name, None  # removed by a collector since it was listed
        except (Archived, Damaged, Newer) as error:
            index.unreadable[name if "/" in name else f"leases/{name}"] = error
            return name, None

    with ThreadPoolExecutor(_TOGETHER) as pool:
        return [(name, value) for name, value in pool.map(one, names) if value is not None]
