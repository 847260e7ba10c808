"""FSx file systems and ONTAP volumes as they are, in the words that a restore needs.

`settings` holds what CreateFileSystemFromBackup and CreateVolumeFromBackup take of a type's configuration, in AWS's own
words (FSx API reference); what exists in one place only (subnets, groups, directory, virtual machine) stands apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from workers.aws.ec2_describe import batches
from workers.aws.errors import translate, translated
from workers.aws.keys import DefaultKeys
from workers.aws.session import Client, Clients
from workers.aws.tags import read_tags
from workers.driver import Resource, ResourcePage, Scope

BATCH = 50  # ids in one call (FSx API reference)
ONTAP = "fsx-ontap"
TYPES = {"LUSTRE": "fsx-lustre", "WINDOWS": "fsx-windows", "OPENZFS": "fsx-openzfs"}
CONFIGURATION = {
    "fsx-lustre": "LustreConfiguration",
    "fsx-windows": "WindowsConfiguration",
    "fsx-openzfs": "OpenZFSConfiguration",
    ONTAP: "OntapConfiguration",
}
_COMMON = ("WeeklyMaintenanceStartTime", "AutomaticBackupRetentionDays", "CopyTagsToBackups")
_SETTINGS = {
    "fsx-lustre": (
        *_COMMON, "DeploymentType", "PerUnitStorageThroughput", "DriveCacheType", "DataCompressionType",
        "RootSquashConfiguration", "EfaEnabled", "ThroughputCapacity",
    ),
    "fsx-windows": (*_COMMON, "DeploymentType", "ThroughputCapacity", "DiskIopsConfiguration", "AuditLogConfiguration"),
    "fsx-openzfs": (
        *_COMMON, "CopyTagsToVolumes", "DeploymentType", "ThroughputCapacity", "DiskIopsConfiguration",
        "ReadCacheConfiguration",
    ),
    ONTAP: (
        "JunctionPath", "SecurityStyle", "SizeInBytes", "StorageEfficiencyEnabled", "TieringPolicy", "SnapshotPolicy",
        "CopyTagsToBackups",
    ),
}  # fmt: skip
_SYSTEMS, _VOLUMES = "systems", "volumes"


def discover(clients: Clients, scope: Scope, page: str | None, keys: DefaultKeys) -> ResourcePage:
    """File systems first, then ONTAP's volumes; the token says which of the two it belongs to."""
    where, _, token = (page or f"{_SYSTEMS}:").partition(":")
    fsx, more = clients.read("fsx"), {"NextToken": token} if token else {}
    default = keys.of(clients)
    if where == _SYSTEMS:
        answer = fsx.describe_file_systems(MaxResults=BATCH, **more)
        wanted = [one for one in answer["FileSystems"] if TYPES.get(one["FileSystemType"]) in scope.types]
        found = tuple(_system(clients, one, default) for one in wanted if one["Lifecycle"] != "DELETING")
        after = f"{_VOLUMES}:" if ONTAP in scope.types else None
        return ResourcePage(found, f"{_SYSTEMS}:{answer['NextToken']}" if answer.get("NextToken") else after)
    answer = fsx.describe_volumes(MaxResults=BATCH, **more)
    volumes = [one for one in answer["Volumes"] if _is_kept(one)]
    systems = _systems(fsx, [one["FileSystemId"] for one in volumes])
    found = tuple(_volume(clients, one, systems.get(one["FileSystemId"], {}), default) for one in volumes)
    return ResourcePage(found, f"{_VOLUMES}:{answer['NextToken']}" if answer.get("NextToken") else None)


def _is_kept(volume: Mapping[str, Any]) -> bool:
    """ONTAP backs up volumes of type RW and style FlexVol, and not the root of a virtual machine."""
    ontap = volume.get("OntapConfiguration", {})
    return (
        volume["VolumeType"] == "ONTAP"
        and volume["Lifecycle"] not in ("DELETING", "FAILED")
        and ontap.get("OntapVolumeType") == "RW"
        and ontap.get("VolumeStyle", "FLEXVOL") == "FLEXVOL"
        and not ontap.get("StorageVirtualMachineRoot")
    )


def _systems(fsx: Client, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(names := sorted(set(ids))), BATCH):
        answer = fsx.describe_file_systems(FileSystemIds=names[start : start + BATCH])
        found |= {one["FileSystemId"]: one for one in answer["FileSystems"]}
    return found


def describe(clients: Clients, resource: Resource, keys: DefaultKeys) -> tuple[Resource, list[str]]:
    """One resource as it is now, with its security groups, and a warning for what may not be read. Raises Gone."""
    fsx, default = clients.read("fsx"), keys.of(clients)
    with translated("a description"):
        if resource.type == ONTAP:
            volume = fsx.describe_volumes(VolumeIds=[resource.external_id])["Volumes"][0]
            system = _systems(fsx, [volume["FileSystemId"]]).get(volume["FileSystemId"], {})
            return _volume(clients, volume, system, default), []
        system = fsx.describe_file_systems(FileSystemIds=[resource.external_id])["FileSystems"][0]
    found = _system(clients, system, default)
    try:
        groups = _groups(clients.read(), system.get("NetworkInterfaceIds", []))
    except ClientError as error:
        return found, [f"The security groups were not captured. {translate(error).text}"]
    attributes = {**found.attributes, "security_group_ids": groups}
    return Resource(
        found.type, found.external_id, found.account, found.region, found.name, found.tags, attributes
    ), []  # fmt: skip


def _groups(ec2: Client, interfaces: Sequence[str]) -> list[str]:
    """FSx tells no security groups: its network interfaces do."""
    groups: set[str] = set()
    for some in batches(interfaces):
        filters = [{"Name": "network-interface-id", "Values": list(some)}]
        for page in ec2.get_paginator("describe_network_interfaces").paginate(Filters=filters):
            groups |= {group["GroupId"] for one in page["NetworkInterfaces"] for group in one["Groups"]}
    return sorted(groups)


def _system(clients: Clients, system: Mapping[str, Any], default: str | None) -> Resource:
    kind = TYPES[system["FileSystemType"]]
    own, tags = system.get(CONFIGURATION[kind], {}), read_tags(system.get("Tags"))
    attributes = {
        **_keyed(system, default),
        "arn": system["ResourceARN"],
        "state": system["Lifecycle"],
        "storage_capacity": int(system.get("StorageCapacity") or 0),
        "storage_type": system.get("StorageType", "SSD"),
        "version": str(system.get("FileSystemTypeVersion", "")),
        "subnet_ids": list(system.get("SubnetIds", [])),
        "preferred_subnet": str(own.get("PreferredSubnetId", "")),
        "deployment_type": str(own.get("DeploymentType", "")),
        "data_repository": bool(own.get("DataRepositoryConfiguration")),
        "throughput": int(own.get("ThroughputCapacity") or 0),
        "directory": str(own.get("ActiveDirectoryId", "")),
        "self_managed_directory": bool(own.get("SelfManagedActiveDirectoryConfiguration")),
        "aliases": [str(one["Name"]) for one in own.get("Aliases", [])],
        "settings": {name: own[name] for name in _SETTINGS[kind] if own.get(name) not in (None, "")},
    }
    name = tags.get("Name", "")
    return Resource(kind, system["FileSystemId"], clients.account, clients.region, name, tags, attributes)


def _volume(clients: Clients, volume: Mapping[str, Any], system: Mapping[str, Any], default: str | None) -> Resource:
    own = volume.get("OntapConfiguration", {})
    attributes = {
        **_keyed(system, default),
        "arn": volume["ResourceARN"],
        "state": volume["Lifecycle"],
        "volume_name": str(volume.get("Name", "")),
        "machine": str(own.get("StorageVirtualMachineId", "")),
        "junction_path": str(own.get("JunctionPath", "")),
        "size_bytes": int(own.get("SizeInBytes") or int(own.get("SizeInMegabytes") or 0) * 1024 * 1024),
        "settings": {name: own[name] for name in _SETTINGS[ONTAP] if own.get(name) not in (None, "")},
    }
    tags = read_tags(volume.get("Tags"))
    name, parent = str(volume.get("Name", "")), str(volume["FileSystemId"])
    return Resource(ONTAP, volume["VolumeId"], clients.account, clients.region, name, tags, attributes, parent)


def _keyed(system: Mapping[str, Any], default: str | None) -> dict[str, Any]:
    """The key, and whether it is the account's default one where that can be told."""
    key = str(system.get("KmsKeyId", ""))
    return {"kms_key_id": key, **({"default_key": key == default} if default is not None and key else {})}
