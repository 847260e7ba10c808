"""A machine that is lost and made again from its snapshots: planned, carried out, and held against the old one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts
from deploy.sandbox.azure import seed
from tasks import errors
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from workers.driver import Created, Point, Resource, RestoreStep, Started

DATA_INTERFACE = {"subnet_id": seed.subnet(seed.HOME, "data")}


def carried_out(azure: AzureRig, point: Point, facts: PointFacts, request: RestoreRequest) -> str:
    """Every step of the plan; the id of what the last one made."""
    outputs: dict[str, Mapping[str, Any]] = {}

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(one) for one in value]
        if isinstance(value, Mapping) and "$ref" in value:
            step, name = value["$ref"].split(".")
            return outputs[step][name]
        return {name: resolved(one) for name, one in value.items()} if isinstance(value, Mapping) else value

    for step in plan_restore(facts, request).steps:
        wish = RestoreStep(step.kind, resolved(dict(step.params)))
        started = azure.driver.start_restore(point, wish, f"restore-{step.name}", TAGS)
        assert azure.states(started.operations) == {OperationState.DONE}, step
        outputs[step.name] = started.outputs
    return str(started.outputs["vm_id"])


def with_interfaces(azure: AzureRig, *interfaces: dict[str, Any]) -> Resource:
    """A machine "wide" in place of one that is there."""
    disk = azure.resource("az-web-1-1")
    point = azure.point(disk, azure.backup(disk, "for-wide"))
    wish = {"group": "app", "name": "wide-os", "snapshot_id": point.parts[0].external_id, "size_gib": 1}
    made = azure.driver.start_restore(point, RestoreStep("azure-create-disk", wish), "wide-1", TAGS)
    params = {"group": "app", "name": "wide", "size": "Standard_D2s_v5", "os_type": "Linux", "interfaces": interfaces}
    params["os_disk"] = {"disk_id": made.outputs["disk_id"]}
    azure.driver.start_restore(point, RestoreStep("azure-create-vm", params), "wide-2", TAGS)
    return azure.resource("wide")


def facts_of(started: Started, point: Point) -> PointFacts:
    machine = point.resource
    return PointFacts(
        id="rp-1", type="azure-vm", resource_id=machine.external_id, resource_name=machine.name,
        account="az", region=seed.HOME, home_account="az", home_region=seed.HOME,
        parts=tuple(PartFacts(one.external_id, one.source_id, one.device, one.size_gib) for one in started.parts),
        attributes=started.captured, tags=dict(machine.tags),
    )  # fmt: skip


def test_a_machine_comes_back_with_its_places_caching_zone_network_size_identity_and_tags(azure: AzureRig) -> None:
    """feature 26: without any option but a name, because everything is as it was."""
    old = azure.resource("az-db-1")
    started = azure.backup(old)
    azure.states(started.operations)
    point = azure.point(old, started)
    asked = RestoreRequest("vm", settings={"name": "back"})
    made = carried_out(azure, point, facts_of(started, point), asked)
    new = azure.resource("back")
    assert new.external_id == made
    for name in ("size", "zone", "os_type", "model", "identity"):
        assert new.attributes.get(name) == old.attributes.get(name), name
    assert old.attributes["zone"], "a machine without one would prove nothing"
    places = [[(one["role"], one.get("lun"), one["caching"]) for one in vm.attributes["disks"]] for vm in (old, new)]
    assert places[0] == places[1]
    assert {tag: new.tags[tag] for tag in old.tags} == old.tags
    for before, after in zip(old.attributes["disks"], new.attributes["disks"], strict=True):
        was, now = (azure.resource(one["id"].rsplit("/", 1)[-1]) for one in (before, after))
        for name in ("sku", "zone", "size_gib", "generation"):
            assert now.attributes.get(name) == was.attributes.get(name), name
        assert {tag: now.tags[tag] for tag in was.tags} == was.tags
    network = [azure.backup(vm, f"look-{vm.name}").captured["interfaces"] for vm in (old, new)]
    for name in ("subnet_id", "security_group_id", "accelerated"):
        assert network[1][0][name] == network[0][0][name], name


def test_all_interfaces_of_a_machine_are_made_again_in_their_subnets_and_go_with_an_undo(azure: AzureRig) -> None:
    """feature 26"""
    group = azure.backup(azure.resource("az-db-1")).captured["security_group_id"]
    front = {"subnet_id": seed.subnet(seed.HOME), "accelerated": True, "addresses": [{}, {}]}
    back = {"subnet_id": seed.subnet(seed.HOME, "data"), "security_group_id": group, "forwarding": True}
    back["dns_servers"] = ["10.40.1.9"]
    old = with_interfaces(azure, front, back)
    started = azure.backup(old, "wide")
    point = azure.point(old, started)
    before = len(azure.cloud.things("networkInterfaces"))
    made = carried_out(azure, point, facts_of(started, point), RestoreRequest("vm", settings={"name": "again"}))
    assert len(azure.cloud.things("networkInterfaces")) == before + 2
    was, now = (azure.backup(vm, f"look-{vm.name}").captured["interfaces"] for vm in (old, azure.resource("again")))
    for name in ("primary", "subnet_id", "security_group_id", "accelerated", "forwarding", "dns_servers"):
        assert [one.get(name) for one in now] == [one.get(name) for one in was], name
    assert [len(one["addresses"]) for one in now] == [2, 1]
    assert [one["forwarding"] for one in now if "forwarding" in one] == [True], "the second one alone"
    azure.driver.undo_restore(azure.account, seed.HOME, [Created("azure-vm", made, ("restore",))])
    assert len(azure.cloud.things("networkInterfaces")) == before


def test_a_machine_gets_its_old_addresses_where_they_are_free_and_an_undo_gives_them_back(azure: AzureRig) -> None:
    """feature 26: `addresses=keep`; an address that something else has is refused before a disk is made."""
    old = with_interfaces(azure, {"subnet_id": seed.subnet(seed.HOME), "addresses": [{}, {}]}, DATA_INTERFACE)
    started = azure.backup(old, "wide")
    point, asked = azure.point(old, started), RestoreRequest("vm", settings={"name": "again", "addresses": "keep"})
    disks = len(azure.cloud.calls("PUT", "disks"))
    with pytest.raises(errors.Invalid, match="PrivateIPAddressInUse"):
        carried_out(azure, point, facts_of(started, point), asked)
    assert len(azure.cloud.calls("PUT", "disks")) == disks
    held = [one["id"] for one in started.captured["interfaces"]]
    azure.cloud.destroy(old.external_id, *held)
    for _ in range(2):  # a repeated step adopts what it made
        made = carried_out(azure, point, facts_of(started, point), asked)
    now = azure.backup(azure.resource("again"), "look").captured["interfaces"]
    for name in ("primary", "private_ip", "subnet_id"):
        assert [one.get(name) for one in now] == [one.get(name) for one in started.captured["interfaces"]], name
    assert [address["fixed"] for one in now for address in one["addresses"]] == [True] * 3
    created = [*(Created("azure-interface", one["id"]) for one in now), Created("azure-vm", made)]
    azure.cloud.ask("POST", "config", {"delete_seconds": 60})
    waiting = azure.driver.undo_restore(azure.account, seed.HOME, created)
    assert {one.error and one.error.code for one in waiting} == {"deleting"}
    assert azure.cloud.calls("DELETE", "networkInterfaces") == [], "the machine has them still"
    azure.cloud.ask("POST", "advance", {"seconds": 61})
    gone = azure.driver.undo_restore(azure.account, seed.HOME, created)
    assert {one.outcome for one in gone} == {"already-gone"}
    assert not [one for one in azure.cloud.things("networkInterfaces") if "again" in str(one["id"])]


def test_an_interface_that_no_machine_took_is_removed_and_one_of_others_is_left(azure: AzureRig) -> None:
    machine = azure.resource("az-web-1")
    point = azure.point(machine, azure.backup(machine))
    wish = RestoreStep("azure-create-interface", {"group": "app", "name": "alone", **DATA_INTERFACE})
    (made,) = azure.driver.start_restore(point, wish, "step-1", TAGS).created
    with pytest.raises(errors.Invalid, match="already"):
        azure.driver.start_restore(point, wish, "step-2", TAGS)
    (kept,) = azure.driver.undo_restore(azure.account, seed.HOME, [replace(made, keys=("another",))])
    assert (kept.outcome, kept.error and kept.error.code) == ("kept", "not-ours")
    outcomes = [azure.driver.undo_restore(azure.account, seed.HOME, [made])[0].outcome for _ in range(2)]
    assert outcomes == ["kept", "already-gone"]
