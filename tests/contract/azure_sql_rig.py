"""SQL databases of the emulated Azure, and a rig that speaks of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from deploy.sandbox.azure import seed, seed_sql
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from workers.azure.ids import name_for
from workers.driver import (
    BackupRequest,
    CopyRequest,
    Destination,
    Operation,
    Point,
    Progress,
    Resource,
    RestoreStep,
    Scope,
    Started,
    StepStarted,
)

IDENTITY = "/subscriptions/s/resourcegroups/app/providers/microsoft.managedidentity/userassignedidentities/sql"
QUICK = {"sql_copy_seconds": 0.0, "export_seconds": 0.0}


class SqlRig:
    """A driver for databases over an emulator, with two servers planted."""

    def __init__(self, azure: AzureRig):
        self.azure, self.cloud, self.account, self.clock = azure, azure.cloud, azure.account, azure.clock
        self.cloud.ask("POST", "config", QUICK)
        found = self.cloud.seed(kind="sql")
        self.servers = {name: str(one).lower() for name, one in found["servers"].items()}
        self.ids = {name: str(one).lower() for name, one in found["databases"].items()}
        self.driver = azure.another("azure-sql")

    def everything(self, region: str = seed.HOME) -> list[Resource]:
        return list(self.driver.discover(Scope(self.account, region, ("azure-sql",)), None).resources)

    def resource(self, name: str = "orders") -> Resource:
        return next(one for one in self.everything() if one.name == name)

    def backup(self, resource: Resource | None = None, key: str = "job-1", **wish: Any) -> Started:
        return self.driver.start_backup(resource or self.resource(), BackupRequest(key, TAGS, **wish))

    def exported(self, key: str = "job-1", **wish: Any) -> Started:
        options = {"way": "export", "container": self.container, "identity": IDENTITY}
        return self.backup(wish.pop("resource", None), key=key, options=options, **wish)

    @property
    def container(self) -> str:
        return f"{self.cloud.url}/exports/backups"

    def file(self, key: str = "job-1") -> str:
        return f"{self.container}/{name_for(key)}.bacpac"

    def point(self, started: Started, region: str = seed.HOME) -> Point:
        captured = replace(self.resource(), attributes=dict(started.captured))
        return Point(self.account, region, captured, started.parts)

    def copy(self, point: Point, key: str = "copy-1", **options: str) -> Started:
        request = CopyRequest(key, TAGS, options={"server": self.servers[seed_sql.AWAY_SERVER], **options})
        return self.driver.start_copy(point, Destination(self.account, seed.AWAY), request)

    def follow(self, operations: tuple[Operation, ...], rounds: int = 8) -> Progress:
        """Ask until the one operation is over, keeping what was told, as the polls do."""
        (operation,) = operations
        answer = Progress(operation.external_id, OperationState.RUNNING)
        for _ in range(rounds):
            (answer,) = self.driver.progress([operation])
            operation = replace(operation, detail={**operation.detail, **answer.detail})
            if answer.state is not OperationState.RUNNING:
                return answer
            self.clock.advance(timedelta(seconds=30))
        return answer

    def restore(self, point: Point, key: str = "step-1", **params: Any) -> StepStarted:
        asked = {"from": "database", "source_id": point.parts[0].external_id, "name": "orders-back", **params}
        asked.setdefault("server_id", self.servers[seed_sql.HOME_SERVER])
        return self.driver.start_restore(point, RestoreStep("azure-sql-create", asked), key, TAGS)

    def rows(self, database_id: str) -> dict[str, str]:
        found: dict[str, str] = self.cloud.ask("GET", "rows", id=database_id)
        return found

    def write(self, **rows: str) -> None:
        self.cloud.ask("POST", "rows", {"id": self.ids["orders"], "rows": rows})

    def names(self, server: str = seed_sql.HOME_SERVER) -> list[str]:
        """The databases on a server, without those that were planted."""
        inside = f"{self.servers[server]}/databases/"
        found = [str(one["id"]).lower() for one in self.cloud.things("databases")]
        planted = {*seed_sql.DATABASES, "master"}
        return sorted(
            one.rsplit("/", 1)[1] for one in found if one.startswith(inside) and one.rsplit("/", 1)[1] not in planted
        )
