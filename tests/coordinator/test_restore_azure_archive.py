"""Plans of Azure's restores from a repository: empty disks that are filled, then as any other (feature 28)."""

from dataclasses import replace

import pytest

from coordinator.restore import plan_restore
from coordinator.restore_facts import PartFacts, PointFacts, RestoreRequest

pytestmark = pytest.mark.unit

BASE = "/subscriptions/s/resourcegroups/g/providers/microsoft.compute"
OS, DATA = f"{BASE}/disks/web-os", f"{BASE}/disks/web-data"
POINT = PointFacts(
    id="rp-7",
    type="azure-vm",
    resource_id=f"{BASE}/virtualmachines/web",
    resource_name="web",
    account="az",
    region="northeurope",
    home_account="az",
    home_region="westeurope",
    repository="blob",
    parts=(
        PartFacts("generation-1", OS, "os", 30),
        PartFacts("generation-2", DATA, "lun-0", 64),
    ),
    attributes={
        "group": "app",
        "size": "Standard_D2s_v5",
        "os_type": "Linux",
        "disks": [
            {"id": OS, "role": "os", "sku": "Premium_LRS", "os_type": "Linux", "generation": "V2"},
            {"id": DATA, "role": "data", "lun": 0, "caching": "ReadOnly", "sku": "Premium_LRS"},
        ],
    },
)
SET = {"subnet": "/subnets/away", "security_group": "/groups/away", "name": "back"}


def test_each_disk_is_filled_from_the_repository_and_the_machine_refers_to_them() -> None:
    plan = plan_restore(POINT, RestoreRequest(kind="vm", settings=SET))
    assert [step.kind for step in plan.steps] == ["restore-disk", "restore-disk", "azure-create-vm"]
    first = plan.steps[0]
    assert {name: first.params[name] for name in ("repository", "generation", "volume", "size_gib")} == {
        "repository": "blob",
        "generation": "generation-1",
        "volume": OS,
        "size_gib": 30,
    }
    assert first.params["disk"] | {"tags": {}} == {
        "group": "app",
        "name": "back-os",
        "sku": "Premium_LRS",
        "os_type": "Linux",
        "generation": "V2",
        "tags": {},
    }
    assert first.creates == ("azure-disk",)
    assert plan.steps[2].params["os_disk"]["disk_id"] == {"$ref": f"{first.name}.disk_id"}
    assert any("repository blob" in note for note in plan.notes)


def test_a_point_of_snapshots_is_planned_as_ever() -> None:
    plan = plan_restore(replace(POINT, repository=""), RestoreRequest(kind="vm", settings=SET))
    assert [step.kind for step in plan.steps] == ["azure-create-disk", "azure-create-disk", "azure-create-vm"]
