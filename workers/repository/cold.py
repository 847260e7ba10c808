"""Where packs lie and how long they must stay: storage classes, locks, and what they cost. Plans first, then calls.

Only data packs move to a cold class: manifests, maps and leases stay where every later step can read them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workers.repository.errors import Archived, Missing, Unsuitable
from workers.repository.generations import manifest_name
from workers.repository.liveness import Live
from workers.repository.manifest import Generation
from workers.repository.names import DATA, MAP, PACKS
from workers.repository.pack import PACK_BYTES
from workers.repository.repository import Repository


@dataclass(frozen=True)
class MovePlan:
    """Packs that only the given generations use, by name with their bytes; `shared` bytes that others use too."""

    storage_class: str
    packs: dict[str, int]
    shared: int

    @property
    def size(self) -> int:
        """Bytes to move."""
        return sum(self.packs.values())


def plan_move(
    repository: Repository, generations: Iterable[Generation], every: Iterable[Generation], storage_class: str
) -> MovePlan:
    """What moving `generations` to a class would touch; `every` are all that the repository holds.

    Packs that another generation uses stay: it may be restored soon, or be compacted. Raises Unsuitable for a class
    the store does not have.
    """
    if storage_class not in repository.store.features().storage_classes:
        raise Unsuitable(f"{repository.store.url} has no storage class {storage_class!r}.")
    chosen = list(generations)
    ids = {g.identity for g in chosen}
    mine, others = Live(), Live()
    for generation in chosen:
        mine.add(repository, generation)
    for generation in every:
        if generation.identity not in ids:
            others.add(repository, generation)
    alone = {pack.name(DATA): place.size for pack, place in mine.places.items() if pack not in others.frames}
    return MovePlan(storage_class, alone, sum(p.size for p in mine.places.values()) - sum(alone.values()))


def execute_move(repository: Repository, plan: MovePlan) -> dict[str, str]:
    """Move the packs of a plan; what stayed, with the reason. May be repeated."""
    kept = {}
    for name in plan.packs:
        try:
            if repository.store.stat(name).storage_class != plan.storage_class:
                repository.store.reclass(name, plan.storage_class)
        except (Archived, Missing) as error:
            kept[name] = error.text
    return kept


def extend_locks(repository: Repository, generations: Iterable[Generation], until: datetime) -> int:
    """Let nobody delete what these generations need before `until`: packs, maps and manifests; how many objects.

    Called whenever retention wants a generation longer than its objects are locked. Leases and tombstones are never
    locked. Raises Unsuitable where the store has no locks.
    """
    chosen = list(generations)
    live = Live()
    for generation in chosen:
        live.add(repository, generation)
    names = [pack.name(DATA) for pack in live.places] + [pack.name(MAP) for pack in live.maps]
    names += [manifest_name(repository, generation) for generation in chosen]
    for name in names:
        repository.store.extend_lock(name, until)
    return len(names)


@dataclass(frozen=True)
class Prices:
    """US dollars: requests by the thousand, bytes by the GiB and month, EBS blocks by the thousand."""

    put: dict[str, float]
    get: dict[str, float]
    month: dict[str, float]
    retrieval: dict[str, float]
    ebs_get: float
    ebs_put: float
    ebs_list: float

    @classmethod
    def load(cls, path: Path | None = None) -> "Prices":
        """From a file; the one beside this module when None. Raises OSError, ValueError."""
        facts = json.loads((path or Path(__file__).with_name("prices.json")).read_text())
        try:
            return cls(**{name: facts[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the price file lacks {error}") from None


def early_deletion_cost(
    repository: Repository, sizes: Mapping[str, int], days: Mapping[str, int], prices: Prices | None = None
) -> float:
    """US dollars that S3 bills for objects of `sizes` bytes which go `days` before their minimum is over: as much as
    keeping them so long."""
    prices = prices or Prices.load()
    classes = {one.name: one.storage_class for one in repository.store.list(PACKS) if one.name in sizes}
    month = sum(
        size / 2**30 * prices.month.get(classes.get(name, ""), 0.0) * days[name] / 30 for name, size in sizes.items()
    )
    return round(month, 4)


@dataclass(frozen=True)
class Estimate:
    """What an archive or a restore would need: requests, bytes, dollars."""

    ebs_blocks: int
    ebs_lists: int
    requests: int
    stored_bytes: int
    dollars_once: float
    dollars_a_month: float


# Share of a block that remains after zstd level 1 on system disks (measured 2026-11: 0.42 to 0.56), for estimates.
RATIO = 0.5


def estimate_archive(
    blocks: int, block_bytes: int, prices: Prices, storage_class: str = "", ratio: float = RATIO
) -> Estimate:
    """What archiving so many written (or changed) blocks costs, before it is done."""
    name = storage_class or "STANDARD"
    stored = int(blocks * block_bytes * ratio)
    packs, lists = -(-stored // PACK_BYTES), -(-blocks // 10_000)
    small = 4  # lease, map, manifest, commit
    once = packs * prices.put[name] + small * prices.put["STANDARD"] + blocks * prices.ebs_get + lists * prices.ebs_list
    month = stored / 2**30 * prices.month[name]
    return Estimate(blocks, lists, packs + small, stored, round(once / 1000, 4), round(month, 4))


def estimate_restore(packs: dict[str, int], blocks: int, prices: Prices, storage_class: str = "") -> Estimate:
    """What a restore to a new snapshot costs: `packs` as `packs_of` gives them, `blocks` written."""
    name = storage_class or "STANDARD"
    size = sum(packs.values())
    once = (len(packs) * prices.get[name] + blocks * prices.ebs_put) / 1000
    once += size / 2**30 * prices.retrieval.get(name, 0.0)
    return Estimate(blocks, 0, len(packs), size, round(once, 4), 0.0)
