"""Machine images: create, register, copy, describe, deregister.

"CreateImage", "RegisterImage", "CopyImage", "DescribeImages", "DeregisterImage" (EC2 API reference): names are unique
in an account and region, CreateImage reboots unless NoReboot, an image is pending until its snapshots are completed.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from deploy.sandbox import copies, snapshots
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, named, page, select, tag_list
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing, required
from deploy.sandbox.idempotency import once
from deploy.sandbox.sharing import EVERYONE, visible_snapshot
from deploy.sandbox.tags import specified
from deploy.sandbox.wire import iso

NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
DETAILS = (
    "Architecture",
    "VirtualizationType",
    "EnaSupport",
    "BootMode",
    "TpmSupport",
    "ImdsSupport",
    "SriovNetSupport",
)


@dataclass(eq=False)
class Image:
    """A registered image. `mappings` are block device mappings as AWS shows them."""

    id: str
    sequence: int
    owner: str
    region: str
    name: str
    created_at: datetime
    root_device: str
    mappings: list[dict[str, Any]]
    snapshots: list[Any]
    description: str = ""
    platform_details: str = "Linux/UNIX"
    details: dict[str, Any] = field(default_factory=dict)
    settle: timedelta = timedelta(0)
    source_instance: str | None = None
    source_image: tuple[str, str] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    shared_with: dict[str, None] = field(default_factory=dict)
    disabled: bool = False

    def state(self, now: datetime) -> str:
        """Follows its snapshots by a moment, so that a completed snapshot may have a pending image."""
        if self.disabled:
            return "disabled"
        if any(s.state(now) == "error" for s in self.snapshots):
            return "failed"
        last = max((s.ready_at for s in self.snapshots), default=self.created_at)
        return "pending" if now < max(last, self.created_at) + self.settle else "available"

    def view(self, now: datetime) -> dict[str, Any]:
        windows = "Windows" in self.platform_details
        state = self.state(now)
        failed = {"Code": "Client.SnapshotError", "Message": "A snapshot of the image is in error"}
        return {
            "ImageId": self.id,
            "Name": self.name,
            "Description": self.description,
            "OwnerId": self.owner,
            "State": state,
            "StateReason": failed if state == "failed" else None,
            "CreationDate": iso(self.created_at),
            "Public": EVERYONE in self.shared_with,
            "ImageType": "machine",
            "ImageLocation": f"{self.owner}/{self.name}",
            "RootDeviceName": self.root_device,
            "RootDeviceType": "ebs",
            "Hypervisor": "xen",
            "PlatformDetails": self.platform_details,
            "UsageOperation": "RunInstances:0002" if windows else "RunInstances",
            "Platform": "windows" if windows else None,
            "BlockDeviceMappings": self.mappings,
            "SourceInstanceId": self.source_instance,
            "SourceImageId": self.source_image and self.source_image[0],
            "SourceImageRegion": self.source_image and self.source_image[1],
            "Tags": tag_list(self.tags),
            **self.details,
        }


FIELDS: Fields = {
    "image-id": lambda i, _: i.id,
    "name": lambda i, _: i.name,
    "state": lambda i, now: i.state(now),
    "owner-id": lambda i, _: i.owner,
    "description": lambda i, _: i.description,
    "is-public": lambda i, _: "true" if EVERYONE in i.shared_with else "false",
    "architecture": lambda i, _: i.details.get("Architecture"),
    "root-device-name": lambda i, _: i.root_device,
    "root-device-type": lambda i, _: "ebs",
    "virtualization-type": lambda i, _: i.details.get("VirtualizationType"),
    "block-device-mapping.snapshot-id": lambda i, _: [s.id for s in i.snapshots],
    "source-instance-id": lambda i, _: i.source_instance,
}


def check_name(call: Call, name: str) -> str:
    if not NAME.fullmatch(name):
        raise AwsError("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long")
    taken = next((i for i in call.here.images.values() if i.name == name), None)
    if taken is not None:
        raise AwsError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {taken.id}")
    return name


def put(call: Call, name: str, root: str, mappings: list, held: list, tags: dict[str, str], **more: Any) -> Image:
    """Register an image; its root snapshot cannot be deleted while it is registered."""
    world = call.world
    image = Image(
        id=world.new_id("ami"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        name=name,
        created_at=call.now,
        root_device=root,
        mappings=mappings,
        snapshots=held,
        settle=timedelta(seconds=call.config.image_seconds),
        **more,
    )
    call.here.images[image.id] = image
    call.here.tags.put(image, tags)
    roots = {m["Ebs"]["SnapshotId"] for m in mappings if m["DeviceName"] == root and "SnapshotId" in m.get("Ebs", {})}
    for snapshot in held:
        if snapshot.id in roots:
            snapshot.root_of[image.id] = None
    return image


def _mapping(volume: Any, snapshot: Any) -> dict[str, Any]:
    shown = {
        "SnapshotId": snapshot.id,
        "VolumeSize": volume.size,
        "VolumeType": volume.kind,
        "DeleteOnTermination": volume.delete_on_termination,
        "Encrypted": volume.key is not None,
    }
    if volume.kind in ("io1", "io2", "gp3"):
        shown["Iops"] = volume.iops
    if volume.kind == "gp3":
        shown["Throughput"] = volume.throughput
    return {"DeviceName": volume.device, "Ebs": shown}


@operation("ec2", "CreateImage")
def create_image(call: Call, parameters: dict) -> dict:
    name, instance_id = required(parameters, "Name"), required(parameters, "InstanceId")
    if instance_id not in call.here.instances:
        raise missing("i", instance_id)
    instance = call.here.instances[instance_id]
    if instance.state(call.now) not in ("running", "stopped"):
        raise AwsError("IncorrectState", f"Instance '{instance_id}' is not in a state from which to create an image.")
    check_name(call, name)
    tags = specified(parameters, "image", "snapshot")
    skipped = {m["DeviceName"] for m in parameters.get("BlockDeviceMappings", []) if m.get("NoDevice") is not None}
    chosen = [v for v in instance.volumes.values() if v.device not in skipped]
    for volume in chosen:
        snapshots.check_limits(call, volume)
    text = f"Created by CreateImage({instance_id})"
    held = [snapshots.take(call, v, text, dict(tags["snapshot"]), instance_id) for v in chosen]
    mappings = [_mapping(v, s) for v, s in zip(chosen, held, strict=True)]
    if not parameters.get("NoReboot") and instance.state(call.now) == "running":
        instance.boot(call.now, "CreateImage without NoReboot")
    image = put(
        call,
        name,
        instance.root_device,
        mappings,
        held,
        tags["image"],
        description=parameters.get("Description", ""),
        platform_details=instance.platform_details,
        details=dict(instance.image_details),
        source_instance=instance_id,
    )
    return {"ImageId": image.id}


@operation("ec2", "RegisterImage")
def register_image(call: Call, parameters: dict) -> dict:
    name = check_name(call, required(parameters, "Name"))
    root = required(parameters, "RootDeviceName")
    tags = specified(parameters, "image", "snapshot")["image"]
    mappings, held = [], []
    for entry in parameters.get("BlockDeviceMappings", []):
        ebs = dict(entry.get("Ebs") or {})
        if ebs.get("SnapshotId"):
            source = visible_snapshot(call.world, call.account, call.region, ebs["SnapshotId"])
            if source.state(call.now) != "completed":
                raise AwsError("InvalidParameterValue", f"Snapshot {source.id} is not completed.")
            if "Encrypted" in ebs:
                raise bad_value("RegisterImage does not take Encrypted for a mapping with a snapshot.")
            held.append(source)
            ebs = {"DeleteOnTermination": True, "VolumeType": "gp2", "VolumeSize": source.size, **ebs}
            ebs["Encrypted"] = source.key is not None
        mappings.append({**entry, "Ebs": ebs} if ebs else entry)
    roots = [
        s
        for m, s in zip([m for m in mappings if m.get("Ebs", {}).get("SnapshotId")], held, strict=True)
        if m["DeviceName"] == root
    ]
    if not roots:
        raise bad_combination(f"The root device {root} has no snapshot in the block device mappings.")
    details = {k: parameters[k] for k in DETAILS if k in parameters}
    image = put(
        call,
        name,
        root,
        mappings,
        held,
        tags,
        description=parameters.get("Description", ""),
        platform_details=roots[0].billing,
        details={"Architecture": "i386", "VirtualizationType": "paravirtual"} | details,
    )
    return {"ImageId": image.id}


@operation("ec2", "CopyImage")
@once("ClientToken", longest=128)
def copy_image(call: Call, parameters: dict) -> dict:
    region, source_id = required(parameters, "SourceRegion"), required(parameters, "SourceImageId")
    source = visible_image(call, region, source_id)
    if source.state(call.now) != "available":
        raise AwsError("IncorrectState", f"The image {source_id} is not available.")
    check_name(call, required(parameters, "Name"))
    tags = specified(parameters, "image", "snapshot")
    copies.check_slots(call, len(source.snapshots))
    renamed, held = {}, []
    for old in source.snapshots:
        key, failure = copies.new_key(call, old, parameters.get("Encrypted"), parameters.get("KmsKeyId"))
        text = f"Copied for DestinationAmi from SourceAmi {source_id} for SourceSnapshot {old.id}."
        made = copies.copy(call, old, key, failure, text)
        snapshots.add(call, made, dict(tags["snapshot"]))
        snapshots.spoil(call, made, old.id, source_id)
        renamed[old.id] = made
        held.append(made)
    mappings = []
    for entry in source.mappings:
        ebs = dict(entry.get("Ebs") or {})
        if ebs.get("SnapshotId") in renamed:
            made = renamed[ebs["SnapshotId"]]
            ebs |= {"SnapshotId": made.id, "Encrypted": made.key is not None}
        mappings.append({**entry, "Ebs": ebs} if ebs else entry)
    carried = source.tags if parameters.get("CopyImageTags") and source.owner == call.account else {}
    image = put(
        call,
        parameters["Name"],
        source.root_device,
        mappings,
        held,
        carried | tags["image"],
        description=parameters.get("Description", ""),
        platform_details=source.platform_details,
        details=dict(source.details),
        source_image=(source_id, region),
    )
    return {"ImageId": image.id}


def visible_image(call: Call, region: str, image_id: str) -> Image:
    """An image of the account, or one shared with it or with everyone."""
    shares = call.world.image_shares
    for kind in (
        call.world.region(call.account, region).images,
        shares[region, call.account],
        shares[region, EVERYONE],
    ):
        if image_id in kind:
            return kind[image_id]
    raise missing("ami", image_id)


@operation("ec2", "DescribeImages")
def describe_images(call: Call, parameters: dict) -> dict:
    check_page(parameters, "ImageIds")
    own, shares = call.here.images, call.world.image_shares
    every = own | shares[call.region, call.account] | shares[call.region, EVERYONE]
    ids, owners = parameters.get("ImageIds") or [], parameters.get("Owners") or []
    chosen: Any = named(call, every, "ami", ids) if ids else sorted(every.values(), key=lambda i: i.sequence)
    if not parameters.get("IncludeDisabled"):
        chosen = [i for i in chosen if not i.disabled]
    if owners:
        accounts = {call.account if o == "self" else AMAZON if o == "amazon" else o for o in owners}
        chosen = [i for i in chosen if i.owner in accounts]
    who = {call.account if u == "self" else u for u in parameters.get("ExecutableUsers") or []}
    if who:
        chosen = [i for i in chosen if who & set(i.shared_with)]
    shown, token = page(select(call, own, chosen, parameters.get("Filters", []), FIELDS), parameters)
    views = [i.view(call.now) if i.owner == call.account else {**i.view(call.now), "Tags": []} for i in shown]
    return {"Images": views, "NextToken": token}


AMAZON = "137112412989"  # the account that owns Amazon Linux images


def drop_image(world: Any, here: Any, image: Image) -> None:
    here.images.pop(image.id, None)
    here.tags.forget(image)
    released = world.clock.now() + timedelta(seconds=world.config.deregister_lag_seconds)
    for snapshot in image.snapshots:
        world.at(released, partial(snapshot.root_of.pop, image.id, None))
    world.settle()
    for who in list(image.shared_with):
        world.image_shares[image.region, who].pop(image.id, None)


@operation("ec2", "DisableImage")
def disable_image(call: Call, parameters: dict) -> dict:
    """Until it is enabled again nothing is launched from it, and DescribeImages shows it only when asked to."""
    image_id = required(parameters, "ImageId")
    if image_id not in call.here.images:
        raise missing("ami", image_id)
    call.here.images[image_id].disabled = True
    return {"Return": True}


@operation("ec2", "DeregisterImage")
def deregister_image(call: Call, parameters: dict) -> dict:
    image_id = required(parameters, "ImageId")
    if image_id not in call.here.images:
        raise missing("ami", image_id)
    image = call.here.images[image_id]
    drop_image(call.world, call.here, image)
    if not parameters.get("DeleteAssociatedSnapshots"):
        return {"Return": True}
    return {"Return": True, "DeleteSnapshotResults": [_delete_associated(call, image, s) for s in image.snapshots]}


def _delete_associated(call: Call, image: Image, snapshot: Any) -> dict[str, str]:
    """`skipped` for a snapshot that another image uses, or that is not the caller's."""
    used = any(snapshot in other.snapshots for other in call.here.images.values())
    if used or snapshot.owner != image.owner:
        code = "skipped"
    elif not call.principal.allows("ec2:DeleteSnapshot"):
        code = "missing-permissions"
    else:
        if snapshot.lock is not None and snapshot.lock.state(call.now) != "expired":
            return {"SnapshotId": snapshot.id, "ReturnCode": "client-error"}
        snapshot.root_of.clear()  # the call that deregisters does not wait for its own lag
        snapshots.delete_owned(call, snapshot)
        code = "success"
    return {"SnapshotId": snapshot.id, "ReturnCode": code}
