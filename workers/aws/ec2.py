"""The driver of EC2: instances and volumes. Each method binds an account and region and stands at the error edge."""

from collections.abc import Mapping, Sequence

from tasks.errors import Invalid
from tasks.states import OperationState
from workers.aws import ec2_backup, ec2_check, ec2_copy, ec2_delete, ec2_describe, ec2_lookup, ec2_progress
from workers.aws.blocks import AwsBlocks
from workers.aws.ec2_restore import RESTORE_KINDS, restore_progress, start_step, undo
from workers.aws.errors import translated
from workers.aws.keys import DefaultKeys
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


class Ec2Driver:
    """Implements workers.driver.Driver for the types 'instance' and 'volume'; safe to be shared by threads."""

    types: tuple[str, ...] = ("instance", "volume")

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        self._sessions = sessions
        self._pace = pace or Pace()
        self._keys = DefaultKeys()
        self.blocks = AwsBlocks(sessions)

    def _at(self, account: Account, region: str) -> Clients:
        return self._sessions.at(account, region)

    def check(self, account: Account, region: str) -> list[Check]:
        return ec2_check.check(self._at(account, region))

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return ec2_describe.discover(self._at(scope.account, scope.region), scope, page)

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        with translated("a backup"):
            clients = self._at(resource.account, resource.region)
            return ec2_backup.start_backup(clients, resource, request, self._pace, self._keys)

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        return ec2_copy.plan_copy_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        source = self._at(point.account, point.region)
        target = self._at(destination.account, destination.region)
        with translated("a copy"):
            return ec2_copy.start_copy(ec2_copy.Copying(source, target, destination, request, self._pace), point)

    def start_restore(self, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
        with translated(step.kind):
            return start_step(self._at(point.account, point.region), point, step, key, tags, pace=self._pace)

    def undo_restore(self, account: Account, region: str, created: Sequence[Created]) -> list[Deleted]:
        with translated("an undo"):
            return undo(self._at(account, region), created)

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        if not operations:
            return []
        clients = self._at(operations[0].account, operations[0].region)
        others = [one for one in operations if one.kind in RESTORE_KINDS]
        with translated("progress"):
            answers = ec2_progress.progress(clients, operations, self._pace)
            restores = iter(restore_progress(clients, others, self._pace))
        return [
            next(restores) if one.kind in RESTORE_KINDS else answers.get(one.external_id, _unknown(one))
            for one in operations
        ]

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        with translated("a look-up"):
            return ec2_lookup.find(self._at(account, region), key)

    def copies_of_others(self, account: Account, region: str, installation: str) -> int:
        with translated("a look at copies"):
            return ec2_lookup.copies_of_others(self._at(account, region), installation)

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        with translated("a look for what is ours"):
            return ec2_lookup.tagged(self._at(account, region), installation, self._keys)

    def part_again(self, one: Tagged, resource: Resource) -> Part:
        return ec2_backup.part_again(one, resource)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:
        with translated("a look for recovery points"):
            return ec2_lookup.present(self._at(account, region), parts)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for account, region in dict.fromkeys((point.account, point.region) for point in points):
            some = [point for point in points if (point.account, point.region) == (account, region)]
            with translated("a deletion"):
                answers += ec2_delete.delete(self._at(account, region), some)
        return answers


def _unknown(operation: Operation) -> Progress:
    """A kind that another version began: it must not keep the other operations of its place from being followed."""
    error = Invalid(f"This version follows no operation of kind {operation.kind!r}.")
    return Progress(operation.external_id, OperationState.FAILED, error=error)
