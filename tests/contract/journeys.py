"""The whole life of each type as three roles see it, each allowed exactly what is granted to it and nothing else.

Looked at, backed up, copied to a region and an account, found, restored by the coordinator's own plan, taken back,
marked as outdated, deleted. The emulated cloud refuses what a role lacks, and tells every call with its parameters.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore, resolve
from coordinator.restore_facts import PartFacts, PointFacts, host_facts, part_facts
from deploy.sandbox.s3_access import ACTIONS, BY_VERSION
from tasks.resources import TYPES
from tasks.resources.rights import DUTIES, granted
from tasks.states import OperationState
from tests.contract.rig import HOME, TAGS, Rig
from tests.contract.service_rig import ServiceRig, with_told
from tests.sandbox import Sandbox
from workers.driver import (
    TAG_INSTALLATION,
    Account,
    BackupRequest,
    CopyRequest,
    Created,
    Destination,
    FindsOneByOne,
    FindsTagged,
    Part,
    Point,
    RestoreStep,
    SeesPresent,
    Started,
)
from workers.driver import Resource as Found

# A dry run ends so; what EC2's check tries for its other type is refused to a role that is not for that.
TRIED = ("DryRunOperation", "UnauthorizedOperation")


@dataclass
class Journey:
    """One type's life: the rig, whose accounts are entered by duty, and what was made on the way."""

    rig: Rig
    points: list[Point] = field(default_factory=list)
    created: list[tuple[Account, str, Created]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for account in (self.rig.production, self.rig.vault):
            for duty in DUTIES:
                entered = as_duty(account, duty)
                self.rig.sandbox.role(
                    entered.role_arn,
                    external_id=entered.external_id.reveal(),
                    allowed=list(granted([TYPES[self.rig.type]], duty)),
                )
        self.rig.production = as_duty(self.rig.production, "snapshot")
        self.rig.vault = as_duty(self.rig.vault, "snapshot")
        self.rig.sandbox.clear_calls()

    def check(self) -> None:
        """Every duty's own check passes with exactly what it was given."""
        for duty in DUTIES:
            needed = {"contact", *granted([TYPES[self.rig.type]], duty)}  # a driver asks for all of its types
            answers = self.rig.driver.check(as_duty(self.rig.production, duty), HOME)
            left = [one for one in answers if one.outcome != "ok" and one.name in needed]
            assert not left, (duty, left)

    def back_up(self, resource: Found, key: str, **more: Any) -> Point:
        """Begun, begun again as after a lost answer, followed, found."""
        if isinstance(self.rig, ServiceRig):
            more.setdefault("mode", self.rig.mode)
        driver, request = self.rig.driver, BackupRequest(key, TAGS, **more)
        driver.start_backup(resource, replace(request, fresh=True))
        point = self.rig.point(resource, self._finished(driver.start_backup(resource, request)))
        assert driver.find(self.rig.production, HOME, key)
        self.looked_for(point)
        self.points.append(point)
        return point

    def looked_for(self, point: Point) -> None:
        """The daily look at what is there, and the one that rebuilds a catalog."""
        driver, names = self.rig.driver, {part.external_id for part in point.parts}
        if isinstance(driver, SeesPresent):
            assert set(driver.present(point.account, point.region, point.parts)) == names
        if isinstance(driver, FindsTagged):
            driver.tagged(point.account, point.region, TAGS[TAG_INSTALLATION])
        if isinstance(driver, FindsOneByOne):
            driver.tagged_one_by_one(point.account, point.region, TAGS[TAG_INSTALLATION])

    def copy(self, point: Point, to: Destination, key: str, **options: str) -> Point | None:
        """A finished copy; None where the table says that there is none."""
        if self.rig.driver.plan_copy_problem(point, to):
            return None
        request = CopyRequest(key, TAGS, options=options)
        self.rig.driver.start_copy(point, to, replace(request, fresh=True))
        started = self._finished(self.rig.driver.start_copy(point, to, request))
        made = replace(point, account=to.account, region=to.region, parts=started.parts, image_id=started.image_id)
        self.points.append(made)
        self.looked_for(made)
        return made

    def _finished(self, started: Started) -> Started:
        answers = self.rig.driver.progress(started.operations)
        assert {one.state for one in answers} <= {OperationState.DONE}, answers
        return replace(started, parts=with_told(started.parts, answers))

    def restore(self, point: Point, word: str, key: str, host: Found | None = None, **wish: Any) -> dict[str, Any]:
        """By the coordinator's plan; removing steps as whoever cleans up, polls as whoever takes snapshots."""
        request = RestoreRequest.from_json({"kind": word, **wish})
        outputs: dict[str, dict[str, Any]] = {}
        last: dict[str, Any] = {}
        for number, step in enumerate(plan_restore(facts(point, host), request).steps):
            duty = "cleanup" if step.kind.startswith(("delete-", "deregister-")) else "restore"
            there = replace(point, account=as_duty(point.account, duty))
            ready = RestoreStep(step.kind, resolve(step.params, outputs))
            for _ in range(2):  # the worker died between the call and its record
                started = self.rig.driver.start_restore(there, ready, f"{key}-{number}", TAGS)
            self.created += [(point.account, point.region, one) for one in started.created]
            followed = [replace(one, account=as_duty(one.account, "snapshot")) for one in started.operations]
            answers = self.rig.driver.progress(followed)
            assert {one.state for one in answers} <= {OperationState.DONE}, (step.kind, answers)
            last = outputs[step.name] = {**started.outputs, **{k: v for one in answers for k, v in one.detail.items()}}
        return last

    def undo(self) -> None:
        """Take back what restores made, until nothing of it is kept."""
        for account, region in dict.fromkeys((account.name, region) for account, region, _ in self.created):
            some = [one for owner, place, one in self.created if (owner.name, place) == (account, region)]
            owner = next(owner for owner, _, _ in self.created if owner.name == account)
            for _ in range(3):
                answers = self.rig.driver.undo_restore(as_duty(owner, "cleanup"), region, some)
                kept = [one for one in answers if one.outcome == "kept"]
                if not kept:
                    break
            assert not kept, kept

    def delete(self) -> None:
        """Marked where deleting is not allowed, then deleted; copies first, as they were made last."""
        for point in reversed(self.points):
            entered = as_duty(point.account, "cleanup")
            home = replace(point.resource, account=as_duty(point.resource.account, "cleanup"))
            self.rig.driver.delete([replace(point, account=replace(entered, may_delete=False), resource=home)])
            answers = self.rig.driver.delete([replace(point, account=entered, resource=home)])
            assert {one.outcome for one in answers} <= {"deleted", "already-gone"}, answers

    def over(self) -> "Journey":
        """Keep what went over the wire as one of the roles."""
        mine = [one for one in self.rig.sandbox.calls(recent=5000) if duty_of(one)]
        self.calls = [one for one in mine if one["operation"] not in ("AssumeRole", "GetCallerIdentity")]
        return self


def as_duty(account: Account, duty: str) -> Account:
    """The account as it is entered by the role of a duty."""
    head = account.role_arn.rsplit("/", 1)[0]
    return replace(account, role_arn=f"{head}/snapfleet-{duty}", duties=(duty,))


def duty_of(call: dict[str, Any]) -> str:
    """Which role called; '' for the test's own root."""
    named = call["principal"].split("/")
    return named[1].removeprefix("snapfleet-") if len(named) > 2 and named[1].startswith("snapfleet-") else ""


def facts(point: Point, host: Found | None = None) -> PointFacts:
    """The point as the coordinator reads it from the catalog."""
    captured, ec2 = point.resource.attributes, point.resource.type in ("instance", "volume")
    return PointFacts(
        id="rp-1",
        type=point.resource.type,
        resource_id=point.resource.external_id,
        account=point.account.name,
        region=point.region,
        parts=tuple(_part(part, captured) if ec2 else _plain(part) for part in point.parts),
        resource_name=point.resource.name,
        home_account="production",
        home_region=HOME,
        image_id=point.image_id,
        attributes=captured,
        tags=captured.get("tags", {}),
        host=host_facts(host.external_id, host.attributes) if host else None,
    )


def _plain(part: Part) -> PartFacts:
    return PartFacts(part.external_id, size_gib=part.size_gib)


def _part(part: Part, captured: Any) -> PartFacts:
    return part_facts(
        snapshot_id=part.external_id,
        source_id=part.source_id,
        device=part.device,
        size_gib=part.size_gib,
        found={**part.attributes, "encrypted": part.encrypted, "kms_key_id": part.kms_key_id},
        captured={**captured, "tags": {}},
    )


@contextmanager
def emulated(sandbox: Sandbox) -> Iterator[Sandbox]:
    """An empty cloud, and the environment that reaches it."""
    sandbox.reset()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sandbox.environment.items():
            patch.setenv(name, value)
        yield sandbox


def used(calls: Iterable[dict[str, Any]], duty: str) -> set[str]:
    """service:Action that a role was allowed."""
    mine = (one for one in calls if duty_of(one) == duty and one["outcome"] not in TRIED)
    return {f"{one['service']}:{action}" for one in mine for action in _actions(one)}


def _actions(call: dict[str, Any]) -> Iterator[str]:
    """What a call needs the right to. S3's operations and rights have names of their own, and one call may need several
    ("Required permissions for Amazon S3 API operations")."""
    operation, asked = call["operation"], call["parameters"]
    if call["service"] != "s3":
        yield operation
        return
    action = ACTIONS.get(operation, operation)
    yield BY_VERSION.get(action, action) if "VersionId" in asked else action
    if "CopySource" in asked:
        yield "GetObjectVersion" if "versionId=" in asked["CopySource"] else "GetObject"
    if "Tagging" in asked:
        yield "PutObjectTagging"
