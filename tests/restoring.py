"""Backups and restores against the emulated AWS, as the coordinator and its workers would do them, step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from coordinator.restore import PointFacts, RestorePlan, RestoreRequest, plan_restore, resolve
from coordinator.restore_facts import host_facts, part_facts
from tasks.secrets import Secret
from tasks.states import OperationState
from tests.sandbox import Sandbox
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.driver import (
    TAG_INSTALLATION,
    TAG_SOURCE,
    Account,
    BackupRequest,
    CopyRequest,
    Created,
    Destination,
    Operation,
    Point,
    Progress,
    Resource,
    RestoreStep,
    Scope,
    StepStarted,
)
from workers.pace import Pace

PROD = "111111111111"
VAULT = "222222222222"
HOME = "us-east-1"
OURS = {TAG_INSTALLATION: "test", TAG_SOURCE: "point-1"}


@dataclass
class Restoring:
    """A driver, the demonstration estate, and what the restores so far have made."""

    sandbox: Sandbox
    estate: Mapping[str, Any]
    driver: Ec2Driver
    account: Account
    name: str = "restore-1"
    created: list[Created] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def instance(self, name: str) -> Resource:
        """An instance of the estate as discovery sees it now."""
        wanted = self.estate["instances"].get(name, name)
        return next(one for one in self.discovered("instance") if one.external_id == wanted)

    def volume(self, volume_id: str) -> Resource:
        return next(one for one in self.discovered("volume") if one.external_id == volume_id)

    def discovered(self, kind: str) -> list[Resource]:
        found: list[Resource] = []
        page: str | None = None
        while True:
            answer = self.driver.discover(Scope(self.account, HOME, (kind,)), page)
            found += answer.resources
            page = answer.next_page
            if page is None:
                return found

    def back_up(self, resource: Resource, mode: str = "snapshots", key: str = "backup-1") -> Point:
        """A good recovery point of the resource."""
        started = self.driver.start_backup(resource, BackupRequest(key, OURS, mode=mode))
        answers = self.follow(started.operations)
        parts = started.parts
        if mode == "image":
            from workers.driver import Part

            parts = tuple(Part(**part) for part in answers[0].detail["parts"])
        kept = replace(resource, attributes=started.captured, tags=started.captured["tags"])
        return Point(resource.account, resource.region, kept, parts, started.image_id)

    def copy(self, point: Point, account: Account, region: str) -> Point:
        """A good copy of the point elsewhere."""
        started = self.driver.start_copy(point, Destination(account, region), CopyRequest("copy-1", OURS))
        self.follow(started.operations)
        return Point(account, region, point.resource, started.parts, started.image_id)

    def follow(self, operations: Sequence[Operation]) -> list[Progress]:
        """The final answers; time in the sandbox moves on until nothing runs any more."""
        if not operations:
            return []
        for _ in range(20):
            answers = self.driver.progress(operations)
            if all(answer.state is not OperationState.RUNNING for answer in answers):
                failed = [answer.error for answer in answers if answer.error]
                if failed:
                    raise failed[0]
                return answers
            self.sandbox.advance(5)
        raise AssertionError(f"still running: {[one.external_id for one in operations]}")

    def facts(self, point: Point, host: Resource | None = None) -> PointFacts:
        """The point as the coordinator reads it from the catalog."""
        captured = point.resource.attributes
        parts = tuple(
            part_facts(
                snapshot_id=part.external_id,
                source_id=part.source_id,
                device=part.device,
                size_gib=part.size_gib,
                found={**part.attributes, "encrypted": part.encrypted, "kms_key_id": part.kms_key_id},
                captured={**captured, "tags": {}},
            )
            for part in point.parts
        )
        return PointFacts(
            id="1",
            type=point.resource.type,
            resource_id=point.resource.external_id,
            account=point.account.name,
            region=point.region,
            parts=parts,
            resource_name=point.resource.name,
            home_account=point.resource.account.name,
            home_region=point.resource.region,
            image_id=point.image_id,
            attributes=captured,
            tags=point.resource.tags,
            host=host_facts(host.external_id, host.attributes) if host else None,
        )

    def plan(self, point: Point, host: Resource | None = None, **wish: Any) -> RestorePlan:
        return plan_restore(self.facts(point, host), RestoreRequest.from_json(wish))

    def begin(self, point: Point, kind: str, params: Mapping[str, Any], key: str) -> StepStarted:
        return self.driver.start_restore(point, RestoreStep(kind, params), key, OURS)

    def carry_out(self, plan: RestorePlan, point: Point, times: int = 1, stop_after: int = 99) -> None:
        """Every step of the plan; with `times` 2 the worker dies between the call and the commit of each."""
        plan = RestorePlan.from_json(plan.to_json())
        for number, step in enumerate(plan.steps[:stop_after], 1):
            params = resolve(step.params, self.outputs)
            for _ in range(times):
                started = self.begin(point, step.kind, params, f"{self.name}/{number}")
            self.created += [one for one in started.created if one not in self.created]
            answers = self.follow(started.operations)
            self.outputs[step.name] = {**started.outputs, **{k: v for a in answers for k, v in a.detail.items()}}

    def undo(self) -> dict[str, str]:
        """What became of everything that was made, asked until nothing is kept any more."""
        for _ in range(5):
            answers = self.driver.undo_restore(self.account, HOME, self.created)
            if all(answer.outcome != "kept" for answer in answers):
                break
            self.sandbox.advance(5)
        return {answer.external_id: answer.outcome for answer in answers}

    def hashes(self, *identifiers: str, region: str = HOME, account: str = PROD) -> list[str]:
        """What the volumes or snapshots hold, as fingerprints of their blocks."""
        return [self.sandbox.fingerprint(account, region, one) for one in identifiers]

    def state(self, region: str = HOME, account: str = PROD) -> dict[str, list[str]]:
        """The ids of everything that exists and is not terminated."""
        found = self.sandbox.state(account, region)
        return {kind: sorted(ids) for kind, ids in found.items() if kind in ("volumes", "images", "snapshots")}


def restoring(sandbox: Sandbox) -> Restoring:
    """The demonstration estate, and a driver that enters its production account."""
    estate = sandbox.seed(kind="demo")
    account = Account(
        "prod",
        number=PROD,
        role_arn=f"arn:aws:iam::{PROD}:role/snapfleet",
        external_id=Secret("prod-external-id"),
    )
    driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0)))
    return Restoring(sandbox, estate, driver, account)


def vault_account() -> Account:
    """The account that keeps copies."""
    return Account(
        "vault",
        number=VAULT,
        role_arn=f"arn:aws:iam::{VAULT}:role/snapfleet-dr",
        external_id=Secret("vault-external-id"),
    )
