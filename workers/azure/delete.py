"""Deleting snapshots of points, and what a failed restore made. Gone already is success; what is not ours is kept.

A deletion is an operation of Azure's: it is begun here, and only a later look that finds nothing says 'deleted'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from tasks.errors import Gone, NotReady, Refused, SnapfleetError
from workers.azure import in_place, interfaces, lro
from workers.azure.access import OPEN, revoke
from workers.azure.clients import Clients
from workers.azure.errors import UnderWay, translate
from workers.azure.ids import normal, read_id
from workers.azure.tags import is_made_by, is_ours
from workers.driver import TAG_OUTDATED, Account, Created, Deleted, Point
from workers.pace import Pace

_UNDER_WAY = timedelta(seconds=15)  # recordings show some seconds for a snapshot
_COLLECTIONS: Mapping[str, str] = {"azure-vm": "virtual_machines", "azure-disk": "disks"}


def delete(clients: Clients, point: Point) -> list[Deleted]:
    """One answer for each part of the point."""
    return [_delete_one(clients, part.external_id, point.account) for part in point.parts]


def _delete_one(clients: Clients, snapshot_id: str, account: Account) -> Deleted:
    parts, snapshots = read_id(snapshot_id), clients.compute.snapshots
    try:
        model = snapshots.get(parts.group, parts.name).as_dict()
        if not is_ours(model.get("tags"), account.installation):
            error = Refused(
                f"The snapshot {parts.name} does not carry our tag: it is not ours to delete.", code="not-ours"
            )
            return Deleted(snapshot_id, "kept", error)
        if not account.may_delete:
            tags = {**model["tags"], TAG_OUTDATED: "true"}
            lro.begin(snapshots.begin_update, parts.group, parts.name, {"tags": tags})
            kept = Refused("The account may not delete: the snapshot is marked instead.", code="outdated")
            return Deleted(snapshot_id, "kept", kept)
        if model.get("properties", {}).get("diskState") in OPEN:
            return _shut(clients, snapshot_id)
        return _begun(snapshots, parts.group, parts.name, snapshot_id)
    except ResourceNotFoundError:
        return Deleted(snapshot_id, "already-gone")
    except AzureError as error:
        return _kept(snapshot_id, translate(error, f"the deletion of {parts.name}"))


def _begun(collection: Any, group: str, name: str, resource_id: str) -> Deleted:
    """Begin a deletion; by the time of the next look it is over."""
    lro.begin(collection.begin_delete, group, name)
    error = NotReady(f"The deletion of {name} is under way.", code="deleting", wait=_UNDER_WAY)
    return Deleted(resource_id, "kept", error)


def _shut(clients: Clients, resource_id: str) -> Deleted:
    """Somebody may still read or write it: that ends first, because Azure deletes nothing with a signature."""
    revoke(clients, resource_id)
    error = NotReady(f"Access to {read_id(resource_id).name} is being revoked.", code="deleting", wait=_UNDER_WAY)
    return Deleted(resource_id, "kept", error)


def _kept(resource_id: str, error: SnapfleetError) -> Deleted:
    return Deleted(resource_id, "already-gone") if isinstance(error, Gone) else Deleted(resource_id, "kept", error)


def undo(clients: Clients, created: Sequence[Created], pace: Pace) -> list[Deleted]:
    """Remove what a failed restore made, last made first. A disk waits for the machine that holds it; a machine that
    was changed is put back when what was put into it is out. What is under way takes several looks, and no attempt."""
    answers: list[Deleted] = []
    for one in reversed(created):
        if one.kind in in_place.CREATED_KINDS:
            waiting = any(answer.outcome == "kept" for answer in answers)
            answers.append(in_place.undo(clients, one, created, waiting))
        else:
            answers.append(_undo_one(clients, one))
    return [_patient(one, pace) for one in answers]


def _patient(answer: Deleted, pace: Pace) -> Deleted:
    if answer.error is None or answer.error.code != "deleting":
        return answer
    return replace(answer, error=UnderWay(answer.error.text, code="deleting", wait=2 * pace.floor))


def _undo_one(clients: Clients, one: Created) -> Deleted:
    if one.kind == "azure-attachment":
        return _detach(clients, one.external_id)
    if one.kind == interfaces.KIND:
        return _remove_interface(clients, one)
    if one.kind not in _COLLECTIONS:
        return Deleted(one.external_id, "kept", Refused(f"Nothing undoes a {one.kind}.", code="unknown-kind"))
    parts, collection = read_id(one.external_id), getattr(clients.compute, _COLLECTIONS[one.kind])
    try:
        model = collection.get(parts.group, parts.name).as_dict()
        if not is_made_by(model.get("tags"), clients.account.installation, one.keys):
            told = f"{parts.name} does not carry the tags of this restore: it is not ours to remove."
            return Deleted(one.external_id, "kept", Refused(told, code="not-ours"))
        if model.get("properties", {}).get("diskState") in OPEN:
            return _shut(clients, one.external_id)
        return _begun(collection, parts.group, parts.name, one.external_id)
    except ResourceNotFoundError:
        return Deleted(one.external_id, "already-gone")
    except AzureError as error:
        return _kept(one.external_id, translate(error, f"the removal of {parts.name}"))


def _remove_interface(clients: Clients, one: Created) -> Deleted:
    try:
        return interfaces.undo(clients, one)
    except AzureError as error:
        return _kept(one.external_id, translate(error, "the removal of an interface"))


def _detach(clients: Clients, place: str) -> Deleted:
    """`place` is MACHINE|DISK: take the disk off the machine again."""
    machine_id, _, disk_id = place.partition("|")
    parts, machines = read_id(machine_id), clients.compute.virtual_machines
    try:
        model = machines.get(parts.group, parts.name).as_dict()
        held = model.get("properties", {}).get("storageProfile", {}).get("dataDisks") or ()
        if not any(normal((one.get("managedDisk") or {}).get("id", "")) == disk_id for one in held):
            return Deleted(place, "already-gone")
        body = {"dataDisksToDetach": [{"diskId": disk_id}]}
        lro.begin(machines.begin_attach_detach_data_disks, parts.group, parts.name, body)
        return Deleted(place, "kept", NotReady("The detachment is under way.", code="deleting", wait=_UNDER_WAY))
    except ResourceNotFoundError:
        return Deleted(place, "already-gone")
    except AzureError as error:
        return _kept(place, translate(error, "the detachment"))
