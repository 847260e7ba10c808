"""Plans of restores of Azure's disks and machines where something may not simply be as it was (features 26 and 28)."""

from dataclasses import replace
from typing import Any

import pytest

from coordinator.restore import plan_restore
from coordinator.restore_facts import RestoreRequest
from tasks.errors import Invalid
from tests.coordinator.test_restore_azure_archive import DATA, POINT

pytestmark = pytest.mark.unit

HELD = POINT.attributes["disks"]
HOME = replace(POINT, repository="", region="westeurope", attributes={**POINT.attributes, "zone": "2"})
SET = {"subnet": "/subnets/home", "name": "back"}


def machine(settings: dict[str, str], **attributes: Any) -> Any:
    point = replace(HOME, attributes={**HOME.attributes, **attributes})
    return plan_restore(point, RestoreRequest(kind="vm", settings={**SET, **settings}))


@pytest.mark.parametrize("given", [{}, {"zone": "3"}])
def test_a_disk_that_lies_in_all_zones_is_made_without_one_and_the_others_in_the_machines(
    given: dict[str, str],
) -> None:
    plan = machine(given, disks=[HELD[0], {**HELD[1], "sku": "Premium_ZRS"}])
    assert [step.params.get("zone") for step in plan.steps] == [given.get("zone", "2"), None, given.get("zone", "2")]


def test_a_disk_that_gets_a_kind_of_all_zones_has_none_of_its_own() -> None:
    plan = machine({"sku": "StandardSSD_ZRS"})
    assert [step.params.get("zone") for step in plan.steps] == [None, None, "2"]


@pytest.mark.parametrize(("size", "wanted"), [("", True), ("Standard_B1s", None)])
def test_an_accelerated_interface_is_one_again_unless_the_machine_gets_another_size(size: str, wanted: object) -> None:
    plan = machine({"size": size} if size else {}, interfaces=[{"id": "a"}, {"primary": True, "accelerated": True}])
    assert plan.steps[-1].params.get("accelerated") is wanted
    assert any("accelerated" in note for note in plan.notes) is not bool(wanted)


NICS = [
    {"id": "/nics/b", "subnet_id": "/subnets/data", "security_group_id": "/groups/data", "addresses": [{}]},
    {"id": "/nics/a", "primary": True, "subnet_id": "/SUBNETS/home", "addresses": [{}, {"version": "IPv6"}]},
]


def test_several_interfaces_are_planned_in_their_subnets_the_primary_one_first() -> None:
    plan = machine({}, interfaces=NICS)
    first, second = plan.steps[-1].params["interfaces"]
    assert (first["subnet_id"], len(first["addresses"])) == ("/subnets/home", 2)
    assert (second["subnet_id"], second["security_group_id"]) == ("/subnets/data", "/groups/data")
    assert not plan.warnings


@pytest.mark.parametrize(
    ("given", "subnets", "warned"),
    [
        ({"subnet": "/subnets/new"}, ["/subnets/new", "/subnets/new"], "one subnet"),
        ({"subnet": "/subnets/new", "subnets": "/subnets/more"}, ["/subnets/new", "/subnets/more"], "IPv6"),
    ],
)
def test_interfaces_go_where_the_request_says_and_what_that_costs_is_told(
    given: dict[str, str], subnets: list[str], warned: str
) -> None:
    plan = machine(given, interfaces=NICS)
    assert [one["subnet_id"] for one in plan.steps[-1].params["interfaces"]] == subnets
    assert any(warned in text for text in plan.warnings)


def test_an_interface_that_could_not_be_read_is_left_out_with_a_warning_and_a_wrong_number_is_refused() -> None:
    plan = machine({}, interfaces=[NICS[1], {"id": "/nics/c"}])
    assert len(plan.steps[-1].params["interfaces"]) == 1
    assert any("left out" in text and " c " in text for text in plan.warnings)
    with pytest.raises(Invalid):
        machine({"subnets": "/subnets/x,/subnets/y"}, interfaces=NICS)


def test_old_addresses_are_asked_for_before_anything_is_made_where_the_request_says_so() -> None:
    fixed = {**NICS[1], "addresses": [{"private_ip": "10.0.0.4", "fixed": True}]}
    plan = machine({"addresses": "keep"}, interfaces=[NICS[0], fixed])
    assert [step.kind for step in plan.steps][:3] == ["azure-create-interface"] * 2 + ["azure-create-disk"]
    assert plan.steps[0].params["addresses"] == [{"private_ip": "10.0.0.4"}]
    assert plan.steps[-1].params["interface_ids"] == [{"$ref": f"interface-{n}.interface_id"} for n in (1, 2)]
    assert "interfaces" not in plan.steps[-1].params
    assert not any("10.0.0.4" in text for text in plan.warnings)


def test_what_only_the_old_interface_has_is_told() -> None:
    address = {"private_ip": "10.0.0.4", "fixed": True, "public": True, "pooled": True, "grouped": True}
    plan = machine({}, interfaces=[{**NICS[1], "addresses": [address]}])
    assert any("10.0.0.4" in text for text in plan.warnings)
    for word in ("public addresses", "load balancer", "application security groups"):
        assert any(word in text for text in plan.notes), word


def test_a_disk_of_a_machine_is_attached_to_another_with_its_caching() -> None:
    settings = {"name": "back", "disk": DATA, "attach_to": "/machines/other", "lun": "7"}
    plan = plan_restore(HOME, RestoreRequest(kind="disk", settings=settings))
    attach = plan.steps[-1]
    assert attach.kind == "azure-attach-disk"
    assert {name: attach.params[name] for name in ("vm_id", "lun", "caching")} == {
        "vm_id": "/machines/other", "lun": 7, "caching": "ReadOnly",
    }  # fmt: skip
