"""Restores of Azure's machines in place: planned, carried out step by step against the emulated Azure, taken back."""

from collections.abc import Mapping
from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts, host_facts
from coordinator.restore_plan import RestorePlan
from deploy.sandbox.azure import seed
from tasks import errors
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from workers.driver import Created, Point, Resource, RestoreStep


def facts(point: Point, machine: Resource, **more: Any) -> PointFacts:
    parts = tuple(PartFacts(part.external_id, part.source_id, part.device, part.size_gib) for part in point.parts)
    given = {"type": "azure-vm", "region": seed.HOME, "home_region": seed.HOME, **more}
    return PointFacts(
        id="rp-1", resource_id=machine.external_id, resource_name=machine.name, account="az",
        home_account="az", parts=parts, attributes=dict(point.resource.attributes), **given,
    )  # fmt: skip


def resolved(value: Any, outputs: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, Mapping) and "$ref" in value:
        step, name = value["$ref"].split(".")
        return outputs[step][name]
    return value


class Workshop:
    """Carries a plan out, each step twice, as a redelivered message would; what it made is kept in its order."""

    def __init__(self, azure: AzureRig, point: Point, machine: Resource):
        self.azure, self.point, self.machine = azure, point, machine
        self.created: list[Created] = []
        self.told = 0  # which of the two attempts at each step lives to tell what it did

    def carry_out(self, until: str = "", plan: RestorePlan | None = None, **settings: str) -> list[str]:
        """The kinds of the steps that were done; `until` names the step before which it stops."""
        request = RestoreRequest("in-place", settings=settings)
        plan = plan or plan_restore(facts(self.point, self.machine), request)
        outputs: dict[str, dict[str, Any]] = {}
        done = []
        for step in plan.steps:
            if step.name == until:
                break
            params = {name: resolved(value, outputs) for name, value in step.params.items()}
            wish = RestoreStep(step.kind, params)
            for attempt in range(2):
                started = self.azure.driver.start_restore(self.point, wish, f"restore-1-{step.name}", TAGS)
                if attempt == self.told:
                    outputs[step.name] = dict(started.outputs)
                    self.created += [one for one in started.created if one not in self.created]
                assert self.azure.states(started.operations) == {OperationState.DONE}, step
            done.append(step.kind)
        return done

    def undo(self) -> None:
        for _ in range(8):
            answers = self.azure.driver.undo_restore(self.azure.account, seed.HOME, self.created)
            if {one.outcome for one in answers} == {"already-gone"}:
                return
        raise AssertionError(answers)

    def disks(self) -> dict[str, str]:
        """What the machine holds now, by place."""
        held = self.azure.resource(self.machine.name).attributes["disks"]
        return {f"lun-{one['lun']}" if "lun" in one else one["role"]: one["id"] for one in held}

    def power(self) -> str:
        return str(self.azure.cloud.ask("GET", "power", id=self.machine.external_id)["power"])


@pytest.fixture
def shop(azure: AzureRig) -> Workshop:
    machine = azure.resource("az-db-1")
    return Workshop(azure, azure.point(machine, azure.backup(machine)), machine)


def test_every_disk_comes_back_in_its_place_and_the_machine_runs_again(azure: AzureRig, shop: Workshop) -> None:
    """Feature 26: the machine keeps its name, network and identity; its disks are those of the point, byte for byte."""
    before = {place: azure.cloud.sha256(disk) for place, disk in shop.disks().items()}
    old = shop.disks()
    for disk in old.values():
        azure.cloud.write(disk, 4096, b"what went wrong")
    done = shop.carry_out()
    assert done.count("azure-create-disk") == 3
    assert [kind for kind in done if kind != "azure-create-disk"] == [
        "azure-deallocate", "azure-swap-os", "azure-detach-disk", "azure-attach-disk", "azure-detach-disk",
        "azure-attach-disk", "azure-start",
    ]  # fmt: skip
    assert {place: azure.cloud.sha256(disk) for place, disk in shop.disks().items()} == before
    assert not set(shop.disks().values()) & set(old.values())
    assert shop.power() == "running"
    assert set(old.values()) <= {str(one["id"]).lower() for one in azure.cloud.things("disks")}


def test_one_disk_is_exchanged_alone_and_caching_stays(azure: AzureRig, shop: Workshop) -> None:
    old = shop.disks()
    shop.carry_out(disk="lun-2", start="no")
    now = shop.disks()
    assert {place for place in now if now[place] != old[place]} == {"lun-2"}
    held = azure.resource("az-db-1").attributes["disks"]
    assert [one["caching"] for one in held] == ["ReadWrite", "ReadOnly", "ReadOnly"]
    assert shop.power() == "deallocated"


def test_a_disks_own_point_comes_back_where_the_machine_holds_it(azure: AzureRig, shop: Workshop) -> None:
    """Feature 28: the place is as the machine was last seen; caching stays."""
    old = shop.disks()
    disk = azure.resource("az-db-1-1")
    point = azure.point(disk, azure.backup(disk, "job-2"))
    host = host_facts(shop.machine.external_id, shop.machine.attributes)
    told = facts(point, disk, type="azure-disk", host=host)
    plan = plan_restore(told, RestoreRequest("in-place", settings={"group": "app"}))
    made = Workshop(azure, point, shop.machine)
    made.carry_out(plan=plan)
    now = shop.disks()
    assert {place for place in now if now[place] != old[place]} == {"lun-0"}
    assert [one["caching"] for one in azure.resource("az-db-1").attributes["disks"]][1] == "ReadOnly"
    made.undo()
    assert shop.disks() == old


def test_a_disk_that_no_machine_holds_is_refused_in_place(azure: AzureRig) -> None:
    disk = azure.resource("az-db-1-1")
    point = azure.point(disk, azure.backup(disk))
    with pytest.raises(errors.Invalid, match="--to disk"):
        plan_restore(facts(point, disk, type="azure-disk"), RestoreRequest("in-place", settings={"group": "app"}))


@pytest.mark.parametrize("told", [0, 1])
@pytest.mark.parametrize("until", ["swap-os", "detach-0", "attach-0", "detach-2", "attach-2", "start", ""])
def test_an_undo_puts_the_machine_back_as_it_was_wherever_it_stopped(shop: Workshop, until: str, told: int) -> None:
    """Also when each first attempt died between its call and the catalog."""
    old = shop.disks()
    shop.told = told
    shop.carry_out(until)
    shop.undo()
    assert shop.disks() == old
    assert shop.power() == "running"
    assert len(shop.azure.cloud.things("disks")) == 5


def test_a_machine_starts_again_when_somebody_elses_disk_has_the_place_of_its_own(
    azure: AzureRig, shop: Workshop
) -> None:
    """The undo says which disk is where, and does not wait for it to leave by itself."""
    shop.carry_out("attach-0")
    plan = plan_restore(facts(shop.point, shop.machine), RestoreRequest("in-place", settings={"name": "other"}))
    make = next(step for step in plan.steps if step.kind == "azure-create-disk" and "lun-0" in step.params["name"])
    other = azure.driver.start_restore(shop.point, RestoreStep(make.kind, make.params), "other", TAGS).outputs[
        "disk_id"
    ]
    place = {"vm_id": shop.machine.external_id, "disk_id": other, "lun": 0}
    azure.driver.start_restore(shop.point, RestoreStep("azure-attach-disk", place), "other", TAGS)
    for _ in range(4):
        answers = azure.driver.undo_restore(azure.account, seed.HOME, shop.created)
    kept = [one for one in answers if one.outcome == "kept"]
    assert [one.error.code for one in kept if one.error] == ["place-taken"]
    assert "at LUN 0 of az-db-1, so az-db-1-1 cannot go back there" in str(kept[0].error)
    assert shop.power() == "running"
    assert shop.disks()["lun-0"] == other


def test_a_machine_that_is_gone_is_told(azure: AzureRig, shop: Workshop) -> None:
    azure.cloud.destroy(shop.machine.external_id)
    step = RestoreStep("azure-deallocate", {"vm_id": shop.machine.external_id})
    with pytest.raises(errors.Gone):
        azure.driver.start_restore(shop.point, step, "restore-1", TAGS)


def test_a_point_of_another_region_is_refused_with_the_way_that_works(shop: Workshop) -> None:
    away = facts(shop.point, shop.machine, region=seed.AWAY)
    with pytest.raises(errors.Impossible, match="Restore it as a new machine"):
        plan_restore(away, RestoreRequest("in-place", settings={"group": "app"}))


@pytest.mark.parametrize(
    ("action", "step"),
    [
        ("start", RestoreStep("azure-start", {})),
        ("deallocate", RestoreStep("azure-deallocate", {})),
        ("attachDetachDataDisks", RestoreStep("azure-detach-disk", {"lun": 0, "disk_id": "new"})),
    ],
)
def test_a_step_that_azure_fails_tells_azures_reason(azure: AzureRig, action: str, step: RestoreStep) -> None:
    """feature 26: a region without room for the machine's size, above all."""
    machine = azure.resource("az-web-1")
    point = azure.point(machine, azure.backup(machine))
    place = {"vm_id": machine.external_id}
    if action == "start":
        azure.driver.start_restore(point, RestoreStep("azure-deallocate", place), "step-0", TAGS)
    azure.cloud.fault(
        "fail_operation", type="virtualMachines", name=f"/{action}", code="AllocationFailed", message="No."
    )
    wish = RestoreStep(step.kind, {**place, **step.params})
    (answer,) = azure.ask(azure.driver.start_restore(point, wish, "step-1", TAGS).operations)
    assert answer.state is OperationState.FAILED
    assert "AllocationFailed" in str(answer.error)
    again = azure.driver.start_restore(point, wish, "step-1", TAGS)
    assert azure.states(again.operations) == {OperationState.DONE}
