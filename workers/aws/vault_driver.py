"""What the drivers of DynamoDB, EFS and FSx share: the edges of a driver, and the way through AWS Backup's vaults.

A subclass says what its service's name is there, and has the service's own ways; each method binds an account and
region, and translates what the SDK raises.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Gone, Impossible, Invalid, Refused, SnapfleetError
from tasks.states import OperationState
from workers.aws import aws_backup
from workers.aws.aws_backup_points import delete_points, find_points, is_vaulted
from workers.aws.aws_backup_progress import job_progress
from workers.aws.ec2_copy import same_account
from workers.aws.errors import translate, translated
from workers.aws.service_checks import Look, check
from workers.aws.session import Clients, Sessions
from workers.driver import (
    Account,
    BackupRequest,
    Check,
    CopyRequest,
    Created,
    Deleted,
    Destination,
    Found,
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

_DEFAULT_KEY = (
    "The resource lies under the account's default key, which AWS Backup cannot take to another account: encrypt it "
    "with a customer-managed key."
)


class VaultDriver(ABC):
    """Implements workers.driver.Driver; safe to be shared by threads."""

    types: tuple[str, ...] = ()
    kind = ""  # AWS Backup's name of the service's resources
    looks: tuple[Look, ...] = ()

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        self._sessions = sessions
        self._pace = pace or Pace()

    # --- what a service has of its own ---

    @abstractmethod
    def _discover(self, clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
        """A page of resources."""

    @abstractmethod
    def _backup(self, clients: Clients, resource: Resource, request: BackupRequest) -> Started:
        """Begin a backup."""

    @abstractmethod
    def _restore(
        self, clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]
    ) -> StepStarted:
        """Begin a step of a restore."""

    @abstractmethod
    def _undo(self, clients: Clients, created: Created) -> str:
        """Remove what a restore made: 'deleted' or 'already-gone'; raises what keeps it."""

    @abstractmethod
    def _progress(self, clients: Clients, operations: Sequence[Operation]) -> dict[str, Progress]:
        """Answers about the service's own operations, by id."""

    def _native_problem(self, _point: Point, _destination: Destination) -> str:
        """'' or why the service's own backups cannot go there."""
        return ""

    def _native_copy(
        self, _source: Clients, _target: Clients, point: Point, _destination: Destination, _request: CopyRequest
    ) -> Started:
        """Begin a copy of the service's own backup."""
        raise Impossible(f"AWS copies no backups of {point.resource.type} outside of AWS Backup.")

    def _native_find(self, _clients: Clients, _key: str) -> list[Found]:
        """The service's own backups under a key."""
        return []

    def _native_delete(self, _clients: Clients, part: Part) -> Deleted:
        """Delete one of the service's own backups."""
        raise Refused(f"{part.external_id} is no recovery point of AWS Backup.", code="not-ours")

    # --- the driver ---

    def _at(self, account: Account, region: str) -> Clients:
        return self._sessions.at(account, region)

    def check(self, account: Account, region: str) -> list[Check]:
        return check(self._at(account, region), self.looks)

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return self._discover(self._at(scope.account, scope.region), scope, page)

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        with translated("a backup"):
            return self._backup(self._at(resource.account, resource.region), resource, request)

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        problem = aws_backup.plan_problem(point, destination)
        if problem:
            return problem
        if all(is_vaulted(part) for part in point.parts):
            across = not same_account(point.account, destination.account)
            return _DEFAULT_KEY if across and any(part.attributes.get("default_key") for part in point.parts) else ""
        return self._native_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        aws_backup.refuse(self.plan_copy_problem(point, destination))
        source = self._at(point.account, point.region)
        target = self._at(destination.account, destination.region)
        with translated("a copy"):
            if not all(is_vaulted(part) for part in point.parts):
                return self._native_copy(source, target, point, destination, request)
            copying = aws_backup.VaultCopy(source, target, destination, request, self._pace)
            begun = [aws_backup.start_copy(copying, part) for part in point.parts]
        return Started(
            operations=tuple(operation for operation, _, _ in begun),
            warnings=tuple(warning for _, lost, _ in begun for warning in lost),
            adopted=all(known for _, _, known in begun),
        )

    def start_restore(self, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
        with translated(step.kind):
            return self._restore(self._at(point.account, point.region), point, step, key, tags)

    def undo_restore(self, account: Account, region: str, created: Sequence[Created]) -> list[Deleted]:
        clients = self._at(account, region)
        return [self._undo_one(clients, one) for one in reversed(created)]

    def _undo_one(self, clients: Clients, one: Created) -> Deleted:
        try:
            return Deleted(one.external_id, self._undo(clients, one))
        except Gone:
            return Deleted(one.external_id, "already-gone")
        except SnapfleetError as error:
            return Deleted(one.external_id, "kept", error)
        except (BotoCoreError, ClientError) as error:
            refused = translate(error, operation="an undo")
            gone = isinstance(refused, Gone)
            return Deleted(one.external_id, "already-gone" if gone else "kept", None if gone else refused)

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        if not operations:
            return []
        clients = self._at(operations[0].account, operations[0].region)
        with translated("progress"):
            answers = job_progress(clients, operations, self.kind, self._pace)
            answers |= self._progress(clients, operations)
        return [answers.get(one.external_id, _unknown(one)) for one in operations]

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        clients = self._at(account, region)
        with translated("a look-up"):
            return self._native_find(clients, key) + find_points(clients, self.kind, key, self._pace)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for account, region in dict.fromkeys((point.account, point.region) for point in points):
            some = [point for point in points if (point.account, point.region) == (account, region)]
            with translated("a deletion"):
                answers += delete_points(self._at(account, region), some, self._native_delete)
        return answers


def _unknown(operation: Operation) -> Progress:
    """A kind that another version began: it must not keep the other operations of its place from being followed."""
    error = Invalid(f"This version follows no operation of kind {operation.kind!r}.")
    return Progress(operation.external_id, OperationState.FAILED, error=error)
