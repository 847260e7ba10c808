"""Restores of Azure's disks and machines: new disks from snapshots, and a machine on them. Pure.

Steps: azure-create-disk {group, name, snapshot_id, size_gib, sku, zone, os_type, generation, encryption_set_id, tags}
-> disk_id; azure-create-vm {group, name, size, zone, os_type, os_disk, data_disks, subnet_id, security_group_id,
accelerated, interfaces, interface_ids, model, identity, plan, tags} -> vm_id; azure-attach-disk {vm_id, disk_id, lun,
caching}; azure-create-interface {group, name, subnet_id, security_group_id, addresses, tags} -> interface_id.
"""

import re
from collections.abc import Mapping
from typing import Any

from coordinator.restore_azure_in_place import plan_in_place
from coordinator.restore_azure_network import is_kept, plan_interfaces, plan_kept
from coordinator.restore_disks import clean_tags
from coordinator.restore_draft import Draft
from coordinator.restore_facts import PartFacts
from coordinator.restore_plan import ref
from tasks.errors import Impossible, Invalid

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_LENGTH = 64  # of a Linux machine (Azure resource naming rules); disks may have 80
# Disks that lie in every zone of a region are refused with one (managed disks documentation, redundancy options).
_IN_ALL_ZONES = "_ZRS"
_FROM_DISK = ("os_type", "generation", "iops", "mbps", "encryption_set_id", "encryption_type")


def plan_azure(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Add the steps of a restore of an azure-disk or azure-vm. Raises Invalid (an option) or Impossible (and why)."""
    point = draft.point
    prefix = str(values.get("name") or _name(f"{point.resource_name}-{point.id}"))
    if _name(prefix) != prefix:
        raise Invalid(f"--set name does not take {prefix!r}: 1 to {_NAME_LENGTH} letters, digits, - and _.")
    if not values.get("group"):
        raise Invalid("--set group=... is needed: the resource group of what is made.", code="option-missing")
    if draft.request.kind == "vm":
        _plan_machine(draft, values, prefix, tags)
        return
    if draft.request.kind == "in-place":
        parts = [_one_part(draft, values)] if values.get("disk") else list(point.parts)
        plan_in_place(draft, values, parts, lambda part, name: _create_disk(draft, values, part, name))
        return
    part = _one_part(draft, values)
    made = _create_disk(draft, values, part, prefix)
    draft.title = f"to a new disk {prefix} in {point.account}, {point.region}"
    if values.get("attach_to"):
        params = {"vm_id": values["attach_to"], "disk_id": ref(made, "disk_id"), "lun": values.get("lun")}
        params["caching"] = _facts(draft, part).get("caching")
        why = f"Attach the new disk to {values['attach_to']}."
        draft.add("attach", "azure-attach-disk", params, why, ("azure-attachment",))


def _name(text: str) -> str:
    return _FORBIDDEN.sub("-", text).strip("-_")[:_NAME_LENGTH]


def _one_part(draft: Draft, values: Mapping[str, Any]) -> PartFacts:
    """The part to restore as a disk: the only one, or the one that is named by id, name or place."""
    parts, wanted = draft.point.parts, str(values.get("disk", "")).lower()
    if len(parts) == 1 and not wanted:
        return parts[0]
    for part in parts:
        if wanted and wanted in (part.source_id, part.source_id.rsplit("/", 1)[-1], part.device):
            return part
    known = ", ".join(part.source_id.rsplit("/", 1)[-1] for part in parts)
    raise Invalid(f"--set disk=... names one of the machine's disks: {known}.", code="option-value")


def _facts(draft: Draft, part: PartFacts) -> Mapping[str, Any]:
    """What the point knows of the disk that a part was taken of."""
    held = draft.point.captured("disks", []) or [draft.point.attributes]
    return next((one for one in held if one.get("id") == part.source_id), {})


def _create_disk(draft: Draft, values: Mapping[str, Any], part: PartFacts, name: str) -> str:
    facts = _facts(draft, part)
    kept = {key: facts[key] for key in _FROM_DISK if key in facts}
    if kept.get("encryption_set_id") and not draft.point.here:
        draft.warnings.append(
            f"The encryption set of {name} is of another region and is left out: Azure's key is used."
        )
        kept = {key: value for key, value in kept.items() if not key.startswith("encryption")}
    sku = str(values.get("sku") or facts.get("sku") or "")
    params = {
        "group": values["group"],
        "name": name,
        "snapshot_id": part.snapshot_id,
        "size_gib": part.size_gib,
        "sku": sku,
        "zone": None if sku.endswith(_IN_ALL_ZONES) else values.get("zone"),
        **kept,
        "tags": clean_tags(facts.get("tags", {}), draft.request.tags, draft.warnings),
    }
    source = part.source_id.rsplit("/", 1)[-1] or part.snapshot_id
    why = f"Make a {part.size_gib} GiB disk {name} from a snapshot, as {source} was."
    step = f"disk-{_name(part.device) or 'one'}"
    return draft.add(step, "azure-create-disk", params, why, ("azure-disk",))


def _plan_machine(draft: Draft, values: Mapping[str, Any], prefix: str, tags: Mapping[str, str]) -> None:
    point = draft.point
    system = next((part for part in point.parts if part.device == "os"), None)
    if system is None:
        raise Impossible("This point has no system disk, so no machine starts from it: restore its disks.")
    if not values.get("subnet"):
        raise Invalid("--set subnet=... is needed: the subnet of the new interface.", code="option-missing")
    draft.title = f"to a new machine {prefix} in {point.account}, {point.region}"
    interfaces = plan_interfaces(draft, values)
    kept = plan_kept(draft, values, prefix, interfaces) if is_kept(values) else []
    made = {part.device: _create_disk(draft, values, part, f"{prefix}-{part.device}") for part in point.parts}
    held = {
        part.device: {**_attached(draft, part), "disk_id": ref(made[part.device], "disk_id")} for part in point.parts
    }
    params = {
        "group": values["group"],
        "name": prefix,
        "size": values.get("size"),
        "zone": values.get("zone"),
        "os_type": point.captured("os_type", "Linux"),
        "os_disk": held.pop("os"),
        "data_disks": list(held.values()),
        "subnet_id": values["subnet"],
        "security_group_id": values.get("security_group"),
        "accelerated": interfaces[0].get("accelerated"),
        "interfaces": [] if kept else interfaces,
        "interface_ids": kept,
        "controller": point.captured("controller"),
        "model": _model(draft),
        "identity": point.captured("identity", {}),
        "plan": point.captured("plan", {}),
        "tags": tags,
    }
    several = f" with {len(interfaces)} network interfaces" if len(interfaces) > 1 else ""
    why = f"Make the machine {prefix} on these disks{several}."
    draft.add("vm", "azure-create-vm", params, why, ("azure-vm",))
    _say(draft)


def _attached(draft: Draft, part: PartFacts) -> dict[str, Any]:
    """Where and how the old machine held the disk."""
    facts = _facts(draft, part)
    return {key: facts[key] for key in ("lun", "caching", "write_accelerator") if key in facts}


def _model(draft: Draft) -> dict[str, Any]:
    """What of the old machine goes into the new one; what exists in its region only stays behind elsewhere."""
    model = dict(draft.point.captured("model", {}))
    if not draft.point.here:
        for name in ("availabilitySet", "proximityPlacementGroup", "host", "hostGroup", "capacityReservation"):
            if model.pop(name, None):
                draft.warnings.append(f"The machine's {name} exists in its own region only and is left out.")
    return model


def _say(draft: Draft) -> None:
    """What an operator has to see to afterwards."""
    if "SystemAssigned" in str(draft.point.captured("identity", {}).get("type", "")):
        draft.notes.append("The machine's own identity is a new one: give it the roles that the old one had.")
