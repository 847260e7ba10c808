"""The edges of a driver, which are the same for every service: an account and region bound, what the SDK raises
translated, points by place, what a restore made taken back one by one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import Gone, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.aws.errors import translate, translated
from workers.aws.service_checks import Look, check
from workers.aws.session import Clients, Sessions
from workers.driver import (
    Account,
    BackupRequest,
    Check,
    Created,
    Deleted,
    Operation,
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


class ServiceDriver(ABC):
    """Implements workers.driver.Driver but for copies and look-ups; safe to be shared by threads."""

    types: tuple[str, ...] = ()
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

    @abstractmethod
    def _delete(self, clients: Clients, points: list[Point]) -> list[Deleted]:
        """Delete the parts of points of one account and region."""

    # --- the driver ---

    def _at(self, account: Account, region: str) -> Clients:
        return self._sessions.at(account, region)

    def check(self, account: Account, region: str) -> list[Check]:
        return check(self._at(account, region), self.looks, self.types)

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return self._discover(self._at(scope.account, scope.region), scope, page)

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        with translated("a backup"):
            return self._backup(self._at(resource.account, resource.region), resource, request)

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
            answers = self._progress(clients, operations)
        return [answers.get(one.external_id, _unknown(one)) for one in operations]

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for account, region in dict.fromkeys((point.account, point.region) for point in points):
            some = [point for point in points if (point.account, point.region) == (account, region)]
            with translated("a deletion"):
                answers += self._delete(self._at(account, region), some)
        return answers


def _unknown(operation: Operation) -> Progress:
    """A kind that another version began: it must not keep the other operations of its place from being followed."""
    error = Invalid(f"This version follows no operation of kind {operation.kind!r}.")
    return Progress(operation.external_id, OperationState.FAILED, error=error)
