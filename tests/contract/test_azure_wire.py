"""What the drivers send is held to the official swagger files of Azure (feature 3)."""

from datetime import UTC, datetime
from typing import Any

from deploy.sandbox.azure import seed, seed_sql
from tests.azure import TAGS, AzureRig
from tests.azure_specs import swagger
from tests.contract.azure_sql_rig import IDENTITY, SqlRig
from workers.driver import RestoreStep

CALLS = {
    ("PUT", "snapshots", ""): "Snapshots_CreateOrUpdate",
    ("PUT", "disks", ""): "Disks_CreateOrUpdate",
    ("PUT", "virtualMachines", ""): "VirtualMachines_CreateOrUpdate",
    ("POST", "virtualMachines", "attachDetachDataDisks"): "VirtualMachines_AttachDetachDataDisks",
    ("PUT", "databases", ""): "Databases_CreateOrUpdate",
    ("POST", "export", ""): "Databases_Export",
    ("POST", "import", ""): "Databases_Import",
    ("PUT", "backupShortTermRetentionPolicies", ""): "BackupShortTermRetentionPolicies_CreateOrUpdate",
    ("PUT", "backupLongTermRetentionPolicies", ""): "LongTermRetentionPolicies_CreateOrUpdate",
}
# 2025-01-01 takes a managed identity in place of a password; the files here are of 2023-08-01-preview.
_COMPUTE = ("Snapshots", "Disks", "VirtualMachines")
NEWER = {"Databases_Export", "Databases_Import"}


def wrong(azure: AzureRig) -> tuple[set[str], dict[str, list[str]]]:
    """The operations that were called, and what is wrong with the bodies that were sent."""
    known = {one.id: one for one in swagger.operations()}
    seen, found = set(), {}
    for call in azure.cloud.calls():
        name = CALLS.get((call["method"], call["type"], call["action"]))
        if name is None:
            continue
        seen.add(name)
        errors = swagger.request_errors(known[name], call["body"])
        if name in NEWER:
            errors = [one for one in errors if "administratorLoginPassword" not in one]
        if errors:
            found[name] = errors
    return seen, found


def test_disks_and_machines_are_asked_for_as_the_swagger_says(azure: AzureRig) -> None:
    machine = azure.resource("az-db-1")
    point = azure.point(machine, azure.backup(machine))
    azure.copy(point)
    made: dict[str, Any] = {}
    for part in point.parts:
        params = {"group": "app", "name": f"new-{part.device}", "snapshot_id": part.external_id, "size_gib": 4}
        step = RestoreStep("azure-create-disk", {**params, "sku": "Premium_LRS", "os_type": "Linux"})
        made[part.device] = azure.driver.start_restore(point, step, f"step-{part.device}", TAGS).outputs["disk_id"]
    held = [{"disk_id": made["lun-0"], "lun": 0, "caching": "ReadOnly"}]
    interfaces = [
        {"subnet_id": seed.subnet(seed.HOME), "accelerated": True, "addresses": [{}, {"version": "IPv6"}]},
        {"subnet_id": seed.subnet(seed.HOME, "data"), "forwarding": True, "dns_servers": ["10.40.1.9"]},
    ]
    params = {
        "group": "app", "name": "new", "size": "Standard_D2s_v5", "os_type": "Linux",
        "os_disk": {"disk_id": made["os"]}, "data_disks": held,
        "interfaces": interfaces, "identity": {"type": "SystemAssigned", "users": []},
    }  # fmt: skip
    vm = azure.driver.start_restore(point, RestoreStep("azure-create-vm", params), "step-vm", TAGS).outputs["vm_id"]
    attach = {"vm_id": vm, "disk_id": made["lun-2"], "lun": 5}
    azure.driver.start_restore(point, RestoreStep("azure-attach-disk", attach), "step-attach", TAGS)
    assert wrong(azure) == ({name for name in CALLS.values() if name.split("_")[0] in _COMPUTE}, {})


def test_databases_are_asked_for_as_the_swagger_says(azure: AzureRig) -> None:
    rig = SqlRig(azure)
    started = rig.backup()
    point = rig.point(started)
    rig.copy(point, sku="S1")
    exported = rig.exported("job-2")
    rig.follow(exported.operations)
    made = rig.restore(point, sku={"name": "S0", "tier": "Standard"}, redundancy="Geo", tags={"team": "a"})
    file = {"from": "export", "identity": IDENTITY, "name": "from-file"}
    rig.follow(rig.restore(rig.point(exported), "step-3", **file).operations)
    wished = {"short_term": {"retentionDays": 14, "diffBackupIntervalInHours": 12}}
    params = {"database_id": made.outputs["database_id"], "server": {}, "retention": wished}
    rig.driver.start_restore(point, RestoreStep("azure-sql-settle", params), "step-2", TAGS)
    rig.cloud.ask("POST", "long-term", {"id": rig.ids["orders"]})
    rig.backup(key="job-4", options={"way": "long-term", "retention": "weekly=4,yearly=5"})
    moment = {"from": "moment", "source_id": rig.ids["orders"], "at": datetime.now(UTC).isoformat(), "name": "then"}
    rig.restore(point, "step-4", **moment)
    assert wrong(azure) == ({name for name in CALLS.values() if name.split("_")[0] not in _COMPUTE}, {})
    assert rig.names(seed_sql.AWAY_SERVER)
