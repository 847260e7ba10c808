"""RunInstances: an instance and its volumes out of an image and its overrides.

"RunInstances" (EC2 API reference); "Block device mappings" (EC2 user guide): a request's mapping changes or removes the
image's mapping of the same device, and adds others.
"""

import re
from datetime import timedelta
from functools import partial
from typing import Any

from deploy.sandbox import network
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, bad_combination, bad_value, missing, required
from deploy.sandbox.idempotency import once
from deploy.sandbox.images import Image, visible_image
from deploy.sandbox.instances import METADATA_DEFAULT, Instance, release, reservations
from deploy.sandbox.tags import specified
from deploy.sandbox.volumes import attach, drop_volume, new_volume

OLD_FAMILIES = ("t1", "m1", "m2", "m3", "c1", "c3", "r3", "i2", "hs1", "g2")  # those that run without ENA
DEFAULT_TYPE = "m1.small"  # RunInstances, InstanceType
NETWORK_LEVEL = ("SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress")


def merged_mappings(image: Image, overrides: list[dict]) -> list[dict[str, Any]]:
    """The image's mappings changed by the request's: {"DeviceName", "Ebs"} each."""
    result = {m["DeviceName"]: dict(m.get("Ebs") or {}) for m in image.mappings if m.get("Ebs")}
    for entry in overrides:
        device = required(entry, "DeviceName")
        if entry.get("NoDevice") is not None:
            result.pop(device, None)
        elif entry.get("Ebs"):
            known, asked = result.get(device, {}), dict(entry["Ebs"])
            if known.get("VolumeType") and asked.get("VolumeType") not in (None, known["VolumeType"]):
                known = {k: v for k, v in known.items() if k not in ("Iops", "Throughput")}
            if asked.get("SnapshotId") and device in result and asked["SnapshotId"] != known.get("SnapshotId"):
                if device == image.root_device:
                    raise bad_value(f"Snapshot of the root device {device} cannot be changed.")
                known = {}
            result[device] = known | asked
    return [{"DeviceName": d, "Ebs": e} for d, e in result.items()]


def check_type(image: Image, kind: str) -> None:
    """Whether the type can run the image: architecture, virtualization and ENA, as RunInstances refuses them."""
    family, dot, _ = kind.partition(".")
    if not dot:
        raise bad_value(f"Invalid value '{kind}' for InstanceType.")
    if family in OLD_FAMILIES:
        return
    graviton = re.fullmatch(r"[a-z]+\d+g[a-z]*|a1", family) is not None
    wanted, held = "arm64" if graviton else "x86_64", image.details.get("Architecture")
    if held != wanted:
        text = f"The architecture '{wanted}' of the specified instance type does not match the architecture '{held}'"
        raise bad_value(f"{text} of the specified AMI.")
    if image.details.get("VirtualizationType") != "hvm":
        raise bad_combination(f"Non-HVM AMI is not supported by the instance type '{kind}'.")
    if not image.details.get("EnaSupport"):
        raise bad_combination(f"Enhanced networking with the Elastic Network Adapter (ENA) is required for '{kind}'.")


def interfaces_of(call: Call, parameters: dict) -> list[dict[str, Any]]:
    """The wanted interfaces by device index; one for the request's own subnet when none are given."""
    wanted = parameters.get("NetworkInterfaces") or []
    if not wanted:
        keys = {"SubnetId": "SubnetId", "SecurityGroupIds": "Groups", "PrivateIpAddress": "PrivateIpAddress"}
        return [{"DeviceIndex": 0} | {new: parameters[old] for old, new in keys.items() if old in parameters}]
    mixed = [k for k in NETWORK_LEVEL if parameters.get(k)]
    if mixed:
        text = f"Network interfaces and an instance-level {mixed[0]} may not be specified on the same request"
        raise bad_combination(text)
    by_index = sorted(wanted, key=lambda n: n.get("DeviceIndex", 0))
    if by_index[0].get("DeviceIndex", 0) != 0:
        raise bad_value("A network interface with device index 0 is required.")
    return by_index


def _interface(call: Call, wanted: dict, net: Any, owner: str) -> dict[str, Any]:
    primary = wanted.get("PrivateIpAddress")
    listed = wanted.get("PrivateIpAddresses") or []
    primary = primary or next((a["PrivateIpAddress"] for a in listed if a.get("Primary")), None)
    address = network.take_address(call.here, net, primary, owner)
    others = [a["PrivateIpAddress"] for a in listed if a["PrivateIpAddress"] != address]
    for other in others:
        network.take_address(call.here, net, other, owner)
    for _ in range(wanted.get("SecondaryPrivateIpAddressCount") or 0):
        others.append(network.take_address(call.here, net, None, owner))
    shown = [{"PrivateIpAddress": address, "Primary": True}]
    shown += [{"PrivateIpAddress": a, "Primary": False} for a in others]
    return {
        "NetworkInterfaceId": wanted.get("NetworkInterfaceId") or call.world.new_id("eni"),
        "SubnetId": net.id,
        "VpcId": net.vpc_id,
        "OwnerId": call.account,
        "Status": "in-use",
        "Description": wanted.get("Description", ""),
        "SourceDestCheck": True,
        "PrivateIpAddress": address,
        "PrivateIpAddresses": shown,
        "Groups": network.groups(call.account, call.region, wanted.get("Groups") or [], net.vpc_id),
        "Attachment": {
            "AttachmentId": call.world.new_id("eni-attach"),
            "DeviceIndex": wanted.get("DeviceIndex", 0),
            "Status": "attached",
            "AttachTime": call.now,
            "DeleteOnTermination": wanted.get("DeleteOnTermination", True),
        },
    }


def facts_of(call: Call, parameters: dict, zone: str) -> dict[str, Any]:
    """The parts of the request that the instance repeats when described."""
    placement = {"Tenancy": "default", **parameters.get("Placement", {}), "AvailabilityZone": zone}
    metadata = METADATA_DEFAULT | parameters.get("MetadataOptions", {})
    facts: dict[str, Any] = {
        "Placement": placement,
        "MetadataOptions": metadata,
        "Monitoring": {"State": "enabled" if parameters.get("Monitoring", {}).get("Enabled") else "disabled"},
        "EbsOptimized": parameters.get("EbsOptimized", False),
        "SourceDestCheck": True,
    }
    for name in ("KeyName", "ClientToken", "CpuOptions"):
        if parameters.get(name):
            facts[name] = parameters[name]
    arn = network.profile_arn(call.account, parameters.get("IamInstanceProfile"))
    if arn:
        if not call.principal.allows("iam:PassRole"):
            raise AwsError("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
        facts["IamInstanceProfile"] = {"Arn": arn, "Id": "AIPA" + arn[-16:].upper().replace("/", "0")}
    return facts


@operation("ec2", "RunInstances")
@once("ClientToken")
def run_instances(call: Call, parameters: dict) -> dict:
    least, most = required(parameters, "MinCount"), required(parameters, "MaxCount")
    if not 1 <= least <= most:
        raise bad_value("MinCount must be at least 1 and not above MaxCount.")
    image = visible_image(call, call.region, required(parameters, "ImageId"))
    if image.state(call.now) != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    check_type(image, parameters.get("InstanceType") or DEFAULT_TYPE)
    network.check_key_pair(call.account, call.region, parameters.get("KeyName"))
    tags = specified(parameters, "instance", "volume", "network-interface", "spot-instances-request")
    wanted = interfaces_of(call, parameters)
    if most > 1 and any(w.get("PrivateIpAddress") for w in wanted):
        raise bad_combination("A private address can be given for one instance only.")
    reservation = call.world.new_id("r")
    made = [launch(call, parameters, image, wanted, tags, reservation) for _ in range(most)]
    answer = reservations(made, call.now)[0]
    return {**answer, "OwnerId": call.account}


def launch(call: Call, parameters: dict, image: Image, wanted: list, tags: dict, reservation: str) -> Instance:
    """One instance. If anything about it is refused, its volumes and addresses are taken back."""
    world, here = call.world, call.here
    net, zone = _place(call, parameters, wanted)
    facts = facts_of(call, parameters, zone[0])
    identifier = world.new_id("i")
    mappings = merged_mappings(image, parameters.get("BlockDeviceMappings", []))
    shown, volumes = _equip(call, identifier, image, net, zone, wanted, mappings, tags["volume"])
    instance = Instance(
        id=identifier,
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        zone=zone[0],
        image_id=image.id,
        kind=parameters.get("InstanceType") or DEFAULT_TYPE,
        root_device=image.root_device,
        created_at=call.now,
        reservation=reservation,
        launched_at=call.now,
        subnet_id=net.id,
        vpc_id=net.vpc_id,
        private_ip=shown[0]["PrivateIpAddress"],
        phase_until=call.now + timedelta(seconds=call.config.instance_seconds),
        platform_details=image.platform_details,
        user_data=parameters.get("UserData", ""),
        protected=bool(parameters.get("DisableApiTermination")),
        interfaces=shown,
        groups=shown[0]["Groups"],
        facts=facts,
        image_details=dict(image.details),
    )
    instance.boot(call.now, "RunInstances")
    for entry in mappings:
        device, ebs = entry["DeviceName"], entry["Ebs"]
        attach(volumes[device], instance, device, call.now, ebs.get("DeleteOnTermination", device == image.root_device))
    _mark_root(instance)
    here.instances[instance.id] = instance
    here.tags.put(instance, tags["instance"])
    if any(v.failed for v in volumes.values()):
        instance.doomed = "Client.InternalError"
        world.at(instance.phase_until, partial(release, world, here, instance))
    return instance


def _place(call: Call, parameters: dict, wanted: list) -> tuple[Any, tuple[str, str]]:
    """(subnet, zone) of a new instance."""
    asked_zone = parameters.get("Placement", {}).get("AvailabilityZone")
    net = network.subnet(call.account, call.region, wanted[0].get("SubnetId"), asked_zone)
    if asked_zone not in (None, net.availability_zone):
        raise bad_value(f"The subnet '{net.id}' is not in the zone '{asked_zone}'.")
    return net, network.zone(call.account, call.region, net.availability_zone)


def _equip(
    call: Call,
    identifier: str,
    image: Image,
    net: Any,
    zone: tuple[str, str],
    wanted: list[dict],
    mappings: list[dict],
    tags: dict[str, str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(interfaces, volumes by device) of a new instance; neither remains when one of them is refused."""
    volumes: dict[str, Any] = {}
    try:
        shown = []
        for interface in wanted:
            its = network.subnet(call.account, call.region, interface.get("SubnetId") or net.id, None)
            shown.append(_interface(call, interface, its, identifier))
        for entry in mappings:
            volumes[entry["DeviceName"]] = _volume(call, image, zone, entry["Ebs"], tags)
    except AwsError:
        for volume in volumes.values():
            drop_volume(call.world, call.here, volume)
        network.free_addresses(call.here, identifier)
        raise
    return shown, volumes


def _volume(call: Call, image: Image, zone: tuple[str, str], ebs: dict, tags: dict[str, str]) -> Any:
    """A volume of an instance. An image shared for launch brings its snapshots along without sharing them."""
    held = {s.id: s for s in image.snapshots}
    asked = {k: v for k, v in ebs.items() if not (k == "Encrypted" and v is False)}
    source = held.get(ebs.get("SnapshotId", ""))
    if source is not None and source.gone:
        raise missing("snap", source.id)
    return new_volume(call, zone, asked, dict(tags), source)


def _mark_root(instance: Instance) -> None:
    root = instance.volumes.get(instance.root_device)
    if root is not None:
        root.root_of, root.billing = instance.id, instance.platform_details
        instance.root_lineage.append(root.id)
