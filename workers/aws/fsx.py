"""The driver of FSx: Lustre, Windows and OpenZFS file systems, and ONTAP volumes; FSx's own backups or AWS Backup's."""

from collections.abc import Mapping, Sequence

from workers.aws.ec2_copy import same_account
from workers.aws.errors import translated
from workers.aws.fsx_backup import KIND, FsxBackups, delete_backup
from workers.aws.fsx_describe import ONTAP, discover
from workers.aws.fsx_restore import KINDS, FsxRestore, restore_progress, undo_made
from workers.aws.keys import DefaultKeys
from workers.aws.service_checks import VAULT_LOOKS, Look
from workers.aws.session import Clients, Sessions
from workers.aws.vault_driver import VaultDriver
from workers.driver import (
    Account,
    BackupRequest,
    CopyRequest,
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
    Tagged,
)
from workers.pace import Pace

_ACROSS = "FSx's own backups stay in their account: policies with dr entries in other accounts go through AWS Backup."
_VOLUMES = "FSx copies no backups of ONTAP volumes: policies with dr entries back them up through AWS Backup."
_TIERED = "FSx for OpenZFS copies no backup of Intelligent-Tiering storage to another region."


class FsxDriver(VaultDriver):
    """Implements workers.driver.Driver for the types of FSx."""

    types: tuple[str, ...] = ("fsx-lustre", "fsx-windows", "fsx-openzfs", ONTAP)
    kind = KIND
    looks = (
        Look(
            "fsx:DescribeFileSystems",
            "fsx",
            lambda fsx: fsx.describe_file_systems(MaxResults=1),
            "no file system is discovered",
        ),
        Look("fsx:DescribeVolumes", "fsx", lambda fsx: fsx.describe_volumes(MaxResults=1), "no volume is discovered"),
        Look("fsx:DescribeBackups", "fsx", lambda fsx: fsx.describe_backups(MaxResults=1), "no backup is followed"),
        *VAULT_LOOKS,
    )

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        super().__init__(sessions, pace)
        self._keys = DefaultKeys("alias/aws/fsx")

    def _backups(self, clients: Clients) -> FsxBackups:
        return FsxBackups(clients, self._pace, self._keys)

    def _discover(self, clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
        return discover(clients, scope, page, self._keys)

    def _backup(self, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
        return self._backups(clients).start(resource, request)

    def _restore(
        self, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
    ) -> StepStarted:
        return FsxRestore(clients, point, step, key, tags, self._pace).start()

    def _undo(self, clients: Clients, created: Created) -> str:
        return undo_made(clients, created) if created.kind in KINDS else "already-gone"

    def _native_progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        backups = self._backups(clients).progress(operations)
        return backups | restore_progress(clients, operations, self._pace)

    def _native_problem(self, point: Point, destination: Destination) -> str:
        if not same_account(point.account, destination.account):
            return _ACROSS
        if point.resource.type == ONTAP:
            return _VOLUMES
        tiered = point.resource.attributes.get("storage_type") == "INTELLIGENT_TIERING"
        return _TIERED if tiered and point.resource.type == "fsx-openzfs" else ""

    def _native_copy(
        self, source: Clients, target: Clients, point: Point, destination: Destination, request: CopyRequest
    ) -> Started:
        return self._backups(source).start_copy(target, point, destination, request)

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        """FSx's own backups; the vaults' list tells no tags (`tagged_one_by_one`)."""
        with translated("a look for what is ours"):
            return self._backups(self._at(account, region)).tagged(installation)

    def _vaulted(self, clients: Clients, installation: str) -> list[Tagged]:
        return self._backups(clients).vaulted(installation)

    def _native_present(self, clients: Clients, parts: Sequence[Part]) -> Presence:
        return self._backups(clients).present(parts)

    def _native_find(self, clients: Clients, key: str) -> list[Found]:
        return self._backups(clients).find(key)

    def _native_delete(self, clients: Clients, part: Part) -> Deleted:
        return delete_backup(clients, part)
