"""Looking for what carries our key: asked before anything is created, and by `find`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from tasks.errors import NotReady, SnapfleetError
from tasks.states import OperationState
from workers.aws.ec2_progress import IN_BIN, describe_images, describe_snapshots, disks_of, part_of
from workers.aws.keys import DefaultKeys
from workers.aws.session import Client, Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT, key_filter, name_for, part_key, read_tags
from workers.driver import TAG_INSTALLATION, TAG_JOB, TAG_SOURCE, Found, Part, Presence, Tagged, untold

_COPIED = "vol-ffffffff"
_TYPES = {"i": "instance", "vol": "volume"}
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


def tagged_snapshots(ec2: Client, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Our own snapshots under these keys, in any state."""
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[key_filter(keys)], PaginationConfig={"PageSize": 1000}
    )
    return (snapshot for page in pages for snapshot in page["Snapshots"])


def copies_of_others(clients: Clients, installation: str) -> int:
    """How many copies run into this account and region that are not this installation's.

    A copy's own volume id is arbitrary: AWS shows `vol-ffffffff`, and a description that says what was copied.
    """
    pages = (
        clients.read()
        .get_paginator("describe_snapshots")
        .paginate(
            OwnerIds=["self"],
            Filters=[{"Name": "status", "Values": ["pending"]}],
            PaginationConfig={"PageSize": 1000},
        )
    )
    running = (snapshot for page in pages for snapshot in page["Snapshots"])
    return sum(
        (one["VolumeId"] == _COPIED or one.get("Description", "").startswith("[Copied snap-"))
        and read_tags(one.get("Tags")).get(TAG_INSTALLATION) != installation
        for one in running
    )


def tagged(clients: Clients, installation: str, keys: DefaultKeys) -> list[Tagged]:
    """Every snapshot and image of this account and region that carries an installation's tag."""
    ours = {"Name": f"tag:{TAG_INSTALLATION}", "Values": [installation]}
    ec2 = clients.read()
    pages = ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=[ours], IncludeDisabled=True)
    images = [image for page in pages for image in page["Images"]]
    disks = (part_of(disk, {}) for image in images for disk in disks_of(image))
    members = {disk["external_id"]: disk for disk in disks}
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[ours], PaginationConfig={"PageSize": 1000}
    )
    snapshots = [snapshot for page in pages for snapshot in page["Snapshots"]]
    default = keys.of(clients) if any(one.get("KmsKeyId") for one in snapshots) else None
    found = [_snapshot(one, members.get(one["SnapshotId"]), default) for one in snapshots]
    found += [_image(one) for one in images]
    return [one for one in found if one.tags.get(TAG_INSTALLATION) == installation]


def _snapshot(snapshot: Mapping[str, Any], member: Mapping[str, Any] | None, default_key: str | None) -> Tagged:
    """A snapshot; `member` is what an image says of it. Of copies and of an image's snapshots normal work does not
    record whose key they lie under either. A copy's own volume is arbitrary."""
    tags, key = read_tags(snapshot.get("Tags")), str(snapshot.get("KmsKeyId", ""))
    source = tags.get(TAG_SOURCE_SNAPSHOT, "")
    attributes: dict[str, Any] = dict(member["attributes"]) if member else {}
    if source:
        attributes["source_snapshot"] = source
    elif not member and key and default_key is not None:
        attributes["default_key"] = key == default_key
    copied = bool(source) or snapshot["VolumeId"] == _COPIED
    return Tagged(
        "snapshot",
        snapshot["SnapshotId"],
        snapshot["StartTime"],
        tags,
        "" if copied else snapshot["VolumeId"],
        snapshot["VolumeSize"],
        complete=snapshot["State"] == "completed",
        device=member["device"] if member else "",
        encrypted=bool(snapshot.get("Encrypted")),
        kms_key_id=key,
        attributes=attributes,
        type=_type_of(tags),
    )


def _image(image: Mapping[str, Any]) -> Tagged:
    tags, made_at = read_tags(image.get("Tags")), _instant(image["CreationDate"])
    whole = image["State"] in ("available", "disabled")
    return Tagged("image", image["ImageId"], made_at, tags, complete=whole, type=_type_of(tags))


def _type_of(tags: Mapping[str, str]) -> str:
    return _TYPES.get(tags.get(TAG_SOURCE, "").split("-", maxsplit=1)[0], "")


def present(clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those snapshots and images of ours that are there and not in the recycle bin; of other things nothing is told."""
    images = [one.external_id for one in parts if one.external_id.startswith("ami-")]
    ids = [one.external_id for one in parts if one.external_id.startswith("snap-")]
    snapshots = describe_snapshots(clients.read(), ids)
    kept = {one: found for one, found in snapshots.items() if found["State"] not in IN_BIN}
    found = {**kept, **describe_images(clients.read(), images)}
    others = untold(one for one in parts if not one.external_id.startswith(("ami-", "snap-")))
    return {**others, **{one: read_tags(model.get("Tags")) for one, model in found.items()}}


def _instant(text: str) -> datetime:
    """An image's creation date, which EC2 writes as text in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@contextmanager
def one_of_several(begun: Sized, guard: timedelta) -> Iterator[None]:
    """One creating call of several for the same wish. When it is refused after others were not, the next attempt waits
    until a look shows those: before that it would make them twice, since tag filters are late."""
    try:
        yield
    except SnapfleetError as error:
        if len(begun):
            error.wait = max(error.wait, guard)
        raise


def set_made(snapshots: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The snapshots that one creating call made together, [] when there are none.

    Members of a set share their StartTime; when one fails AWS fails the others too, perhaps a moment later. A set that
    failed is an answer like any other: whoever adopts it learns so by asking for its progress, and its remains are
    known. Of several sets (a create that was repeated after all) one that lives counts, then the fullest, then the
    oldest: always the same one.
    """
    sets: dict[datetime, list[dict[str, Any]]] = {}
    for snapshot in snapshots:
        sets.setdefault(snapshot["StartTime"], []).append(snapshot)

    def rank(one: tuple[datetime, list[dict[str, Any]]]) -> tuple[bool, int, float]:
        start, made = one
        return all(snapshot["State"] != "error" for snapshot in made), len(made), -start.timestamp()

    return max(sets.items(), key=rank, default=(None, []))[1]


def image_for(clients: Clients, key: str) -> tuple[str, Mapping[str, Any] | None]:
    """The name to create under, and the image that an earlier attempt made, be it a failed one."""
    name = name_for(key)
    answer = clients.read().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])
    if not answer["Images"]:
        return name, None
    image: Mapping[str, Any] = answer["Images"][0]
    if read_tags(image.get("Tags")).get(TAG_JOB, key) != key:
        raise NotReady(f"The image {image['ImageId']} has our name and another job's tag.")
    return name, image
