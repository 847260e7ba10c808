"""Restores of Azure's machines in place: the machine stays, and gets new disks in the places of the old ones. Pure.

Steps, beside azure-create-disk and azure-attach-disk: azure-deallocate {vm_id} -> held: {place: {disk, caching}};
azure-detach-disk {vm_id, lun, disk_id, was} -> old_disk_id; azure-swap-os {vm_id, disk_id, was} -> old_disk_id;
azure-start {vm_id}. `was` is `held` of the first: what an exchange whose answer was lost took off.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_facts import PartFacts, PointFacts
from coordinator.restore_plan import ref
from tasks.errors import Impossible, Invalid

_OS = "os"
Create = Callable[[PartFacts, str], str]
"""Adds the step that makes a disk of a part under a name; the step's name."""


def plan_in_place(draft: Draft, values: Mapping[str, Any], parts: Sequence[PartFacts], create: Create) -> None:
    """Add the steps that put `parts` in the places of the machine's disks. Raises Impossible and why, Invalid."""
    point = draft.point
    if not point.here:
        text = f"The point lies in {point.account}, {point.region}, and the machine in {point.home_region}"
        raise Impossible(f"{text}: a machine takes disks of its own region only. Restore it as a new machine.")
    machine, parts = _places(point, parts)
    prefix = str(values.get("name") or f"{point.resource_name}-{point.id}")
    made = {part.device: create(part, f"{prefix}-{part.device}") for part in parts}
    draft.title = f"into the machine {machine.rsplit('/', 1)[-1]}, in place"
    draft.interrupts = True
    draft.add("deallocate", "azure-deallocate", {"vm_id": machine}, "Stop the machine and free it.", ("azure-stop",))
    for part in parts:
        new = {"vm_id": machine, "disk_id": ref(made[part.device], "disk_id")}
        if part.device == _OS:
            why = "Put the new system disk in the old one's place."
            draft.add("swap-os", "azure-swap-os", {**new, "was": ref("deallocate", "held")}, why, ("azure-os-swap",))
        else:
            _exchange(draft, part, new)
    if values.get("start", True):
        draft.add("start", "azure-start", {"vm_id": machine}, "Start the machine again.")
    draft.notes.append("The old disks stay, unattached: delete them when nothing of them is needed any more.")


def _places(point: PointFacts, parts: Sequence[PartFacts]) -> tuple[str, Sequence[PartFacts]]:
    """The machine, and the parts with their places in it. A disk's own point knows neither: they are as last seen."""
    if point.type == "azure-vm":
        return point.resource_id, parts
    held = point.host.volumes if point.host else {}
    place = next((place for place, disk in held.items() if disk == point.resource_id), "")
    if point.host is None or not place:
        raise Invalid(f"{point.resource_name} is attached to no machine: restore it --to disk.", code="not-attached")
    return point.host.instance_id, [replace(part, device=place) for part in parts]


def _exchange(draft: Draft, part: PartFacts, new: Mapping[str, Any]) -> None:
    held: Mapping[str, Any] = next(
        (one for one in draft.point.captured("disks", []) if one.get("id") == part.source_id), {}
    )
    lun = int(part.device.removeprefix("lun-"))
    caching = held.get("caching") or (draft.point.host.caching.get(part.device) if draft.point.host else None)
    why = f"Take the disk at LUN {lun} off."
    old = {**new, "lun": lun, "was": ref("deallocate", "held")}
    draft.add(f"detach-{lun}", "azure-detach-disk", old, why, ("azure-detachment",))
    params = {**new, "lun": lun, "caching": caching}
    draft.add(f"attach-{lun}", "azure-attach-disk", params, f"Attach the new disk at LUN {lun}.", ("azure-attachment",))
