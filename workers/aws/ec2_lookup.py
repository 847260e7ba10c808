"""Looking for what carries our key: asked before anything is created, and by `find`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.errors import NotReady
from tasks.states import OperationState
from workers.aws.session import Client, Clients
from workers.aws.tags import key_filter, name_for, part_key, read_tags
from workers.driver import TAG_JOB, Found

_DEAD_IMAGE = frozenset({"failed", "error", "invalid", "deregistered"})
# EC2's words for what exists; every other word (error, recoverable, failed, deregistered) means that it is lost.
_STATES: Mapping[str, OperationState] = {
    "pending": OperationState.RUNNING,
    "transient": OperationState.RUNNING,
    "completed": OperationState.DONE,
    "available": OperationState.DONE,
}


def find(clients: Clients, key: str) -> list[Found]:
    """Every snapshot and image under a key, those of its parts included, in any state."""
    wanted = key_filter([key, part_key(key, "*")])
    snapshots = tagged_snapshots(clients.read(), wanted["Values"])
    pages = clients.read().get_paginator("describe_images").paginate(Owners=["self"], Filters=[wanted])
    images = (image for page in pages for image in page["Images"])
    found = [("image", image["ImageId"], image["State"]) for image in images]
    found += [("snapshot", snapshot["SnapshotId"], snapshot["State"]) for snapshot in snapshots]
    return [Found(kind, one, _STATES.get(state, OperationState.FAILED)) for kind, one, state in found]


def snapshots_with(ec2: Client, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Our own snapshots under these keys, except those in error: what an earlier attempt has made."""
    return [snapshot for snapshot in tagged_snapshots(ec2, keys) if snapshot["State"] != "error"]


def tagged_snapshots(ec2: Client, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Our own snapshots under these keys, in any state."""
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[key_filter(keys)], PaginationConfig={"PageSize": 1000}
    )
    return (snapshot for page in pages for snapshot in page["Snapshots"])


def living_set(snapshots: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The snapshots that one creating call made together, [] when none lives.

    Members of a set share their StartTime; when one fails AWS fails the others too, perhaps a moment later. Of
    several sets (a create that was repeated after all) the fullest counts, then the oldest: always the same one.
    """
    sets: dict[datetime, list[dict[str, Any]]] = {}
    for snapshot in snapshots:
        sets.setdefault(snapshot["StartTime"], []).append(snapshot)
    living = [(start, made) for start, made in sets.items() if all(one["State"] != "error" for one in made)]
    return max(living, key=lambda one: (len(one[1]), -one[0].timestamp()), default=(None, []))[1]


def image_for(clients: Clients, key: str) -> tuple[str, Mapping[str, Any] | None]:
    """The name to create under, or the living image that an earlier attempt made; a failed one keeps its name."""
    name = name_for(key)
    answer = clients.read().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name, f"{name}-*"]}])
    living = [image for image in answer["Images"] if image["State"] not in _DEAD_IMAGE]
    if living:
        image: Mapping[str, Any] = living[0]
        if read_tags(image.get("Tags")).get(TAG_JOB, key) != key:
            raise NotReady(f"The image {image['ImageId']} has our name and another job's tag.")
        return name, image
    dead = len(answer["Images"])
    return f"{name}-{dead}" if dead else name, None
