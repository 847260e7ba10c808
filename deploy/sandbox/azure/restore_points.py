"""Restore point collections and restore points of machines: all disks at one instant.

Sources: virtual machine restore points (documentation: limits, consistency) and ComputeRP 2024-03-01 examples
(RestorePoint_Create, RestorePointCollection_CreateOrUpdate). A collection is made at once; a point answers 201 and an
operation. Three points an hour for a machine, one at a time.
"""

import re
import uuid
from typing import Any

from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

_HOUR = 3600.0
PATH = re.compile(
    r"^(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.compute/restorepointcollections/[^/]+)"
    r"(?:/restorepoints/([^/]+))?$",
    re.I,
)
COLLECTIONS, POINTS, DISKS = "restorePointCollections", "restorePoints", "diskRestorePoints"


def points_of(world: World, collection: Thing) -> list[Thing]:
    """The restore points of a collection."""
    begin = f"{collection.id.lower()}/restorepoints/"
    return [one for one in world.of_kind(POINTS) if one.id.lower().startswith(begin)]


def put_collection(world: World, resource_id: str, body: dict[str, Any]) -> tuple[Thing, bool]:
    """Create a collection or change its tags; whether it is new."""
    found = world.get(resource_id)
    if found is not None:
        found.tags = dict(body.get("tags", found.tags))
        return found, False
    source = world.need(str(body.get("properties", {}).get("source", {}).get("id", "")))
    made = Thing(resource_id, COLLECTIONS, str(body["location"]).lower(), dict(body.get("tags", {})))
    if source.location != made.location:
        raise Refusal(400, "InvalidParameter", "A collection lies in the region of its machine.")
    made.properties = {
        "source": {"id": source.id, "location": source.location},
        "restorePointCollectionId": str(uuid.uuid4()),
    }
    return world.put(made), True


def put_point(world: World, collection: Thing, resource_id: str, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Take a restore point. One of the name is refused."""
    wish = body.get("properties") or {}
    if world.get(resource_id) is not None:
        raise Refusal(409, "Conflict", "A restore point of this name exists already.")
    if wish.get("consistencyMode") not in (None, "CrashConsistent"):
        raise Refusal(400, "InvalidParameter", "The value of parameter consistencyMode is invalid.")
    machine, now = world.need(collection.properties["source"]["id"]), world.now()
    others = points_of(world, collection)
    if any(one.provisioning(now) == "Creating" for one in others):
        raise Refusal(409, "OperationNotAllowed", "Another restore point of the machine is being created.")
    if len([one for one in others if one.begun > now - _HOUR]) >= world.settings["restore_points_per_hour"]:
        raise Refusal(409, "OperationNotAllowed", "Three restore points can be created in an hour.")
    seconds = world.settings["snapshot_seconds"]
    made = Thing(resource_id, POINTS, machine.location, begun=now, ends=now + seconds)
    out = {str(one.get("id", "")).lower() for one in wish.get("excludeDisks") or ()}
    made.properties = {
        "excludeDisks": wish.get("excludeDisks") or [],
        "consistencyMode": wish.get("consistencyMode") or "FileSystemConsistent",
        "timeCreated": stamp(now),
        "sourceMetadata": {
            "vmId": machine.properties["vmId"],
            "location": machine.location,
            "storageProfile": _storage(world, made, machine, out),
        },
    }
    return world.put(made), world.begin("operations", made, made.subscription, made.location, seconds)


def _storage(world: World, point: Thing, machine: Thing, out: set[str]) -> dict[str, Any]:
    storage = machine.properties["storageProfile"]
    found: dict[str, Any] = {"dataDisks": []}
    for held in [storage.get("osDisk"), *storage.get("dataDisks", [])]:
        disk = world.get(held["managedDisk"]["id"]) if held else None
        if disk is None or disk.id.lower() in out or disk.content is None:
            continue
        taken = Thing(f"{point.id}/diskRestorePoints/{disk.name}_{uuid.uuid4()}", DISKS, disk.location)
        taken.content, taken.begun, taken.ends = disk.content.frozen(), point.begun, point.ends
        taken.properties = {"sourceResourceId": disk.id, "sourceUniqueId": disk.properties["uniqueId"]}
        if disk.properties.get("osType"):
            taken.properties["osType"] = disk.properties["osType"]
        world.put(taken)
        kept = {name: held[name] for name in ("lun", "caching", "osType", "name") if name in held}
        kept |= {"diskSizeGB": disk.content.gib, "managedDisk": {"id": disk.id}, "diskRestorePoint": {"id": taken.id}}
        if held is storage.get("osDisk"):
            found["osDisk"] = kept
        else:
            found["dataDisks"].append(kept)
    return found


def delete(world: World, thing: Thing) -> Operation:
    """Delete a collection with all its points, or a point with its disks."""
    seconds = world.settings["delete_seconds"]
    begin = f"{thing.id.lower()}/"
    for one in [thing, *(two for two in world.things.values() if two.id.lower().startswith(begin))]:
        one.gone_at = one.gone_at or world.now() + seconds
    return world.begin("operations", None, thing.subscription, thing.location, seconds)
