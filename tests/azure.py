"""The emulated Azure as a fixture: one process a test session, emptied and planted anew for each test."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl
from tasks.clock import FixedClock, SystemClock
from tasks.secrets import Secret
from tasks.states import OperationState
from workers.azure import build_drivers
from workers.azure.clients import AzureSettings, Budget, Subscriptions
from workers.azure.seats import Seats
from workers.driver import (
    TAG_INSTALLATION,
    Account,
    BackupRequest,
    CopyRequest,
    Destination,
    Driver,
    Operation,
    Point,
    Progress,
    Resource,
    Scope,
    Started,
)
from workers.pace import Pace

ROOT = Path(__file__).resolve().parent.parent
QUICK = {
    "snapshot_seconds": 0.0,
    "copy_seconds": 0.0,
    "disk_seconds": 0.0,
    "machine_seconds": 0.0,
    "delete_seconds": 0.0,
    "access_seconds": 0.0,
}
TAGS = {TAG_INSTALLATION: "it", "snapfleet:policy": "gold"}


def start_azure(folder: Path) -> tuple[subprocess.Popen[str], AzureControl]:
    """An emulator of one's own on a free port; the caller ends it."""
    command = [sys.executable, "-m", "deploy.sandbox.azure", "serve", "--folder", str(folder), "--until-closed"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = dict(process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(3))
    control = AzureControl(found["SNAPFLEET_AZURE_ENDPOINT"], found["SNAPFLEET_AZURE_CA"])
    until = time.monotonic() + 30
    while True:
        try:
            control.ask("GET", "ready")
            return process, control
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


class AzureRig:
    """A driver, the cloud it speaks to, and what the tests do again and again."""

    def __init__(self, control: AzureControl):
        self.cloud = control
        control.ask("POST", "reset")
        control.ask("POST", "config", QUICK)
        self.facts = control.seed(kind="demo")
        self.account = Account(
            "az",
            cloud="azure",
            number=seed.SUBSCRIPTION,
            tenant_id=seed.TENANT,
            client_id=seed.CLIENT,
            client_secret=Secret(seed.SECRET),
        )
        self.calls: list[tuple[str, str, str, str, float]] = []
        self.clock = FixedClock(SystemClock().timer())
        self.pace = Pace(floor=timedelta(seconds=1), clock=self.clock)
        self.driver = self.another()

    def another(self, kind: str = "azure-vm", budget: Budget | None = None, seats: Seats | None = None) -> Driver:
        """A driver as another process would have it."""
        settings = AzureSettings(endpoint=self.cloud.url, authority=self.cloud.url, ca=self.cloud.ca)
        subscriptions = Subscriptions(settings, lambda *call: self.calls.append(call), budget, seats)
        return build_drivers(subscriptions, self.pace)[kind]

    def everything(self, region: str = seed.HOME) -> list[Resource]:
        found: list[Resource] = []
        page: str | None = None
        while True:
            answer = self.driver.discover(Scope(self.account, region, ("azure-disk", "azure-vm")), page)
            found += answer.resources
            page = answer.next_page
            if page is None:
                return found

    def resource(self, name: str) -> Resource:
        return next(one for one in self.everything() if one.name == name)

    def backup(self, resource: Resource, key: str = "job-1", driver: Driver | None = None, **wish: Any) -> Started:
        return (driver or self.driver).start_backup(resource, BackupRequest(key, TAGS, **wish))

    def point(self, resource: Resource, started: Started, region: str = seed.HOME) -> Point:
        captured = replace(resource, attributes=started.captured or resource.attributes)
        return Point(self.account, region, captured, started.parts)

    def copy(self, point: Point, key: str = "copy-1", **wish: Any) -> Started:
        return self.driver.start_copy(point, Destination(self.account, seed.AWAY), CopyRequest(key, TAGS, **wish))

    def ask(self, operations: tuple[Operation, ...], driver: Driver | None = None) -> list[Progress]:
        return (driver or self.driver).progress(operations)

    def states(self, operations: tuple[Operation, ...]) -> set[OperationState]:
        return {one.state for one in self.ask(operations)}

    def snapshots(self) -> list[str]:
        return [str(one["id"]).lower() for one in self.cloud.things("snapshots")]


@pytest.fixture(scope="session")
def azure_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureControl]:
    process, control = start_azure(tmp_path_factory.mktemp("azure"))
    yield control
    process.kill()
    process.wait()


@pytest.fixture
def azure(azure_process: AzureControl) -> AzureRig:
    """The emulator as at its start, and a driver for it."""
    return AzureRig(azure_process)
