"""Restores of tables: a new table of a backup, then all that a restore leaves out.

The new table's name is the token: a table of that name that was made of this very backup is what an earlier attempt
made. What `configure-table` finds set already is left alone, so that it may run again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.errors import Gone, InUse, Invalid, Refused
from tasks.states import OperationState
from workers.aws import aws_backup
from workers.aws.aws_backup_points import is_vaulted
from workers.aws.errors import translated
from workers.aws.session import Client, Clients
from workers.aws.tags import fit_tags, is_ours, part_key, read_tags, token_for, write_tags
from workers.driver import Created, Operation, Part, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

TABLE = "table"
_READY = frozenset({"ACTIVE"})
_SCALING = "dynamodb"
_RULES = ("TargetTrackingScalingPolicyConfiguration", "StepScalingPolicyConfiguration")


@dataclass(frozen=True)
class TableRestore:
    """One step to begin, with the tools."""

    clients: Clients
    point: Point
    step: RestoreStep
    key: str
    tags: Mapping[str, str]
    pace: Pace

    def start(self) -> StepStarted:
        """Begin the step. Raises Invalid for one that is unknown."""
        if self.step.kind == "restore-table":
            return self._restore()
        if self.step.kind == "configure-table":
            return self._configure()
        raise Invalid(f"There is no restore step {self.step.kind!r} for tables.", code="bad-step")

    def _need(self, name: str) -> str:
        value = self.step.params.get(name)
        if not isinstance(value, str) or not value:
            raise Invalid(f"The restore step {self.step.kind} lacks {name!r}.", code="bad-step")
        return value

    def _operation(self, name: str) -> Operation:
        detail = {"started_at": self.pace.clock.timer().isoformat()}
        return Operation(TABLE, name, self.clients.account, self.clients.region, detail)

    def _restore(self) -> StepStarted:
        backup, name = self._need("backup_id"), self._need("name")
        part = next((one for one in self.point.parts if one.external_id == backup), None)
        if part is None:
            raise Gone(f"The recovery point has no backup {backup}.")
        made = (Created(TABLE, name),)
        if is_vaulted(part):
            return self._restore_vault(part, name, made)
        found = table_of(self.clients.read("dynamodb"), name)
        if found is None:
            with translated("RestoreTableFromBackup", guard=self.pace.guard):
                self.clients.create("dynamodb").restore_table_from_backup(
                    TargetTableName=name, BackupArn=backup, **self._overrides()
                )
        elif found.get("RestoreSummary", {}).get("SourceBackupArn") != backup:
            raise _taken(name)
        return StepStarted((self._operation(name),), made, {"table": name})

    def _overrides(self) -> dict[str, Any]:
        params, wanted = self.step.params, {}
        if params.get("billing_mode"):
            wanted["BillingModeOverride"] = params["billing_mode"]
        if params.get("kms_key"):
            wanted["SSESpecificationOverride"] = {
                "Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": params["kms_key"]
            }  # fmt: skip
        return wanted

    def _restore_vault(self, part: Part, name: str, made: tuple[Created, ...]) -> StepStarted:
        key = str(self.step.params.get("kms_key", ""))
        metadata = {"targetTableName": name, "encryptionType": "KMS" if key else "Default"}
        if key:
            metadata["kmsMasterKeyArn"] = key
        found = table_of(self.clients.read("dynamodb"), name)
        if found is not None and "RestoreSummary" not in found:
            raise _taken(name)
        token = token_for(part_key(self.key, f"restore-table/{name}"))
        operation = aws_backup.start_restore(self.clients, part.external_id, "DynamoDB", metadata, token, self.pace)
        return StepStarted((operation,), made, {"table": name})

    def _configure(self) -> StepStarted:
        """Set again what stood beside the table. UpdateTable goes last: while it works nothing else may change."""
        name, dynamodb = self._need("table"), self.clients.read("dynamodb")
        table = table_of(dynamodb, name)
        if table is None:
            raise Gone(f"The table {name} does not exist any more.")
        wanted = self.step.params
        tags, _ = fit_tags(self.key, self.tags, wanted.get("tags", {}))
        dynamodb.tag_resource(ResourceArn=table["TableArn"], Tags=write_tags(tags))
        self._time_to_live(dynamodb, name, str(wanted.get("ttl", "")))
        if wanted.get("pitr"):
            on = {"PointInTimeRecoveryEnabled": True}
            dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=on)
        if wanted.get("scaling"):
            self._scale(name)
        changes = _changes(table, wanted)
        if changes:
            dynamodb.update_table(TableName=name, **changes)
        return StepStarted((self._operation(name),), (), {"table": name})

    @staticmethod
    def _time_to_live(dynamodb: Client, name: str, attribute: str) -> None:
        now = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"] if attribute else {}
        if attribute and now.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            wanted = {"Enabled": True, "AttributeName": attribute}
            dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=wanted)

    def _scale(self, name: str) -> None:
        """Register again what was scaled; registering the same twice changes nothing (API reference)."""
        scaling = self.clients.read("application-autoscaling")
        for target in self.point.resource.attributes.get("scaling") or ():
            where = {
                "ServiceNamespace": _SCALING,
                "ResourceId": f"table/{name}{target['resource']}",
                "ScalableDimension": target["dimension"],
            }
            scaling.register_scalable_target(MinCapacity=target["least"], MaxCapacity=target["most"], **where)
            for policy in target["policies"]:
                rules = {rule: policy[rule] for rule in _RULES if rule in policy}
                scaling.put_scaling_policy(PolicyName=policy["name"], PolicyType=policy["type"], **where, **rules)


def _changes(table: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What UpdateTable must change for the table to be as wanted."""
    changes: dict[str, Any] = {}
    stream = str(wanted.get("stream", ""))
    if stream and not table.get("StreamSpecification", {}).get("StreamEnabled"):
        changes["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream}
    if wanted.get("deletion_protection") and not table.get("DeletionProtectionEnabled"):
        changes["DeletionProtectionEnabled"] = True
    kind = str(wanted.get("table_class", ""))
    if kind and kind != (table.get("TableClassSummary", {}).get("TableClass") or "STANDARD"):
        changes["TableClass"] = kind
    return changes


def _taken(name: str) -> Invalid:
    return Invalid(
        f"There is a table {name} already, and it was not made by this restore.",
        code="name-taken",
        advice="Choose another name with --set name=...",
    )


def table_of(dynamodb: Client, name: str) -> Mapping[str, Any] | None:
    """A table's description, None when there is none."""
    try:
        table: Mapping[str, Any] = dynamodb.describe_table(TableName=name)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException:
        return None
    return table


def table_progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """Tables that are being made or changed, by name: ACTIVE is done."""
    answers = {}
    for one in operations:
        if one.kind == TABLE:
            answers[one.external_id] = _progress(one, table_of(clients.read("dynamodb"), one.external_id), pace)
    return answers


def _progress(operation: Operation, table: Mapping[str, Any] | None, pace: Pace) -> Progress:
    age, name = pace.age(operation.detail.get("started_at")), operation.external_id
    if table is None and (age is None or age < pace.grace):
        return Progress(name, OperationState.RUNNING, ask_again=pace.floor)
    if table is None:
        return Progress(name, OperationState.GONE, error=Gone(f"The table {name} does not exist any more."))
    if table["TableStatus"] in _READY:
        return Progress(name, OperationState.DONE, 100)
    if table["TableStatus"] in ("DELETING", "ARCHIVED", "INACCESSIBLE_ENCRYPTION_CREDENTIALS"):
        error = Invalid(f"The table {name} is {table['TableStatus']}.", code="table-state")
        return Progress(name, OperationState.FAILED, error=error)
    return Progress(name, OperationState.RUNNING, ask_again=pace.again(age or timedelta(0)))


def undo_table(clients: Clients, name: str) -> str:
    """Delete a table that a restore made. Raises Refused for any other, InUse while it is being made."""
    dynamodb = clients.read("dynamodb")
    table = table_of(dynamodb, name)
    if table is None or table["TableStatus"] == "DELETING":
        return "already-gone"
    tags = read_tags(dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags"))
    # the tags come only with the last step; until then a table that was restored at all is this restore's
    if not (is_ours(tags, clients.account.installation) or table.get("RestoreSummary")):
        raise Refused(f"The table {name} was not made by a restore, so it stays.", code="not-ours")
    if table["TableStatus"] != "ACTIVE":
        raise InUse(f"The table {name} is {table['TableStatus']}.", wait=timedelta(seconds=15))
    if table.get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=name)
    return "deleted"
