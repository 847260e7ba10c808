"""The tags of a set of snapshots: one call makes them all, with tags of ours and each volume's own beside them.

CreateSnapshots takes one list of tags for the whole set, and copies each volume's tags to its snapshot when asked
(CopyTagsFromSource, EC2 API reference). Both together are at most 50 on each snapshot, or AWS refuses the whole set.
What it does with a key that both name is not documented: so none is ever named twice, and nothing is copied where a
volume carries tags like ours, which a restored one does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.aws.tags import MOST_TAGS, OURS, fit_tags

_FULL = (
    "The tags of {volumes} did not go onto their snapshots: with ours they would be more than the {most} that AWS "
    "allows. A restore puts them back."
)


@dataclass(frozen=True)
class SetTags:
    """What CreateSnapshots is told: the tags of every snapshot, and whether it copies the volumes' own."""

    tags: Mapping[str, str]
    copied: bool
    warnings: tuple[str, ...] = ()

    def asked(self) -> dict[str, str]:
        """The parameter that copies, where it is asked for."""
        return {"CopyTagsFromSource": "volume"} if self.copied else {}


def tags_of_set(
    key: str, ours: Mapping[str, str], users: Mapping[str, str], volumes: Sequence[Mapping[str, Any]]
) -> SetTags:
    """The tags for a set of `volumes` (as discovery describes them) of a machine that carries `users`.

    The machine's tags go along as far as there is room beside those of the volume that has most.
    """
    own = [_settable(volume.get("tags", {})) for volume in volumes]
    fixed, _ = fit_tags(key, ours, {})
    most = max((len(tags) for tags in own), default=0)
    if len(fixed) + most > MOST_TAGS:
        full = [str(volume["id"]) for volume, tags in zip(volumes, own, strict=True) if len(fixed | tags) > MOST_TAGS]
        return plain_tags(key, ours, users, volumes, _FULL.format(volumes=", ".join(full), most=MOST_TAGS))
    named = {name for tags in own for name in tags}
    if any(name.startswith(OURS) for name in named):
        return plain_tags(key, ours, users, volumes)
    rest = {name: value for name, value in users.items() if name not in named}
    tags, lost = fit_tags(key, ours, rest, beside=most)
    return SetTags(tags, True, tuple(lost))


def plain_tags(
    key: str,
    ours: Mapping[str, str],
    users: Mapping[str, str],
    volumes: Sequence[Mapping[str, Any]],
    *warnings: str,
) -> SetTags:
    """The tags where AWS copies none: the machine's, and those that all of the volumes share."""
    shared = _shared(_settable(volume.get("tags", {})) for volume in volumes)
    tags, lost = fit_tags(key, ours, {**users, **shared})
    return SetTags(tags, False, (*warnings, *lost))


def _settable(tags: Mapping[str, str]) -> dict[str, str]:
    """Without AWS's own, which it neither copies nor counts (EC2 user guide, tag restrictions)."""
    return {name: value for name, value in tags.items() if not name.lower().startswith("aws:")}


def _shared(every: Iterable[Mapping[str, str]]) -> dict[str, str]:
    sets = [set(tags.items()) for tags in every]
    return dict(set.intersection(*sets)) if sets else {}
