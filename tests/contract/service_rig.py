"""The rig of services that go their own way or through AWS Backup: DynamoDB, EFS, FSx."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.states import OperationState
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT, Rig
from tests.deploy.estate import key
from tests.deploy.vaulting import advanced_tables, cross_account
from tests.sandbox import Sandbox
from workers.driver import (
    Account,
    BackupRequest,
    CopyRequest,
    Created,
    Deleted,
    Destination,
    Operation,
    Part,
    Point,
    Progress,
    Resource,
    RestoreStep,
    Started,
    StepStarted,
)

DEFAULT_ROLE = "role/service-role/AWSBackupDefaultServiceRole"


@dataclass
class ServiceRig(Rig):
    """`mode` is how backups are begun: 'snapshots' for the service's own, 'vault' for AWS Backup's.

    `ways` names the calls `create`, `read` (asks how it gets on) and `delete`, and `strange`, an id of nothing.
    `tokened`: creating twice under one token is once for the cloud. `drop` takes a resource away.
    """

    mode: str = "snapshots"
    tokened: bool = True
    ways: Mapping[str, str] = field(default_factory=dict)
    drop: Callable[[Sandbox, str], None] = lambda sandbox, name: None

    def __post_init__(self) -> None:
        super().__post_init__()
        for number in (self.production.number, self.vault.number):
            self.sandbox.role(f"arn:aws:iam::{number}:{DEFAULT_ROLE}")
        if self.mode == "vault":  # five clients of the SDK: not for who never comes to AWS Backup
            for number in (self.production.number, self.vault.number):
                for region in (HOME, AWAY):
                    advanced_tables(self.sandbox, number, region)
            cross_account(self.sandbox)
        self.sandbox.clear_calls()

    def creating(self) -> str:
        return self.ways["create"]

    def backup(self, resource: Resource, key: str = "job-1", **more: Any) -> Started:
        more.setdefault("mode", self.mode)
        return self.driver.start_backup(resource, BackupRequest(key, TAGS, **more))

    def finished(self, started: Started) -> Started:
        """With the parts that the cloud tells only at the end, as the poll's handler writes them."""
        answers = self.driver.progress(started.operations)
        assert {one.state for one in answers} == {OperationState.DONE}, answers
        return replace(started, parts=with_told(started.parts, answers))

    def taken(self, key: str = "job-1", **more: Any) -> Point:
        resource = self.resource()
        return self.point(resource, self.finished(self.backup(resource, key, **more)))

    def copied(self, point: Point, destination: Destination, key: str = "copy-1") -> Point:
        """A finished copy of a point, as a point of its own."""
        started = self.finished(self.driver.start_copy(point, destination, CopyRequest(key, TAGS)))
        return replace(point, account=destination.account, region=destination.region, parts=started.parts)

    def step(self, point: Point, kind: str, key: str = "restore-1", **params: Any) -> dict[str, Any]:
        """One step of a restore, followed to its end: what it made known."""
        started = self.driver.start_restore(point, RestoreStep(kind, params), key, TAGS)
        return {**started.outputs, **self.followed(started)}

    def followed(self, started: StepStarted) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for answer in self.driver.progress(started.operations):
            assert answer.state is OperationState.DONE, answer
            known |= answer.detail
        return known

    def undone(self, account: Account, *created: Created, region: str = HOME) -> list[Deleted]:
        return self.driver.undo_restore(account, region, created)

    def shared_key(self, number: str, region: str) -> str:
        """A key of an account that production and the vault may use."""
        return key(self.sandbox, number, region, *{PROD, VAULT} - {number})

    def one(self, started: Started) -> Operation:
        return started.operations[0]

    def parameters(self, operation: str) -> dict[str, Any]:
        """What went over the wire with the latest call of an operation."""
        return dict(self.sandbox.calls(operation)[-1]["parameters"])


def with_told(parts: tuple[Part, ...], answers: list[Progress]) -> tuple[Part, ...]:
    """Parts known from the start, with what is known of them only at the end, and those that progress tells."""
    told = {one["external_id"]: Part(**one) for answer in answers for one in answer.detail.get("parts", ())}
    return tuple((told | {part.external_id: _corrected(part, told.get(part.external_id)) for part in parts}).values())


def _corrected(part: Part, told: Part | None) -> Part:
    if told is None:
        return part
    size, sealed, key_id = told.size_gib, told.encrypted, told.kms_key_id
    return replace(
        part,
        size_gib=size or part.size_gib,
        encrypted=sealed or part.encrypted,
        kms_key_id=key_id or part.kms_key_id,
    )
