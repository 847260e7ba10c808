"""Instances and volumes as they are: everything a restore needs, in our words, as JSON.

`attributes` of an instance: zone, instance_type, architecture, image_id, platform_details, root_device, subnet_id,
private_ip, security_group_ids, interfaces, profile_arn, key_name, metadata_options, placement, cpu_options, volumes
and more; of a volume: zone, type, size_gib, iops, throughput, encrypted, kms_key_id, attachments. User data may hold
secrets and is read only when a backup is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.errors import Gone, Invalid
from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage, Scope

# EC2 API reference: at most 200 values in one filter; pages of 200 instances ask for their volumes in one filter.
FILTER_VALUES = 200
_VOLUME_PAGE = 500
_ALIVE = ["pending", "running", "stopping", "stopped"]


def discover(clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
    """One page of the scope's types, one type after the other; the page token is `type|AWS's token`."""
    kind, _, token = (page or f"{scope.types[0]}|").partition("|")
    if kind not in scope.types:
        raise Invalid("The page of this discovery belongs to another scope.")
    found, after = _PAGES[kind](clients, token)
    if after:
        return ResourcePage(found, f"{kind}|{after}")
    rest = scope.types[scope.types.index(kind) + 1 :]
    return ResourcePage(found, f"{rest[0]}|" if rest else None)


def _instance_page(clients: Clients, token: str) -> tuple[tuple[Resource, ...], str]:
    answer = clients.read().describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": _ALIVE}], MaxResults=FILTER_VALUES, **_next(token)
    )
    instances = [instance for group in answer["Reservations"] for instance in group["Instances"]]
    volumes = volumes_of(clients.read(), [instance["InstanceId"] for instance in instances])
    made = tuple(as_instance(clients, instance, volumes.get(instance["InstanceId"], [])) for instance in instances)
    return made, answer.get("NextToken", "")


def _volume_page(clients: Clients, token: str) -> tuple[tuple[Resource, ...], str]:
    answer = clients.read().describe_volumes(
        Filters=[{"Name": "status", "Values": ["creating", "available", "in-use"]}],
        MaxResults=_VOLUME_PAGE,
        **_next(token),
    )
    return tuple(as_volume(clients, volume) for volume in answer["Volumes"]), answer.get("NextToken", "")


_PAGES = {"instance": _instance_page, "volume": _volume_page}


def describe_instance(clients: Clients, instance_id: str) -> Resource:
    """The instance as it is now, with its volumes. Raises Gone when it is terminated; SDK errors otherwise."""
    answer = clients.read().describe_instances(InstanceIds=[instance_id])
    for group in answer["Reservations"]:
        for instance in group["Instances"]:
            if instance["State"]["Name"] in _ALIVE:
                volumes = volumes_of(clients.read(), [instance_id])
                return as_instance(clients, instance, volumes.get(instance_id, []))
    raise Gone(f"The instance {instance_id} does not exist any more.")


def describe_volume(clients: Clients, volume_id: str) -> Resource:
    """The volume as it is now. Raises Gone when it is being deleted or broken; SDK errors otherwise."""
    for volume in clients.read().describe_volumes(VolumeIds=[volume_id])["Volumes"]:
        if volume["State"] in ("creating", "available", "in-use"):
            return as_volume(clients, volume)
    raise Gone(f"The volume {volume_id} does not exist any more.")


HIDDEN = ("user_data", "termination_protection")  # what `hidden_attributes` reads


def hidden_attributes(clients: Clients, instance_id: str) -> dict[str, Any]:
    """What DescribeInstances leaves out: `user_data` (base64, '' when none), `termination_protection`. SDK errors."""
    ask = clients.read().describe_instance_attribute
    data = ask(InstanceId=instance_id, Attribute="userData")
    protection = ask(InstanceId=instance_id, Attribute="disableApiTermination")
    return {
        "user_data": str(data.get("UserData", {}).get("Value", "")),
        "termination_protection": bool(protection.get("DisableApiTermination", {}).get("Value")),
    }


def volumes_of(ec2: Client, instance_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """AWS's descriptions of the volumes attached to each instance."""
    attached: dict[str, list[dict[str, Any]]] = {}
    for some in batches(instance_ids):
        filters = [{"Name": "attachment.instance-id", "Values": list(some)}]
        pages = ec2.get_paginator("describe_volumes").paginate(Filters=filters, PaginationConfig={"PageSize": 500})
        for volume in (volume for page in pages for volume in page["Volumes"]):
            for attachment in volume.get("Attachments", []):
                attached.setdefault(attachment["InstanceId"], []).append(volume)
    return attached


def batches(values: Sequence[str], size: int = FILTER_VALUES) -> Iterator[Sequence[str]]:
    """The values in pieces that fit into one filter."""
    return (values[start : start + size] for start in range(0, len(values), size))


def as_volume(clients: Clients, volume: Mapping[str, Any]) -> Resource:
    """A volume in our words; its parent is the instance that it is attached to."""
    tags = read_tags(volume.get("Tags"))
    attachments = [
        {
            "instance_id": attachment["InstanceId"],
            "device": attachment.get("Device", ""),
            "delete_on_termination": bool(attachment.get("DeleteOnTermination")),
        }
        for attachment in volume.get("Attachments", [])
        if attachment.get("InstanceId")
    ]
    return Resource(
        type="volume",
        external_id=volume["VolumeId"],
        account=clients.account,
        region=clients.region,
        name=tags.get("Name", ""),
        tags=tags,
        attributes={
            **volume_facts(volume),
            "state": volume.get("State", ""),
            "attachments": attachments,
            "device": attachments[0]["device"] if attachments else "",
            "delete_on_termination": bool(attachments and attachments[0]["delete_on_termination"]),
        },
        parent_id=attachments[0]["instance_id"] if attachments else "",
    )


def volume_facts(volume: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to make such a volume again."""
    return {
        "zone": volume.get("AvailabilityZone", ""),
        "type": volume.get("VolumeType", ""),
        "size_gib": int(volume.get("Size", 0)),
        "iops": int(volume.get("Iops") or 0),
        "throughput": int(volume.get("Throughput") or 0),
        "encrypted": bool(volume.get("Encrypted")),
        "kms_key_id": volume.get("KmsKeyId", ""),
        "multi_attach": bool(volume.get("MultiAttachEnabled")),
        "outpost_arn": volume.get("OutpostArn", ""),
        "snapshot_id": volume.get("SnapshotId", ""),
    }


def as_instance(clients: Clients, instance: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]]) -> Resource:
    """An instance in our words, with its volumes in order of device."""
    tags = read_tags(instance.get("Tags"))
    attached = [_attached(volume, instance["InstanceId"]) for volume in volumes]
    return Resource(
        type="instance",
        external_id=instance["InstanceId"],
        account=clients.account,
        region=clients.region,
        name=tags.get("Name", ""),
        tags=tags,
        attributes={
            **_hardware(instance),
            **_network(instance),
            "volumes": sorted(attached, key=lambda volume: str(volume["device"])),
        },
    )


def _attached(volume: Mapping[str, Any], instance_id: str) -> dict[str, Any]:
    own: Mapping[str, Any] = next(
        (one for one in volume.get("Attachments", []) if one.get("InstanceId") == instance_id), {}
    )
    return {
        "id": volume["VolumeId"],
        "device": own.get("Device", ""),
        "delete_on_termination": bool(own.get("DeleteOnTermination")),
        **volume_facts(volume),
        "tags": read_tags(volume.get("Tags")),
    }


# ours -> the field of EC2's Instance
_PLAIN = {
    "instance_type": "InstanceType",
    "architecture": "Architecture",
    "image_id": "ImageId",
    "platform": "Platform",
    "platform_details": "PlatformDetails",
    "usage_operation": "UsageOperation",
    "virtualization_type": "VirtualizationType",
    "tpm_support": "TpmSupport",
    "sriov_net_support": "SriovNetSupport",
    "root_device": "RootDeviceName",
    "root_device_type": "RootDeviceType",
    "key_name": "KeyName",
    "kernel_id": "KernelId",
    "ramdisk_id": "RamdiskId",
    "outpost_arn": "OutpostArn",
    "lifecycle": "InstanceLifecycle",
    "subnet_id": "SubnetId",
    "vpc_id": "VpcId",
    "private_ip": "PrivateIpAddress",
    "public_ip": "PublicIpAddress",
    "ipv6": "Ipv6Address",
}


def _hardware(instance: Mapping[str, Any]) -> dict[str, Any]:
    placement = instance.get("Placement", {})
    launched = instance.get("LaunchTime")
    return {
        **{ours: str(instance.get(theirs, "")) for ours, theirs in _PLAIN.items()},
        "state": instance["State"]["Name"],
        "boot_mode": instance.get("BootMode") or instance.get("CurrentInstanceBootMode", ""),
        "zone": placement.get("AvailabilityZone", ""),
        "tenancy": placement.get("Tenancy", ""),
        "placement": {name: value for name, value in placement.items() if value not in ("", None)},
        "cpu_options": dict(instance.get("CpuOptions", {})),
        "metadata_options": {k: v for k, v in instance.get("MetadataOptions", {}).items() if k != "State"},
        "maintenance_options": dict(instance.get("MaintenanceOptions", {})),
        "ena_support": bool(instance.get("EnaSupport")),
        "ebs_optimized": bool(instance.get("EbsOptimized")),
        "monitoring": instance.get("Monitoring", {}).get("State", "") == "enabled",
        "hibernation": bool(instance.get("HibernationOptions", {}).get("Configured")),
        "enclave": bool(instance.get("EnclaveOptions", {}).get("Enabled")),
        "product_codes": [code.get("ProductCodeId", "") for code in instance.get("ProductCodes", [])],
        "launched_at": launched.isoformat() if launched else "",
    }


def _network(instance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "security_group_ids": [group["GroupId"] for group in instance.get("SecurityGroups", [])],
        "source_dest_check": bool(instance.get("SourceDestCheck", True)),
        "profile_arn": instance.get("IamInstanceProfile", {}).get("Arn", ""),
        "private_dns": dict(instance.get("PrivateDnsNameOptions", {})),
        "interfaces": [_interface(one) for one in instance.get("NetworkInterfaces", [])],
    }


def _interface(one: Mapping[str, Any]) -> dict[str, Any]:
    attachment, association = one.get("Attachment", {}), one.get("Association", {})
    return {
        "id": one.get("NetworkInterfaceId", ""),
        "index": int(attachment.get("DeviceIndex", 0)),
        "subnet_id": one.get("SubnetId", ""),
        "private_ip": one.get("PrivateIpAddress", ""),
        "private_ips": [address.get("PrivateIpAddress", "") for address in one.get("PrivateIpAddresses", [])],
        "ipv6": [address.get("Ipv6Address", "") for address in one.get("Ipv6Addresses", [])],
        "security_group_ids": [group["GroupId"] for group in one.get("Groups", [])],
        "public_ip": association.get("PublicIp", ""),
        "elastic": bool(association) and association.get("IpOwnerId") != "amazon",
        "delete_on_termination": bool(attachment.get("DeleteOnTermination")),
        "source_dest_check": bool(one.get("SourceDestCheck", True)),
        "description": one.get("Description", ""),
    }


def _next(token: str) -> dict[str, str]:
    return {"NextToken": token} if token else {}
