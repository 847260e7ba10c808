"""Verification: names every object that is not what it should be, and the blocks of each generation that it costs.

quick   leases, manifests and map segments are read and proved; every pack is there with its size
sample  the same, and a share of the packs byte by byte: shares 0..n-1 of n cover all packs, so a daily share scrubs
        everything in n days
full    the same, and every pack byte by byte

What bounds a full one (share of CPU seconds, 2026-11-23): decompression two fifths, the kernel's copies a quarter,
SHA-256 a fifth (a third where it is done one by one: 15 % more time), AES-GCM and Python a twentieth each; the store's
latency is hidden by one thread more than there are cores. Each thread reads into memory of its own that it uses again,
and opens as many frames as are hashed at once. Twice as fast again would take trust in the tag, which covers the digest
but not that the content still has it: not taken.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from queue import SimpleQueue
from threading import Lock

from workers.repository.crypt import PART, TOMB
from workers.repository.errors import Archived, Damaged, Missing, Newer, RepositoryError
from workers.repository.generations import Index, read_index
from workers.repository.manifest import Generation
from workers.repository.names import CONFIG, DATA, KEYS, MAP, MAPS, PACKS, PARTS, TOMBS, Pack, identity_of, pack_of
from workers.repository.pack import TAIL, Buffer, Footer, disproved, open_footer, open_into, open_pack
from workers.repository.pipeline import Tuning
from workers.repository.repository import Repository
from workers.repository.segment import BLOCKS, ZERO, Place
from workers.repository.store import read_into


@dataclass(frozen=True)
class Problem:
    """One object and what is wrong with it: missing, damaged, archived, newer, unexpected."""

    name: str
    kind: str
    detail: str


@dataclass
class Verified:
    """What a verification saw. `affected` maps a generation's id to (first block, blocks) that cannot be restored,
    `lost` to how many blocks an earlier repair gave up: zeros now, and no problem any more."""

    problems: list[Problem] = field(default_factory=list)
    affected: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    generations: int = 0
    packs: int = 0
    read_packs: int = 0
    read_bytes: int = 0
    archived: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def blame(self, name: str, error: RepositoryError) -> None:
        """Note what is wrong with an object."""
        kind = {Missing: "missing", Damaged: "damaged", Archived: "archived", Newer: "newer"}.get(type(error), "failed")
        detail = error.detail if isinstance(error, Damaged) else error.text
        self.problems.append(Problem(name, kind, detail))


Share = tuple[int, int]
Progress = Callable[[Verified], None]


def verify(
    repository: Repository,
    share: Share | None = None,
    full: bool = False,
    expected: Iterable[str] = (),
    generations: Iterable[str] | None = None,
    tuning: Tuning | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verify all generations, or some by id. `share` (k, n) reads the k-th of n shares of the packs, `full` all.

    `expected` are ids of generations that the caller knows to exist: one that is not there was rolled back or lost.
    Never raises for what is wrong in the repository; StoreUnavailable and AccessRefused pass through.
    """
    index = read_index(repository)
    done = Verified()
    _index_problems(index, done, set(expected))
    _small_problems(repository, done)
    wanted = set(generations) if generations is not None else None
    chosen = [g for g in index.generations if wanted is None or g.id in wanted]
    done.generations = len(chosen)
    done.lost = {g.id: sum(count for _, count in g.lost) for g in chosen if g.lost}
    sizes = {stat.name: stat.size for prefix in (PACKS, MAPS) for stat in repository.store.list(prefix)}
    for name in sizes:
        if pack_of(name) is None:
            done.problems.append(Problem(name, "unexpected", "it is no object of a repository: who writes here?"))
    walk = _Walk(repository, done, sizes)
    for generation in chosen:
        walk.map(generation)
    done.packs = len(walk.places)
    chosen_packs = [place for place in walk.places.values() if full or (share and _in_share(place.pack, share))]
    maps = list(walk.maps.values()) if full else []
    walk.read([(DATA, p) for p in chosen_packs] + [(MAP, p) for p in maps], tuning or Tuning(), progress)
    walk.affected()
    return done


def _in_share(pack: Pack, share: Share) -> bool:
    number, shares = share
    return int.from_bytes(sha256(pack.name(DATA).encode()).digest()[:4], "big") % shares == number % shares


def _index_problems(index: Index, done: Verified, expected: set[str]) -> None:
    broken = index.broken()
    for name, error in index.unreadable.items():
        if name in broken:
            done.blame(name, error)
    for name in sorted(index.lost):
        done.problems.append(Problem(name, "missing", "a committed job names this manifest"))
    built_on = {g.base for g in index.generations} | {g.replaces for g in index.generations}
    for name in sorted(index.orphans):
        lease = index.leases.get(index.jobs[name])
        if name in index.unowned:
            done.problems.append(Problem(f"leases/{index.jobs[name]}", "missing", f"{name} is there without it"))
        elif lease is not None and identity_of(name) in built_on:
            detail = f"it is {lease.state}, but a later generation builds on its manifest {name}: it was rolled back"
            done.problems.append(Problem(lease.name, "rolled-back", detail))
    there = {g.id for g in index.generations}
    for job in sorted(expected - there):
        lease = index.leases.get(job)
        kind = "missing" if lease is None or lease.state == "committed" else "rolled-back"
        state = "" if lease is None else f"; its lease is {lease.state}"
        done.problems.append(Problem(f"leases/{job}", kind, f"generation {job} is expected and does not count{state}"))


def _small_problems(repository: Repository, done: Verified) -> None:
    """The description, key slots, tombstones and parts: each is opened."""
    try:
        repository.check_description()
    except (Missing, Damaged) as error:
        done.blame(CONFIG, error)
    openers: list[tuple[str, Callable[[str], object]]] = [
        (KEYS, lambda name: repository.check_key(name.removeprefix(KEYS))),
        (TOMBS, lambda name: repository.sealer.open(TOMB, name, repository.store.get(name)[0])),
        (PARTS, lambda name: repository.sealer.open(PART, name, repository.store.get(name)[0])),
    ]
    for prefix, opener in openers:
        for stat in repository.store.list(prefix):
            try:
                opener(stat.name)
            except Missing:
                continue  # removed since it was listed
            except (Archived, Damaged, Newer) as error:
                done.blame(stat.name, error)


class _Walk:
    """Follows generations to packs, once each, and remembers what is bad."""

    def __init__(self, repository: Repository, done: Verified, sizes: dict[str, int]) -> None:
        self._repository, self._done, self._sizes = repository, done, sizes
        self.places: dict[Pack, Place] = {}
        self.maps: dict[Pack, Place] = {}
        self._generations: list[Generation] = []
        self._bad: dict[Pack, set[int]] = {}
        self._gone: set[Pack] = set()  # packs of which nothing can be read
        self._bad_maps: set[tuple[str, int]] = set()
        self._sick_maps: set[str] = set()  # with a damaged frame, needed or not
        self._unread: set[tuple[str, int]] = set()  # archived segments: nothing of them is lost
        self._segments: set[tuple[Pack, int]] = set()
        self._lock = Lock()
        self._buffers: SimpleQueue[tuple[Buffer, list[Buffer]]] = SimpleQueue()  # for a pack, and for contents of it

    def map(self, generation: Generation) -> None:
        """Prove a generation's segments and look for the packs they name."""
        self._generations.append(generation)
        for number, ref in enumerate(generation.segments):
            if ref is None or (ref.place.pack, ref.offset) in self._segments:
                continue
            self._segments.add((ref.place.pack, ref.offset))
            name = ref.place.pack.name(MAP)
            if ref.place.pack not in self.maps:
                self.maps[ref.place.pack] = ref.place
                self._footer(name, ref.place)
            try:
                segment = self._repository.segment(generation, number)
            except (Archived, Damaged, Missing, Newer) as error:
                (self._unread if isinstance(error, Archived) else self._bad_maps).add((name, ref.offset))
                self._blame_once(name, error)
                continue
            for place in segment.table.places:
                self._pack(place)

    def read(self, places: list[tuple[int, Place]], tuning: Tuning, progress: Progress | None) -> None:
        """Read packs byte by byte; one more at a time than there are cores, to hide the store's latency."""
        whole = [(kind, place) for kind, place in places if place.pack not in self._gone]
        for _ in range(tuning.threads + 1):
            self._buffers.put((Buffer(), [Buffer() for _ in range(tuning.at_once)]))
        with ThreadPoolExecutor(tuning.threads + 1) as pool:
            for _ in pool.map(self._whole, whole):
                if progress is not None:
                    progress(self._done)

    def affected(self) -> None:
        """Translate bad packs, frames and segments into blocks of generations."""
        if not (self._bad or self._gone or self._bad_maps or self._sick_maps):
            return
        needed: set[str] = set()
        for generation in self._generations:
            lost: list[int] = []
            for number, ref in enumerate(generation.segments):
                if ref is None or (ref.place.pack.name(MAP), ref.offset) in self._unread:
                    continue
                first = number * BLOCKS
                if (ref.place.pack.name(MAP), ref.offset) in self._bad_maps:
                    lost.extend(range(first, min(first + BLOCKS, generation.blocks)))
                    continue
                segment = self._repository.segment(generation, number)
                for offset, entry in enumerate(segment.pack):
                    if entry != ZERO and self._is_bad(segment.table.places[entry].pack, segment.frame[offset]):
                        lost.append(first + offset)
                        needed.add(segment.table.places[entry].pack.name(DATA))
            if lost:
                self._done.affected[generation.id] = spans(lost)
        if self._done.lost:  # damaged frames that nothing needs are those that a repair gave up
            given_up = {pack.name(DATA) for pack in self._bad.keys() - self._gone} - needed
            given_up |= self._sick_maps - {name for name, _ in self._bad_maps}
            self._done.problems = [one for one in self._done.problems if one.name not in given_up]

    def _is_bad(self, pack: Pack, frame: int) -> bool:
        return pack in self._gone or frame in self._bad.get(pack, ())

    def _footer(self, name: str, place: Place) -> None:
        if self._sizes.get(name) != place.size:
            self._blame_once(
                name, Damaged(name, f"it has {self._sizes.get(name, 0)} bytes and should have {place.size}")
            )
            return
        length = place.footer + TAIL.size
        try:
            open_footer(
                self._repository.sealer,
                name,
                self._repository.store.read(name, place.size - length, length),
                place.footer,
            )
        except (Archived, Damaged, Missing, Newer) as error:
            self._blame_once(name, error)

    def _pack(self, place: Place) -> None:
        if place.pack in self.places:
            return
        self.places[place.pack] = place
        name = place.pack.name(DATA)
        size = self._sizes.get(name)
        if size is None:
            self._gone.add(place.pack)
            self._done.blame(name, Missing(f"{name} is not there."))
        elif size != place.size:
            self._gone.add(place.pack)
            self._done.blame(name, Damaged(name, f"it has {size} bytes and should have {place.size}"))

    def _whole(self, what: tuple[int, Place]) -> None:
        buffers = self._buffers.get()
        try:
            self._prove(*what, *buffers)
        finally:
            self._buffers.put(buffers)

    def _prove(self, kind: int, place: Place, pack: Buffer, some: list[Buffer]) -> None:
        done = self._done
        name = place.pack.name(kind)
        try:
            content = read_into(self._repository.store, name, 0, pack.view(place.size))
            footer = open_pack(self._repository.sealer, name, kind, content)
        except Archived:
            done.archived += 1
            return
        except (Damaged, Missing, Newer) as error:
            if kind == DATA:
                self._gone.add(place.pack)
            self._blame_once(name, error)
            return
        for first in range(0, len(footer), len(some)):
            self._prove_frames(kind, place, content, footer, range(first, min(first + len(some), len(footer))), some)
        with self._lock:
            done.read_packs += kind == DATA
            done.read_bytes += place.size

    def _prove_frames(
        self, kind: int, place: Place, content: memoryview, footer: Footer, frames: range, buffers: list[Buffer]
    ) -> None:
        """Open some frames of a pack, one in each buffer, and prove them."""
        name, sealer = place.pack.name(kind), self._repository.sealer
        opened: dict[int, memoryview] = {}
        wrong: dict[int, RepositoryError] = {}
        for frame, buffer in zip(frames, buffers, strict=False):
            sealed = content[footer.offsets[frame] :][: footer.lengths[frame]]
            try:
                opened[frame] = open_into(sealer, name, kind, sealed, footer.sizes[frame], footer.hash(frame), buffer)
            except (Damaged, Newer) as error:
                wrong[frame] = error
        numbers = list(opened)
        found = disproved(name, list(opened.values()), [footer.hash(frame) for frame in numbers])
        wrong |= {numbers[at]: error for at, error in found.items()}
        for frame in sorted(wrong):
            if kind == DATA:
                self._bad.setdefault(place.pack, set()).add(frame)
            else:
                self._sick_maps.add(name)
            self._blame_once(name, wrong[frame])

    def _blame_once(self, name: str, error: RepositoryError) -> None:
        if not any(problem.name == name for problem in self._done.problems):
            self._done.blame(name, error)


def spans(blocks: list[int]) -> list[tuple[int, int]]:
    """Rising block numbers as (first, count)."""
    found: list[tuple[int, int]] = []
    for block in blocks:
        if found and sum(found[-1]) == block:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((block, 1))
    return found
