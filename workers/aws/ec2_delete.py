"""Deleting what a recovery point consists of: only what carries our tag, looked at just before.

An image goes before its snapshots, because AWS refuses the root snapshot of a registered image. Already gone is
success. One answer for each image and part; a refusal of one never hides the answers about the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import CredentialsExpired, CredentialsRefused, Gone, Refused, SnapfleetError, Throttled
from workers.aws.ec2_describe import batches
from workers.aws.ec2_progress import describe_images, describe_snapshots
from workers.aws.errors import translate
from workers.aws.session import Clients
from workers.aws.tags import is_ours, read_tags
from workers.driver import TAG_OUTDATED, Deleted, Point

_STOPS = (CredentialsExpired, CredentialsRefused, Throttled)  # the next call would meet the same
Found = Mapping[str, Mapping[str, Any]]


def delete(clients: Clients, points: Sequence[Point]) -> list[Deleted]:
    """Delete the points of one account and region, or tag them where the account may not delete."""
    images = list(dict.fromkeys(point.image_id for point in points if point.image_id))
    snapshots = list(dict.fromkeys(part.external_id for point in points for part in point.parts))
    known_images = describe_images(clients.read(), images)
    known = describe_snapshots(clients.read(), snapshots)
    if not clients.account.may_delete:
        return _mark(clients, [*images, *snapshots], {**known_images, **known})
    work = _Deletion(clients)
    answers = [work.one(image, known_images, work.deregister) for image in images]
    answers += [work.one(snapshot, known, work.remove) for snapshot in snapshots]
    return answers


class _Deletion:
    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._gone: set[str] = set()  # went with their image
        self._stop: SnapfleetError | None = None

    def one(self, external_id: str, known: Found, act: Callable[[str], None]) -> Deleted:
        found = known.get(external_id)
        if external_id in self._gone:
            return Deleted(external_id, "deleted")
        if found is None:
            return Deleted(external_id, "already-gone")
        if not is_ours(read_tags(found.get("Tags")), self._clients.account.installation):
            return Deleted(external_id, "kept", _foreign(external_id))
        if self._stop:
            return Deleted(external_id, "kept", self._stop)
        try:
            act(external_id)
        except (BotoCoreError, ClientError) as error:
            return self._refused(external_id, translate(error, operation="a deletion"))
        return Deleted(external_id, "deleted")

    def deregister(self, image_id: str) -> None:
        """Take the image away and its snapshots with it, as far as AWS says; the rest goes one by one."""
        answer = self._clients.read().deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)
        results = answer.get("DeleteSnapshotResults", [])
        self._gone |= {one["SnapshotId"] for one in results if one.get("ReturnCode") == "success"}

    def remove(self, snapshot_id: str) -> None:
        self._clients.read().delete_snapshot(SnapshotId=snapshot_id)

    def _refused(self, external_id: str, error: SnapfleetError) -> Deleted:
        if isinstance(error, Gone):
            return Deleted(external_id, "already-gone")
        if isinstance(error, _STOPS):
            self._stop = error
        return Deleted(external_id, "kept", error)


def _mark(clients: Clients, ids: Sequence[str], known: Found) -> list[Deleted]:
    mine = clients.account.installation
    ours = [one for one in ids if one in known and is_ours(read_tags(known[one].get("Tags")), mine)]
    for some in batches(ours):
        clients.read().create_tags(Resources=list(some), Tags=[{"Key": TAG_OUTDATED, "Value": "true"}])
    return [_marked(clients, one, known, ours) for one in ids]


def _marked(clients: Clients, external_id: str, known: Found, ours: Sequence[str]) -> Deleted:
    if external_id not in known:
        return Deleted(external_id, "already-gone")
    if external_id not in ours:
        return Deleted(external_id, "kept", _foreign(external_id))
    text = f"{clients.account.name} may not delete: {external_id} is tagged as outdated for its own administrators."
    return Deleted(external_id, "kept", Refused(text, code="outdated"))


def _foreign(external_id: str) -> Refused:
    return Refused(
        f"{external_id} does not carry this product's tag, so it is not deleted.",
        code="not-ours",
        advice="Delete it by hand if it is really ours: somebody removed its tags.",
    )
