"""Backups of tables: DynamoDB's own, or AWS Backup's where copies are to be made of them; followed and deleted.

CreateBackup has no token and its names are not unique (DynamoDB API reference): the key's name is looked for first, by
table and name. DynamoDB's own backups carry no tags; the name is what says that they are ours. They cannot be copied.
AWS Backup's can, with its advanced features for DynamoDB (AWS Backup developer guide, "Advanced DynamoDB backup").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import CloudFailed, Gone, Invalid
from tasks.states import OperationState
from workers.aws import aws_backup
from workers.aws.aws_backup_points import foreign, outdated
from workers.aws.dynamodb_describe import describe, settings, size_gib
from workers.aws.errors import translated
from workers.aws.session import Client, Clients
from workers.aws.tags import name_for
from workers.driver import BackupRequest, Deleted, Found, Operation, Part, Presence, Progress, Resource, Started
from workers.pace import Pace

KIND = "DynamoDB"  # AWS Backup's name of it
TABLE_BACKUP = "table-backup"
_LONELY = 3  # so few are asked about one by one
_RECENT = timedelta(days=2)
_STATES = {"CREATING": OperationState.RUNNING, "AVAILABLE": OperationState.DONE, "ACTIVE": OperationState.DONE}


@dataclass(frozen=True)
class TableBackups:
    """The tools of one account and region."""

    clients: Clients
    pace: Pace

    def start(self, resource: Resource, request: BackupRequest) -> Started:
        """Begin the backup of a table, or adopt the one that this key began."""
        if request.mode == "vault":
            return self._start_vault(resource, request)
        made = None if request.fresh else self._made(resource.external_id, request.key)
        now, warnings = self._as_it_is(resource, vanished_is_fine=made is not None)
        adopted = made is not None
        if made is None:
            with translated("CreateBackup", guard=self.pace.guard):
                dynamodb = self.clients.create("dynamodb")
                request.proceed()
                made = dynamodb.create_backup(TableName=resource.external_id, BackupName=name_for(request.key))
                made = made["BackupDetails"]
        part = self._part(made, now)
        detail = {"started_at": self._now(), "created_at": made["BackupCreationDateTime"].isoformat()}
        operation = Operation(TABLE_BACKUP, part.external_id, self.clients.account, self.clients.region, detail)
        return Started((operation,), (part,), captured=captured(now), warnings=tuple(warnings), adopted=adopted)

    def _now(self) -> str:
        return self.pace.clock.timer().isoformat()

    def _as_it_is(self, resource: Resource, vanished_is_fine: bool) -> tuple[Resource, list[str]]:
        """The table now, with what stands beside it."""
        try:
            now = describe(self.clients, resource.external_id)
        except Gone:
            if not vanished_is_fine:
                raise
            return resource, [f"{resource.external_id} was deleted after this backup of it had begun."]
        beside, warnings = settings(self.clients, now.external_id, list(now.attributes["indexes"]))
        return replace(now, attributes={**now.attributes, **beside}), warnings

    def _made(self, table: str, key: str) -> Mapping[str, Any] | None:
        """The backup that an earlier attempt made: names are not unique, so the oldest counts, always the same."""
        name = name_for(key)
        found = [one for one in _listed(self.clients.read("dynamodb"), TableName=table) if one["BackupName"] == name]
        return min(found, key=lambda one: one["BackupCreationDateTime"], default=None)

    def _part(self, made: Mapping[str, Any], now: Resource) -> Part:
        return Part(
            external_id=str(made["BackupArn"]),
            source_id=now.external_id,
            size_gib=size_gib(int(made.get("BackupSizeBytes") or now.attributes.get("size_bytes", 0))),
            encrypted=True,  # tables always are, under a key of AWS's own at least
            kms_key_id=str(now.attributes.get("kms_key_id", "")),
            attributes={"way": "native", "name": str(made["BackupName"])},
        )

    def _start_vault(self, resource: Resource, request: BackupRequest) -> Started:
        self._check_advanced()
        now, warnings = self._as_it_is(resource, vanished_is_fine=False)
        began, lost = aws_backup.start_backup(self.clients, now.attributes["arn"], request, now.tags, self.pace)
        known: dict[str, Any] = {
            "source_id": now.external_id,
            "size_gib": size_gib(int(now.attributes["size_bytes"])),
            "attributes": {"way": "vault", "vault": aws_backup.vault_of(self.clients)},
        }
        part = Part(began.point, encrypted=True, **known)
        operation = Operation(
            aws_backup.BACKUP_JOB, began.job, self.clients.account, self.clients.region, {**began.detail, "part": known}
        )
        return Started(
            (operation,),
            (part,) if began.point else (),
            captured=captured(now),
            warnings=(*warnings, *lost),
            adopted=began.adopted,
        )

    def _check_advanced(self) -> None:
        """Without advanced features a point could not be copied. Raises Invalid; silent where nobody may ask."""
        try:
            answer = self.clients.read("backup").describe_region_settings()
        except ClientError:
            return
        if answer.get("ResourceTypeManagementPreference", {}).get(KIND) is False:
            raise Invalid(
                f"AWS Backup's advanced features for DynamoDB are off in {self.clients.account.name}, "
                f"{self.clients.region}: without them no backup can be copied.",
                code="advanced-features",
                advice="Turn them on in AWS Backup's settings of that region.",
            )

    def progress(self, operations: Sequence[Operation]) -> dict[str, Progress]:
        """The answers about DynamoDB's own backups, by ARN."""
        mine = [one for one in operations if one.kind == TABLE_BACKUP]
        found = self._found(mine) if mine else {}
        return {one.external_id: self._progress(one, found.get(one.external_id)) for one in mine}

    def _found(self, operations: Sequence[Operation]) -> dict[str, Mapping[str, Any]]:
        dynamodb = self.clients.read("dynamodb")
        since = [str(one.detail["created_at"]) for one in operations if one.detail.get("created_at")]
        if len(operations) <= _LONELY or len(since) < len(operations):
            return {one.external_id: found for one in operations if (found := _details(dynamodb, one.external_id))}
        after = min(datetime.fromisoformat(one) for one in since) - timedelta(seconds=1)
        return {one["BackupArn"]: one for one in _listed(dynamodb, TimeRangeLowerBound=after)}

    def _progress(self, operation: Operation, backup: Mapping[str, Any] | None) -> Progress:
        age, name = self.pace.age(operation.detail.get("started_at")), operation.external_id
        if backup is None or backup["BackupStatus"] == "DELETED":
            if backup is None and (age is None or age < self.pace.grace):
                seen = {} if age is not None else {"started_at": self._now()}
                return Progress(name, OperationState.RUNNING, ask_again=self.pace.floor, detail=seen)
            return Progress(name, OperationState.GONE, error=Gone(f"The backup {name} does not exist any more."))
        state = _STATES.get(backup["BackupStatus"], OperationState.FAILED)
        if state is OperationState.DONE:
            detail = {"size_gib": size_gib(int(backup.get("BackupSizeBytes") or 0))}
            return Progress(name, state, 100, detail=detail)
        if state is OperationState.RUNNING:
            return Progress(name, state, ask_again=self.pace.again(age or timedelta(0)))
        return Progress(name, state, error=CloudFailed(f"The backup {name} is {backup['BackupStatus']}."))

    def find(self, key: str) -> list[Found]:
        """DynamoDB's own backups under a key, by name; those of the last two days."""
        name, after = name_for(key), self.pace.clock.now() - _RECENT
        return [
            Found("table-backup", one["BackupArn"], _STATES.get(one["BackupStatus"], OperationState.FAILED))
            for one in _listed(self.clients.read("dynamodb"), TimeRangeLowerBound=after)
            if one["BackupName"] == name
        ]


def present(clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those of DynamoDB's own backups that are there. They take no tags."""
    asked = {part.external_id for part in parts}
    found = _listed(clients.read("dynamodb")) if asked else []
    return {one["BackupArn"]: None for one in found if one["BackupArn"] in asked and one["BackupStatus"] != "DELETED"}


def delete_backup(clients: Clients, part: Part) -> Deleted:
    """Delete one of DynamoDB's own backups, if it has the name that we gave it; raises what keeps it."""
    dynamodb, arn = clients.read("dynamodb"), part.external_id
    found = _details(dynamodb, arn)
    if found is None or found["BackupStatus"] == "DELETED":
        return Deleted(arn, "already-gone")
    if found["BackupName"] != part.attributes.get("name"):
        raise foreign(arn)
    if not clients.account.may_delete:
        raise outdated(clients, arn)  # these backups take no tags
    dynamodb.delete_backup(BackupArn=arn)
    return Deleted(arn, "deleted")


def captured(resource: Resource) -> dict[str, Any]:
    """The table as found, for the restore."""
    return {**resource.attributes, "name": resource.name, "tags": dict(resource.tags)}


def _details(dynamodb: Client, arn: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = dynamodb.describe_backup(BackupArn=arn)["BackupDescription"]["BackupDetails"]
    except dynamodb.exceptions.BackupNotFoundException:
        return None
    return found


def _listed(dynamodb: Client, **wanted: Any) -> list[Mapping[str, Any]]:
    """The backups that people and products made, not DynamoDB's or AWS Backup's own."""
    pages = dynamodb.get_paginator("list_backups").paginate(BackupType="USER", **wanted)
    return [one for page in pages for one in page.get("BackupSummaries", [])]
