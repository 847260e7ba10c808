"""FSx file systems, virtual machines and volumes, and the files in them; backups.py beside it keeps their backups.

"CreateFileSystem", "CreateVolume", "DescribeFileSystems" (FSx API reference). All four types; ONTAP's content is in
its volumes, that of the others in the file system.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from deploy.sandbox import kms, network, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import tag_list
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.files import Files

ALIAS = "alias/aws/fsx"
PAGE = 50  # "DescribeFileSystems": ids in a call; MaxResults
CONFIGURATION = {
    "LUSTRE": "LustreConfiguration",
    "WINDOWS": "WindowsConfiguration",
    "ONTAP": "OntapConfiguration",
    "OPENZFS": "OpenZFSConfiguration",
}


@dataclass(eq=False)
class FileSystem:
    """`facts` are members of its description; `settings` those of its type's configuration."""

    id: str
    arn: str
    kind: str
    created_at: datetime
    ready_at: datetime
    facts: dict[str, Any]
    settings: dict[str, Any]
    key: str
    tags: dict[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=dict)

    def view(self, now: datetime) -> dict[str, Any]:
        return {
            "FileSystemId": self.id,
            "ResourceARN": self.arn,
            "OwnerId": self.arn.split(":")[4],
            "FileSystemType": self.kind,
            "CreationTime": self.created_at,
            "Lifecycle": "AVAILABLE" if now >= self.ready_at else "CREATING",
            "KmsKeyId": self.key,
            "DNSName": f"{self.id}.fsx.{self.arn.split(':')[3]}.amazonaws.com",
            "Tags": tag_list(self.tags),
            CONFIGURATION[self.kind]: self.settings,
            **self.facts,
        }


@dataclass(eq=False)
class Volume:
    """A volume of ONTAP; `settings` is its OntapConfiguration."""

    id: str
    arn: str
    system: FileSystem
    name: str
    created_at: datetime
    ready_at: datetime
    settings: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.system.key

    def view(self, now: datetime) -> dict[str, Any]:
        return {
            "VolumeId": self.id,
            "ResourceARN": self.arn,
            "FileSystemId": self.system.id,
            "Name": self.name,
            "VolumeType": "ONTAP",
            "CreationTime": self.created_at,
            "Lifecycle": "CREATED" if now >= self.ready_at else "CREATING",
            "Tags": tag_list(self.tags),
            "OntapConfiguration": self.settings,
        }


@dataclass
class Kept:
    """What FSx holds in one account and region, by id."""

    systems: dict[str, FileSystem] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    backups: dict[str, Any] = field(default_factory=dict)
    interfaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[tuple[str, str], tuple[str, dict]] = field(default_factory=dict)


def bad(message: str) -> AwsError:
    return AwsError("BadRequest", message)


def once(function: Callable[[Call, dict], dict]) -> Callable[[Call, dict], dict]:
    """ClientRequestToken: the same request gets the same thing as it is now, another IncompatibleParameterError."""

    @wraps(function)
    def wrapped(call: Call, parameters: dict) -> dict:
        token = parameters.get("ClientRequestToken")
        if not token:
            return function(call, parameters)
        if not 1 <= len(token) <= 63:
            raise bad("ClientRequestToken must have 1 to 63 characters.")
        rest_, held = repr(sorted((k, repr(v)) for k, v in parameters.items())), call.here.kept(Kept).tokens
        known = held.get((call.operation, token))
        if known is None:
            known = held[call.operation, token] = (rest_, function(call, parameters))
        if known[0] != rest_:
            raise AwsError("IncompatibleParameterError", "The client request token was used with other parameters.")
        return known[1]

    return wrapped


def system(call: Call, identifier: str) -> FileSystem:
    """A file system; FileSystemNotFound."""
    found = call.here.kept(Kept).systems.get(identifier)
    if found is None:
        raise AwsError("FileSystemNotFound", f"File system '{identifier}' does not exist.")
    return found


def volume(call: Call, identifier: str) -> Volume:
    """A volume; VolumeNotFound."""
    found = call.here.kept(Kept).volumes.get(identifier)
    if found is None:
        raise AwsError("VolumeNotFound", f"Volume '{identifier}' does not exist.")
    return found


def _check_windows(call: Call, settings: dict, subnets: list[str]) -> None:
    """ "Using FSx for Windows File Server with AWS Directory Service": the directory must be there."""
    directory = settings.get("ActiveDirectoryId")
    if directory and f"{call.account}/{call.region}/{directory}" not in call.config.directories:
        raise AwsError("ActiveDirectoryError", f"The directory '{directory}' could not be found.")
    if not directory and not settings.get("SelfManagedActiveDirectoryConfiguration"):
        raise bad("Windows needs ActiveDirectoryId or SelfManagedActiveDirectoryConfiguration.")
    multi = settings.get("DeploymentType") == "MULTI_AZ_1"
    if multi and (len(subnets) != 2 or settings.get("PreferredSubnetId") not in subnets):
        raise bad("MULTI_AZ_1 needs exactly two subnets and a PreferredSubnetId.")
    if not multi and len(subnets) != 1:
        raise bad("Exactly one subnet is needed.")


def _interface(call: Call, net: Any, groups: list[str]) -> str:
    """A network interface as FSx makes one in each subnet; its groups are told nowhere else."""
    identifier = call.world.new_id("eni")
    address = network.take_address(call.here, net, None, identifier)
    call.here.kept(Kept).interfaces[identifier] = {
        "NetworkInterfaceId": identifier,
        "SubnetId": net.id,
        "VpcId": net.vpc_id,
        "Status": "in-use",
        "PrivateIpAddress": address,
        "PrivateIpAddresses": [{"PrivateIpAddress": address, "Primary": True}],
        "Groups": network.groups(call.account, call.region, groups, net.vpc_id),
        "Attachment": {},
        "RequesterManaged": True,
        "Description": "Created By Amazon FSx",
    }
    return identifier


def make(call: Call, parameters: dict, kind: str, settings: dict[str, Any]) -> FileSystem:
    """A new file system of a type, its configuration already merged."""
    subnets = parameters.get("SubnetIds") or []
    if not subnets:
        raise AwsError("InvalidNetworkSettings", "SubnetIds are needed.")
    try:
        nets = [network.subnet(call.account, call.region, one, None) for one in subnets]
        for group in parameters.get("SecurityGroupIds") or []:
            network.groups(call.account, call.region, [group], nets[0].vpc_id)
    except AwsError as error:
        raise AwsError("InvalidNetworkSettings", error.message) from None
    if kind == "WINDOWS":
        _check_windows(call, settings, subnets)
    if kind == "OPENZFS" and not (settings.get("DeploymentType") and settings.get("ThroughputCapacity")):
        raise bad("OpenZFS needs DeploymentType and ThroughputCapacity.")
    if kind == "WINDOWS" and not settings.get("ThroughputCapacity"):
        raise bad("Windows needs ThroughputCapacity.")
    key, usable = kms.chosen(call, parameters.get("KmsKeyId"), ALIAS)
    if not usable:
        raise bad(f"The KMS key {key} cannot be used.")
    identifier = call.world.new_id("fs")
    found = FileSystem(
        id=identifier,
        arn=f"arn:aws:fsx:{call.region}:{call.account}:file-system/{identifier}",
        kind=kind,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.backup_restore_seconds),
        facts={
            "StorageCapacity": parameters.get("StorageCapacity"),
            "StorageType": parameters.get("StorageType") or "SSD",
            "SubnetIds": subnets,
            "VpcId": nets[0].vpc_id,
            "NetworkInterfaceIds": [_interface(call, one, parameters.get("SecurityGroupIds") or []) for one in nets],
            "FileSystemTypeVersion": parameters.get("FileSystemTypeVersion"),
        },
        settings=settings,
        key=key,
        tags={tag["Key"]: tag["Value"] for tag in parameters.get("Tags") or []},
    )
    call.here.kept(Kept).systems[identifier] = found
    return found


def configured(kind: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What a file system of this type is set to when only `asked` was said."""
    settings = {"AutomaticBackupRetentionDays": 0, "CopyTagsToBackups": False, **asked}
    if kind == "LUSTRE":
        settings = {"DeploymentType": "SCRATCH_1", "MountName": "fsx", "DataCompressionType": "NONE", **settings}
        if settings.pop("ImportPath", None):
            settings["DataRepositoryConfiguration"] = {"Lifecycle": "AVAILABLE", "ImportPath": asked["ImportPath"]}
    if kind == "WINDOWS":
        settings = {"DeploymentType": "SINGLE_AZ_1", **settings}
        settings["Aliases"] = [
            {"Name": one, "Lifecycle": "AVAILABLE"} if isinstance(one, str) else one for one in asked.get("Aliases", [])
        ]
    if kind == "OPENZFS":
        settings = {"CopyTagsToVolumes": False, **settings}
    return settings


@operation("fsx", "CreateFileSystem")
@once
def create_file_system(call: Call, parameters: dict) -> dict:
    kind = required(parameters, "FileSystemType")
    asked = parameters.get(CONFIGURATION[kind]) or {}
    if kind == "WINDOWS" and "Aliases" not in asked:
        asked = {**asked, "Aliases": []}
    return {"FileSystem": make(call, parameters, kind, configured(kind, asked)).view(call.now)}


@operation("fsx", "DescribeFileSystems")
def describe_file_systems(call: Call, parameters: dict) -> dict:
    ids = parameters.get("FileSystemIds")
    held = [system(call, one) for one in ids] if ids else list(call.here.kept(Kept).systems.values())
    shown, token = rest.paged(held, parameters, PAGE)
    return {"FileSystems": [one.view(call.now) for one in shown], "NextToken": token}


@operation("fsx", "UpdateFileSystem")
def update_file_system(call: Call, parameters: dict) -> dict:
    found = system(call, required(parameters, "FileSystemId"))
    found.settings |= parameters.get(CONFIGURATION[found.kind]) or {}
    return {"FileSystem": found.view(call.now)}


@operation("fsx", "DeleteFileSystem")
def delete_file_system(call: Call, parameters: dict) -> dict:
    """An ONTAP one must be empty first ("DeleteFileSystem"); a final backup is not made here."""
    found, kept = system(call, required(parameters, "FileSystemId")), call.here.kept(Kept)
    if any(one.system is found for one in kept.volumes.values()):
        raise bad("Delete the volumes and storage virtual machines first.")
    del kept.systems[found.id]
    for identifier in found.facts["NetworkInterfaceIds"]:
        network.free_addresses(call.here, identifier)
        kept.interfaces.pop(identifier, None)
    return {"FileSystemId": found.id, "Lifecycle": "DELETING"}


@operation("fsx", "CreateStorageVirtualMachine")
@once
def create_storage_virtual_machine(call: Call, parameters: dict) -> dict:
    found = system(call, required(parameters, "FileSystemId"))
    if found.kind != "ONTAP":
        raise AwsError("UnsupportedOperation", "Only ONTAP has storage virtual machines.")
    identifier = call.world.new_id("svm")
    made = {
        "StorageVirtualMachineId": identifier,
        "ResourceARN": f"arn:aws:fsx:{call.region}:{call.account}:storage-virtual-machine/{found.id}/{identifier}",
        "FileSystemId": found.id,
        "Name": required(parameters, "Name"),
        "Lifecycle": "CREATED",
        "CreationTime": call.now,
    }
    call.here.kept(Kept).machines[identifier] = made
    return {"StorageVirtualMachine": made}


@operation("fsx", "DescribeStorageVirtualMachines")
def describe_storage_virtual_machines(call: Call, parameters: dict) -> dict:
    held, ids = call.here.kept(Kept).machines, parameters.get("StorageVirtualMachineIds")
    for one in ids or []:
        if one not in held:
            raise AwsError("StorageVirtualMachineNotFound", f"Storage virtual machine '{one}' does not exist.")
    shown, token = rest.paged([held[one] for one in ids or held], parameters, PAGE)
    return {"StorageVirtualMachines": shown, "NextToken": token}


def make_volume(call: Call, name: str, asked: dict[str, Any], tags: list[dict]) -> Volume:
    """A new volume in a virtual machine; StorageVirtualMachineNotFound."""
    machine = call.here.kept(Kept).machines.get(asked.get("StorageVirtualMachineId") or "")
    if machine is None:
        raise AwsError("StorageVirtualMachineNotFound", "The storage virtual machine does not exist.")
    found = system(call, machine["FileSystemId"])
    settings = {
        "SecurityStyle": "UNIX",
        "StorageEfficiencyEnabled": False,
        "OntapVolumeType": "RW",
        "SnapshotPolicy": "default",
        "VolumeStyle": "FLEXVOL",
        "TieringPolicy": {"Name": "NONE"},
        "CopyTagsToBackups": False,
        **asked,
    }
    if "SizeInBytes" not in settings:
        settings["SizeInBytes"] = int(required(settings, "SizeInMegabytes")) * 1024 * 1024
    settings["SizeInMegabytes"] = settings["SizeInBytes"] // (1024 * 1024)
    identifier = call.world.new_id("fsvol")
    made = Volume(
        id=identifier,
        arn=f"arn:aws:fsx:{call.region}:{call.account}:volume/{found.id}/{identifier}",
        system=found,
        name=name,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.backup_restore_seconds),
        settings=settings,
        tags={tag["Key"]: tag["Value"] for tag in tags},
    )
    call.here.kept(Kept).volumes[identifier] = made
    return made


@operation("fsx", "CreateVolume")
@once
def create_volume(call: Call, parameters: dict) -> dict:
    asked = parameters.get("OntapConfiguration") or {}
    made = make_volume(call, required(parameters, "Name"), asked, parameters.get("Tags") or [])
    return {"Volume": made.view(call.now)}


@operation("fsx", "DescribeVolumes")
def describe_volumes(call: Call, parameters: dict) -> dict:
    ids = parameters.get("VolumeIds")
    held = [volume(call, one) for one in ids] if ids else list(call.here.kept(Kept).volumes.values())
    for wanted in parameters.get("Filters") or []:
        if wanted["Name"] == "file-system-id":
            held = [one for one in held if one.system.id in wanted["Values"]]
    shown, token = rest.paged(held, parameters, PAGE)
    return {"Volumes": [one.view(call.now) for one in shown], "NextToken": token}


@operation("fsx", "DeleteVolume")
def delete_volume(call: Call, parameters: dict) -> dict:
    found = volume(call, required(parameters, "VolumeId"))
    del call.here.kept(Kept).volumes[found.id]
    return {"VolumeId": found.id, "Lifecycle": "DELETING"}


def _by_arn(call: Call, arn: str) -> Any:
    kept = call.here.kept(Kept)
    name = arn.rsplit("/", 1)[-1]
    found = kept.systems.get(name) or kept.volumes.get(name) or kept.backups.get(name)
    if found is None:
        raise AwsError("ResourceNotFound", f"The resource '{arn}' does not exist.")
    return found


@operation("fsx", "TagResource")
def tag_resource(call: Call, parameters: dict) -> dict:
    found = _by_arn(call, required(parameters, "ResourceARN"))
    found.tags.update({tag["Key"]: tag["Value"] for tag in parameters["Tags"]})
    return {}


@operation("fsx", "UntagResource")
def untag_resource(call: Call, parameters: dict) -> dict:
    found = _by_arn(call, required(parameters, "ResourceARN"))
    for name in parameters["TagKeys"]:
        found.tags.pop(name, None)
    return {}


@operation("fsx", "ListTagsForResource")
def list_tags_for_resource(call: Call, parameters: dict) -> dict:
    return {"Tags": tag_list(_by_arn(call, required(parameters, "ResourceARN")).tags)}
