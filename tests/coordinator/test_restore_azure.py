"""Plans of restores of Azure's disks and machines where something may not simply be as it was (features 26 and 28)."""

from dataclasses import replace
from typing import Any

import pytest

from coordinator.restore import plan_restore
from coordinator.restore_facts import RestoreRequest
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


def test_a_disk_of_a_machine_is_attached_to_another_with_its_caching() -> None:
    settings = {"name": "back", "disk": DATA, "attach_to": "/machines/other", "lun": "7"}
    plan = plan_restore(HOME, RestoreRequest(kind="disk", settings=settings))
    attach = plan.steps[-1]
    assert attach.kind == "azure-attach-disk"
    assert {name: attach.params[name] for name in ("vm_id", "lun", "caching")} == {
        "vm_id": "/machines/other", "lun": 7, "caching": "ReadOnly",
    }  # fmt: skip
