"""FSx backups: of file systems and ONTAP volumes, copies into other regions, and what is made of them.

"CreateBackup", "CopyBackup", "DescribeBackups", "DeleteBackup", "CreateFileSystemFromBackup",
"CreateVolumeFromBackup" (FSx API reference); "Working with backups" of each type's user guide.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox import kms, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import tag_list, unseen
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.files import Files, size_of
from deploy.sandbox.fsx import ALIAS, CONFIGURATION, Kept, bad, configured, make, make_volume, once, system, volume

BATCH = 50  # "DescribeBackups": ids in a call


@dataclass(eq=False)
class Backup:
    """A backup; `view_of` is the description of what it was made of, at that moment."""

    id: str
    arn: str
    kind: str  # USER_INITIATED or AWS_BACKUP
    created_at: datetime
    ready_at: datetime
    key: str
    files: Files
    system: dict[str, Any]
    volume: dict[str, Any] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    source: tuple[str, str] | None = None  # (id, region) that it was copied from
    restoring_until: datetime | None = None
    copied_until: datetime | None = None

    @property
    def origin(self) -> str:
        return (self.volume or self.system).get("VolumeId") or self.system["FileSystemId"]

    def state(self, now: datetime) -> str:
        if now < self.ready_at:
            return "COPYING" if self.source else "CREATING"
        return "FAILED" if self.failure else "AVAILABLE"

    def view(self, now: datetime) -> dict[str, Any]:
        state = self.state(now)
        whole = (self.ready_at - self.created_at).total_seconds() or 1.0
        done = min(1.0, (now - self.created_at).total_seconds() / whole)
        windows = self.system.get("WindowsConfiguration") or {}
        return {
            "BackupId": self.id,
            "ResourceARN": self.arn,
            "OwnerId": self.arn.split(":")[4],
            "Lifecycle": state,
            "FailureDetails": {"Message": self.failure} if state == "FAILED" else None,
            "Type": self.kind,
            "ProgressPercent": int(100 * done),
            "CreationTime": self.created_at,
            "KmsKeyId": self.key,
            "Tags": tag_list(self.tags),
            "FileSystem": {k: v for k, v in self.system.items() if k != "Tags"},
            "Volume": self.volume,
            "ResourceType": "VOLUME" if self.volume else "FILE_SYSTEM",
            "SourceBackupId": self.source[0] if self.source else None,
            "SourceBackupRegion": self.source[1] if self.source else None,
            "SizeInBytes": size_of(self.files),
            "DirectoryInformation": (
                {"ActiveDirectoryId": windows["ActiveDirectoryId"]} if windows.get("ActiveDirectoryId") else None
            ),
        }


def backup_of(call: Call, identifier: str, region: str = "") -> Backup:
    """A backup of the caller; BackupNotFound."""
    found = call.world.region(call.account, region or call.region).kept(Kept).backups.get(identifier)
    if found is None:
        raise AwsError("BackupNotFound", f"Backup '{identifier}' does not exist.")
    return found


def freeze(call: Call, source: Any, kind: str, tags: dict[str, str]) -> Backup:
    """Begin a backup of a file system or an ONTAP volume; the refusals are CreateBackup's."""
    is_volume = hasattr(source, "system")
    if not is_volume and source.kind == "ONTAP":
        raise bad("ONTAP is backed up by volume.")
    if is_volume and source.settings.get("OntapVolumeType") != "RW":
        raise bad("Only volumes of type RW can be backed up.")
    if not is_volume and source.kind == "LUSTRE":
        if not source.settings["DeploymentType"].startswith("PERSISTENT"):
            raise bad("Backups are not supported on scratch file systems.")
        if source.settings.get("DataRepositoryConfiguration"):
            raise bad("Backups are not supported on file systems linked to a data repository.")
    kept = call.here.kept(Kept)
    if any(one.origin == source.id and one.state(call.now) == "CREATING" for one in kept.backups.values()):
        raise AwsError("BackupInProgress", f"Another backup of '{source.id}' is in progress.")
    mine = [one for one in kept.backups.values() if one.kind == "USER_INITIATED" and not one.source]
    if kind == "USER_INITIATED" and len(mine) >= call.config.fsx_user_backups:
        raise AwsError("ServiceLimitExceeded", "The limit of user-initiated backups is reached.")
    view = source.system.view(call.now) if is_volume else source.view(call.now)
    return _add(call, kind, source.key, dict(source.files), view, source.view(call.now) if is_volume else None, tags)


def _add(
    call: Call,
    kind: str,
    key: str,
    files: Files,
    view: dict,
    part: dict | None,
    tags: dict[str, str],
    source: tuple[str, str] | None = None,
) -> Backup:
    config = call.config
    seconds = config.backup_copy_seconds if source else config.backup_seconds
    identifier = call.world.new_id("backup")
    made = Backup(
        id=identifier,
        arn=f"arn:aws:fsx:{call.region}:{call.account}:backup/{identifier}",
        kind=kind,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=seconds),
        key=key,
        files=files,
        system=view,
        volume=part,
        tags=tags,
        source=source,
    )
    fault = call.spoiled(made.origin, source[0] if source else "")
    if fault is not None:
        made.failure = fault.message
    call.here.kept(Kept).backups[identifier] = made
    return made


def _given(parameters: dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in parameters.get("Tags") or []}


@operation("fsx", "CreateBackup")
@once
def create_backup(call: Call, parameters: dict) -> dict:
    """Tags of the file system come along only when it says so and none are given."""
    named = [name for name in ("FileSystemId", "VolumeId") if parameters.get(name)]
    if len(named) != 1:
        raise bad("Exactly one of FileSystemId and VolumeId is needed.")
    find = system if named == ["FileSystemId"] else volume
    source = find(call, parameters[named[0]])
    tags = _given(parameters)
    if not tags and source.settings.get("CopyTagsToBackups"):
        tags = dict(source.tags)
    return {"Backup": freeze(call, source, "USER_INITIATED", tags).view(call.now)}


@operation("fsx", "CopyBackup")
@once
def copy_backup(call: Call, parameters: dict) -> dict:
    """Called in the destination, inside one account; Windows, Lustre and OpenZFS only."""
    region = parameters.get("SourceRegion") or call.region
    if region.split("-")[0] == "cn" or call.region.split("-")[0] == "cn":
        raise AwsError("InvalidRegion", "Backups are copied inside one partition only.")
    source = backup_of(call, required(parameters, "SourceBackupId"), region)
    settings = source.system.get(CONFIGURATION[source.system["FileSystemType"]]) or {}
    if source.volume is not None or (
        source.system.get("StorageType") == "INTELLIGENT_TIERING" and source.system["FileSystemType"] == "OPENZFS"
    ):
        raise AwsError("UnsupportedOperation", "Backups of this kind cannot be copied.")
    if settings.get("DataRepositoryConfiguration"):
        raise AwsError("UnsupportedOperation", "Backups of linked file systems cannot be copied.")
    if source.state(call.now) != "AVAILABLE":
        raise AwsError("SourceBackupUnavailable", f"The backup '{source.id}' is {source.state(call.now)}.")
    running = [one for one in call.here.kept(Kept).backups.values() if one.source and call.now < one.ready_at]
    if len(running) >= call.config.fsx_copies_per_destination:
        raise AwsError("ServiceLimitExceeded", "Too many backup copies are in progress into this region.")
    key, usable = kms.chosen(call, parameters.get("KmsKeyId"), ALIAS)
    if not usable:
        raise AwsError("InvalidDestinationKmsKey", f"The key {key} cannot be used.")
    if not kms.usable(call, source.key):
        raise AwsError("InvalidSourceKmsKey", f"The key {source.key} cannot be used.")
    tags = _given(parameters)
    if parameters.get("CopyTags") and not tags:
        tags = dict(source.tags)
    made = _add(call, source.kind, key, dict(source.files), source.system, source.volume, tags, (source.id, region))
    source.copied_until = made.ready_at
    return {"Backup": made.view(call.now)}


@operation("fsx", "DescribeBackups")
def describe_backups(call: Call, parameters: dict) -> dict:
    """One unknown id fails the whole call with BackupNotFound."""
    ids = parameters.get("BackupIds") or []
    if len(ids) > BATCH:
        raise bad("Too many backup ids.")
    held = [backup_of(call, one) for one in ids] if ids else list(call.here.kept(Kept).backups.values())
    young = [one for one in held if unseen(call, one.created_at)]
    if ids and young:
        raise AwsError("BackupNotFound", f"Backup '{young[0].id}' does not exist.")
    held = [one for one in held if one not in young]
    for wanted in parameters.get("Filters") or []:
        read = {
            "file-system-id": lambda b: b.system["FileSystemId"],
            "volume-id": lambda b: (b.volume or {}).get("VolumeId"),
            "backup-type": lambda b: b.kind,
            "file-system-type": lambda b: b.system["FileSystemType"],
        }[wanted["Name"]]
        held = [one for one in held if read(one) in wanted["Values"]]
    shown, token = rest.paged(held, parameters, 1000)
    return {"Backups": [one.view(call.now) for one in shown], "NextToken": token}


@operation("fsx", "DeleteBackup")
def delete_backup(call: Call, parameters: dict) -> dict:
    found = backup_of(call, required(parameters, "BackupId"))
    if found.kind == "AWS_BACKUP":
        raise bad("Backups that AWS Backup made are deleted through AWS Backup.")
    check_free(found, call.now)
    del call.here.kept(Kept).backups[found.id]
    return {"BackupId": found.id, "Lifecycle": "DELETED"}


def check_free(found: Backup, now: datetime) -> None:
    """BackupInProgress, BackupBeingCopied or BackupRestoring while it is in use."""
    if now < found.ready_at:
        raise AwsError("BackupInProgress", f"The backup '{found.id}' is in progress.")
    if found.copied_until and now < found.copied_until:
        raise AwsError("BackupBeingCopied", f"The backup '{found.id}' is being copied.")
    if found.restoring_until and now < found.restoring_until:
        raise AwsError("BackupRestoring", f"The backup '{found.id}' is being restored.")


def restore_system(call: Call, found: Backup, parameters: dict) -> Any:
    """A new file system from a backup: what the request does not say comes from the backup, but the network."""
    if found.state(call.now) != "AVAILABLE":
        raise bad(f"The backup '{found.id}' is {found.state(call.now)}.")
    if found.volume is not None:
        raise bad("Volumes are restored with CreateVolumeFromBackup.")
    kind, capacity = found.system["FileSystemType"], parameters.get("StorageCapacity")
    before = found.system["StorageCapacity"]
    if capacity is not None and (capacity < before if kind == "OPENZFS" else capacity != before):
        raise bad(f"StorageCapacity must be {before}{' or more' if kind == 'OPENZFS' else ''}.")
    name = CONFIGURATION[kind]
    asked = parameters.get(name) or {}
    kept = {} if kind == "OPENZFS" else {k: v for k, v in found.system[name].items() if k not in ("Aliases",)}
    if kind == "WINDOWS" and (not asked or not asked.get("ThroughputCapacity")):
        raise AwsError("MissingFileSystemConfiguration", "WindowsConfiguration is needed.")
    if kind == "WINDOWS" and not (
        asked.get("ActiveDirectoryId") or asked.get("SelfManagedActiveDirectoryConfiguration")
    ):
        raise bad("The directory must be named.")
    for generated in ("MountName", "RemoteAdministrationEndpoint", "RootVolumeId"):
        kept.pop(generated, None)
    made = make(
        call,
        {
            "StorageType": found.system["StorageType"],
            "FileSystemTypeVersion": found.system.get("FileSystemTypeVersion"),
            **parameters,
            "StorageCapacity": capacity or before,
        },
        kind,
        configured(kind, {**kept, **asked}),
    )
    made.files = dict(found.files)
    found.restoring_until = made.ready_at
    return made


def restore_volume(call: Call, found: Backup, name: str, asked: dict, tags: list[dict]) -> Any:
    """A new volume in a virtual machine that exists."""
    if found.volume is None:
        raise bad("This is no backup of a volume.")
    if found.state(call.now) != "AVAILABLE":
        raise bad(f"The backup '{found.id}' is {found.state(call.now)}.")
    before = found.volume["OntapConfiguration"]
    made = make_volume(call, name, {"SizeInBytes": before["SizeInBytes"], **asked}, tags)
    made.files = dict(found.files)
    found.restoring_until = made.ready_at
    return made


@operation("fsx", "CreateFileSystemFromBackup")
@once
def create_file_system_from_backup(call: Call, parameters: dict) -> dict:
    found = backup_of(call, required(parameters, "BackupId"))
    return {"FileSystem": restore_system(call, found, parameters).view(call.now)}


@operation("fsx", "CreateVolumeFromBackup")
@once
def create_volume_from_backup(call: Call, parameters: dict) -> dict:
    found, asked = backup_of(call, required(parameters, "BackupId")), parameters.get("OntapConfiguration") or {}
    made = restore_volume(call, found, required(parameters, "Name"), asked, parameters.get("Tags") or [])
    return {"Volume": made.view(call.now)}
