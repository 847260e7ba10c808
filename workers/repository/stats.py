"""What a repository holds, in figures."""

from dataclasses import dataclass, field

from workers.repository.liveness import Margins, survey
from workers.repository.manifest import Generation
from workers.repository.repository import Repository


@dataclass
class Lineage:
    """One disk's share: generations, the newest, and bytes of volume that these stand for."""

    generations: int
    newest: Generation
    volume_bytes: int


@dataclass
class Stats:
    """Bytes and counts. `stored_bytes` is everything below the prefix, `live_bytes` packs and maps in use;
    `classes` is bytes of packs and maps by storage class."""

    generations: int
    stored_bytes: int
    live_bytes: int
    objects: int
    open_jobs: int
    lineages: dict[str, Lineage] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)


def stats(repository: Repository) -> Stats:
    """Count everything. Costs a listing and one read for each manifest, lease and map segment.

    Raises Damaged, Missing when a living map cannot be read.
    """
    found = survey(repository, Margins(), set(), rehearse=True)
    every = list(repository.store.list(""))
    live = sum(place.size for place in [*found.live.places.values(), *found.live.maps.values()])
    done = Stats(
        generations=len(found.index.generations),
        stored_bytes=sum(stat.size for stat in every),
        live_bytes=live,
        objects=len(every),
        open_jobs=len(found.index.open_jobs()),
    )
    for stat in every:
        if stat.name.startswith(("packs/", "maps/")):
            name = stat.storage_class or "STANDARD"
            done.classes[name] = done.classes.get(name, 0) + stat.size
    for generation in found.index.generations:
        before = done.lineages.get(generation.lineage)
        count, size = (before.generations, before.volume_bytes) if before else (0, 0)
        done.lineages[generation.lineage] = Lineage(count + 1, generation, size + generation.size)
    return done
