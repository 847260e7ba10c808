"""What exists in a subscription: disks and virtual machines, with what a restore needs to make them as they were."""

from collections.abc import Mapping
from typing import Any

from workers.azure.clients import Clients
from workers.azure.ids import normal, read_id
from workers.driver import Account, Resource, ResourcePage, Scope

_TYPES = ("azure-disk", "azure-vm")
# What of a machine's model goes into the new one as it was; the rest is made by Azure or belongs to the old one.
_KEPT = (
    "hardwareProfile", "diagnosticsProfile", "securityProfile", "availabilitySet", "proximityPlacementGroup",
    "licenseType", "priority", "evictionPolicy", "billingProfile", "additionalCapabilities", "scheduledEventsProfile",
    "userData", "host", "hostGroup", "capacityReservation", "applicationProfile",
)  # fmt: skip


def discover(clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
    """One page of the subscription's disks or machines, those of the scope's region. A page is 'TYPE|TOKEN'."""
    types = [one for one in _TYPES if one in scope.types]
    kind, _, token = (page or f"{types[0]}|").partition("|")
    lists = {"azure-disk": clients.compute.disks.list, "azure-vm": clients.compute.virtual_machines.list_all}
    pages = lists[kind]().by_page(token or None)
    items = [item.as_dict() for item in next(pages, [])]
    here = [item for item in items if region_of(item) == scope.region]
    read = disk if kind == "azure-disk" else machine
    following = types[types.index(kind) + 1 :]
    token = pages.continuation_token or ""
    after = f"{kind}|{token}" if token else f"{following[0]}|" if following else None
    return ResourcePage(tuple(read(scope.account, item) for item in here), after)


def region_of(item: Mapping[str, Any]) -> str:
    """'West Europe' and 'westeurope' are the same region."""
    return str(item.get("location", "")).replace(" ", "").lower()


def disk(account: Account, item: Mapping[str, Any]) -> Resource:
    """A managed disk from its model."""
    owner = normal(str(item.get("managedBy", "")))
    return Resource(
        "azure-disk",
        normal(item["id"]),
        account,
        region_of(item),
        str(item.get("name", "")),
        dict(item.get("tags") or {}),
        disk_attributes(item),
        owner,
    )


def disk_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    """What a disk is made again from, without empty values. `unique_id` tells it from a later one of its name."""
    properties = item.get("properties", {})
    encryption = properties.get("encryption") or {}
    found = {
        "id": normal(item["id"]),
        "name": item.get("name"),
        "group": read_id(item["id"]).group,
        "sku": (item.get("sku") or {}).get("name"),
        "zone": next(iter(item.get("zones") or ()), None),
        "size_gib": properties.get("diskSizeGB"),
        "os_type": properties.get("osType"),
        "generation": properties.get("hyperVGeneration"),
        "unique_id": properties.get("uniqueId"),
        "iops": properties.get("diskIOPSReadWrite") if _tunable(item) else None,
        "mbps": properties.get("diskMBpsReadWrite") if _tunable(item) else None,
        "encryption_set_id": encryption.get("diskEncryptionSetId"),
        "encryption_type": encryption.get("type"),
        "tags": dict(item.get("tags") or {}),
        "attached_to": normal(str(item.get("managedBy", ""))),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _tunable(item: Mapping[str, Any]) -> bool:
    """Only these kinds take operations and throughput as a wish (managed disks documentation, disk types)."""
    return (item.get("sku") or {}).get("name") in ("UltraSSD_LRS", "PremiumV2_LRS")


def machine(account: Account, item: Mapping[str, Any]) -> Resource:
    """A virtual machine from its model; disks as the machine knows them."""
    properties = item.get("properties", {})
    storage = properties.get("storageProfile", {})
    held = [("os", one) for one in [storage.get("osDisk")] if one] + [
        ("data", one) for one in storage.get("dataDisks") or ()
    ]
    attributes = {
        "group": read_id(item["id"]).group,
        "size": properties.get("hardwareProfile", {}).get("vmSize"),
        "zone": next(iter(item.get("zones") or ()), None),
        "os_type": (storage.get("osDisk") or {}).get("osType"),
        "controller": storage.get("diskControllerType"),
        "disks": [_held(role, one) for role, one in held if (one.get("managedDisk") or {}).get("id")],
        "unmanaged": len([one for _, one in held if not (one.get("managedDisk") or {}).get("id")]) or None,
        "interfaces": [
            {"id": normal(one["id"]), **(one.get("properties") or {})}
            for one in properties.get("networkProfile", {}).get("networkInterfaces") or ()
        ],
        "identity": _identity(item.get("identity")),
        "plan": item.get("plan"),
        "model": {name: properties[name] for name in _KEPT if properties.get(name)},
        "vm_id": properties.get("vmId"),
    }
    kept = {name: value for name, value in attributes.items() if value not in (None, "", {}, [])}
    name, tags = str(item.get("name", "")), dict(item.get("tags") or {})
    return Resource("azure-vm", normal(item["id"]), account, region_of(item), name, tags, kept)


def _held(role: str, item: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "id": normal(item["managedDisk"]["id"]),
        "role": role,
        "lun": item.get("lun"),
        "caching": item.get("caching"),
        "delete_option": item.get("deleteOption"),
        "write_accelerator": item.get("writeAcceleratorEnabled"),
        "size_gib": item.get("diskSizeGB"),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _identity(item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Which identities the machine has: a system one is made anew, those assigned by users are given again."""
    if not item:
        return None
    return {"type": item.get("type"), "users": sorted(item.get("userAssignedIdentities") or {})}


def disk_now(clients: Clients, disk_id: str) -> dict[str, Any]:
    """A disk's model at this moment. Raises the SDK's errors."""
    parts = read_id(disk_id)
    found: dict[str, Any] = clients.compute.disks.get(parts.group, parts.name).as_dict()
    return found


def machine_now(clients: Clients, machine_id: str) -> Resource:
    """A machine at this moment. Raises the SDK's errors."""
    parts = read_id(machine_id)
    found = clients.compute.virtual_machines.get(parts.group, parts.name, expand="userData").as_dict()
    return machine(clients.account, found)
