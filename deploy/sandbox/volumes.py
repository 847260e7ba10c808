"""EBS volumes: create, describe, delete, attach, detach, modify, with the checks that AWS makes.

"CreateVolume", "AttachVolume", "DetachVolume", "DeleteVolume" (EC2 API reference); sizes and rates from "Amazon EBS
volume types" (EBS user guide).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import kms, network
from deploy.sandbox.blocks import BlockMap
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import Fields, check_page, named, page, select, tag_list
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing, required
from deploy.sandbox.idempotency import once
from deploy.sandbox.sharing import visible_snapshot
from deploy.sandbox.tags import specified

SIZES = {  # volume type: smallest and largest size in GiB
    "gp2": (1, 16384),
    "gp3": (1, 65536),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "st1": (125, 16384),
    "sc1": (125, 16384),
    "standard": (1, 1024),
}
PROVISIONED = ("io1", "io2")
ATTACHMENTS = 28  # "Amazon EBS volume limits": attachments shared by most Nitro instance types


@dataclass(eq=False)
class Volume:
    """A volume and what is on it. `root_of` names the instance whose root it was made as."""

    id: str
    sequence: int
    owner: str
    region: str
    zone: str
    zone_id: str
    size: int
    kind: str
    created_at: datetime
    ready_at: datetime
    blocks: BlockMap
    iops: int | None = None
    throughput: int | None = None
    key: str | None = None
    snapshot_id: str = ""
    multi_attach: bool = False
    failed: bool = False
    billing: str = "Linux/UNIX"
    root_of: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    instance: Any = None
    device: str = ""
    attached_at: datetime | None = None
    delete_on_termination: bool = False
    recent: list[Any] = field(default_factory=list)  # snapshots not long ago, for the limits

    def state(self, now: datetime) -> str:
        if now < self.ready_at:
            return "creating"
        if self.failed:
            return "error"
        return "in-use" if self.instance is not None else "available"

    def attachments(self) -> list[dict[str, Any]]:
        if self.instance is None:
            return []
        return [
            {
                "VolumeId": self.id,
                "InstanceId": self.instance.id,
                "Device": self.device,
                "State": "attached",
                "AttachTime": self.attached_at,
                "DeleteOnTermination": self.delete_on_termination,
            }
        ]

    def view(self, now: datetime) -> dict[str, Any]:
        return {
            "VolumeId": self.id,
            "AvailabilityZone": self.zone,
            "AvailabilityZoneId": self.zone_id,
            "Size": self.size,
            "VolumeType": self.kind,
            "Iops": self.iops,
            "Throughput": self.throughput,
            "Encrypted": self.key is not None,
            "KmsKeyId": self.key,
            "SnapshotId": self.snapshot_id,
            "State": self.state(now),
            "CreateTime": self.created_at,
            "MultiAttachEnabled": self.multi_attach,
            "Attachments": self.attachments(),
            "Tags": tag_list(self.tags),
        }


FIELDS: Fields = {
    "volume-id": lambda v, _: v.id,
    "status": lambda v, now: v.state(now),
    "size": lambda v, _: str(v.size),
    "volume-type": lambda v, _: v.kind,
    "availability-zone": lambda v, _: v.zone,
    "snapshot-id": lambda v, _: v.snapshot_id,
    "encrypted": lambda v, _: "true" if v.key else "false",
    "attachment.instance-id": lambda v, _: v.instance and v.instance.id,
    "attachment.device": lambda v, _: v.instance and v.device,
    "attachment.status": lambda v, _: v.instance and "attached",
    "attachment.delete-on-termination": lambda v, _: v.instance and ("true" if v.delete_on_termination else "false"),
}


def performance(kind: str, size: int, asked: dict) -> tuple[int | None, int | None]:
    """(IOPS, throughput) of a volume; InvalidParameterCombination and the like where the type does not allow them."""
    if kind not in SIZES:
        raise bad_value(f"Value ({kind}) for parameter volumeType is invalid.")
    low, high = SIZES[kind]
    if not low <= size <= high:
        raise bad_value(f"Volume of {size}GiB is invalid; must be between {low} and {high} for {kind}.")
    iops, throughput = asked.get("Iops"), asked.get("Throughput")
    if kind in PROVISIONED and iops is None:
        raise AwsError("MissingParameter", f"The parameter iops must be specified for {kind} volumes.")
    if iops is not None and kind not in (*PROVISIONED, "gp3"):
        raise bad_combination(f"The parameter iops is not supported for {kind} volumes.")
    if throughput is not None and kind != "gp3":
        raise bad_combination(f"The parameter throughput is not supported for {kind} volumes.")
    if kind == "gp3":
        return iops or 3000, throughput or 125
    return (iops or min(16000, max(100, 3 * size))) if kind != "standard" else None, None


def snapshot_for_volume(call: Call, snapshot_id: str, held: Any) -> Any:
    """The snapshot that a volume is to be made from: seen (or `held` by an image), completed, not archived."""
    source = held or visible_snapshot(call.world, call.account, call.region, snapshot_id)
    state = source.state(call.now)
    if state != "completed":
        raise AwsError("IncorrectState", f"Snapshot is in invalid state - {state}")
    if source.tier == "archive":
        raise AwsError("IncorrectState", f"The snapshot '{snapshot_id}' is archived.")
    return source


def new_volume(call: Call, zone: tuple[str, str], asked: dict, tags: dict[str, str], held: Any = None) -> Volume:
    """Make a volume as an `EbsBlockDevice` or a CreateVolume request asks for it; the type is gp2 unless named."""
    world, source = call.world, None
    if asked.get("SnapshotId"):
        source = snapshot_for_volume(call, asked["SnapshotId"], held)
    size = asked.get("VolumeSize") or asked.get("Size") or (source.size if source else None)
    if size is None:
        raise AwsError("MissingParameter", "The request must contain the parameter size/snapshot")
    if source and size < source.size:
        raise bad_value(f"Volume of {size}GiB is smaller than snapshot '{source.id}', expect size >= {source.size}GiB")
    kind = asked.get("VolumeType") or "gp2"
    iops, throughput = performance(kind, size, asked)
    key, usable = encryption(call, asked, source)
    volume = Volume(
        id=world.new_id("vol"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        zone=zone[0],
        zone_id=zone[1],
        size=size,
        kind=kind,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.volume_seconds),
        blocks=source.blocks.frozen(size) if source else BlockMap(world.store, size),
        iops=iops,
        throughput=throughput,
        key=key,
        snapshot_id=source.id if source else "",
        failed=not usable,
        multi_attach=bool(asked.get("MultiAttachEnabled")),
        billing=source.billing if source else "Linux/UNIX",
    )
    call.here.volumes[volume.id] = volume
    call.here.tags.put(volume, tags)
    return volume


def encryption(call: Call, asked: dict, source: Any) -> tuple[str | None, bool]:
    """(key of a new volume, whether it can be used). An encrypted snapshot makes an encrypted volume, under its own
    key unless told. KMS answers later than EC2: with a bad key the call succeeds and the volume ends in `error`.
    """
    key_id = asked.get("KmsKeyId")
    if key_id and not asked.get("Encrypted"):
        raise AwsError(
            "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
        )
    if source and source.key:
        if asked.get("Encrypted") is False:
            raise bad_value("Encrypted flag cannot be false, since the snapshot is encrypted.")
        readable = kms.usable(call, source.key)
        if not key_id and source.owner == call.account:
            return source.key, readable
        arn, usable = kms.chosen(call, key_id)
        return arn, usable and readable
    return kms.chosen(call, key_id) if asked.get("Encrypted") else (None, True)


@operation("ec2", "CreateVolume")
@once("ClientToken")
def create_volume(call: Call, parameters: dict) -> dict:
    name, zone_id = parameters.get("AvailabilityZone"), parameters.get("AvailabilityZoneId")
    if not name and not zone_id:
        raise AwsError("MissingParameter", "The request must contain the parameter availabilityZone")
    if name and zone_id:
        raise bad_combination("AvailabilityZone and AvailabilityZoneId cannot both be specified.")
    zone = network.zone(call.account, call.region, name, zone_id)
    tags = specified(parameters, "volume")["volume"]
    return new_volume(call, zone, parameters, tags).view(call.now)


@operation("ec2", "DescribeVolumes")
def describe_volumes(call: Call, parameters: dict) -> dict:
    check_page(parameters, "VolumeIds")
    volumes, ids = call.here.volumes, parameters.get("VolumeIds") or []
    chosen = named(call, volumes, "vol", ids) if ids else None
    shown, token = page(select(call, volumes, chosen, parameters.get("Filters", []), FIELDS), parameters)
    return {"Volumes": [v.view(call.now) for v in shown], "NextToken": token}


def owned_volume(call: Call, volume_id: str) -> Volume:
    if volume_id not in call.here.volumes:
        raise missing("vol", volume_id)
    return call.here.volumes[volume_id]


def drop_volume(call_world: Any, here: Any, volume: Volume) -> None:
    """Take a volume out of existence, whatever its state."""
    if volume.instance is not None:
        volume.instance.volumes.pop(volume.device, None)
        volume.instance = None
    here.volumes.pop(volume.id, None)
    here.tags.forget(volume)
    call_world.block_gone()


@operation("ec2", "DeleteVolume")
def delete_volume(call: Call, parameters: dict) -> dict:
    volume = owned_volume(call, required(parameters, "VolumeId"))
    if volume.instance is not None:
        raise AwsError("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.instance.id}")
    drop_volume(call.world, call.here, volume)
    return {"Return": True}


def attach(volume: Volume, instance: Any, device: str, now: datetime, delete_on_termination: bool) -> None:
    volume.instance, volume.device, volume.attached_at = instance, device, now
    volume.delete_on_termination = delete_on_termination
    instance.volumes[device] = volume


@operation("ec2", "AttachVolume")
def attach_volume(call: Call, parameters: dict) -> dict:
    volume = owned_volume(call, required(parameters, "VolumeId"))
    instance_id, device = required(parameters, "InstanceId"), required(parameters, "Device")
    instance = call.here.instances.get(instance_id)
    if instance is None:
        raise missing("i", instance_id)
    if volume.instance is not None:
        raise AwsError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if volume.state(call.now) != "available":
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is not 'available'.")
    if instance.state(call.now) not in ("running", "stopped"):
        raise AwsError("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'.")
    if volume.zone != instance.zone:
        text = f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'"
        raise AwsError("InvalidVolume.ZoneMismatch", text)
    if device in instance.volumes:
        raise bad_value(f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use")
    if len(instance.volumes) >= ATTACHMENTS:
        raise AwsError("AttachmentLimitExceeded", f"The limit of {ATTACHMENTS} attachments is reached.")
    attach(volume, instance, device, call.now, False)
    return {**volume.attachments()[0], "State": "attaching"}


@operation("ec2", "DetachVolume")
def detach_volume(call: Call, parameters: dict) -> dict:
    volume = owned_volume(call, required(parameters, "VolumeId"))
    instance = volume.instance
    wanted = parameters.get("InstanceId")
    if instance is None or wanted not in (None, instance.id):
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    if parameters.get("Device") not in (None, volume.device):
        raise AwsError("InvalidAttachment.NotFound", f"Volume {volume.id} is not attached as {parameters['Device']}")
    running = instance.state(call.now) not in ("stopped", "terminated")
    if volume.device == instance.root_device and running:
        text = f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'"
        raise AwsError("OperationNotPermitted", text)
    answer = {**volume.attachments()[0], "State": "detaching"}
    instance.volumes.pop(volume.device)
    volume.instance, volume.device, volume.attached_at = None, "", None
    return answer


@operation("ec2", "ModifyVolume")
def modify_volume(call: Call, parameters: dict) -> dict:
    volume = owned_volume(call, required(parameters, "VolumeId"))
    size, kind = parameters.get("Size", volume.size), parameters.get("VolumeType", volume.kind)
    if size < volume.size:
        raise bad_value(f"New size cannot be smaller than existing size {volume.size}")
    before = {"OriginalSize": volume.size, "OriginalVolumeType": volume.kind, "OriginalIops": volume.iops}
    volume.iops, volume.throughput = performance(kind, size, parameters)
    volume.size, volume.kind, volume.blocks.gib = size, kind, size
    after = {"TargetSize": size, "TargetVolumeType": kind, "TargetIops": volume.iops}
    state = {"VolumeId": volume.id, "ModificationState": "completed", "Progress": 100, "StartTime": call.now}
    return {"VolumeModification": {**state, **before, **after}}
