"""AWS Backup's vaults and recovery points: keys, access policies, tags, deletion; the settings of a region and of all.

"CreateBackupVault", "DescribeRecoveryPoint", "DeleteRecoveryPoint", "UpdateRegionSettings", "UpdateGlobalSettings"
(AWS Backup API reference). A vault that is not there is answered with AccessDeniedException when it is described
(seen by every tool that manages vaults; the reference lists ResourceNotFoundException for the others).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.sandbox import kms, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError

ALIAS = "alias/aws/backup"
PAGE = 1000


@dataclass(frozen=True)
class Kind:
    """How AWS Backup handles one kind of resource; `managed` are those with points of AWS Backup's own."""

    type: str
    managed: bool
    freeze: Callable[[Call, str, dict[str, str]], "Frozen"]
    copy: Callable[[Call, "Point", str, str, str], "Frozen"] | None = None
    restore: Callable[[Call, "Point", dict[str, str], dict[str, str]], tuple[str, datetime]] | None = None


@dataclass
class Frozen:
    """What a backup holds: its content, its size in bytes, its key and, for kinds not managed, its own ARN."""

    content: Any
    size: int
    key: str
    arn: str = ""
    ready_at: datetime | None = None
    name: str = ""


KINDS: dict[str, Kind] = {}  # by the service in a resource's ARN


@dataclass(eq=False)
class Vault:
    """One vault; `points` by ARN."""

    name: str
    arn: str
    key: str
    created_at: datetime
    request: str | None
    tags: dict[str, str]
    policy: str | None = None
    points: dict[str, "Point"] = field(default_factory=dict)


@dataclass(eq=False)
class Point:
    """One recovery point."""

    arn: str
    vault: Vault
    resource: str
    kind: Kind
    frozen: Frozen
    key: str
    role: str
    created_at: datetime
    ready_at: datetime
    tags: dict[str, str]
    lifecycle: dict[str, Any]
    source_vault: str | None = None
    copyable: bool = True
    failure: str = ""
    expired: bool = False

    def state(self, now: datetime) -> str:
        if self.expired:
            return "EXPIRED"
        return "COMPLETED" if now >= self.ready_at else "CREATING"

    def view(self, now: datetime) -> dict[str, Any]:
        return {
            "RecoveryPointArn": self.arn,
            "BackupVaultName": self.vault.name,
            "BackupVaultArn": self.vault.arn,
            "SourceBackupVaultArn": self.source_vault,
            "ResourceArn": self.resource,
            "ResourceType": self.kind.type,
            "IamRoleArn": self.role,
            "Status": self.state(now),
            "CreationDate": self.created_at,
            "CompletionDate": self.ready_at if now >= self.ready_at else None,
            "BackupSizeInBytes": self.frozen.size,
            "EncryptionKeyArn": self.key,
            "IsEncrypted": True,
            "Lifecycle": self.lifecycle or None,
            "ResourceName": self.frozen.name,
        }


@dataclass
class Kept:
    """What AWS Backup holds in one account and region."""

    vaults: dict[str, Vault] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=lambda: {"backup": {}, "copy": {}, "restore": {}})
    tokens: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    management: dict[str, bool] = field(default_factory=lambda: {"DynamoDB": False, "EFS": True})


def missing(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"{what} not found.")


def invalid(text: str) -> AwsError:
    return AwsError("InvalidParameterValueException", text)


def vault_of(call: Call, name: str) -> Vault:
    """A vault of the caller; ResourceNotFoundException."""
    found = call.here.kept(Kept).vaults.get(name)
    if found is None:
        raise missing(f"Backup vault {name}")
    return found


def point_of(call: Call, arn: str, name: str | None = None) -> Point:
    """A recovery point of the caller, in a vault if named; ResourceNotFoundException."""
    vaults = [vault_of(call, name)] if name else list(call.here.kept(Kept).vaults.values())
    for vault in vaults:
        if arn in vault.points:
            return vault.points[arn]
    raise missing(f"Recovery point {arn}")


def forget(call: Call, point: Point) -> None:
    """Take a point out of its vault, and the service's own backup with it."""
    point.vault.points.pop(point.arn, None)
    if point.arn.startswith("arn:aws:fsx:"):
        from deploy.sandbox import fsx

        call.here.kept(fsx.Kept).backups.pop(point.arn.rsplit("/", 1)[-1], None)


def copying_allowed(vault: Vault, account: str) -> bool:
    """Whether the vault's policy lets an account copy into it ("Access policies on vaults")."""
    for statement in json.loads(vault.policy)["Statement"] if vault.policy else []:
        actions = statement.get("Action", [])
        actions = [actions] if isinstance(actions, str) else actions
        who = statement.get("Principal", {})
        names = who.get("AWS", []) if isinstance(who, dict) else who
        names = [names] if isinstance(names, str) else names
        allows = {"backup:CopyIntoBackupVault", "backup:*", "*"} & set(actions)
        if statement.get("Effect") == "Allow" and allows and any(n == "*" or account in n.split(":") for n in names):
            return True
    return False


@operation("backup", "CreateBackupVault")
def create_backup_vault(call: Call, parameters: dict) -> dict:
    held, name = call.here.kept(Kept).vaults, parameters["BackupVaultName"]
    request = parameters.get("CreatorRequestId")
    known = held.get(name)
    if known is not None and (request is None or known.request != request):
        raise AwsError("AlreadyExistsException", f"Backup vault with the same name already exists: {name}")
    if known is None:
        asked = parameters.get("EncryptionKeyArn")
        if asked and ":key/" not in asked:
            raise invalid(f"Not the ARN of a key: {asked}")
        key, usable = kms.chosen(call, asked, ALIAS)
        if not usable:
            raise invalid(f"The key {key} cannot be used.")
        arn = f"arn:aws:backup:{call.region}:{call.account}:backup-vault:{name}"
        known = held[name] = Vault(name, arn, key, call.now, request, parameters.get("BackupVaultTags") or {})
    return {"BackupVaultName": name, "BackupVaultArn": known.arn, "CreationDate": known.created_at}


def _shown(vault: Vault) -> dict[str, Any]:
    return {
        "BackupVaultName": vault.name,
        "BackupVaultArn": vault.arn,
        "EncryptionKeyArn": vault.key,
        "CreationDate": vault.created_at,
        "NumberOfRecoveryPoints": len(vault.points),
    }


@operation("backup", "DescribeBackupVault")
def describe_backup_vault(call: Call, parameters: dict) -> dict:
    found = call.here.kept(Kept).vaults.get(parameters["BackupVaultName"])
    if found is None:
        raise AwsError("AccessDeniedException", "Insufficient privileges to perform this action.", 403)
    return _shown(found)


@operation("backup", "ListBackupVaults")
def list_backup_vaults(call: Call, parameters: dict) -> dict:
    shown, token = rest.paged(list(call.here.kept(Kept).vaults.values()), parameters, PAGE)
    return {"BackupVaultList": [_shown(one) for one in shown], "NextToken": token}


@operation("backup", "DeleteBackupVault")
def delete_backup_vault(call: Call, parameters: dict) -> dict:
    found = vault_of(call, parameters["BackupVaultName"])
    if found.points:
        raise AwsError("InvalidRequestException", "The vault contains recovery points.")
    del call.here.kept(Kept).vaults[found.name]
    return {}


@operation("backup", "PutBackupVaultAccessPolicy")
def put_backup_vault_access_policy(call: Call, parameters: dict) -> dict:
    json.loads(parameters["Policy"])
    vault_of(call, parameters["BackupVaultName"]).policy = parameters["Policy"]
    return {}


@operation("backup", "GetBackupVaultAccessPolicy")
def get_backup_vault_access_policy(call: Call, parameters: dict) -> dict:
    found = vault_of(call, parameters["BackupVaultName"])
    if found.policy is None:
        raise missing(f"Access policy of {found.name}")
    return {"BackupVaultName": found.name, "BackupVaultArn": found.arn, "Policy": found.policy}


@operation("backup", "DescribeRecoveryPoint")
def describe_recovery_point(call: Call, parameters: dict) -> dict:
    return point_of(call, parameters["RecoveryPointArn"], parameters["BackupVaultName"]).view(call.now)


@operation("backup", "ListRecoveryPointsByBackupVault")
def list_recovery_points_by_backup_vault(call: Call, parameters: dict) -> dict:
    held = list(vault_of(call, parameters["BackupVaultName"]).points.values())
    wanted, kind = parameters.get("ByResourceArn"), parameters.get("ByResourceType")
    after = parameters.get("ByCreatedAfter") or 0
    held = [one for one in held if wanted in (None, one.resource) and kind in (None, one.kind.type)]
    held = [one for one in held if one.created_at.timestamp() >= after]
    shown, token = rest.paged(held, parameters, PAGE)
    return {"RecoveryPoints": [one.view(call.now) for one in shown], "NextToken": token}


@operation("backup", "DeleteRecoveryPoint")
def delete_recovery_point(call: Call, parameters: dict) -> dict:
    """Answers 200 and lets the point become EXPIRED when the role that made it may not delete it."""
    found = point_of(call, parameters["RecoveryPointArn"], parameters["BackupVaultName"])
    if call.now < found.ready_at:
        raise AwsError("InvalidResourceStateException", "The recovery point is being created.")
    role = call.world.directory.roles.get(found.role)
    if role is not None and not role.allows("backup:DeleteRecoveryPoint"):
        found.expired = True
        return {}
    forget(call, found)
    return {}


@operation("backup", "ListTags")
def list_tags(call: Call, parameters: dict) -> dict:
    """Only of what is fully managed by AWS Backup; for FSx the service's own tags are the point's."""
    return {"Tags": point_of(call, parameters["ResourceArn"]).tags}


@operation("backup", "TagResource")
def tag_resource(call: Call, parameters: dict) -> dict:
    point_of(call, parameters["ResourceArn"]).tags.update(parameters["Tags"])
    return {}


@operation("backup", "UntagResource")
def untag_resource(call: Call, parameters: dict) -> dict:
    for name in parameters["TagKeyList"]:
        point_of(call, parameters["ResourceArn"]).tags.pop(name, None)
    return {}


@operation("backup", "DescribeRegionSettings")
def describe_region_settings(call: Call, parameters: dict) -> dict:
    opted = dict.fromkeys(("DynamoDB", "EFS", "FSx", "EBS", "EC2", "RDS", "S3"), True)
    return {
        "ResourceTypeOptInPreference": opted,
        "ResourceTypeManagementPreference": dict(call.here.kept(Kept).management),
    }


@operation("backup", "UpdateRegionSettings")
def update_region_settings(call: Call, parameters: dict) -> dict:
    call.here.kept(Kept).management.update(parameters.get("ResourceTypeManagementPreference") or {})
    return {}


class Global:
    """Whether the organization's accounts may copy to each other; off until somebody says so."""

    def __init__(self) -> None:
        self.cross_account = "false"


def global_settings(call: Call) -> Global:
    return call.world.region(call.config.management_account, "global").kept(Global)


@operation("backup", "DescribeGlobalSettings")
def describe_global_settings(call: Call, parameters: dict) -> dict:
    return {"GlobalSettings": {"isCrossAccountBackupEnabled": global_settings(call).cross_account}}


@operation("backup", "UpdateGlobalSettings")
def update_global_settings(call: Call, parameters: dict) -> dict:
    if call.account != call.config.management_account:
        raise AwsError("InvalidRequestException", "Only the management account of the organization may do that.")
    wanted = parameters.get("GlobalSettings") or {}
    global_settings(call).cross_account = wanted.get("isCrossAccountBackupEnabled", "false")
    return {}
