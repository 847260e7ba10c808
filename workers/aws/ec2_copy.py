"""Copying snapshots across regions and accounts: shared by the owner first, begun in the destination.

Rules of the EC2 API reference and the EBS user guide: CopySnapshot is called in the destination; it carries no tags
over; `Encrypted` is never sent as false; a key needs `Encrypted`; a snapshot under the default aws/ebs key cannot be
shared. What is shared and encrypted is described as copied in its region first and on from there: one step is tried,
and where AWS refuses it two are asked for. A copy's own VolumeId is arbitrary, so what an earlier attempt made is
recognised by its tags alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.errors import Gone, Impossible, Invalid, NotReady, SnapfleetError
from workers.aws.ec2_backup import describe_text
from workers.aws.ec2_describe import batches
from workers.aws.ec2_lookup import image_for, one_of_several, tagged_snapshots
from workers.aws.ec2_progress import APART, by_two_hops, describe_snapshots
from workers.aws.errors import translated
from workers.aws.session import Client, Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT, fit_tags, name_for, part_key, read_tags, specify, token_for
from workers.driver import TAG_JOB, TAG_VOLUME, Account, CopyRequest, Destination, Operation, Part, Point, Started
from workers.pace import Pace

_NO_IMAGE = "Across accounts the snapshots of the image are copied, not the image: what it licenses stays behind."
_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("us-iso-", "aws-iso"), ("eusc-", "aws-eusc"))
DEFAULT_KEY = (
    "The volume {volume} is encrypted with the account's default key (aws/ebs), which AWS lets nobody share: copy it "
    "under a customer-managed key in its own account first, and copy that to the other account."
)


def plan_copy_problem(point: Point, destination: Destination) -> str:
    """'' or why AWS can never make this copy, from what is known of both ends; no call."""
    if partition(point.region) != partition(destination.region):
        return f"AWS copies nothing between {point.region} and {destination.region}: they belong to separate clouds."
    if not same_account(point.account, destination.account):
        for part in point.parts:
            if part.attributes.get("default_key"):
                return DEFAULT_KEY.format(volume=part.source_id or part.external_id)
    return ""


def partition(region: str) -> str:
    """The separate AWS cloud that a region belongs to."""
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


def same_account(one: Account, other: Account) -> bool:
    """Whether two accounts are the same: by AWS's number where both are known, else by our name."""
    if one.number and other.number:
        return one.number == other.number
    return one.name == other.name


@dataclass(frozen=True)
class Copying:
    """One copy to begin: the clients of both ends, and the wish."""

    source: Clients
    target: Clients
    destination: Destination
    request: CopyRequest
    pace: Pace

    @property
    def across(self) -> bool:
        return self.source.number() != self.target.number()

    def parted(self, part: Part) -> bool:
        """Whether AWS may want account and region crossed one after the other: of what is encrypted alone."""
        return part.encrypted and self.across and self.source.region != self.target.region

    def operation(self, kind: str, external_id: str, source_id: str, *, parted: bool = False) -> Operation:
        """What was begun in the destination."""
        detail = {"started_at": self.pace.clock.timer().isoformat(), "source": source_id}
        detail |= {APART: "yes"} if parted else {}
        return Operation(kind, external_id, self.target.account, self.target.region, detail)

    def encryption(self) -> dict[str, Any]:
        """Parameters for the destination's key; none leaves it as the source is, under the default key there."""
        key = self.destination.kms_key
        return {"Encrypted": True, "KmsKeyId": key} if key else {}

    def creating(self) -> Client:
        """The destination's client for a call that makes something, right before that call. Raises FenceLost."""
        client = self.target.create()
        self.request.proceed()
        return client


def start_copy(copying: Copying, point: Point) -> Started:
    """Begin copying every part, or adopt what this key began; a quota met half way keeps what is under way."""
    problem = plan_copy_problem(point, copying.destination)
    if problem:
        raise Impossible(problem, code="copy-impossible")
    if point.image_id and not copying.across:
        return _start_image(copying, point)
    keys = {part_key(copying.request.key, part.external_id): part for part in point.parts}
    made = {} if copying.request.fresh else _made(copying.target, list(keys))
    missing = {key: part for key, part in keys.items() if key not in made}
    if missing and copying.across:
        _share(copying, missing.values())
    warnings = [_NO_IMAGE] if point.image_id else []
    begun: list[str] = []
    for key, part in sorted(missing.items(), key=lambda one: not copying.parted(one[1])):  # refused before any is begun
        with one_of_several(begun, copying.pace.guard):
            made[key], lost = _copy(copying, key, part)
        begun.append(made[key])
        warnings += lost
    return Started(
        operations=tuple(
            copying.operation("copy", made[key], part.external_id, parted=copying.parted(part))
            for key, part in keys.items()
        ),
        parts=tuple(_copied(copying.destination, made[key], part) for key, part in keys.items()),
        warnings=tuple(dict.fromkeys(warnings)),
        adopted=not missing,
    )


def _made(target: Clients, keys: Sequence[str]) -> dict[str, str]:
    """Key to snapshot id: what earlier attempts have begun in the destination."""
    found = (snapshot for some in batches(keys) for snapshot in tagged_snapshots(target.read(), some))
    return {read_tags(snapshot.get("Tags"))[TAG_JOB]: snapshot["SnapshotId"] for snapshot in found}


def _share(copying: Copying, parts: Iterable[Part]) -> None:
    """Let the other account read the snapshots; doing it twice changes nothing."""
    number = copying.target.number()
    for part in parts:
        copying.source.read().modify_snapshot_attribute(
            SnapshotId=part.external_id,
            Attribute="createVolumePermission",
            OperationType="add",
            UserIds=[number],
        )


def _copy(copying: Copying, key: str, part: Part) -> tuple[str, list[str]]:
    users = dict(part.attributes.get("tags", {}))
    ours = {**copying.request.tags, TAG_SOURCE_SNAPSHOT: part.external_id}
    ours |= {TAG_VOLUME: part.source_id} if part.source_id else {}
    tags, lost = fit_tags(key, ours, users)
    try:
        with translated("CopySnapshot", guard=copying.pace.guard):
            answer = copying.creating().copy_snapshot(
                SourceRegion=copying.source.region,
                SourceSnapshotId=part.external_id,
                Description=describe_text(copying.request.description),
                TagSpecifications=specify(tags, "snapshot"),
                **copying.encryption(),
            )
    except Gone as error:
        raise _missing_source(copying, part, error) from None
    except (Invalid, Impossible) as error:
        raise (by_two_hops(error.text) if copying.parted(part) else error) from None
    return str(answer["SnapshotId"]), lost


def _missing_source(copying: Copying, part: Part, error: Gone) -> SnapfleetError:
    """A share takes a moment to be seen by the other account: only what its owner misses too is gone."""
    if part.external_id in describe_snapshots(copying.source.read(), [part.external_id]):
        return NotReady(f"{copying.target.account.name} does not see {part.external_id} yet.", code="share-unseen")
    return error


def _copied(destination: Destination, snapshot_id: str, part: Part) -> Part:
    """The part as it is over there: a snapshot of the same volume, perhaps under another key."""
    attributes = {name: value for name, value in part.attributes.items() if name != "default_key"}
    return replace(
        part,
        external_id=snapshot_id,
        encrypted=part.encrypted or bool(destination.kms_key),
        kms_key_id=destination.kms_key,
        attributes={**attributes, "source_snapshot": part.external_id},
    )


def _start_image(copying: Copying, point: Point) -> Started:
    """CopyImage inside one account: carries what snapshots cannot, an image's licences. Its name is the key."""
    key = copying.request.key
    name, image = (name_for(key), None) if copying.request.fresh else image_for(copying.target, key)
    lost: list[str] = []
    adopted = image is not None
    if image is None:
        tags, lost = fit_tags(copying.request.key, copying.request.tags, point.resource.tags)
        with translated("CopyImage", guard=copying.pace.guard):
            image = copying.creating().copy_image(
                SourceRegion=copying.source.region,
                SourceImageId=point.image_id,
                Name=name,
                ClientToken=token_for(name),
                Description=describe_text(copying.request.description),
                TagSpecifications=specify(tags, "image", "snapshot"),
                **copying.encryption(),
            )
    image_id = str(image["ImageId"])
    operation = copying.operation("image", image_id, point.image_id)
    return Started(operations=(operation,), image_id=image_id, warnings=tuple(lost), adopted=adopted)
