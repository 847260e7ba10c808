"""The driver of EFS: file systems, through AWS Backup alone (EFS has no backups of its own)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workers.aws import aws_backup
from workers.aws.efs_describe import describe, discover, settings, size_gib
from workers.aws.efs_restore import RESTORE, FileSystemRestore, file_system_progress, undo_restore
from workers.aws.service_checks import VAULT_LOOKS, Look
from workers.aws.session import Clients
from workers.aws.vault_driver import VaultDriver
from workers.driver import (
    BackupRequest,
    Created,
    Operation,
    Part,
    Point,
    Progress,
    Resource,
    ResourcePage,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
)
from workers.pace import Pace

KIND = "EFS"  # AWS Backup's name of it


class EfsDriver(VaultDriver):
    """Implements workers.driver.Driver for the type 'efs'.

    AWS Backup tells tags point by point only: what no record knows is looked for when a catalog is rebuilt, not daily.
    """

    types: tuple[str, ...] = ("efs",)
    kind = KIND
    looks = (
        Look(
            "elasticfilesystem:DescribeFileSystems",
            "efs",
            lambda efs: efs.describe_file_systems(MaxItems=1),
            "no file system is discovered",
        ),
        *VAULT_LOOKS,
    )

    def _discover(self, clients: Clients, _scope: Scope, page: str | None) -> ResourcePage:
        return discover(clients, page)

    def _backup(self, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
        return _start(clients, resource, request, self._pace)

    def _restore(
        self, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
    ) -> StepStarted:
        return FileSystemRestore(clients, point, step, key, tags, self._pace).start()

    def _undo(self, clients: Clients, created: Created) -> str:
        return undo_restore(clients, created.external_id) if created.kind == RESTORE else "already-gone"

    def _native_progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        return file_system_progress(clients, operations, self._pace)


def _start(clients: Clients, resource: Resource, request: BackupRequest, pace: Pace) -> Started:
    """Begin the backup of a file system; one job runs at a time for a file system (AWS Backup quotas)."""
    now = describe(clients, resource.external_id)
    beside, warnings = settings(clients, now.external_id)
    now = replace(now, attributes={**now.attributes, **beside})
    began, lost = aws_backup.start_backup(clients, now.attributes["arn"], request, now.tags, pace)
    size = size_gib(int(now.attributes["size_bytes"]))
    attributes = {"way": "vault", "vault": aws_backup.vault_of(clients)}
    known = {"source_id": now.external_id, "size_gib": size, "attributes": attributes}
    detail = {**began.detail, "part": known}
    operation = Operation(aws_backup.BACKUP_JOB, began.job, clients.account, clients.region, detail)
    part = Part(began.point, source_id=now.external_id, size_gib=size, encrypted=True, attributes=attributes)
    return Started(
        (operation,),
        (part,) if began.point else (),
        captured={**now.attributes, "name": now.name, "tags": dict(now.tags)},
        warnings=(*warnings, *lost),
        adopted=began.adopted,
    )
