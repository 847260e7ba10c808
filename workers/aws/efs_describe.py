"""EFS file systems as they are, and what a restore makes anew: life cycle, policy, mount targets, access points.

"Restore an Amazon EFS file system" (AWS Backup developer guide): a new file system comes with its files, encryption and
performance mode, and without all of these.
"""

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from workers.aws.errors import translate, translated
from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage

_PAGE = 100  # DescribeFileSystems, MaxItems
_GIB = 1 << 30
_ROOT = ("Path", "CreationInfo")


def discover(clients: Clients, page: str | None) -> ResourcePage:
    """A page of file systems, with their tags."""
    marker = {"Marker": page} if page else {}
    answer = clients.read("efs").describe_file_systems(MaxItems=_PAGE, **marker)
    found = tuple(_resource(clients, one) for one in answer["FileSystems"] if one["LifeCycleState"] != "deleted")
    return ResourcePage(found, answer.get("NextMarker"))


def describe(clients: Clients, name: str) -> Resource:
    """One file system by its id. Raises Gone."""
    with translated("DescribeFileSystems"):
        return _resource(clients, clients.read("efs").describe_file_systems(FileSystemId=name)["FileSystems"][0])


def _resource(clients: Clients, system: Mapping[str, Any]) -> Resource:
    tags = read_tags(system.get("Tags"))
    attributes = {
        "arn": system["FileSystemArn"],
        "state": system["LifeCycleState"],
        "encrypted": bool(system.get("Encrypted")),
        "kms_key_id": str(system.get("KmsKeyId", "")),
        "performance_mode": system.get("PerformanceMode", "generalPurpose"),
        "throughput_mode": system.get("ThroughputMode", "bursting"),
        "throughput": float(system.get("ProvisionedThroughputInMibps") or 0),
        "zone": str(system.get("AvailabilityZoneName", "")),
        "size_bytes": int(system.get("SizeInBytes", {}).get("Value") or 0),
    }
    name = str(system.get("Name") or tags.get("Name", ""))
    return Resource("efs", system["FileSystemId"], clients.account, clients.region, name, tags, attributes)


def size_gib(size_bytes: int) -> int:
    """Whole GiB, rounded up."""
    return -(-size_bytes // _GIB)


def settings(clients: Clients, name: str) -> tuple[dict[str, Any], list[str]]:
    """What stands beside the files, and a warning for what may not be read."""
    efs, warnings = clients.read("efs"), []
    found: dict[str, Any] = {}
    readers: dict[str, Callable[[], dict[str, Any]]] = {
        "life cycle": lambda: {
            "lifecycle": efs.describe_lifecycle_configuration(FileSystemId=name).get("LifecyclePolicies", [])
        },
        "policy": lambda: {"policy": _policy(efs, name)},
        "backup policy": lambda: {"automatic_backups": _automatic(efs, name)},
        "mount targets": lambda: _mounts(efs, name),
        "access points": lambda: {"access_points": _access_points(efs, name)},
    }
    for what, read in readers.items():
        try:
            found |= read()
        except ClientError as error:
            warnings.append(f"The {what} of {name} was not captured. {translate(error).text}")
    return found, warnings


def _policy(efs: Client, name: str) -> str:
    try:
        return str(efs.describe_file_system_policy(FileSystemId=name).get("Policy", ""))
    except efs.exceptions.PolicyNotFound:
        return ""


def _automatic(efs: Client, name: str) -> bool:
    try:
        status = efs.describe_backup_policy(FileSystemId=name)["BackupPolicy"]["Status"]
    except efs.exceptions.PolicyNotFound:
        return False
    return status in ("ENABLED", "ENABLING")


def mount_targets(efs: Client, name: str) -> list[Mapping[str, Any]]:
    """The mount targets of a file system."""
    pages = efs.get_paginator("describe_mount_targets").paginate(FileSystemId=name)
    return [target for page in pages for target in page["MountTargets"]]


def _mounts(efs: Client, name: str) -> dict[str, Any]:
    """Subnets in a fixed order, and the security groups of each target."""
    targets = sorted(mount_targets(efs, name), key=lambda one: str(one["SubnetId"]))
    groups = [
        sorted(efs.describe_mount_target_security_groups(MountTargetId=one["MountTargetId"])["SecurityGroups"])
        for one in targets
    ]
    every = sorted({group for some in groups for group in some})
    mounts = [{"subnet": one["SubnetId"], "groups": some} for one, some in zip(targets, groups, strict=True)]
    return {
        "mounts": mounts, "subnet_ids": [one["subnet"] for one in mounts], "security_group_ids": every
    }  # fmt: skip


def _access_points(efs: Client, name: str) -> list[dict[str, Any]]:
    pages = efs.get_paginator("describe_access_points").paginate(FileSystemId=name)
    found = [
        {
            "user": dict(point.get("PosixUser") or {}),
            "root": {key: point["RootDirectory"][key] for key in _ROOT if key in point.get("RootDirectory", {})},
            "tags": read_tags(point.get("Tags")),
        }
        for page in pages
        for point in page["AccessPoints"]
    ]
    return sorted(found, key=lambda one: str(one["root"]))
