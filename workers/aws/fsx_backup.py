"""FSx's own backups: begun under a token, copied to other regions of one account, followed fifty a call, deleted.

Source: FSx API reference. A token has 1 to 63 characters; the same request under it is answered with the same backup.
Passing tags keeps FSx from copying the file system's own, so that they are sent along. ONTAP is backed up by volume.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import CloudFailed, Gone, Impossible, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.aws import aws_backup
from workers.aws.aws_backup_points import foreign, mark, outdated, tagged_points
from workers.aws.errors import shorten, translate, translated
from workers.aws.fsx_describe import BATCH, ONTAP, TYPES, describe
from workers.aws.keys import DefaultKeys
from workers.aws.session import Client, Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT, fit_tags, is_ours, read_tags, token_for, write_tags
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_POLICY,
    BackupRequest,
    CopyRequest,
    Deleted,
    Destination,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Resource,
    Started,
    Tagged,
)
from workers.pace import Pace

KIND = "FSx"  # AWS Backup's name of it
BACKUP = "fsx-backup"
_TOKEN = 60  # of the 63 characters that FSx takes
_GIB = 1 << 30
_OWN = [{"Name": "backup-type", "Values": ["USER_INITIATED"]}]  # neither FSx's nightly ones nor AWS Backup's
_RUNNING = frozenset({"CREATING", "PENDING", "COPYING", "TRANSFERRING"})
_SCRATCH = "FSx for Lustre keeps backups of persistent deployments only, and {} is a scratch one."
_LINKED = "FSx for Lustre backs up no file system that is linked to an S3 data repository, as {} is."


def fsx_token(key: str) -> str:
    """A client request token for a key."""
    return token_for(key)[:_TOKEN]


@dataclass(frozen=True)
class FsxBackups:
    """The tools of one account and region."""

    clients: Clients
    pace: Pace
    keys: DefaultKeys

    def start(self, resource: Resource, request: BackupRequest) -> Started:
        """Begin the backup of a file system or a volume, or adopt the one that this key began."""
        now, warnings = describe(self.clients, resource, self.keys)
        _refuse(now)
        if now.attributes.get("self_managed_directory"):
            warnings = [*warnings, "It is joined to a directory of one's own, whose password no restore can know."]
        if request.mode == "vault":
            return self._start_vault(now, request, warnings)
        known = None if request.fresh else self._made(now, request.key)
        tags, lost = fit_tags(request.key, request.tags, now.tags)
        made = known
        if made is None:
            request.proceed()
            which = "VolumeId" if now.type == ONTAP else "FileSystemId"
            with translated("CreateBackup"):
                made = self.clients.read("fsx").create_backup(
                    ClientRequestToken=fsx_token(request.key), Tags=write_tags(tags), **{which: now.external_id}
                )["Backup"]
        part = self._part(made, now.external_id, bool(now.attributes.get("default_key")))
        return Started(
            (self._operation(part.external_id),),
            (part,),
            captured=captured(now),
            warnings=(*warnings, *lost),
            adopted=known is not None,
        )

    def _operation(self, name: str) -> Operation:
        detail = {"started_at": self.pace.clock.timer().isoformat()}
        return Operation(BACKUP, name, self.clients.account, self.clients.region, detail)

    def _made(self, now: Resource, key: str) -> Mapping[str, Any] | None:
        name = "volume-id" if now.type == ONTAP else "file-system-id"
        found = _tagged(self.clients.read("fsx"), [{"Name": name, "Values": [now.external_id]}], key)
        return found[0] if found else None

    def _part(self, backup: Mapping[str, Any], source: str, default_key: bool) -> Part:
        return Part(
            external_id=str(backup["BackupId"]),
            source_id=source,
            size_gib=size_gib(backup),
            encrypted=True,  # FSx encrypts everything at rest
            kms_key_id=str(backup.get("KmsKeyId", "")),
            attributes={"way": "native", **({"default_key": True} if default_key else {})},
        )

    def _start_vault(self, now: Resource, request: BackupRequest, warnings: Sequence[str]) -> Started:
        began, lost = aws_backup.start_backup(self.clients, now.attributes["arn"], request, now.tags, self.pace)
        attributes: dict[str, Any] = {"way": "vault", "vault": aws_backup.vault_of(self.clients)}
        if now.attributes.get("default_key"):
            attributes["default_key"] = True
        detail = {**began.detail, "part": {"source_id": now.external_id, "attributes": attributes}}
        operation = Operation(aws_backup.BACKUP_JOB, began.job, self.clients.account, self.clients.region, detail)
        return Started((operation,), captured=captured(now), warnings=(*warnings, *lost), adopted=began.adopted)

    def start_copy(self, target: Clients, point: Point, destination: Destination, request: CopyRequest) -> Started:
        """CopyBackup, called in the destination, of one account."""
        there = FsxBackups(target, self.pace, self.keys)
        fsx, parts, adopted = target.read("fsx"), [], True
        for part in point.parts:
            key = f"{request.key}/{part.external_id}"
            known = [] if request.fresh else _tagged(fsx, [], key)
            tags, _ = fit_tags(key, {**request.tags, TAG_SOURCE_SNAPSHOT: part.external_id}, point.resource.tags)
            if not known:
                adopted = False
                request.proceed()
                with translated("CopyBackup"):
                    known = [
                        fsx.copy_backup(
                            ClientRequestToken=fsx_token(key),
                            SourceBackupId=part.external_id,
                            SourceRegion=self.clients.region,
                            Tags=write_tags(tags),
                            **({"KmsKeyId": destination.kms_key} if destination.kms_key else {}),
                        )["Backup"]
                    ]
            parts.append(there._part(known[0], part.source_id, not destination.kms_key))
        operations = tuple(there._operation(part.external_id) for part in parts)
        return Started(operations, tuple(parts), adopted=adopted)

    def progress(self, operations: Sequence[Operation]) -> dict[str, Progress]:
        """The answers about FSx's own backups, by id."""
        mine = {one.external_id: one for one in operations if one.kind == BACKUP}
        found = described(self.clients.read("fsx"), list(mine))
        return {name: self._progress(one, found.get(name)) for name, one in mine.items()}

    def _progress(self, operation: Operation, backup: Mapping[str, Any] | None) -> Progress:
        age, name = self.pace.age(operation.detail.get("started_at")), operation.external_id
        if backup is None and (age is None or age < self.pace.grace):
            seen = {} if age is not None else {"started_at": self.pace.clock.timer().isoformat()}
            return Progress(name, OperationState.RUNNING, ask_again=self.pace.floor, detail=seen)
        if backup is None or backup["Lifecycle"] == "DELETED":
            return Progress(name, OperationState.GONE, error=Gone(f"The backup {name} does not exist any more."))
        state = str(backup["Lifecycle"])
        if state == "AVAILABLE":
            detail = {"size_gib": size_gib(backup), "kms_key_id": str(backup.get("KmsKeyId", ""))}
            return Progress(name, OperationState.DONE, 100, detail=detail)
        if state in _RUNNING:
            percent = min(99, int(backup.get("ProgressPercent") or 0))
            again = self.pace.again(age or timedelta(0))
            return Progress(name, OperationState.RUNNING, percent=percent, ask_again=again)
        return Progress(name, OperationState.FAILED, error=_failure(name, backup, state))

    def tagged(self, installation: str) -> list[Tagged]:
        """FSx's own backups that carry an installation's tag and a policy's: what people take of a restored file system
        gets its tags along (CopyTagsToBackups), and a restore has no policy."""
        default, every = self.keys.of(self.clients), _every(self.clients.read("fsx"), _OWN)
        found = [_listed(one, default) for one in every]
        return [one for one in found if one.tags.get(TAG_INSTALLATION) == installation and TAG_POLICY in one.tags]

    def vaulted(self, installation: str) -> list[Tagged]:
        """AWS Backup's recovery points that are an installation's; FSx knows of what type each is."""
        found = tagged_points(self.clients, KIND, installation, default_key=self.keys.of(self.clients) or "")
        known = described(self.clients.read("fsx"), [_name(one) for one in found])
        return [replace(one, type=_type(known.get(_name(one), {}))) for one in found]

    def present(self, parts: Sequence[Part]) -> Presence:
        """Those of FSx's own backups that are there."""
        asked = {part.external_id for part in parts}
        found = _every(self.clients.read("fsx"), _OWN) if asked else []
        there = (one for one in found if one["BackupId"] in asked and one["Lifecycle"] != "DELETED")
        return {str(one["BackupId"]): read_tags(one.get("Tags")) for one in there}

    def find(self, key: str) -> list[Found]:
        """FSx's own backups under a key, those of a copy's parts included."""
        fsx = self.clients.read("fsx")
        found = [one for one in _every(fsx, _OWN) if _key_of(one) == key or _key_of(one).startswith(f"{key}/")]
        return [Found("backup", one["BackupId"], _state(one)) for one in found]


def _refuse(now: Resource) -> None:
    """Raises Impossible for what FSx never backs up."""
    if now.type != "fsx-lustre":
        return
    if str(now.attributes.get("deployment_type")).startswith("SCRATCH"):
        raise Impossible(_SCRATCH.format(now.external_id), code="lustre-scratch")
    if now.attributes.get("data_repository"):
        raise Impossible(_LINKED.format(now.external_id), code="lustre-data-repository")


def captured(resource: Resource) -> dict[str, Any]:
    """The resource as found, for the restore."""
    return {**resource.attributes, "name": resource.name, "tags": dict(resource.tags)}


def size_gib(backup: Mapping[str, Any]) -> int:
    """Whole GiB of a backup, rounded up; FSx tells no size of some, whose file system's capacity counts then."""
    size = int(backup.get("SizeInBytes") or 0)
    return -(-size // _GIB) or int(backup.get("FileSystem", {}).get("StorageCapacity") or 0)


def _failure(name: str, backup: Mapping[str, Any], state: str) -> SnapfleetError:
    message = shorten(str((backup.get("FailureDetails") or {}).get("Message", "")))
    text = f"FSx ended the backup {name} as {state}: {message or 'no reason given'}."
    if "key" in message.lower() or "kms" in message.lower():
        return Invalid(text, code="kms-key", advice="Give the role and the destination the use of the KMS key.")
    return CloudFailed(text)


def _name(one: Tagged) -> str:
    """FSx's name of a recovery point."""
    return one.external_id.rpartition("/")[2]


def _type(backup: Mapping[str, Any]) -> str:
    """The type of what a backup is of, '' where FSx does not tell."""
    return ONTAP if backup.get("Volume") else TYPES.get(str((backup.get("FileSystem") or {}).get("FileSystemType")), "")


def _listed(backup: Mapping[str, Any], default_key: str | None) -> Tagged:
    tags, key = read_tags(backup.get("Tags")), str(backup.get("KmsKeyId", ""))
    volume, system = backup.get("Volume") or {}, backup.get("FileSystem") or {}
    attributes: dict[str, Any] = {"way": "native"}
    if key and key == default_key:
        attributes["default_key"] = True
    if tags.get(TAG_SOURCE_SNAPSHOT):
        attributes["source_snapshot"] = tags[TAG_SOURCE_SNAPSHOT]
    return Tagged(
        "snapshot",
        str(backup["BackupId"]),
        backup["CreationTime"],
        tags,
        str(volume.get("VolumeId") or system.get("FileSystemId") or ""),
        size_gib(backup),
        complete=backup["Lifecycle"] == "AVAILABLE",
        encrypted=True,
        kms_key_id=key,
        attributes=attributes,
        type=_type(backup),
    )


def _state(backup: Mapping[str, Any]) -> OperationState:
    if backup["Lifecycle"] == "AVAILABLE":
        return OperationState.DONE
    return OperationState.RUNNING if backup["Lifecycle"] in _RUNNING else OperationState.FAILED


def _key_of(backup: Mapping[str, Any]) -> str:
    return read_tags(backup.get("Tags")).get(TAG_JOB, "")


def _every(fsx: Client, filters: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    pages = fsx.get_paginator("describe_backups").paginate(**({"Filters": list(filters)} if filters else {}))
    return [backup for page in pages for backup in page["Backups"]]


def _tagged(fsx: Client, filters: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    """The backups of one key, the oldest first: always the same one counts."""
    found = [one for one in _every(fsx, filters) if _key_of(one) == key]
    return sorted(found, key=lambda one: str(one["CreationTime"]))


def described(fsx: Client, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Backups by id. One unknown id fails a whole call: then it is asked by halves."""
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), BATCH):
        found |= _batch(fsx, ids[start : start + BATCH])
    return found


def _batch(fsx: Client, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    try:
        return {one["BackupId"]: one for one in fsx.describe_backups(BackupIds=list(ids))["Backups"]}
    except ClientError as error:
        if not isinstance(translate(error), Gone):
            raise
    if len(ids) == 1:
        return {}
    middle = len(ids) // 2
    return {**_batch(fsx, ids[:middle]), **_batch(fsx, ids[middle:])}


def delete_backup(clients: Clients, part: Part) -> Deleted:
    """Delete one of FSx's own backups, or mark it; raises what keeps it."""
    fsx, name = clients.read("fsx"), part.external_id
    found = _batch(fsx, [name]).get(name)
    if found is None or found["Lifecycle"] == "DELETED":
        return Deleted(name, "already-gone")
    if not is_ours(read_tags(found.get("Tags")), clients.account.installation):
        raise foreign(name)
    if not clients.account.may_delete:
        mark(clients, str(found["ResourceARN"]))
        raise outdated(clients, name)
    fsx.delete_backup(BackupId=name, ClientRequestToken=fsx_token(f"delete/{name}"))
    return Deleted(name, "deleted")
