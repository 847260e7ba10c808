"""Recovery points of AWS Backup: found by key, deleted if ours, marked where deleting is not allowed.

DeleteRecoveryPoint may answer with success and delete nothing (the point becomes EXPIRED when the role that made it
lacks a permission; API reference), so that each deletion is looked at once more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import CredentialsExpired, CredentialsRefused, Gone, InUse, Refused, SnapfleetError, Throttled
from tasks.states import OperationState
from workers.aws.aws_backup import tags_of, vault_of
from workers.aws.errors import translate, translated
from workers.aws.session import Clients
from workers.aws.tags import is_ours
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_OUTDATED,
    TAG_POLICY,
    Deleted,
    Found,
    Part,
    Point,
    Presence,
    Tagged,
)
from workers.pace import Pace

STOPS = (CredentialsExpired, CredentialsRefused, Throttled)  # the next call would meet the same
_TAGGABLE = ("backup", "fsx")  # services whose ARNs a recovery point with tags has
_GIB = 1 << 30
# How far back an attempt that may have left something can have begun.
_RECENT = timedelta(days=2)
_STATES = {"COMPLETED": OperationState.DONE, "AVAILABLE": OperationState.DONE, "CREATING": OperationState.RUNNING}


def is_vaulted(part: Part) -> bool:
    """Whether a part is a recovery point of AWS Backup."""
    return part.attributes.get("way") == "vault"


def find_points(clients: Clients, kind: str, key: str, pace: Pace) -> list[Found]:
    """The recovery points of the last two days under a key; copies carry their source's key, and are not found."""
    found, since = [], pace.clock.now() - _RECENT
    for point in _listed(clients, vault_of(clients), ByResourceType=kind, ByCreatedAfter=since):
        arn = str(point["RecoveryPointArn"])
        with suppress(clients.read("backup").exceptions.ResourceNotFoundException):  # deleted meanwhile
            if not point.get("SourceBackupVaultArn") and tags_of(clients, arn).get(TAG_JOB) == key:
                found.append(Found("recovery-point", arn, _STATES.get(point["Status"], OperationState.FAILED)))
    return found


def tagged_points(
    clients: Clients, kind: str, installation: str, *, type_: str = "", default_key: str = ""
) -> list[Tagged]:
    """The recovery points in the account's vault that carry an installation's tag and a policy's: those of a restored
    resource, backed up by somebody else's plan, get its tags along, and a restore has no policy.

    A copy has the tags of its source ("Copying tags onto backups", AWS Backup developer guide, for other regions), the
    job's among them: it was made by another job, whose name nobody tells. One that came without tags is not told of,
    nor is a backup of DynamoDB's own that a vault holds without its advanced features, which has none.
    """
    found, vault = [], vault_of(clients)
    for point in _listed(clients, vault, ByResourceType=kind):
        arn = str(point["RecoveryPointArn"])
        if arn.split(":")[2] not in _TAGGABLE or point["Status"] == "DELETING":
            continue
        with suppress(Gone), translated("a look for tags"):  # deleted meanwhile
            tags = tags_of(clients, arn)
            if tags.get(TAG_INSTALLATION) == installation and TAG_POLICY in tags:
                found.append(_tagged(point, tags, vault, type_, default_key))
    return found


def _tagged(point: Mapping[str, Any], tags: Mapping[str, str], vault: str, type_: str, default_key: str) -> Tagged:
    """A recovery point as the backup or copy that made it records its part."""
    *_, region, number, source = str(point["ResourceArn"]).split(":", 5)
    key, copied = str(point.get("EncryptionKeyArn", "")), bool(point.get("SourceBackupVaultArn"))
    own = {"default_key": True} if default_key and key == default_key and not copied else {}
    return Tagged(
        "snapshot",
        str(point["RecoveryPointArn"]),
        point["CreationDate"],
        {**tags, TAG_JOB: f"copied:{tags.get(TAG_JOB, '')}"} if copied else tags,
        source.rpartition("/")[2],
        -(-int(point.get("BackupSizeInBytes") or 0) // _GIB),
        complete=_STATES.get(point["Status"]) is OperationState.DONE,
        encrypted=True,
        kms_key_id=key,
        attributes={"way": "vault", "vault": vault, **own},
        type=type_,
        home=(number, region),
    )


def present_points(clients: Clients, kind: str, parts: Sequence[Part]) -> Presence:
    """Those recovery points that are there, each asked for in the vault that its part names: one list a vault. Their
    tags are told one by one only, and those of copies need not be ours."""
    vaults: dict[str, set[str]] = {}
    for part in parts:
        vaults.setdefault(str(part.attributes.get("vault") or vault_of(clients)), set()).add(part.external_id)
    there: Presence = {}
    for vault, asked in vaults.items():
        listed = ((str(one["RecoveryPointArn"]), one["Status"]) for one in _listed(clients, vault, ByResourceType=kind))
        there |= {arn: None for arn, status in listed if arn in asked and status != "DELETING"}
    return there


def _listed(clients: Clients, vault: str, **wanted: Any) -> Iterator[Mapping[str, Any]]:
    """The recovery points of a vault; none where there is no such vault."""
    backup = clients.read("backup")
    pages = backup.get_paginator("list_recovery_points_by_backup_vault").paginate(BackupVaultName=vault, **wanted)
    try:
        for page in pages:
            yield from page["RecoveryPoints"]
    except backup.exceptions.ResourceNotFoundException:
        return


class Removal:
    """The deletion of parts one after the other: one refusal never hides the answers about the others."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.stop: SnapfleetError | None = None

    def one(self, part: Part, act: Callable[[Clients, Part], Deleted]) -> Deleted:
        """Ask `act` to delete a part; what it raises is the reason for which the part is kept."""
        name = part.external_id
        if self.stop:
            return Deleted(name, "kept", self.stop)
        try:
            return act(self._clients, part)
        except Gone:
            return Deleted(name, "already-gone")
        except SnapfleetError as error:
            return Deleted(name, "kept", error)
        except (BotoCoreError, ClientError) as error:
            refused = translate(error, operation="a deletion")
            if isinstance(refused, Gone):
                return Deleted(name, "already-gone")
            if isinstance(refused, STOPS):
                self.stop = refused
            return Deleted(name, "kept", refused)


def delete_points(
    clients: Clients, points: list[Point], act: Callable[[Clients, Part], Deleted] | None = None
) -> list[Deleted]:
    """Delete the parts of points in one account and region; `act` deletes those that are not AWS Backup's."""
    removal = Removal(clients)
    answers = []
    for point in points:
        for part in point.parts:
            remove = delete_point if is_vaulted(part) or act is None else act
            answers.append(removal.one(part, remove))
    return answers


def delete_point(clients: Clients, part: Part) -> Deleted:
    """Delete one recovery point if it is ours, or mark it; raises what keeps it."""
    backup, arn = clients.read("backup"), part.external_id
    vault = str(part.attributes.get("vault") or vault_of(clients))
    shown = backup.describe_recovery_point(BackupVaultName=vault, RecoveryPointArn=arn)
    # what was copied here from a vault of the same name was copied by us: no tag is promised to come along
    copied = str(shown.get("SourceBackupVaultArn", "")).endswith(f":{vault}")
    if not (copied or is_ours(tags_of(clients, arn), clients.account.installation)):
        raise foreign(arn)
    if not clients.account.may_delete:
        mark(clients, arn)
        raise outdated(clients, arn)
    backup.delete_recovery_point(BackupVaultName=vault, RecoveryPointArn=arn)
    try:
        left = backup.describe_recovery_point(BackupVaultName=vault, RecoveryPointArn=arn)["Status"]
    except backup.exceptions.ResourceNotFoundException:
        return Deleted(arn, "deleted")
    if left == "DELETING":
        return Deleted(arn, "deleted")
    if left == "EXPIRED":
        text = f"AWS Backup took the deletion of {arn} and made it EXPIRED: its role may not delete it."
        raise Refused(text, code="not-deleted", advice="Give the role that AWS Backup works as the right to delete.")
    raise InUse(f"AWS Backup took the deletion of {arn}, and it is still {left}.")


def mark(clients: Clients, arn: str) -> None:
    """Tag what this account may not delete."""
    if ":fsx:" in arn:
        clients.read("fsx").tag_resource(ResourceARN=arn, Tags=[{"Key": TAG_OUTDATED, "Value": "true"}])
    else:
        clients.read("backup").tag_resource(ResourceArn=arn, Tags={TAG_OUTDATED: "true"})


def outdated(clients: Clients, name: str) -> Refused:
    """The reason for which an account that may not delete keeps something."""
    text = f"{clients.account.name} may not delete: {name} is tagged as outdated for its own administrators."
    return Refused(text, code="outdated")


def foreign(name: str) -> Refused:
    """The reason for which something without our tag is kept."""
    return Refused(
        f"{name} does not carry this product's tag, so it is not deleted.",
        code="not-ours",
        advice="Delete it by hand if it is really ours: somebody removed its tags.",
    )
