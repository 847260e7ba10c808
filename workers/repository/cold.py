"""Where packs lie and how long they must stay: storage classes, locks, and what they cost. Plans first, then calls.

Only data packs move to a cold class: manifests, maps and leases stay where every later step can read them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.repository.errors import Archived, Missing, Unsuitable
from workers.repository.generations import manifest_name
from workers.repository.keys import Key, opened_by
from workers.repository.liveness import Live
from workers.repository.manifest import Generation
from workers.repository.names import CONFIG, DATA, KEYS, MAP, PACKS
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


def lockable(repository: Repository, generations: Iterable[Generation], key: Key) -> list[str]:
    """Names of all that restoring these generations by `key` needs: packs, maps and manifests, repository.json and the
    key's slots, without which what is locked would be locked noise. Leases and tombstones are never locked: repair
    writes a lost lease anew, and other keys' slots must be removable."""
    chosen, live = list(generations), Live()
    for generation in chosen:
        live.add(repository, generation)
    names = {pack.name(DATA) for pack in live.places} | {pack.name(MAP) for pack in live.maps}
    names |= {manifest_name(repository, generation) for generation in chosen}
    slots = opened_by(repository.store, repository.config.id, key)
    return sorted({*names, CONFIG, *(KEYS + slot for slot in slots)})


def monthly_prices(path: Path | None = None) -> dict[str, float]:
    """US dollars for a GiB and month by storage class, from a file; the one beside this module when None.

    Raises OSError, ValueError.
    """
    facts = json.loads((path or Path(__file__).with_name("prices.json")).read_text())
    try:
        return dict(facts["month"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the price file lacks {error}") from None


def early_deletion_cost(repository: Repository, sizes: Mapping[str, int], days: Mapping[str, int]) -> float:
    """US dollars that S3 bills for objects of `sizes` bytes which go `days` before their minimum is over: as much as
    keeping them so long."""
    prices = monthly_prices()
    classes = {one.name: one.storage_class for one in repository.store.list(PACKS) if one.name in sizes}
    month = sum(size / 2**30 * prices.get(classes.get(name, ""), 0.0) * days[name] / 30 for name, size in sizes.items())
    return round(month, 4)
