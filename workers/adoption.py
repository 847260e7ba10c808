"""Which recovery points the generations of a repository are, as their manifests tell. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from workers.provenance import Origin
from workers.repository.manifest import Generation


@dataclass(frozen=True)
class Archive:
    """Generations that are one recovery point, each with where it came from."""

    disks: tuple[tuple[Origin, Generation], ...]

    @property
    def origin(self) -> Origin:
        """Where the one that was finished last came from: it tells of the resource for all of them."""
        return self.disks[-1][0]

    @property
    def newest(self) -> Generation:
        """The one that was finished last."""
        return self.disks[-1][1]


@dataclass
class Adoptable:
    """What can be taken over, oldest first; what cannot, with its reason; and how many generations are known."""

    archives: list[Archive] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    known: int = 0


def adoptable(generations: Sequence[Generation], known: Collection[str]) -> Adoptable:
    """Sort generations into points; `known` are ids of those that the catalog has."""
    found = Adoptable()
    groups: dict[tuple[str, ...], list[tuple[Origin, Generation]]] = defaultdict(list)
    for one in generations:
        origin = Origin.of(one.source)
        if one.id in known:
            found.known += 1
        elif origin is None:
            found.skipped.append(f"{one.id}: its manifest does not say of which volume it is.")
        else:
            place = (origin.account, origin.region, origin.type, origin.resource)
            groups[(*place, origin.installation, origin.point or one.id)].append((origin, one))
    for members in groups.values():
        archive = _together(members)
        missing = archive.origin.parts - len(archive.disks)
        if missing > 0:
            of = f"{archive.origin.resource} ({archive.newest.taken_at:%Y-%m-%d %H:%M} UTC)"
            found.skipped.append(f"{of}: {missing} of {archive.origin.parts} volumes are not there.")
        else:
            found.archives.append(archive)
    found.archives.sort(key=lambda one: one.newest.taken_at)
    return found


def _together(members: Sequence[tuple[Origin, Generation]]) -> Archive:
    """One point; where a volume was archived for it twice, by an attempt that came to nothing, the later one counts."""
    ordered = sorted(members, key=lambda one: one[1].created_at)
    last: Mapping[str, tuple[Origin, Generation]] = {one[0].volume: one for one in ordered}
    return Archive(tuple(sorted(last.values(), key=lambda one: one[1].created_at)))
