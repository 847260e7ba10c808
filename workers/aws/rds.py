"""The drivers of RDS instances, Aurora clusters and DocumentDB clusters: one way of working, three families."""

from collections.abc import Callable, Mapping, Sequence

from workers.aws import (
    rds_backup,
    rds_calls,
    rds_check,
    rds_cold,
    rds_copy,
    rds_delete,
    rds_describe,
    rds_export,
    rds_lookup,
    rds_progress,
    rds_restore,
)
from workers.aws.errors import translated
from workers.aws.keys import DefaultKeys
from workers.aws.rds_backup import Tools
from workers.aws.session import Clients, Sessions
from workers.cooling import Cooled
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


class _Relational:
    """Implements workers.driver.Driver for one family; safe to be shared by threads."""

    family: rds_calls.Family
    types: tuple[str, ...]

    def __init__(self, sessions: Sessions, pace: Pace | None = None) -> None:
        self._sessions = sessions
        self._tools = Tools(self.family, pace or Pace(), DefaultKeys(rds_copy.DEFAULT_KEY_ALIAS))

    def _at(self, account: Account, region: str) -> Clients:
        return self._sessions.at(account, region)

    def check(self, account: Account, region: str) -> list[Check]:
        return rds_check.check(self.family, self._at(account, region))

    def discover(self, scope: Scope, page: str | None) -> ResourcePage:
        with translated("discovery"):
            return rds_describe.discover(self.family, self._at(scope.account, scope.region), page)

    def start_backup(self, resource: Resource, request: BackupRequest) -> Started:
        with translated("a backup"):
            clients = self._at(resource.account, resource.region)
            return rds_backup.start_backup(self._tools, clients, resource, request)

    def plan_copy_problem(self, point: Point, destination: Destination) -> str:
        return rds_copy.plan_copy_problem(point, destination)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        source = self._at(point.account, point.region)
        target = self._at(destination.account, destination.region)
        with translated("a copy"):
            return rds_copy.start_copy(rds_copy.Copying(self._tools, source, target, destination, request), point)

    def start_restore(self, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str]) -> StepStarted:
        with translated(step.kind):
            clients = self._at(point.account, point.region)
            return rds_restore.start_step(self._tools, clients, step, key, tags)

    def undo_restore(self, account: Account, region: str, created: Sequence[Created]) -> list[Deleted]:
        with translated("an undo"):
            return rds_restore.undo(self.family, self._at(account, region), created)

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        if not operations:
            return []
        clients = self._at(operations[0].account, operations[0].region)
        with translated("progress"):
            return rds_progress.progress(self.family, clients, operations, self._tools.pace)

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        with translated("a look-up"):
            return rds_delete.find(self.family, self._at(account, region), key)

    def copies_of_others(self, account: Account, region: str, installation: str) -> int:
        with translated("a look at copies"):
            return rds_calls.copies_of_others(self.family, self._at(account, region), installation)

    def present(self, account: Account, region: str, parts: Sequence[Part]) -> Presence:
        with translated("a look for recovery points"):
            return rds_lookup.present(self.family, self._at(account, region), parts)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        answers: list[Deleted] = []
        for account, region in dict.fromkeys((point.account, point.region) for point in points):
            some = [point for point in points if (point.account, point.region) == (account, region)]
            with translated("a deletion"):
                answers += rds_delete.delete(self.family, self._at(account, region), some)
        return answers


class _Tagging(_Relational):
    """A family whose lists tell tags."""

    def tagged(self, account: Account, region: str, installation: str) -> list[Tagged]:
        with translated("a look for what is ours"):
            return rds_lookup.tagged(self._tools, self._at(account, region), installation)


class RdsDriver(_Tagging):
    """RDS instances, which are in no cluster, and exports of their snapshots."""

    family = rds_calls.RDS
    types: tuple[str, ...] = ("rds",)

    def start_copy(self, point: Point, destination: Destination, request: CopyRequest) -> Started:
        if "export_bucket" not in request.options:
            return super().start_copy(point, destination, request)
        with translated("an export"):
            clients = self._at(point.account, point.region)
            return rds_export.start_export(self._tools, clients, point, request)

    def progress(self, operations: Sequence[Operation]) -> list[Progress]:
        others = [one for one in operations if one.kind != rds_export.EXPORT]
        answers = {one.external_id: one for one in super().progress(others)}
        if len(others) < len(operations):
            clients = self._at(operations[0].account, operations[0].region)
            with translated("progress"):
                answers |= rds_export.export_progress(clients, operations, self._tools.pace)
        return [answers[one.external_id] for one in operations]

    def find(self, account: Account, region: str, key: str) -> list[Found]:
        with translated("a look-up"):
            return super().find(account, region, key) + rds_export.find_export(self._at(account, region), key)

    def cool_export(
        self, point: Point, part: Part, storage_class: str, late: Callable[[], bool], proceed: Callable[[], None]
    ) -> Cooled:
        """Implements workers.cooling.CoolsExports."""
        return rds_cold.cool_export(self._at(point.account, point.region), part, storage_class, late, proceed)

    def delete(self, points: Sequence[Point]) -> list[Deleted]:
        exports = [(point, part) for point in points for part in point.parts if rds_export.is_export(part)]
        gone = {part.external_id for _, part in exports}
        rest = [point for point in points if not gone & {part.external_id for part in point.parts}]
        answers = super().delete(rest) if rest else []
        for point, part in exports:
            answers.append(rds_export.delete_export(self._at(point.account, point.region), part))
        return answers


class AuroraDriver(_Tagging):
    """Aurora clusters, provisioned and Serverless, and Multi-AZ DB clusters of RDS."""

    family = rds_calls.AURORA
    types: tuple[str, ...] = ("aurora",)


class DocumentDbDriver(_Relational):
    """DocumentDB clusters. Their snapshots' tags are told one by one only: what no record knows is looked for when a
    catalog is rebuilt, and not daily."""

    family = rds_calls.DOCUMENTDB
    types: tuple[str, ...] = ("documentdb",)

    def tagged_one_by_one(self, account: Account, region: str, installation: str) -> list[Tagged]:
        with translated("a look for what is ours"):
            return rds_lookup.tagged_one_by_one(self._tools, self._at(account, region), installation)
