"""Asking about many snapshots, copies and images in one call. Only `completed` and `available` mean good."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from tasks.errors import CloudFailed, Gone, Impossible, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.aws.ec2_describe import batches
from workers.aws.errors import shorten
from workers.aws.session import Client, Clients
from workers.driver import Operation, Progress
from workers.pace import Pace

SNAPSHOT_KINDS = frozenset({"snapshot", "copy"})
IMAGE_KINDS = frozenset({"image"})
IN_BIN = frozenset({"recoverable", "recovering"})  # states of a snapshot in the recycle bin
APART = "apart"  # in the detail of a copy of what is encrypted, across account and region at once
_IMAGE_RUNNING = frozenset({"pending", "transient"})
# AWS accepts a copy under a wrong key and fails it later, with a message like "Given key ID is not accessible".
_ABOUT_A_KEY = re.compile(r"\bkms\b|\bkey\b", re.IGNORECASE)
_PERCENT = re.compile(r"(\d{1,3})")


def progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """The answer about each snapshot, copy and image, by its id; operations of other kinds are passed over."""
    answers: dict[str, Progress] = {}
    snapshots = {one.external_id: one for one in operations if one.kind in SNAPSHOT_KINDS}
    images = {one.external_id: one for one in operations if one.kind in IMAGE_KINDS}
    found = describe_snapshots(clients.read(), list(snapshots))
    for external_id, operation in snapshots.items():
        answers[external_id] = _of_snapshot(operation, found.get(external_id), pace)
    known = describe_images(clients.read(), list(images))
    members = _members(clients.read(), known.values())
    for external_id, operation in images.items():
        answers[external_id] = _of_image(operation, known.get(external_id), members, pace)
    return answers


def by_two_hops(text: str) -> Impossible:
    """AWS does not cross account and region in one step with what is encrypted: another route has to be planned."""
    return Impossible(f"{text} It takes two hops: across the region first, then across the account.", code="two-hops")


def describe_snapshots(ec2: Client, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Our own snapshots by id. Asked by filter: an unknown id is then just absent, not a refusal of the whole call."""
    found: dict[str, dict[str, Any]] = {}
    for some in batches(ids):
        filters = [{"Name": "snapshot-id", "Values": list(some)}]
        for page in ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters):
            found |= {snapshot["SnapshotId"]: snapshot for snapshot in page["Snapshots"]}
    return found


def describe_images(ec2: Client, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Our own images by id, asked by filter for the same reason; disabled ones are there too."""
    found: dict[str, dict[str, Any]] = {}
    for some in batches(ids):
        filters = [{"Name": "image-id", "Values": list(some)}]
        asked = {"Owners": ["self"], "Filters": filters, "IncludeDisabled": True}
        for page in ec2.get_paginator("describe_images").paginate(**asked):
            found |= {image["ImageId"]: image for image in page["Images"]}
    return found


def _of_snapshot(operation: Operation, snapshot: Mapping[str, Any] | None, pace: Pace) -> Progress:
    if snapshot is None or snapshot["State"] in IN_BIN:
        return _absent(operation, pace, in_bin=snapshot is not None)
    detail = {
        "size_gib": int(snapshot.get("VolumeSize", 0)),
        "encrypted": bool(snapshot.get("Encrypted")),
        "kms_key_id": str(snapshot.get("KmsKeyId", "")),
        "full_bytes": int(snapshot.get("FullSnapshotSizeInBytes", 0)),
    }
    if snapshot["State"] == "completed":
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)
    if snapshot["State"] == "error":
        return _failed(operation, str(snapshot.get("StateMessage", "")))
    return _running(operation, pace, _percent(snapshot.get("Progress", "")))


def _of_image(
    operation: Operation, image: Mapping[str, Any] | None, members: Mapping[str, Mapping[str, Any]], pace: Pace
) -> Progress:
    if image is None:
        return _absent(operation, pace)
    disks = disks_of(image)
    if image["State"] == "available":
        detail = {"parts": [part_of(disk, members.get(disk["Ebs"]["SnapshotId"], {})) for disk in disks]}
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)
    if image["State"] in _IMAGE_RUNNING:
        percents = [_percent(members.get(disk["Ebs"]["SnapshotId"], {}).get("Progress", "")) for disk in disks]
        return _running(operation, pace, sum(percents) // len(percents) if percents else 0)
    return _failed(operation, str(image.get("StateReason", {}).get("Message", image["State"])))


def _members(ec2: Client, images: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return describe_snapshots(ec2, [disk["Ebs"]["SnapshotId"] for image in images for disk in disks_of(image)])


def disks_of(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The devices of an image that are snapshots."""
    return [disk for disk in image.get("BlockDeviceMappings", []) if disk.get("Ebs", {}).get("SnapshotId")]


def part_of(disk: Mapping[str, Any], snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A Part as JSON: an image's snapshots are known only when it is there."""
    ebs = disk["Ebs"]
    names = {"type": "VolumeType", "iops": "Iops", "throughput": "Throughput"}
    attributes = {ours: ebs[theirs] for ours, theirs in names.items() if ebs.get(theirs)}
    return {
        "external_id": ebs["SnapshotId"],
        "source_id": snapshot.get("VolumeId", ""),
        "device": disk.get("DeviceName", ""),
        "size_gib": int(ebs.get("VolumeSize") or snapshot.get("VolumeSize", 0)),
        "encrypted": bool(snapshot.get("Encrypted", ebs.get("Encrypted"))),
        "kms_key_id": str(snapshot.get("KmsKeyId") or ebs.get("KmsKeyId", "")),
        "attributes": {**attributes, "delete_on_termination": bool(ebs.get("DeleteOnTermination"))},
    }


def _running(operation: Operation, pace: Pace, percent: int) -> Progress:
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    return Progress(operation.external_id, OperationState.RUNNING, percent=percent, ask_again=pace.again(age))


def _absent(operation: Operation, pace: Pace, in_bin: bool = False) -> Progress:
    """Missing just after its making says nothing: EC2 is eventually consistent. Without a start, it counts from now."""
    age = pace.age(operation.detail.get("started_at"))
    if not in_bin and (age is None or age < pace.grace):
        seen = {} if age is not None else {"started_at": pace.clock.timer().isoformat()}
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor, detail=seen)
    where = "is in the recycle bin" if in_bin else "does not exist any more"
    error = Gone(f"The {operation.kind} {operation.external_id} {where}: somebody else deleted it.")
    return Progress(operation.external_id, OperationState.GONE, error=error)


def _failed(operation: Operation, message: str) -> Progress:
    text = f"AWS failed the {operation.kind} {operation.external_id}: {shorten(message) or 'no reason given'}."
    error: SnapfleetError = CloudFailed(text)
    if _ABOUT_A_KEY.search(message):
        error = Invalid(text, code="kms-key", advice="Give the role and the destination the use of the KMS key.")
        error = by_two_hops(text) if operation.detail.get(APART) else error
    detail = {"state_message": shorten(message)}
    return Progress(operation.external_id, OperationState.FAILED, error=error, detail=detail)


def _percent(text: str) -> int:
    """EC2 writes progress as text, '80%' or, early on, nothing."""
    match = _PERCENT.search(text or "")
    return min(99, int(match[1])) if match else 0
