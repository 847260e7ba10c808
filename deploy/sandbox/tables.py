"""DynamoDB's backups over moto's tables: they take time, and a restore brings back less than was there.

"CreateBackup", "RestoreTableFromBackup", "DescribeBackup", "ListBackups" (DynamoDB API reference); "Restoring a
DynamoDB table" (developer guide): auto scaling, tags, stream settings, time to live, point-in-time recovery, deletion
protection and the table class do not come back. Names of backups are not unique.
"""

import copy
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import unseen
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.world import Region, World

NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


@dataclass(eq=False)
class TableBackup:
    """A table frozen at one moment; `table` is moto's own, copied."""

    arn: str
    name: str
    kind: str
    table: Any
    features: dict[str, Any]
    created_at: datetime
    ready_at: datetime
    restoring_until: datetime | None = None

    def state(self, now: datetime) -> str:
        return "CREATING" if now < self.ready_at else "AVAILABLE"

    def details(self, now: datetime) -> dict[str, Any]:
        return {
            "BackupArn": self.arn,
            "BackupName": self.name,
            "BackupSizeBytes": size_of(self.table),
            "BackupStatus": self.state(now),
            "BackupType": self.kind,
            "BackupCreationDateTime": self.created_at,
        }


@dataclass
class Kept:
    """What DynamoDB holds in one account and region beside moto's tables."""

    backups: dict[str, TableBackup] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)  # table: table class, where it is not STANDARD
    ready: dict[str, datetime] = field(default_factory=dict)  # restored table: when it becomes ACTIVE
    sources: dict[str, str] = field(default_factory=dict)  # restored table: the backup that it came from


def tables(account: str, region: str) -> dict[str, Any]:
    """moto's tables by name."""
    from moto.dynamodb import dynamodb_backends

    return dynamodb_backends[account][region].tables


def size_of(table: Any) -> int:
    return 100 * len(table)


def find(account: str, region: str, name: str) -> Any:
    """The table by name or ARN; TableNotFoundException for none."""
    table = tables(account, region).get(name.rsplit("/", 1)[-1])
    if table is None:
        raise AwsError("TableNotFoundException", f"Table not found: {name}")
    return table


def freeze(world: World, account: str, region: str, name: str) -> tuple[Any, dict[str, Any]]:
    """A copy of a table as it is, and the features of it that a backup describes."""
    table = find(account, region, name)
    features = {
        "StreamDescription": table.stream_specification,
        "TimeToLiveDescription": dict(table.ttl),
        "TableClass": world.region(account, region).kept(Kept).classes.get(table.name, "STANDARD"),
    }
    return copy.deepcopy(table), features


def revive(here: Region, source: Any, target: str, until: datetime, origin: str, sse: Any = None) -> Any:
    """Make a table of a frozen one, without what a restore leaves behind; TableAlreadyExistsException."""
    from moto.dynamodb.models.table import Table

    held = tables(here.account, here.name)
    if target in held:
        raise AwsError("TableAlreadyExistsException", f"Table already exists: {target}")
    made = Table(
        target,
        here.account,
        here.name,
        schema=copy.deepcopy(source.schema),
        attr=copy.deepcopy(source.attr),
        throughput={k: v for k, v in source.throughput.items() if k.endswith("CapacityUnits")},
        billing_mode=source.billing_mode,
        sse_specification=sse,
    )
    made.indexes, made.global_indexes = copy.deepcopy(source.indexes), copy.deepcopy(source.global_indexes)
    made.items = copy.deepcopy(source.items)
    held[target] = made
    kept = here.kept(Kept)
    kept.ready[target], kept.sources[target] = until, origin
    return made


def described(here: Region, table: Any, now: datetime) -> dict[str, Any]:
    """DescribeTable's view."""
    kept, view = here.kept(Kept), table.describe("Table")["Table"]
    busy = now < kept.ready.get(table.name, now)
    view["CreationDateTime"] = view["CreationDateTime"].replace(tzinfo=UTC)
    if busy:
        view["TableStatus"] = "CREATING"
    if table.name in kept.sources:
        when = view["CreationDateTime"]
        view["RestoreSummary"] = {
            "SourceBackupArn": kept.sources[table.name],
            "RestoreDateTime": when,
            "RestoreInProgress": busy,
        }
    view["TableClassSummary"] = {"TableClass": kept.classes.get(table.name, "STANDARD")}
    return view


def _backup(call: Call, arn: str, anywhere: bool = False) -> TableBackup:
    """A backup of the caller's account, in its own region or, for restores, in any."""
    region = arn.split(":")[3] if anywhere and arn.count(":") >= 5 else call.region
    found = call.world.region(call.account, region).kept(Kept).backups.get(arn)
    if found is None:
        raise AwsError("BackupNotFoundException", f"Backup not found: {arn}")
    return found


@operation("dynamodb", "DescribeTable")
def describe_table(call: Call, parameters: dict) -> dict:
    name = required(parameters, "TableName").rsplit("/", 1)[-1]
    table = tables(call.account, call.region).get(name)
    if table is None:
        raise AwsError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
    return {"Table": described(call.here, table, call.now)}


@operation("dynamodb", "UpdateTable")
def update_table(call: Call, parameters: dict) -> dict:
    """moto's, with the table class and with the refusal of a table that is not active."""
    from moto.dynamodb import dynamodb_backends

    name = required(parameters, "TableName").rsplit("/", 1)[-1]
    kept = call.here.kept(Kept)
    if name not in tables(call.account, call.region):
        raise AwsError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
    if call.now < kept.ready.get(name, call.now):
        raise AwsError("ResourceInUseException", f"Table is being restored: {name}")
    if parameters.get("TableClass"):
        kept.classes[name] = parameters["TableClass"]
    table = dynamodb_backends[call.account][call.region].update_table(
        name,
        parameters.get("AttributeDefinitions"),
        parameters.get("GlobalSecondaryIndexUpdates"),
        parameters.get("ProvisionedThroughput"),
        parameters.get("BillingMode"),
        parameters.get("StreamSpecification"),
        parameters.get("DeletionProtectionEnabled"),
        parameters.get("WarmThroughput"),
    )
    return {"TableDescription": described(call.here, table, call.now)}


@operation("dynamodb", "CreateBackup")
def create_backup(call: Call, parameters: dict) -> dict:
    name = required(parameters, "BackupName")
    if not NAME.fullmatch(name):
        raise AwsError("ValidationException", "backupName must be 3 to 255 characters of a-z, A-Z, 0-9, _, . and -")
    table, features = freeze(call.world, call.account, call.region, required(parameters, "TableName"))
    if call.now < call.here.kept(Kept).ready.get(table.name, call.now):
        raise AwsError("TableInUseException", f"Table is being restored: {table.name}")
    stamp = f"{int(call.now.timestamp() * 1000):017d}-{call.world.dice.getrandbits(32):08x}"
    made = TableBackup(
        arn=f"{table.table_arn}/backup/{stamp}",
        name=name,
        kind="USER",
        table=table,
        features=features,
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.backup_seconds),
    )
    call.here.kept(Kept).backups[made.arn] = made
    return {"BackupDetails": made.details(call.now)}


def _description(call: Call, backup: TableBackup) -> dict[str, Any]:
    table = backup.table.describe("Table")["Table"]
    return {
        "BackupDetails": backup.details(call.now),
        "SourceTableDetails": {
            "TableName": backup.table.name,
            "TableArn": backup.table.table_arn,
            "TableId": backup.arn[-36:],
            "KeySchema": table["KeySchema"],
            "TableCreationDateTime": table["CreationDateTime"].replace(tzinfo=UTC),
            "ProvisionedThroughput": table["ProvisionedThroughput"],
            "ItemCount": table["ItemCount"],
            "BillingMode": backup.table.billing_mode,
            "TableSizeBytes": size_of(backup.table),
        },
        "SourceTableFeatureDetails": {k: v for k, v in backup.features.items() if k.endswith("Description")},
    }


@operation("dynamodb", "DescribeBackup")
def describe_backup(call: Call, parameters: dict) -> dict:
    return {"BackupDescription": _description(call, _backup(call, required(parameters, "BackupArn")))}


@operation("dynamodb", "ListBackups")
def list_backups(call: Call, parameters: dict) -> dict:
    """By table, kind and time; the lower bound belongs to the range, the upper one does not."""
    low, high = parameters.get("TimeRangeLowerBound", 0), parameters.get("TimeRangeUpperBound", float("inf"))
    name = (parameters.get("TableName") or "").rsplit("/", 1)[-1]
    kind = parameters.get("BackupType", "USER")
    held = [
        one
        for one in call.here.kept(Kept).backups.values()
        if (not name or one.table.name == name)
        and kind in (one.kind, "ALL")
        and low <= one.created_at.timestamp() < high
        and not unseen(call, one.created_at)
    ]
    after = parameters.get("ExclusiveStartBackupArn")
    if after:
        arns = [one.arn for one in held]
        held = held[arns.index(after) + 1 :] if after in arns else []
    limit = min(int(parameters.get("Limit") or 100), 100)
    shown = held[:limit]
    names = ("BackupArn", "BackupName", "BackupStatus", "BackupType", "BackupCreationDateTime", "BackupSizeBytes")
    rows = [
        {**{k: one.details(call.now)[k] for k in names}, "TableName": one.table.name, "TableArn": one.table.table_arn}
        for one in shown
    ]
    return {"BackupSummaries": rows, "LastEvaluatedBackupArn": shown[-1].arn if len(held) > limit else None}


@operation("dynamodb", "DeleteBackup")
def delete_backup(call: Call, parameters: dict) -> dict:
    backup = _backup(call, required(parameters, "BackupArn"))
    if backup.kind != "USER":
        raise AwsError("ValidationException", "Only backups of type USER can be deleted with DeleteBackup.")
    if call.now < backup.ready_at or (backup.restoring_until and call.now < backup.restoring_until):
        raise AwsError("BackupInUseException", f"Backup is being created or restored: {backup.arn}")
    del call.here.kept(Kept).backups[backup.arn]
    answer = _description(call, backup)
    answer["BackupDetails"]["BackupStatus"] = "DELETED"
    return {"BackupDescription": answer}


@operation("dynamodb", "RestoreTableFromBackup")
def restore_table_from_backup(call: Call, parameters: dict) -> dict:
    target = required(parameters, "TargetTableName")
    backup = _backup(call, required(parameters, "BackupArn"), anywhere=True)
    if call.now < backup.ready_at:
        raise AwsError("BackupInUseException", f"Backup is being created: {backup.arn}")
    until = call.now + timedelta(seconds=call.config.backup_restore_seconds)
    sse = parameters.get("SSESpecificationOverride") or backup.table.sse_specification
    table = revive(call.here, backup.table, target, until, backup.arn, sse)
    if parameters.get("BillingModeOverride"):
        table.billing_mode = parameters["BillingModeOverride"]
    backup.restoring_until = until
    return {"TableDescription": described(call.here, table, call.now)}
