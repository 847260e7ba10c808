"""Compaction: move what is alive out of packs that are mostly dead, where that pays.

Frames are moved as they are, without compressing or encrypting anew. It is a job like any other: it pins the
manifests it replaces, and its commit swaps them all at once. Packs that more than one lineage uses, and packs in
cold classes, stay as they are: moving them would cost more than it frees. So do locked ones, each until its own lock
ends: before, what was moved out of them would only lie there twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from workers.repository.archive import new_job_id
from workers.repository.errors import Damaged
from workers.repository.generations import manifest_name
from workers.repository.lease import OPEN, Lease
from workers.repository.liveness import Margins, survey
from workers.repository.locks import locks_of
from workers.repository.manifest import Generation, SegmentRef
from workers.repository.mapwriter import MapWriter
from workers.repository.names import DATA, Pack, generation_name
from workers.repository.pack import PACK_BYTES, PackWriter, open_frame
from workers.repository.prune import MINIMUM_DAYS, hide
from workers.repository.repository import Repository
from workers.repository.restore import FOOTER_ROW, pieces
from workers.repository.segment import ZERO, Place, Segment
from workers.repository.store import PLAIN, Put

# Simulated for 60 days of 2 % changes, 7 kept (2026-11): rewriting below half costs 0.6 bytes a byte uploaded and
# leaves 22 to 34 % dead; three quarters costs 2 bytes and gains little more; never rewriting leaves 90 %.
THRESHOLD = 0.5
# A tiny pack's rewriting costs more requests than its bytes cost in years of storage.
LEAST = 1 << 20


@dataclass(frozen=True)
class CompactPlan:
    """Packs to rewrite by lineage, with frames in use as bits; bytes read, and bytes that become free after grace.

    `locked` are sparse packs that stay, by name, with the end of their lock; `held` the bytes in them nobody needs.
    """

    packs: dict[str, dict[Place, int]]
    moved: int
    freed: int
    locked: dict[str, datetime] = field(default_factory=dict)
    held: int = 0


@dataclass
class CompactReport:
    """What was done: generations with a new manifest, bytes moved."""

    generations: list[Generation] = field(default_factory=list)
    moved: int = 0


def plan_compaction(repository: Repository, threshold: float = THRESHOLD, least: int = LEAST) -> CompactPlan:
    """Which packs have less than `threshold` of their bytes in use, and at least `least` bytes to win. Reads one
    footer for each candidate, and its lock where the store has locks; raises AccessRefused where that may not be read.
    """
    found = survey(repository, Margins(), set(), rehearse=True)
    sparse: dict[Place, int] = {}
    for pack, bits in found.live.frames.items():
        place = found.live.places[pack]
        stat = found.objects.get(pack.name(DATA))
        if stat is None or stat.storage_class in MINIMUM_DAYS or len(found.live.lineages[pack]) > 1:
            continue
        if bits.bit_count() * FOOTER_ROW > 1.5 * threshold * place.footer:
            continue  # far above the threshold, whatever its frames' sizes: not worth a request
        live = _live(repository, place, bits)
        if live < threshold * place.size and place.size - live >= least:
            sparse[place] = live
    locked = locks_of(repository.store, [place.pack.name(DATA) for place in sparse], found.at) if sparse else {}
    free = {place: live for place, live in sparse.items() if place.pack.name(DATA) not in locked}
    by_lineage: dict[str, dict[Place, int]] = {}
    for place in free:
        by_lineage.setdefault(min(found.live.lineages[place.pack]), {})[place] = found.live.frames[place.pack]
    freed = sum(place.size - live for place, live in free.items())
    held = sum(place.size - live for place, live in sparse.items()) - freed
    return CompactPlan(by_lineage, sum(free.values()), freed, locked, held)


def _live(repository: Repository, place: Place, bits: int) -> int:
    """Bytes of a pack's frames that are in use."""
    lengths = repository.footer(place).lengths
    return sum(length for frame, length in enumerate(lengths) if bits >> frame & 1)


def compact(
    repository: Repository, plan: CompactPlan, generations: Iterable[Generation], how: Put = PLAIN
) -> CompactReport:
    """Carry out a plan for the given generations (all that the repository holds). The old packs go with a later
    pruning. What is written is locked as `how` says. Raises Fenced, Damaged, Missing."""
    repository.assert_writable()
    report = CompactReport()
    for lineage, packs in plan.packs.items():
        mine = [g for g in generations if g.lineage == lineage]
        _Compaction(repository, mine, packs, report, how).run()
    return report


class _Compaction:
    """One lineage's compaction job."""

    def __init__(
        self,
        repository: Repository,
        generations: list[Generation],
        packs: dict[Place, int],
        report: CompactReport,
        how: Put,
    ) -> None:
        self._repository, self._packs, self._report = repository, packs, report
        self._how = Put(retain_until=how.retain_until)  # cold packs are not moved, so none is made
        self._generations = generations
        self._job = new_job_id()
        self._maps = MapWriter(repository, self._job, self._how)
        self._moved: dict[tuple[Pack, int], tuple[Place, int]] = {}
        self._known: dict[SegmentRef, int] = {}

    def run(self) -> None:
        """Lease, look, move, write, commit, hide: in this order."""
        repository, now = self._repository, self._repository.clock()
        names = tuple(manifest_name(repository, g) for g in self._generations)
        lease = Lease(self._job, "compact", self._generations[0].lineage, OPEN, now, now, names)
        lease = repository.leases.open(lease)
        tombs = {stat.name.removeprefix("tombs/") for stat in repository.store.list("tombs/")}
        alive = [g for g in self._generations if g.identity not in tombs]
        for generation in alive:
            repository.read_manifest(manifest_name(repository, generation))
        self._move()
        rewritten = self._rewrite(alive)
        written = []
        for old, segments in rewritten:
            new = replace(
                old,
                job=self._job,
                segments=segments,
                replaces=old.identity,
                created_at=max(now, old.created_at + timedelta(seconds=1)),
            )
            identity = repository.write_manifest(new, self._how)
            written.append(replace(new, identity=identity))
        lease = repository.leases.renew(lease)
        labels = [repository.sealer.label(g.lineage) for g in written]
        new_names = tuple(generation_name(label, g.identity) for label, g in zip(labels, written, strict=True))
        repository.leases.commit(lease, new_names)
        for old, _ in rewritten:
            hide(repository, manifest_name(repository, old), "compacted")
        self._report.generations.extend(written)

    def _move(self) -> None:
        """Copy frames in use into new packs, each checked against its tag first."""
        repository = self._repository
        writer: PackWriter | None = None
        waiting: list[tuple[Pack, int, int]] = []
        number = 0
        for place, bits in self._packs.items():
            rows = [(frame, frame) for frame in range(bits.bit_length()) if bits >> frame & 1]
            name = place.pack.name(DATA)
            for piece in pieces(repository, place, rows):
                for frame, _ in piece.rows:
                    if writer is None:
                        pack = Pack(self._job, place.pack.run, number)
                        writer = PackWriter(repository.sealer, pack, DATA, bytearray())
                        number += 1
                    start = piece.footer.offsets[frame] - piece.start
                    sealed = piece.content[start : start + piece.footer.lengths[frame]]
                    size, digest = piece.footer.sizes[frame], piece.footer.hash(frame)
                    open_frame(repository.sealer, name, DATA, sealed, size, digest)
                    waiting.append((place.pack, frame, writer.move(sealed, size, digest)))
                    self._report.moved += len(sealed)
                    if writer.size >= PACK_BYTES:
                        self._put(writer, waiting)
                        writer, waiting = None, []
        if writer is not None:
            self._put(writer, waiting)

    def _put(self, writer: PackWriter, waiting: list[tuple[Pack, int, int]]) -> None:
        buffer, footer = writer.finish()
        self._repository.store.put(writer.pack.name(DATA), buffer, self._how)
        place = Place(writer.pack, len(buffer), footer)
        for pack, old, new in waiting:
            self._moved[pack, old] = (place, new)

    def _rewrite(self, generations: list[Generation]) -> list[tuple[Generation, tuple[SegmentRef | None, ...]]]:
        """New segment tables for the generations that used what was moved; equal segments are written once."""
        changed: list[tuple[Generation, list[SegmentRef | int | None]]] = []
        for generation in generations:
            row: list[SegmentRef | int | None] = []
            for ref in generation.segments:
                number = self._segment(ref) if ref is not None else None
                row.append(ref if number is None else number)
            if any(isinstance(item, int) for item in row):
                changed.append((generation, row))
        refs = self._maps.finish()
        return [
            (generation, tuple(refs[item] if isinstance(item, int) else item for item in row))
            for generation, row in changed
        ]

    def _segment(self, ref: SegmentRef) -> int | None:
        """The number under which a segment is written anew; None when nothing in it has moved."""
        if ref in self._known:
            return self._known[ref]
        segment = self._repository.stored_segment(ref)
        sparse = {place.pack for place in self._packs}
        if not any(place.pack in sparse for place in segment.table.places):
            return None
        moved = self._relocated(segment)
        number = self._known[ref] = len(self._known)
        self._maps.add(number, moved)
        return number

    def _relocated(self, segment: Segment) -> Segment:
        places = list(segment.table.places)
        sparse = {place.pack for place in self._packs}
        for offset, number in enumerate(segment.pack):
            if number != ZERO and places[number].pack in sparse:
                key = (places[number].pack, segment.frame[offset])
                if key not in self._moved:
                    raise Damaged(key[0].name(DATA), "a frame in use was not moved")
                segment.set(segment.first + offset, *self._moved[key])
        return segment
