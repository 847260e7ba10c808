"""Elastic file systems: what they are set to, where they are mounted, and the files in them.

"CreateFileSystem", "DescribeFileSystems", "CreateMountTarget", "PutLifecycleConfiguration" (EFS API reference).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import kms, network, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import tag_list
from deploy.sandbox.errors import AwsError
from deploy.sandbox.files import Files, size_of

ALIAS = "alias/aws/elasticfilesystem"
PAGE = 100  # DescribeFileSystems, MaxItems


@dataclass(eq=False)
class FileSystem:
    """One file system; `facts` are members of its description that are set by its owner."""

    id: str
    arn: str
    owner: str
    token: str
    created_at: datetime
    ready_at: datetime
    facts: dict[str, Any]
    key: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    lifecycle: list[dict[str, str]] = field(default_factory=list)
    policy: str | None = None
    backup: str = "DISABLED"
    overwrite: str = "ENABLED"
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    points: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: Files = field(default_factory=dict)

    def view(self, now: datetime) -> dict[str, Any]:
        size = 6144 + size_of(self.files)
        return {
            "OwnerId": self.owner,
            "CreationToken": self.token,
            "FileSystemId": self.id,
            "FileSystemArn": self.arn,
            "CreationTime": self.created_at,
            "LifeCycleState": "available" if now >= self.ready_at else "creating",
            "Name": self.tags.get("Name"),
            "NumberOfMountTargets": len(self.targets),
            "SizeInBytes": {"Value": size, "ValueInIA": 0, "ValueInStandard": size, "Timestamp": now},
            "Encrypted": self.key is not None,
            "KmsKeyId": self.key,
            "Tags": tag_list(self.tags),
            "FileSystemProtection": {"ReplicationOverwriteProtection": self.overwrite},
            **self.facts,
        }


@dataclass
class Kept:
    """File systems of one account and region by id."""

    systems: dict[str, FileSystem] = field(default_factory=dict)


def find(call: Call, identifier: str) -> FileSystem:
    """A file system by id or ARN; FileSystemNotFound (404)."""
    found = call.here.kept(Kept).systems.get(identifier.rsplit("/", 1)[-1])
    if found is None:
        raise AwsError("FileSystemNotFound", f"File system '{identifier}' does not exist.", 404)
    return found


def make(call: Call, parameters: dict) -> FileSystem:
    """A new file system as CreateFileSystem's parameters say."""
    token = parameters.get("CreationToken") or ""
    if not 1 <= len(token) <= 64:
        raise AwsError("BadRequest", "The CreationToken must have 1 to 64 characters.")
    held = call.here.kept(Kept).systems
    for one in held.values():
        if one.token == token:
            raise AwsError(
                "FileSystemAlreadyExists", f"File system '{one.id}' already exists with creation token.", 409
            )
    if parameters.get("KmsKeyId") and not parameters.get("Encrypted"):
        raise AwsError("BadRequest", "A KMS key needs Encrypted.")
    if parameters.get("ThroughputMode") == "provisioned" and not parameters.get("ProvisionedThroughputInMibps"):
        raise AwsError("BadRequest", "Provisioned throughput needs ProvisionedThroughputInMibps.")
    key = None
    if parameters.get("Encrypted"):
        key, usable = kms.chosen(call, parameters.get("KmsKeyId"), ALIAS)
        if not usable:
            raise AwsError("BadRequest", f"The KMS key {key} cannot be used.")
    identifier = call.world.new_id("fs")
    zone = parameters.get("AvailabilityZoneName")
    made = FileSystem(
        id=identifier,
        arn=f"arn:aws:elasticfilesystem:{call.region}:{call.account}:file-system/{identifier}",
        owner=call.account,
        token=token,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.volume_seconds),
        facts={
            "PerformanceMode": parameters.get("PerformanceMode") or "generalPurpose",
            "ThroughputMode": parameters.get("ThroughputMode") or "bursting",
            "ProvisionedThroughputInMibps": parameters.get("ProvisionedThroughputInMibps"),
            "AvailabilityZoneName": zone,
            "AvailabilityZoneId": network.zone(call.account, call.region, zone)[1] if zone else None,
        },
        key=key,
        tags={tag["Key"]: tag["Value"] for tag in parameters.get("Tags") or []},
        backup="ENABLED" if parameters.get("Backup") or zone else "DISABLED",
    )
    held[identifier] = made
    return made


@operation("elasticfilesystem", "CreateFileSystem")
def create_file_system(call: Call, parameters: dict) -> dict:
    return make(call, parameters).view(call.now)


@operation("elasticfilesystem", "DescribeFileSystems")
def describe_file_systems(call: Call, parameters: dict) -> dict:
    held = list(call.here.kept(Kept).systems.values())
    if parameters.get("FileSystemId"):
        held = [find(call, parameters["FileSystemId"])]
    elif parameters.get("CreationToken"):
        held = [one for one in held if one.token == parameters["CreationToken"]]
    shown, marker = rest.paged(held, parameters, PAGE, "MaxItems", "Marker")
    return {"FileSystems": [one.view(call.now) for one in shown], "NextMarker": marker}


@operation("elasticfilesystem", "UpdateFileSystem")
def update_file_system(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    mode = parameters.get("ThroughputMode") or found.facts["ThroughputMode"]
    if mode == found.facts["ThroughputMode"] and "ProvisionedThroughputInMibps" not in parameters:
        raise AwsError("BadRequest", "The throughput mode is the same as before.")
    found.facts["ThroughputMode"] = mode
    found.facts["ProvisionedThroughputInMibps"] = (
        parameters.get("ProvisionedThroughputInMibps") if mode == "provisioned" else None
    )
    return found.view(call.now)


@operation("elasticfilesystem", "UpdateFileSystemProtection")
def update_file_system_protection(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    found.overwrite = parameters.get("ReplicationOverwriteProtection", found.overwrite)
    return {"ReplicationOverwriteProtection": found.overwrite}


@operation("elasticfilesystem", "DeleteFileSystem")
def delete_file_system(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    if found.targets:
        raise AwsError("FileSystemInUse", f"File system '{found.id}' has mount targets.", 409)
    del call.here.kept(Kept).systems[found.id]
    return {}


@operation("elasticfilesystem", "PutLifecycleConfiguration")
def put_lifecycle_configuration(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    found.lifecycle = parameters.get("LifecyclePolicies") or []
    return {"LifecyclePolicies": found.lifecycle}


@operation("elasticfilesystem", "DescribeLifecycleConfiguration")
def describe_lifecycle_configuration(call: Call, parameters: dict) -> dict:
    return {"LifecyclePolicies": find(call, parameters["FileSystemId"]).lifecycle}


@operation("elasticfilesystem", "PutFileSystemPolicy")
def put_file_system_policy(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    found.policy = parameters["Policy"]
    return {"FileSystemId": found.id, "Policy": found.policy}


@operation("elasticfilesystem", "DescribeFileSystemPolicy")
def describe_file_system_policy(call: Call, parameters: dict) -> dict:
    """PolicyNotFound (404) where the default policy is in effect."""
    found = find(call, parameters["FileSystemId"])
    if found.policy is None:
        raise AwsError("PolicyNotFound", f"File system '{found.id}' has no policy.", 404)
    return {"FileSystemId": found.id, "Policy": found.policy}


@operation("elasticfilesystem", "PutBackupPolicy")
def put_backup_policy(call: Call, parameters: dict) -> dict:
    found = find(call, parameters["FileSystemId"])
    found.backup = parameters["BackupPolicy"]["Status"]
    return {"BackupPolicy": {"Status": found.backup}}


@operation("elasticfilesystem", "DescribeBackupPolicy")
def describe_backup_policy(call: Call, parameters: dict) -> dict:
    return {"BackupPolicy": {"Status": find(call, parameters["FileSystemId"]).backup}}


@operation("elasticfilesystem", "CreateMountTarget")
def create_mount_target(call: Call, parameters: dict) -> dict:
    """One in a zone: MountTargetConflict (409) for a second."""
    found = find(call, parameters["FileSystemId"])
    try:
        net = network.subnet(call.account, call.region, parameters["SubnetId"], None)
    except AwsError as error:
        raise AwsError("SubnetNotFound", error.message) from None
    if any(one["AvailabilityZoneName"] == net.availability_zone for one in found.targets.values()):
        raise AwsError("MountTargetConflict", "There is a mount target in this availability zone already.", 409)
    try:
        groups = network.groups(call.account, call.region, parameters.get("SecurityGroups") or [], net.vpc_id)
    except AwsError as error:
        raise AwsError("SecurityGroupNotFound", error.message) from None
    identifier = call.world.new_id("fsmt")
    found.targets[identifier] = {
        "OwnerId": call.account,
        "MountTargetId": identifier,
        "FileSystemId": found.id,
        "SubnetId": net.id,
        "LifeCycleState": "available",
        "IpAddress": parameters.get("IpAddress") or network.take_address(call.here, net, None, identifier),
        "AvailabilityZoneName": net.availability_zone,
        "VpcId": net.vpc_id,
        "groups": [one["GroupId"] for one in groups],
    }
    return _target(found.targets[identifier])


def _target(held: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in held.items() if k != "groups"}


def _mounted(call: Call, identifier: str) -> tuple[FileSystem, dict[str, Any]]:
    for one in call.here.kept(Kept).systems.values():
        if identifier in one.targets:
            return one, one.targets[identifier]
    raise AwsError("MountTargetNotFound", f"Mount target '{identifier}' does not exist.", 404)


@operation("elasticfilesystem", "DescribeMountTargets")
def describe_mount_targets(call: Call, parameters: dict) -> dict:
    if parameters.get("MountTargetId"):
        held = [_mounted(call, parameters["MountTargetId"])[1]]
    else:
        held = list(find(call, parameters["FileSystemId"]).targets.values())
    shown, marker = rest.paged(held, parameters, PAGE, "MaxItems", "Marker")
    return {"MountTargets": [_target(one) for one in shown], "NextMarker": marker}


@operation("elasticfilesystem", "DescribeMountTargetSecurityGroups")
def describe_mount_target_security_groups(call: Call, parameters: dict) -> dict:
    return {"SecurityGroups": _mounted(call, parameters["MountTargetId"])[1]["groups"]}


@operation("elasticfilesystem", "DeleteMountTarget")
def delete_mount_target(call: Call, parameters: dict) -> dict:
    system, target = _mounted(call, parameters["MountTargetId"])
    network.free_addresses(call.here, target["MountTargetId"])
    del system.targets[target["MountTargetId"]]
    return {}


@operation("elasticfilesystem", "CreateAccessPoint")
def create_access_point(call: Call, parameters: dict) -> dict:
    """The client token is the identity: the same one is answered with AccessPointAlreadyExists (409)."""
    found, token = find(call, parameters["FileSystemId"]), parameters["ClientToken"]
    for one in found.points.values():
        if one["ClientToken"] == token:
            raise AwsError("AccessPointAlreadyExists", f"Access point '{one['AccessPointId']}' exists.", 409)
    identifier = call.world.new_id("fsap")
    made = {
        "ClientToken": token,
        "AccessPointId": identifier,
        "AccessPointArn": f"arn:aws:elasticfilesystem:{call.region}:{call.account}:access-point/{identifier}",
        "FileSystemId": found.id,
        "Tags": parameters.get("Tags") or [],
        "PosixUser": parameters.get("PosixUser"),
        "RootDirectory": parameters.get("RootDirectory") or {"Path": "/"},
        "OwnerId": call.account,
        "LifeCycleState": "available",
    }
    found.points[identifier] = made
    return made


@operation("elasticfilesystem", "DescribeAccessPoints")
def describe_access_points(call: Call, parameters: dict) -> dict:
    systems = call.here.kept(Kept).systems.values()
    held = [p for one in systems if parameters.get("FileSystemId") in (None, one.id) for p in one.points.values()]
    shown, token = rest.paged(held, parameters, PAGE)
    return {"AccessPoints": shown, "NextToken": token}


@operation("elasticfilesystem", "TagResource")
def tag_resource(call: Call, parameters: dict) -> dict:
    find(call, parameters["ResourceId"]).tags.update({tag["Key"]: tag["Value"] for tag in parameters["Tags"]})
    return {}


@operation("elasticfilesystem", "ListTagsForResource")
def list_tags_for_resource(call: Call, parameters: dict) -> dict:
    return {"Tags": tag_list(find(call, parameters["ResourceId"]).tags)}
