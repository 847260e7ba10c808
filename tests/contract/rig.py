"""A driver with an emulated cloud behind it over HTTP, and the accounts that the contract speaks of."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.clock import FixedClock
from tasks.secrets import Secret
from tasks.states import OperationState
from tests.sandbox import Sandbox
from workers.aws import build_drivers
from workers.aws.session import AwsSettings, Sessions
from workers.driver import (
    TAG_INSTALLATION,
    TAG_POLICY,
    Account,
    BackupRequest,
    Destination,
    Driver,
    Point,
    Resource,
    Scope,
    Started,
)
from workers.pace import Pace

HOME, AWAY = "us-east-1", "eu-west-1"
PROD, VAULT, OTHER = "111111111111", "222222222222", "444444444444"
TAGS = {TAG_INSTALLATION: "inst-1", TAG_POLICY: "gold"}


def account(name: str, number: str, **more: Any) -> Account:
    arn = f"arn:aws:iam::{number}:role/snapfleet"
    return Account(name, number=number, role_arn=arn, external_id=Secret(f"{name}-id"), **more)


@dataclass
class Rig:
    """What a contract test works with; `type` is the resource type under contract."""

    sandbox: Sandbox
    type: str
    make: Callable[[Any], str]  # makes a resource in production, answers its id
    clock: FixedClock = field(default_factory=lambda: FixedClock(datetime(2026, 5, 4, 12, tzinfo=UTC)))
    production: Account = field(default_factory=lambda: account("production", PROD))
    vault: Account = field(default_factory=lambda: account("vault", VAULT))
    other: Account = field(default_factory=lambda: account("other", OTHER))
    recorded: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in (self.production, self.vault, self.other):
            self.sandbox.role(one.role_arn, external_id=one.external_id.reveal())
        self.pace = Pace(floor=timedelta(seconds=2), clock=self.clock)
        self.sessions = Sessions(AwsSettings(read_timeout=10), lambda *call: self.recorded.append(call[:5]))
        self.driver: Driver = build_drivers(self.sessions, self.pace)[self.type]

    def resource(self) -> Resource:
        """A new resource as discovery finds it."""
        return self.found(self.make(self.sandbox))

    def found(self, external_id: str) -> Resource:
        """A resource as discovery finds it, on whichever page."""
        page: str | None = None
        while True:
            answer = self.driver.discover(Scope(self.production, HOME, (self.type,)), page)
            for resource in answer.resources:
                if resource.external_id == external_id:
                    return resource
            page = answer.next_page
            if page is None:
                raise LookupError(f"{external_id} is not discovered")

    def backup(self, resource: Resource, key: str = "job-1", **more: Any) -> Started:
        return self.driver.start_backup(resource, BackupRequest(key, TAGS, **more))

    def point(self, resource: Resource, started: Started) -> Point:
        kept = replace(resource, attributes=started.captured)
        return Point(self.production, HOME, kept, started.parts, started.image_id)

    def taken(self, key: str = "job-1", **more: Any) -> Point:
        """A recovery point that the cloud has completed."""
        resource = self.resource()
        started = self.backup(resource, key, **more)
        assert {one.state for one in self.driver.progress(started.operations)} == {OperationState.DONE}
        return self.point(resource, started)

    def away(self, kms_key: str = "") -> Destination:
        return Destination(self.production, AWAY, kms_key)

    def creating(self) -> str:
        """The EC2 action that backs up a resource of this type."""
        return "CreateSnapshots" if self.type == "instance" else "CreateSnapshot"

    def snapshots(self, owner: Account | None = None, region: str = HOME) -> dict[str, dict[str, Any]]:
        """What lies in an account, asked by its own root and past the driver."""
        ec2 = self.sandbox.client((owner or self.production).number, region)
        return {one["SnapshotId"]: one for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}

    def tags_of(self, snapshot: dict[str, Any]) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}
