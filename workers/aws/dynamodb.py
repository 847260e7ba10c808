"""The driver of DynamoDB: tables, backed up by DynamoDB itself or, where copies are made, through AWS Backup."""

from collections.abc import Mapping, Sequence

from workers.aws.dynamodb_backup import KIND, TableBackups, delete_backup, present
from workers.aws.dynamodb_describe import discover
from workers.aws.dynamodb_restore import TABLE, TableRestore, table_progress, undo_table
from workers.aws.service_checks import VAULT_LOOKS, Look
from workers.aws.session import Clients
from workers.aws.vault_driver import VaultDriver
from workers.driver import (
    BackupRequest,
    Created,
    Deleted,
    Destination,
    Found,
    Operation,
    Part,
    Point,
    Presence,
    Progress,
    Resource,
    ResourcePage,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
)

_NO_COPY = "DynamoDB's own backups cannot be copied: policies with dr entries back tables up through AWS Backup."


class DynamoDbDriver(VaultDriver):
    """Implements workers.driver.Driver for the type 'dynamodb'.

    Lists of backups tell no tags: DynamoDB's own have none, and AWS Backup tells them point by point, which is for the
    rebuilding of a catalog. What no record knows is not looked for daily.
    """

    types: tuple[str, ...] = ("dynamodb",)
    kind = KIND
    looks = (
        Look("dynamodb:ListTables", "dynamodb", lambda one: one.list_tables(Limit=1), "no table is discovered"),
        Look("dynamodb:ListBackups", "dynamodb", lambda one: one.list_backups(Limit=1), "no backup is followed"),
        *VAULT_LOOKS,
    )

    def _discover(self, clients: Clients, _scope: Scope, page: str | None) -> ResourcePage:
        return discover(clients, page)

    def _backup(self, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
        return TableBackups(clients, self._pace).start(resource, request)

    def _native_problem(self, _point: Point, _destination: Destination) -> str:
        return _NO_COPY

    def _restore(
        self, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
    ) -> StepStarted:
        return TableRestore(clients, point, step, key, tags, self._pace).start()

    def _undo(self, clients: Clients, created: Created) -> str:
        return undo_table(clients, created.external_id) if created.kind == TABLE else "already-gone"

    def _native_progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        backups = TableBackups(clients, self._pace).progress(operations)
        return backups | table_progress(clients, operations, self._pace)

    def _native_present(self, clients: Clients, parts: Sequence[Part]) -> Presence:
        return present(clients, parts)

    def _native_find(self, clients: Clients, key: str) -> list[Found]:
        return TableBackups(clients, self._pace).find(key)

    def _native_delete(self, clients: Clients, part: Part) -> Deleted:
        return delete_backup(clients, part)
