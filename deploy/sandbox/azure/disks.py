"""Managed disks and their snapshots: what is accepted, how long it takes, what it holds.

Sources: managed disks documentation (incremental snapshots: limits; copy an incremental snapshot to a new region) and
recordings: a PUT on the name of an existing snapshot changes its tags, answers with success and takes no new snapshot
(azure-cli issue 28879).
"""

import uuid
from typing import Any

from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp
from deploy.sandbox.blocks import BlockMap

GIB = 1 << 30
_FIVE_MINUTES = 300.0
# With the footer of 512 bytes (DiskRP swagger, CreationData.uploadSizeBytes).
_SMALLEST_UPLOAD, _LARGEST_UPLOAD = 20_972_032, 35_183_298_347_520


def region(body: dict[str, Any]) -> str:
    """'West US' and 'westus' are the same region."""
    return str(body["location"]).replace(" ", "").lower()


def put_disk(world: World, resource_id: str, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Create a disk, empty, from a snapshot or for an upload, or change tags and size of one that exists."""
    subscription = resource_id.split("/")[2]
    found = world.get(resource_id)
    if found is not None:
        found.tags = dict(body.get("tags", found.tags))
        _resize(found, body.get("properties", {}).get("diskSizeGB"))
        return found, world.begin("DiskOperations", found, subscription, found.location, 0.0)
    properties = body.get("properties", {})
    creation = properties.get("creationData") or {}
    content, source = _disk_content(world, subscription, body, creation, properties)
    now = world.now()
    given = {key: value for key, value in properties.items() if key not in ("creationData", "provisioningState")}
    gib, state = content.gib, "ReadyToUpload" if creation.get("createOption") == "Upload" else "Unattached"
    made = Thing(
        resource_id,
        "disks",
        region(body),
        dict(body.get("tags", {})),
        {key: body[key] for key in ("sku", "zones", "extendedLocation") if body.get(key)},
        {
            **({"osType": source.properties["osType"]} if source and source.properties.get("osType") else {}),
            **given,
            "creationData": dict(creation),
            "diskSizeGB": gib,
            "diskSizeBytes": gib * GIB,
            "timeCreated": stamp(now),
            "uniqueId": str(uuid.uuid4()),
            "diskState": state,
            "encryption": properties.get("encryption", {"type": "EncryptionAtRestWithPlatformKey"}),
        },
        content,
        now,
        now + world.settings["disk_seconds"],
    )
    return world.put(made), world.begin(
        "DiskOperations", made, subscription, made.location, world.settings["disk_seconds"]
    )


def _resize(disk: Thing, gib: int | None) -> None:
    """Disks grow and never shrink (Disks - Update)."""
    if gib is None or disk.content is None or gib == disk.content.gib:
        return
    if gib < disk.content.gib:
        raise Refusal(400, "OperationNotAllowed", "Disk size can only be increased.")
    disk.content = disk.content.frozen(int(gib))
    disk.properties |= {"diskSizeGB": int(gib), "diskSizeBytes": int(gib) * GIB}


def _disk_content(
    world: World, subscription: str, body: dict[str, Any], creation: dict[str, Any], properties: dict[str, Any]
) -> tuple[BlockMap, Thing | None]:
    option = creation.get("createOption")
    if option == "Empty":
        return BlockMap(world.store, int(properties["diskSizeGB"])), None
    if option == "Upload":
        size = int(creation.get("uploadSizeBytes") or 0)
        if not _SMALLEST_UPLOAD <= size <= _LARGEST_UPLOAD or (size - 512) % GIB or properties.get("diskSizeGB"):
            raise Refusal(400, "InvalidParameter", "The value of parameter 'creationData.uploadSizeBytes' is invalid.")
        return BlockMap(world.store, (size - 512) // GIB), None
    source = world.get(str(creation.get("sourceResourceId", "")))
    wanted_kind = {"Copy": "snapshots", "Restore": "diskRestorePoints"}.get(str(option), "")
    if not wanted_kind:
        raise Refusal(400, "InvalidParameter", f"Parameter 'creationData.createOption' {option!r} is not allowed.")
    if source is not None and source.kind != wanted_kind and (option, source.kind) != ("Copy", "disks"):
        raise Refusal(400, "InvalidParameter", f"createOption {option} does not take the source that is named.")
    if source is None or source.content is None:
        raise Refusal(404, "ResourceNotFound", "The source of the disk was not found.")
    if source.subscription.lower() != subscription.lower():
        raise Refusal(400, "InvalidParameter", "The source belongs to another subscription.")
    if source.location != region(body):
        raise Refusal(400, "InvalidParameter", "A disk is made in the region of its snapshot.")
    if not whole(world, source):
        raise Refusal(409, "OperationNotAllowed", f"The background copy of {source.name} is not completed.")
    wanted = int(properties.get("diskSizeGB") or source.content.gib)
    if wanted < source.content.gib:
        raise Refusal(400, "InvalidParameter", "A disk cannot be smaller than its snapshot.")
    return source.content.frozen(wanted), source


def whole(world: World, snapshot: Thing) -> bool:
    """Whether a snapshot holds all its data: a copy from another region does so only at 100 percent."""
    return snapshot.provisioning(world.now()) == "Succeeded" and percent(world, snapshot) >= 100


def percent(world: World, snapshot: Thing) -> float:
    """completionPercent of a snapshot: always 100 but for what is copied from another region."""
    until = snapshot.fields.get("_copied_at")
    if until is None:
        return 100.0
    if snapshot.fields.get("_copy_error"):
        return float(snapshot.fields.get("_stopped_at", 0.0))
    took = max(until - snapshot.begun, 1e-9)
    return round(min(100.0, max(0.0, (world.now() - snapshot.begun) / took * 100)), 2)


def put_snapshot(world: World, resource_id: str, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Take a snapshot of a disk, or copy one from another region."""
    subscription = resource_id.split("/")[2]
    found = world.get(resource_id)
    if found is not None:
        found.tags = dict(body.get("tags", found.tags))
        return found, world.begin("DiskOperations", found, subscription, found.location, 0.0)
    properties = body.get("properties", {})
    creation = properties.get("creationData") or {}
    make = {"Copy": _of_disk, "CopyStart": _of_snapshot}.get(creation.get("createOption"))
    if make is None:
        raise Refusal(400, "InvalidParameter", "Parameter 'creationData.createOption' is not allowed.")
    location = region(body)
    source = world.get(str(creation.get("sourceResourceId", "")))
    if source is None:
        raise Refusal(404, "ResourceNotFound", "The source of the snapshot was not found.")
    made = Thing(resource_id, "snapshots", location, dict(body.get("tags", {})), begun=world.now())
    made.fields = {"sku": body.get("sku") or {"name": "Standard_LRS", "tier": "Standard"}}
    make(world, made, source, bool(properties.get("incremental")))
    made.properties |= {
        "creationData": {
            "createOption": creation["createOption"],
            "sourceResourceId": source.id,
            "sourceUniqueId": source.properties["uniqueId"],
        },
        "incremental": bool(made.properties.get("incremental") or properties.get("incremental")),
        "uniqueId": str(uuid.uuid4()),
        "timeCreated": stamp(made.begun),
        "diskState": "Unattached",
        "encryption": properties.get("encryption") or source.properties.get("encryption"),
        "networkAccessPolicy": properties.get("networkAccessPolicy", "AllowAll"),
    }
    seconds = world.settings["snapshot_seconds"]
    made.ends = made.begun + seconds
    return world.put(made), world.begin("DiskOperations", made, subscription, location, seconds)


def _of_disk(world: World, made: Thing, disk: Thing, incremental: bool) -> None:
    if disk.kind != "disks" or disk.content is None:
        raise Refusal(400, "InvalidParameter", "createOption Copy takes a disk.")
    if disk.location != made.location:
        raise Refusal(400, "InvalidParameter", "A snapshot is taken in the region of its disk: use CopyStart.")
    if incremental and disk.subscription.lower() != made.subscription.lower():
        raise Refusal(400, "InvalidParameter", "Incremental snapshots stay in the subscription of their disk.")
    unique = disk.properties["uniqueId"]
    since = world.now() - _FIVE_MINUTES
    of_disk = [one for one in world.of_kind("snapshots", disk.subscription) if one.fields.get("_disk") == unique]
    limit = world.settings["snapshots_per_disk_and_5_minutes"]
    if incremental and limit and len([one for one in of_disk if one.begun > since]) >= limit:
        text = "Incremental snapshots of a disk can be taken seven times in five minutes."
        raise Refusal(409, "OperationNotAllowed", text, {"Retry-After": "60"})
    if incremental and len(of_disk) >= 500:
        raise Refusal(409, "SnapshotsLimitReached", "The disk has 500 incremental snapshots, which is the most.")
    made.content = disk.content.frozen()
    made.fields["_disk"] = unique
    made.properties = {
        **_like(disk),
        "incrementalSnapshotFamilyId": disk.fields.setdefault("_family", str(uuid.uuid4())),
        "completionPercent": 100,
    }


def _of_snapshot(world: World, made: Thing, source: Thing, _: bool) -> None:
    if source.kind != "snapshots" or not source.properties.get("incremental"):
        raise Refusal(400, "InvalidParameter", "CopyStart copies incremental snapshots into incremental snapshots.")
    if source.location == made.location:
        raise Refusal(400, "InvalidParameter", "CopyStart is for another region; use Copy.")
    if source.subscription.lower() != made.subscription.lower():
        raise Refusal(400, "InvalidParameter", "Incremental snapshots stay in the subscription of their disk.")
    if source.provisioning(world.now()) != "Succeeded":
        raise Refusal(409, "OperationNotAllowed", f"The snapshot {source.name} is not ready to be copied.")
    copies = [one for one in world.of_kind("snapshots", made.subscription) if "_copied_at" in one.fields]
    under_way = [one for one in copies if not whole(world, one)]
    family = source.properties["incrementalSnapshotFamilyId"]
    of_disk = [one for one in copies if one.fields["_of_family"] == family]
    if any(one in under_way for one in of_disk):
        raise Refusal(409, "OperationNotAllowed", "Only one snapshot of a disk is copied at a time.")
    if any(one.location == made.location and one.fields["_taken"] > source.begun for one in of_disk):
        raise Refusal(409, "OperationNotAllowed", "Snapshots of a disk are copied in the order of their creation.")
    if len([one for one in under_way if one.location == made.location]) >= 100:
        raise Refusal(409, "CopyLimitReached", "100 snapshots are copied to a region at a time.")
    made.content = source.content.frozen() if source.content else None
    made.fields |= {"_copied_at": made.begun + world.settings["copy_seconds"], "_of_family": family}
    made.fields |= {"_source": source.id.lower(), "_taken": source.begun}
    made.properties = {**_like(source), "incrementalSnapshotFamilyId": family, "incremental": True}


def _like(source: Thing) -> dict[str, Any]:
    names = ("diskSizeGB", "diskSizeBytes", "osType", "hyperVGeneration")
    return {name: source.properties[name] for name in names if name in source.properties}


def break_copies(world: World, source_id: str) -> None:
    """The source of a copy is deleted: the copy stops where it is (copyCompletionError CopySourceNotFound)."""
    for one in world.of_kind("snapshots"):
        if one.fields.get("_source") == source_id.lower() and percent(world, one) < 100:
            one.fields |= {"_stopped_at": percent(world, one), "_copy_error": True}
            one.properties["copyCompletionError"] = {
                "errorCode": "CopySourceNotFound",
                "errorMessage": "The source of the copy was deleted.",
            }
