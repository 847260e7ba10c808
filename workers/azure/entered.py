"""What every driver of Azure does alike: the subscription of a call is entered, the SDK's errors become the family's.

A service gives its functions as `Work`; what only it has stays in its own class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workers.azure.clients import Clients, Subscriptions
from workers.azure.errors import translated
from workers.driver import (
    Account,
    BackupRequest,
    CopyRequest,
    Created,
    Deleted,
    Destination,
    Point,
    Resource,
    ResourcePage,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
)
from workers.pace import Pace


@dataclass(frozen=True)
class Work:
    """A service's functions, each with the clients of the one subscription that it is about. They raise the SDK's
    errors and the family's."""

    discover: Callable[[Clients, Scope, str | None], ResourcePage]
    start_backup: Callable[[Clients, Resource, BackupRequest, Pace], Started]
    plan_copy_problem: Callable[[Point, Destination], str]
    start_copy: Callable[[Clients, Point, Destination, CopyRequest, Pace], Started]
    start_step: Callable[[Clients, Point, RestoreStep, str, Mapping[str, str], Pace], StepStarted]
    undo: Callable[[Clients, Sequence[Created], Pace], list[Deleted]]


class Entered:
    """The part of workers.driver.Driver that services share; safe to be shared by threads. Raises the family."""

    work: Work

    def __init__(self, subscriptions: Subscriptions, pace: Pace) -> None:
        self._subscriptions, self._pace = subscriptions, pace

    def _at(self, account: Account) -> Clients:
        return self._subscriptions.at(account)

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return self.work.discover(self._at(scope.account), scope, page)

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        with translated("a backup"):
            return self.work.start_backup(self._at(resource.account), resource, request, self._pace)

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        return self.work.plan_copy_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        with translated("a copy"):
            return self.work.start_copy(self._at(destination.account), point, destination, request, self._pace)

    def start_restore(self, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
        with translated(step.kind):
            return self.work.start_step(self._at(point.account), point, step, key, tags, self._pace)

    def undo_restore(
        self,
        account: Account,
        region: str,  # noqa: ARG002 - ids tell the place
        created: Sequence[Created],
    ) -> list[Deleted]:
        with translated("an undo"):
            return self.work.undo(self._at(account), created, self._pace)
