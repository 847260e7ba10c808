"""Beginning backups of disks and machines, and their copies in other regions.

A machine is a set of snapshots, one a disk, begun one after the other: they are not of one instant, and the point says
so. Copies go by CopyStart from region to region inside one subscription: Azure takes no incremental snapshot out of it
(managed disks documentation, "Copy an incremental snapshot to a new region").
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tasks.errors import Gone, Impossible, Invalid
from workers.azure import describe, instants, interfaces, snapshots
from workers.azure.clients import Clients
from workers.azure.errors import translated
from workers.azure.ids import normal, part_key, read_id
from workers.azure.snapshots import Wish
from workers.driver import (
    TAG_VOLUME,
    BackupRequest,
    CopyRequest,
    Destination,
    Operation,
    Part,
    Point,
    Resource,
    Started,
    Tagged,
)
from workers.pace import Pace

_NOT_ONE_INSTANT = "The disks were taken one after the other: they are consistent each, and not with one another."
_SAME_SUBSCRIPTION = (
    "Azure copies incremental snapshots inside one subscription only: {source} belongs to another than {target}."
)
_NO_POINTS = "Restore points are not copied: leave `consistency` out where the backups of a machine go elsewhere."
_OTHER_REGION = "The snapshot lies in {region} already: a copy goes to another region."


def start_backup(clients: Clients, resource: Resource, request: BackupRequest, pace: Pace) -> Started:
    """Begin the snapshots of a disk or of a machine's disks, or adopt those that this key began."""
    if request.mode != "snapshots":
        raise Invalid(f"There is no backup mode {request.mode!r} for {resource.type}: it is 'snapshots'.")
    now, warnings = _as_it_is(clients, resource, request)
    disks = _disks_of(clients, now, request.exclude)
    if now.type == "azure-vm" and request.options.get("consistency"):
        return _at_one_instant(clients, now, disks, request, pace, warnings)
    operations, parts, adopted = [], [], True
    for disk in disks:
        key = request.key if now.type == "azure-disk" else part_key(request.key, disk["id"])
        wish = Wish(
            key, disk["id"], now.region, disk["group"], False, request.tags, disk.get("tags", {}), request.fresh
        )
        operation, there, lost = snapshots.start(clients, wish, pace, request.proceed)
        operations.append(operation)
        parts.append(_part(operation, disk))
        adopted, warnings = adopted and there, [*warnings, *lost]
    if len(disks) > 1:
        warnings.append(_NOT_ONE_INSTANT)
    captured = {**now.attributes, "name": now.name, "tags": dict(now.tags)}
    if now.type == "azure-vm":
        captured["disks"] = disks
    return Started(tuple(operations), tuple(parts), captured=captured, warnings=_once(warnings), adopted=adopted)


def _at_one_instant(
    clients: Clients, now: Resource, disks: list[dict[str, Any]], request: BackupRequest, pace: Pace, told: list[str]
) -> Started:
    """One restore point of all disks, whose parts are known when it is made."""
    out = frozenset(normal(one) for one in request.exclude)
    operation, there = instants.start(clients, now, replace(request, exclude=out), pace)
    captured = {**now.attributes, "name": now.name, "tags": dict(now.tags), "disks": disks}
    captured["restore_point"] = request.options["consistency"]
    return Started((operation,), image_id=operation.external_id, captured=captured, warnings=_once(told), adopted=there)


def _as_it_is(clients: Clients, resource: Resource, request: BackupRequest) -> tuple[Resource, list[str]]:
    """The resource now; of a machine also its network, which a look at the estate leaves out. What vanished after an
    earlier attempt had taken it is taken all the same."""
    try:
        with translated("a description"):
            if resource.type == "azure-disk" and request.fresh:
                return resource, []
            if resource.type == "azure-disk":
                return describe.disk(clients.account, describe.disk_now(clients, resource.external_id)), []
            now = resource if request.fresh else describe.machine_now(clients, resource.external_id)
    except Gone:
        if not snapshots.with_key(clients, request.key):
            raise
        return resource, [f"{resource.name} was deleted after this backup of it had begun."]
    read, warnings = interfaces.with_networks(clients, now.attributes)
    first: Mapping[str, Any] = next((one for one in read if one.get("primary")), read[0] if read else {})
    place = {name: first[name] for name in ("subnet_id", "security_group_id") if name in first}
    return replace(now, attributes={**now.attributes, "interfaces": read, **place}), warnings


def _disks_of(clients: Clients, resource: Resource, exclude: frozenset[str]) -> list[dict[str, Any]]:
    """What is to be taken: the disk itself, or the machine's disks, as they are now and as they are attached."""
    if resource.type == "azure-disk":
        return [dict(resource.attributes)]
    if resource.attributes.get("unmanaged"):
        raise Impossible("The machine has unmanaged disks, of which Azure takes no snapshots: convert them first.")
    out = {normal(one) for one in exclude}
    held = [one for one in resource.attributes.get("disks", ()) if one["id"] not in out]
    if not held:
        raise Invalid("Every disk of this machine is excluded: there is nothing to back up.", code="nothing-left")
    return [{**one, **_disk_or_known(clients, one)} for one in held]


def _disk_or_known(clients: Clients, held: Mapping[str, Any]) -> dict[str, Any]:
    """A machine's disk as it is now; one that is gone is taken as the machine knew it: its snapshot may exist."""
    try:
        with translated("a description of a disk"):
            return describe.disk_attributes(describe.disk_now(clients, held["id"]))
    except Gone:
        parts = read_id(held["id"])
        return {"group": parts.group, "name": parts.name}


def _part(operation: Operation, disk: Mapping[str, Any]) -> Part:
    device = "os" if disk.get("role") == "os" else f"lun-{disk['lun']}" if "lun" in disk else ""
    return Part(
        external_id=operation.external_id,
        source_id=str(disk["id"]),
        device=device,
        size_gib=int(disk.get("size_gib", 0)),
        encrypted=bool(disk.get("encryption_set_id")),
        kms_key_id=str(disk.get("encryption_set_id", "")),
        attributes={name: disk[name] for name in ("sku", "unique_id", "tags") if name in disk},
    )


def part_again(one: Tagged, resource: Resource) -> Part:
    """The part of what is tagged, with what is known of its disk."""
    disks = [resource.attributes] if resource.type == "azure-disk" else list(resource.attributes.get("disks", ()))
    disk = next((each for each in disks if each.get("id") == one.source_id), {"id": one.source_id})
    part = _part(Operation("azure-snapshot", one.external_id, resource.account, resource.region), disk)
    return replace(
        part,
        size_gib=one.size_gib,
        encrypted=one.encrypted,
        kms_key_id=one.kms_key_id,
        attributes={**part.attributes, **one.attributes},
    )


def plan_copy_problem(point: Point, destination: Destination) -> str:
    """'' or why Azure can never make this copy, from what is known of both ends; no call."""
    if normal(point.account.number) != normal(destination.account.number):
        return _SAME_SUBSCRIPTION.format(source=point.account.name, target=destination.account.name)
    return _OTHER_REGION.format(region=point.region) if point.region == destination.region else ""


def start_copy(clients: Clients, point: Point, destination: Destination, request: CopyRequest, pace: Pace) -> Started:
    """Begin copying every part, or adopt what this key began; a limit met half way keeps what is under way."""
    problem = plan_copy_problem(point, destination)
    if any(instants.is_restore_point(part.external_id) for part in point.parts):
        problem = _NO_POINTS
    if problem:
        raise Impossible(problem, code="copy-impossible")
    operations, parts, adopted = [], [], True
    warnings: list[str] = []
    for part in point.parts:
        key, group = part_key(request.key, part.external_id), read_id(part.external_id).group
        users = part.attributes.get("tags", {})
        tags = {**request.tags, TAG_VOLUME: part.source_id}
        wish = Wish(key, part.external_id, destination.region, group, True, tags, users, request.fresh)
        operation, there, lost = snapshots.start(clients, wish, pace, request.proceed)
        operations.append(operation)
        attributes = {**part.attributes, "source_snapshot": part.external_id}
        parts.append(replace(part, external_id=operation.external_id, attributes=attributes))
        adopted, warnings = adopted and there, [*warnings, *lost]
    return Started(tuple(operations), tuple(parts), warnings=_once(warnings), adopted=adopted)


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
