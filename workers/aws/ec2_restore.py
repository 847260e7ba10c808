"""The steps of a restore of instances and volumes, each begun once for a key.

Where EC2 has a client token (CreateVolume, RunInstances, CreateReplaceRootVolumeTask) it is derived from the key, and
a repeated call is answered with what the first one made. RegisterImage has none: its name is the token. Attaching,
detaching, stopping, starting and tagging look first, and take what they find already so for done.

What a step reports as created is what `undo` takes back: 'volume', 'snapshot', 'image', 'instance' by id;
'attachment' and 'detachment' as VOLUME:INSTANCE:DEVICE; 'stop' by the instance's id.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Gone, InUse, Invalid, NotReady, Refused, SnapfleetError
from workers.aws.ec2_describe import volumes_of
from workers.aws.ec2_restore_progress import (
    RESTORE_KINDS,
    attachment_to,
    describe_by_id,
    restore_progress,
    volumes_held,
)
from workers.aws.ec2_restore_undo import undo
from workers.aws.errors import translate, translated
from workers.aws.session import Clients
from workers.aws.tags import OURS, fit_tags, is_ours, name_for, part_key, read_tags, specify, token_for, write_tags
from workers.driver import Created, Operation, Point, RestoreStep, StepStarted
from workers.pace import Pace

__all__ = ["RESTORE_KINDS", "restore_progress", "start_step", "undo"]

# What RunInstances takes of the metadata options that DescribeInstances tells (EC2 API reference).
_METADATA = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags")
_ADDRESS_TAKEN = frozenset({"InvalidIPAddress.InUse", "InvalidNetworkInterface.InUse"})


@dataclass(frozen=True)
class _Step:
    """One step to begin, with the tools."""

    clients: Clients
    point: Point
    kind: str
    params: Mapping[str, Any]
    key: str
    tags: Mapping[str, str]
    pace: Pace

    @property
    def token(self) -> str:
        """The same for this step for ever; another for another step, even under one key."""
        params = json.dumps(self.params, sort_keys=True, default=str)
        return token_for(part_key(self.key, f"{self.kind}/{params}"))

    def need(self, name: str) -> str:
        """A param without which the step is no step. Raises Invalid."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value:
            raise Invalid(f"The restore step {self.kind} lacks {name!r}.", code="bad-step")
        return value

    def tag(self, users: Mapping[str, str] | None = None) -> dict[str, str]:
        """Our tags with this key, and as many of `users` as fit."""
        return fit_tags(self.key, self.tags, users or {})[0]

    def operation(self, kind: str, external_id: str, **detail: Any) -> Operation:
        """What was begun, with the time from which its absence is judged."""
        started = {"started_at": self.pace.clock.timer().isoformat(), "key": self.key, **detail}
        return Operation(kind, external_id, self.clients.account, self.clients.region, started)


def start_step(
    clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str], *, pace: Pace | None = None
) -> StepStarted:
    """Begin one step of a restore plan whose references are resolved; the same step and key make nothing twice.

    Raises only the family: Invalid (a step or a value AWS refuses), Gone (a snapshot, an instance), NotReady (no
    capacity, wrong state).
    """
    begin = _BEGIN.get(step.kind)
    if begin is None:
        raise Invalid(f"There is no restore step {step.kind!r}.", code="bad-step")
    with translated(step.kind):
        return begin(_Step(clients, point, step.kind, step.params, key, tags, pace or Pace()))


def _create_volume(step: _Step) -> StepStarted:
    params = step.params
    request = {
        "SnapshotId": step.need("snapshot_id"),
        "AvailabilityZone": step.need("zone"),
        **_speed(params),
        "VolumeType": step.need("volume_type"),  # EC2 makes gp2 when none is said
        "ClientToken": step.token,
        "TagSpecifications": specify(step.tag(params.get("tags")), "volume"),
    }
    if params.get("size_gib"):
        request["Size"] = params["size_gib"]
    made = step.clients.read().create_volume(**request)["VolumeId"]
    return StepStarted((step.operation("volume", made),), (Created("volume", made),), {"volume_id": made})


def _speed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Speed and key of a volume in EC2's names; KmsKeyId needs Encrypted, and Encrypted=False is never sent."""
    request = {
        theirs: params[ours] for ours, theirs in (("iops", "Iops"), ("throughput", "Throughput")) if params.get(ours)
    }
    if params.get("encrypted") or params.get("kms_key_id"):
        request["Encrypted"] = True
    if params.get("kms_key_id"):
        request["KmsKeyId"] = params["kms_key_id"]
    return request


def _attach_volume(step: _Step) -> StepStarted:
    volume, instance, device = step.need("volume_id"), step.need("instance_id"), step.need("device")
    now = describe_by_id(step.clients, "volume", [volume]).get(volume, {})
    attachments = now.get("Attachments", [])
    mine = attachment_to(now, instance)
    if mine and mine.get("Device") != device:
        raise Invalid(
            f"{volume} is attached to {instance} already, as {mine.get('Device')}.", code="attached-elsewhere"
        )
    if attachments and not mine and not now.get("MultiAttachEnabled"):
        raise Invalid(f"{volume} is attached to {attachments[0].get('InstanceId')}.", code="attached-elsewhere")
    if not mine:
        step.clients.read().attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
    began = step.operation("attachment", volume, instance_id=instance, device=device, want="attached")
    return StepStarted((began,), (Created("attachment", f"{volume}:{instance}:{device}"),), {"volume_id": volume})


def _check_volumes(step: _Step) -> StepStarted:
    """Nothing is begun: what a machine holds is compared with what the plan will take off, while all of it is there."""
    instance, wanted = step.need("instance_id"), step.params.get("volumes", {})
    found = describe_by_id(step.clients, "instance", [instance]).get(instance)
    if found is None:
        raise Gone(f"The instance {instance} does not exist.")
    held = volumes_held(found)
    for device, volume in wanted.items():
        now = held.get(device, "")
        if now != volume:
            raise _outdated(f"{instance} has {now or 'nothing'} at {device}, where {volume or 'nothing'} was expected")
    return StepStarted((), (), {"volumes": held})


def _outdated(text: str) -> Invalid:
    """A plan was made from an older look than what the machine shows now."""
    advice = "Look with `snapfleet discover --wait`, then ask for the restore again: it is planned anew."
    return Invalid(f"{text}.", code="plan-outdated", advice=advice)


def _refuse_strangers(step: _Step, volume: Mapping[str, Any], instance: str, device: str) -> None:
    """A volume that is off already was taken off by an earlier attempt of this step, since the check before it saw it
    there; unless it is attached to another machine, or another volume has its place: that was somebody else."""
    name = step.need("volume_id")
    others = {one.get("InstanceId") for one in volume.get("Attachments", []) if one.get("State") != "detached"}
    if others - {instance} and not volume.get("MultiAttachEnabled"):
        raise _outdated(f"{name} is attached to {', '.join(sorted(others))} and not to {instance}")
    there = volumes_held(describe_by_id(step.clients, "instance", [instance]).get(instance, {})).get(device)
    if there:
        raise _outdated(f"{instance} has {there} at {device}, where {name} was expected")


def _detach_volume(step: _Step) -> StepStarted:
    volume, instance, device = step.need("volume_id"), step.need("instance_id"), step.need("device")
    found = describe_by_id(step.clients, "volume", [volume]).get(volume, {})
    now = attachment_to(found, instance)
    if now.get("Device", device) != device:
        raise _outdated(f"{volume} is at {now.get('Device')} of {instance} and not at {device}")
    if not now:
        _refuse_strangers(step, found, instance, device)
    elif now.get("State") != "detaching":
        step.clients.read().detach_volume(VolumeId=volume, InstanceId=instance)
    began = step.operation("attachment", volume, instance_id=instance, device=device, want="detached")
    return StepStarted((began,), (Created("detachment", f"{volume}:{instance}:{device}"),), {"volume_id": volume})


def _stop_instance(step: _Step) -> StepStarted:
    instance = step.need("instance_id")
    step.clients.read().stop_instances(InstanceIds=[instance])
    began = step.operation("instance", instance, want="stopped")
    return StepStarted((began,), (Created("stop", instance),), {"instance_id": instance})


def _start_instance(step: _Step) -> StepStarted:
    instance = step.need("instance_id")
    step.clients.read().start_instances(InstanceIds=[instance])
    return StepStarted((step.operation("instance", instance, want="running"),), (), {"instance_id": instance})


def _register_image(step: _Step) -> StepStarted:
    name = name_for(part_key(step.key, "register-image"))
    platform = str(step.params.get("platform_details", ""))
    found = step.clients.read().describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])
    if found["Images"]:
        made = str(found["Images"][0]["ImageId"])
    else:
        with translated("RegisterImage", guard=step.pace.guard):
            made = str(step.clients.create().register_image(**_image_request(step, name))["ImageId"])
    # whether it has its licence is judged with its progress: then it is known as made, and an undo takes it away
    began = step.operation("registered-image", made, platform_details=platform)
    return StepStarted((began,), (Created("image", made),), {"image_id": made})


def _image_request(step: _Step, name: str) -> dict[str, Any]:
    params = step.params
    optional = {
        "Architecture": params.get("architecture"),
        "BootMode": params.get("boot_mode"),
        "EnaSupport": params.get("ena_support") or None,
        "SriovNetSupport": params.get("sriov_net_support"),
        "TpmSupport": params.get("tpm_support"),
    }
    return {
        "Name": name,
        "RootDeviceName": step.need("root_device"),
        "VirtualizationType": params.get("virtualization_type") or "hvm",  # EC2's own default is paravirtual
        "BlockDeviceMappings": [_mapping(volume) for volume in params.get("volumes", [])],
        "TagSpecifications": specify(step.tag(), "image"),
        **{name: value for name, value in optional.items() if value},
    }


def _mapping(volume: Mapping[str, Any]) -> dict[str, Any]:
    """One volume of an image or of a launch."""
    disk = {"DeleteOnTermination": bool(volume.get("delete_on_termination")), **_speed(volume)}
    for ours, theirs in (("snapshot_id", "SnapshotId"), ("size_gib", "VolumeSize"), ("volume_type", "VolumeType")):
        if volume.get(ours):
            disk[theirs] = volume[ours]
    return {"DeviceName": volume["device"], "Ebs": disk}


def _run_instance(step: _Step) -> StepStarted:
    params = step.params
    skipped = [{"DeviceName": device, "NoDevice": ""} for device in params.get("skip_devices", [])]
    mine = step.tag()
    request = {
        "ImageId": step.need("image_id"),
        "InstanceType": step.need("instance_type"),
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": step.token,
        "BlockDeviceMappings": [_mapping(volume) for volume in params.get("volumes", [])] + skipped,
        "TagSpecifications": specify(step.tag(params.get("tags")), "instance")
        + specify(mine, "volume", "network-interface"),
        **_where(params),
        **_who(step),
    }
    try:
        instance = step.clients.read().run_instances(**request)["Instances"][0]
    except ClientError as error:
        raise _launch_refused(error, step) from None
    made = instance["InstanceId"]
    known = {
        one["DeviceName"]: one["Ebs"]["VolumeId"] for one in instance.get("BlockDeviceMappings", []) if "Ebs" in one
    }
    began = step.operation("instance", made, want="running")
    zone = instance.get("Placement", {}).get("AvailabilityZone", "")
    return StepStarted((began,), (Created("instance", made),), {"instance_id": made, "zone": zone, "volumes": known})


def _where(params: Mapping[str, Any]) -> dict[str, Any]:
    """Network and place. Never NetworkInterfaces: RunInstances refuses them beside a subnet."""
    names = (
        ("subnet_id", "SubnetId"),
        ("security_group_ids", "SecurityGroupIds"),
        ("private_ip", "PrivateIpAddress"),
        ("ebs_optimized", "EbsOptimized"),
    )
    request = {theirs: params[ours] for ours, theirs in names if params.get(ours)}
    places = (("zone", "AvailabilityZone"), ("tenancy", "Tenancy"), ("placement_group", "GroupName"))
    placement = {theirs: params[ours] for ours, theirs in places if params.get(ours)}
    return {**request, **({"Placement": placement} if placement else {})}


def _who(step: _Step) -> dict[str, Any]:
    params = step.params
    request: dict[str, Any] = {}
    profile = str(params.get("profile", ""))
    if profile:
        request["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    if params.get("key"):
        request["KeyName"] = params["key"]
    if params.get("user_data") == "captured":
        request["UserData"] = _user_data(step.point)
    options = {name: value for name, value in params.get("metadata_options", {}).items() if name in _METADATA}
    if options:
        request["MetadataOptions"] = options
    if params.get("monitoring"):
        request["Monitoring"] = {"Enabled": True}
    return request


def _user_data(point: Point) -> bytes:
    """The captured user data as it was before its base64: the SDK encodes what it sends."""
    try:
        return base64.b64decode(str(point.resource.attributes.get("user_data", "")), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("The captured user data is not base64.", advice="Restore with --user-data none.") from None


def _launch_refused(error: ClientError, step: _Step) -> SnapfleetError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    refused = translate(error)
    if code in _ADDRESS_TAKEN:
        return Invalid(
            f"The private address {step.params.get('private_ip')} is in use in that subnet.",
            code="address-taken",
            advice="Restore with `--address auto`, or with another address.",
        )
    if code == "InsufficientInstanceCapacity":
        refused.advice = "Restore with `--subnet` in another zone, or with another `--type`."
    return refused


def _deregister_image(step: _Step) -> StepStarted:
    """Only the image goes: its snapshots are the recovery point's."""
    image_id = step.need("image_id")
    image = describe_by_id(step.clients, "image", [image_id]).get(image_id)
    if image is not None:
        if not is_ours(read_tags(image.get("Tags")), step.clients.account.installation):
            raise Refused(f"The image {image_id} is not ours, so it stays.", code="not-ours")
        step.clients.read().deregister_image(ImageId=image_id)
    return StepStarted(removed=(image_id,))


def _delete_volume(step: _Step) -> StepStarted:
    """Only a volume that carries our tag and is attached to nothing."""
    volume_id = step.need("volume_id")
    volume = describe_by_id(step.clients, "volume", [volume_id]).get(volume_id)
    if volume is not None:
        if not is_ours(read_tags(volume.get("Tags")), step.clients.account.installation):
            raise Refused(f"The volume {volume_id} is not ours, so it stays.", code="not-ours")
        if volume.get("Attachments"):
            raise InUse(f"The volume {volume_id} is still attached.")
        step.clients.read().delete_volume(VolumeId=volume_id)
    return StepStarted(removed=(volume_id,))


def _delete_snapshot(step: _Step) -> StepStarted:
    """Only a snapshot that carries our tag: what was read back from a repository, once the volumes are made of it."""
    snapshot_id = step.need("snapshot_id")
    snapshot = describe_by_id(step.clients, "snapshot", [snapshot_id]).get(snapshot_id)
    if snapshot is not None:
        if not is_ours(read_tags(snapshot.get("Tags")), step.clients.account.installation):
            raise Refused(f"The snapshot {snapshot_id} is not ours, so it stays.", code="not-ours")
        step.clients.read().delete_snapshot(SnapshotId=snapshot_id)
    return StepStarted(removed=(snapshot_id,))


def _replace_root(step: _Step) -> StepStarted:
    instance = step.need("instance_id")
    answer = step.clients.read().create_replace_root_volume_task(
        InstanceId=instance,
        SnapshotId=step.need("snapshot_id"),
        ClientToken=step.token,
        TagSpecifications=specify(step.tag(), "replace-root-volume-task"),
    )
    task = answer["ReplaceRootVolumeTask"]["ReplaceRootVolumeTaskId"]
    return StepStarted((step.operation("replace-root", task, instance_id=instance),), (), {"task_id": task})


def _tag_resources(step: _Step) -> StepStarted:
    instance = step.need("instance_id")
    now = {
        attachment_to(volume, instance).get("Device"): volume["VolumeId"]
        for volume in volumes_of(step.clients.read(), [instance]).get(instance, [])
    }
    wanted: Mapping[str, Mapping[str, str]] = step.params.get("volumes", {})
    ending: list[str] = list(step.params.get("delete_on_termination", []))
    absent = sorted({*wanted, *ending} - set(now))
    if absent:
        raise NotReady(f"{instance} shows no volume at {', '.join(absent)} yet.")
    for device, tags in wanted.items():
        fitted = {name: value for name, value in step.tag(tags).items() if name in tags and not name.startswith(OURS)}
        if fitted:
            step.clients.read().create_tags(Resources=[now[device]], Tags=write_tags(fitted))
    if ending:
        marks = [{"DeviceName": device, "Ebs": {"DeleteOnTermination": True}} for device in ending]
        step.clients.read().modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=marks)
    return StepStarted((), (), {"volumes": now})


_BEGIN: Mapping[str, Callable[[_Step], StepStarted]] = {
    "create-volume": _create_volume,
    "attach-volume": _attach_volume,
    "detach-volume": _detach_volume,
    "check-volumes": _check_volumes,
    "stop-instance": _stop_instance,
    "start-instance": _start_instance,
    "register-image": _register_image,
    "run-instance": _run_instance,
    "deregister-image": _deregister_image,
    "delete-volume": _delete_volume,
    "delete-snapshot": _delete_snapshot,
    "replace-root": _replace_root,
    "tag-resources": _tag_resources,
}
