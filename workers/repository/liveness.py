"""What in a store is alive: the walk from leases and manifests to packs that pruning and verification share.

The order is the protocol's (FORMAT.md section 9): packs are listed first, leases looked at afterwards, manifests
last. Each of the three is needed; tests/workers/repository/test_protocol_search.py shows what happens without it.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from workers.repository.errors import Conflict, Missing
from workers.repository.generations import Index, manifest_name, read_index, read_leases
from workers.repository.lease import COMMITTED, OPEN, REVOKED, Lease
from workers.repository.manifest import Generation, SegmentRef
from workers.repository.names import GENERATIONS, MAPS, PACKS, PARTS, TOMBS, Pack
from workers.repository.repository import Repository
from workers.repository.segment import ZERO, Place
from workers.repository.store import Stat


@dataclass(frozen=True)
class Margins:
    """Times that decide when, never whether it is safe. `grace`: how long what is dead stays (a day, as a second
    line of defence); `silence`: after how long without a word an open job is given up."""

    grace: timedelta = timedelta(hours=24)
    silence: timedelta = timedelta(hours=24)


@dataclass
class Live:
    """Packs in use with a bit for each frame in use, and the places of data packs and map packs."""

    frames: dict[Pack, int] = field(default_factory=dict)
    places: dict[Pack, Place] = field(default_factory=dict)
    maps: dict[Pack, Place] = field(default_factory=dict)
    lineages: dict[Pack, set[str]] = field(default_factory=dict)
    _seen: dict[tuple[Pack, int], tuple[Pack, ...]] = field(default_factory=dict)

    def add(self, repository: Repository, generation: Generation) -> None:
        """Count everything a generation refers to. Raises Damaged, Missing."""
        for ref in generation.segments:
            if ref is not None:
                self.maps[ref.place.pack] = ref.place
                for pack in self._segment(repository, ref):
                    self.lineages.setdefault(pack, set()).add(generation.lineage)

    def _segment(self, repository: Repository, ref: SegmentRef) -> tuple[Pack, ...]:
        key = (ref.place.pack, ref.offset)
        if key not in self._seen:
            segment = repository.stored_segment(ref)
            used = [0] * len(segment.table.places)
            for number, frame in zip(segment.pack, segment.frame, strict=True):
                if number != ZERO:
                    used[number] |= 1 << frame
            for place, bits in zip(segment.table.places, used, strict=True):
                self.frames[place.pack] = self.frames.get(place.pack, 0) | bits
                self.places[place.pack] = place
            self._seen[key] = tuple(place.pack for place in segment.table.places)
        return self._seen[key]


@dataclass
class Survey:
    """One look at a repository: all objects by name, its index, which jobs are respected, what is alive.

    `tombed` is when each tombstone was written; `revoke` the jobs that were, or in a rehearsal would be, given up.
    """

    at: datetime
    objects: dict[str, Stat]
    index: Index
    tombed: dict[str, datetime]
    respected: dict[str, Lease]
    revoke: list[Lease]
    live: Live


def survey(repository: Repository, margins: Margins, expire: set[str], rehearse: bool) -> Survey:
    """List, look at leases, then follow manifests. Changes nothing in a rehearsal, else revokes silent jobs.

    `expire` holds identities to be treated as tombstoned now. Raises what reading raises: an unreadable map of a
    live generation stops the walk, as nobody can tell what it needs.
    """
    now = repository.clock()
    # tombstones first: whatever has one was complete before, so that the listings that follow show all of it
    tombed = {stat.name.removeprefix(TOMBS): stat.modified_at for stat in repository.store.list(TOMBS)}
    objects = {}
    for prefix in (PACKS, MAPS, PARTS, GENERATIONS):
        objects.update({stat.name: stat for stat in repository.store.list(prefix)})
    seen = Index()
    read_leases(repository, seen)
    respected, revoke = _judge(repository, seen, margins, rehearse)
    index = read_index(repository, seen=seen)
    for identity in expire:
        tombed.setdefault(identity, now)
    pinned = {name for lease in respected.values() for name in lease.pins}
    live = Live()
    for generation in [*index.generations, *index.superseded, *index.hidden.values()]:
        name = manifest_name(repository, generation)
        since = tombed.get(generation.identity)
        if since is None or now - since < margins.grace or name in pinned:
            live.add(repository, generation)
    return Survey(now, objects, index, tombed, respected, revoke, live)


def _judge(
    repository: Repository, index: Index, margins: Margins, rehearse: bool
) -> tuple[dict[str, Lease], list[Lease]]:
    """Respect each open lease, or give it up when it was silent for too long."""
    now = repository.clock()
    respected, revoke = {}, []
    for lease in list(index.leases.values()):
        if lease.state == OPEN and now - lease.changed_at >= margins.silence:
            try:
                gone = lease if rehearse else repository.leases.revoke(lease)
            except (Conflict, Missing):
                respected[lease.job] = lease  # it has just changed: somebody is alive
                continue
            revoke.append(gone)
            index.leases[lease.job] = gone
            if margins.grace:
                respected[lease.job] = gone
        elif lease.state == OPEN or (lease.state == REVOKED and now - lease.changed_at < margins.grace):
            respected[lease.job] = lease
    return respected, revoke


def is_final(survey: Survey, job: str) -> bool:
    """Whether nothing of a job can come to count any more: committed, given up, or never known."""
    return job not in survey.respected


def committed_names(survey: Survey) -> set[str]:
    """Manifests that some committed lease names."""
    leases = survey.index.leases.values()
    return {name for lease in leases if lease.state == COMMITTED for name in lease.manifests}


def in_use(survey: Survey, name: str, pack: Pack) -> bool:
    """Whether a listed pack is referred to by something alive."""
    return pack in (survey.live.maps if name.startswith(MAPS) else survey.live.frames)
