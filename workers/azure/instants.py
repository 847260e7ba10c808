"""Restore points: all disks of a machine at one instant, consistent for a crash or for its applications.

They lie in a collection for each machine, which is made with the first one and goes with the last. A restore point has
no tags: its name is made from the wish's key and the collection carries ours. Facts (virtual machine restore points,
documentation and ComputeRP swagger): three an hour and 500 in all for each machine, one at a time; the request knows
CrashConsistent only, without it Azure asks the guest; disks are made from the point's own disks with Restore.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from tasks.errors import CloudFailed, Gone, NotReady, Refused, SnapfleetError
from tasks.states import OperationState
from workers.azure import lro
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.errors import translate
from workers.azure.ids import name_for, normal, read_id
from workers.azure.limits import RESTORE_POINT
from workers.azure.tags import fit_tags, is_ours
from workers.driver import TAG_INSTALLATION, BackupRequest, Deleted, Found, Operation, Part, Point, Progress, Resource
from workers.pace import Pace

KIND = "azure-restore-point"
_UNDER_WAY = timedelta(seconds=15)
_STATES: Mapping[str, OperationState] = {
    "Succeeded": OperationState.DONE,
    "Failed": OperationState.FAILED,
    "Canceled": OperationState.FAILED,
}


def is_restore_point(resource_id: str) -> bool:
    """Whether an id is of a restore point, or of a disk in one."""
    return "/restorepointcollections/" in normal(resource_id)


def start(clients: Clients, machine: Resource, request: BackupRequest, pace: Pace) -> tuple[Operation, bool]:
    """Begin a restore point, or adopt the one of this wish; whether it was there. Raises the SDK's errors."""
    group, collection, name = read_id(machine.external_id).group, _collection_of(machine), name_for(request.key)
    place = _id_of(clients, group, collection, name)
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat()}
    if not request.fresh and _get(clients, place) is not None:
        return Operation(KIND, place, clients.account, machine.region, detail), True
    tags = {key: value for key, value in request.tags.items() if key == TAG_INSTALLATION}
    fitted, _ = fit_tags("restore-points", tags, {})
    body = {"location": machine.region, "tags": fitted, "properties": {"source": {"id": machine.external_id}}}
    clients.compute.restore_point_collections.create_or_update(group, collection, body)
    wish: dict[str, Any] = {"excludeDisks": [{"id": one} for one in sorted(request.exclude)]}
    if request.options.get("consistency") == "crash":
        wish["consistencyMode"] = "CrashConsistent"
    clients.starts.begin(RESTORE_POINT, normal(machine.external_id))
    request.proceed()
    detail["token"] = lro.begin(
        clients.compute.restore_points.begin_create, group, collection, name, {"properties": wish}
    )
    return Operation(KIND, place, clients.account, machine.region, detail), False


def _collection_of(machine: Resource) -> str:
    return name_for(f"restore points of {normal(machine.external_id)}")


def _id_of(clients: Clients, group: str, collection: str, name: str) -> str:
    base = f"/subscriptions/{clients.subscription}/resourceGroups/{group}/providers/Microsoft.Compute"
    return normal(f"{base}/restorePointCollections/{collection}/restorePoints/{name}")


def _place(point_id: str) -> tuple[str, str, str]:
    """Group, collection and name."""
    words = point_id.strip("/").split("/")
    return words[3], words[7], words[9]


def _get(clients: Clients, point_id: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = clients.compute.restore_points.get(*_place(point_id)).as_dict()
    except ResourceNotFoundError:
        return None
    return found


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """How far a restore point is; in the end, with its disks as parts. Raises the SDK's errors."""
    model = _get(clients, operation.external_id)
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    properties = (model or {}).get("properties", {})
    state = str(properties.get("provisioningState", ""))
    if state == "Succeeded":
        parts = [asdict(one) for one in _parts(properties)]
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail={"token": "", "parts": parts})
    if model is None or state in ("Failed", "Canceled"):
        error = _why(clients, operation)
        if error is None and model is None and age < pace.grace:
            return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor)
        error = error or (CloudFailed("Azure failed the restore point.") if model else Gone("It is not there."))
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
    return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(age))


def _parts(properties: Mapping[str, Any]) -> list[Part]:
    """The disks that the point holds; those that were excluded have no point of their own."""
    storage = (properties.get("sourceMetadata") or {}).get("storageProfile") or {}
    held = [("os", one) for one in [storage.get("osDisk")] if one]
    held += [(f"lun-{one.get('lun')}", one) for one in storage.get("dataDisks") or ()]
    mode = str(properties.get("consistencyMode", ""))
    return [
        Part(
            external_id=normal(one["diskRestorePoint"]["id"]),
            source_id=normal((one.get("managedDisk") or {}).get("id", "")),
            device=device,
            size_gib=int(one.get("diskSizeGB") or 0),
            attributes={"consistency": mode},
        )
        for device, one in held
        if (one.get("diskRestorePoint") or {}).get("id")
    ]


def _why(clients: Clients, operation: Operation) -> SnapfleetError | None:
    token, method = operation.detail.get("token"), clients.compute.restore_points.begin_create
    if not token:
        return None

    def resume(text: str, polling: lro.Manual) -> Any:
        return method(*_place(operation.external_id), None, continuation_token=text, polling=polling)

    return lro.failure(resume, str(token), "the restore point")


def find(clients: Clients, region: str, key: str) -> list[Found]:
    """The restore point of a key, in whichever of our collections. Raises the SDK's errors."""
    found = []
    for item in clients.compute.restore_point_collections.list_all():
        one = item.as_dict()
        if is_ours(one.get("tags"), clients.account.installation) and region_of(one) == region:
            place = f"{normal(one['id'])}/restorepoints/{name_for(key)}"
            model = _get(clients, place)
            if model is not None:
                state = str(model.get("properties", {}).get("provisioningState", ""))
                found.append(Found("image", place, _STATES.get(state, OperationState.RUNNING)))
    return found


def delete(clients: Clients, point: Point) -> list[Deleted]:
    """Delete the restore point, which is the point's image, with all its disks; one answer for each and for itself."""
    outcome = _delete(clients, point.image_id, point.account.may_delete)
    ids = [*(part.external_id for part in point.parts), point.image_id]
    return [Deleted(one, outcome.outcome, outcome.error) for one in ids]


def _delete(clients: Clients, point_id: str, may_delete: bool) -> Deleted:
    group, collection, name = _place(point_id)
    collections = clients.compute.restore_point_collections
    try:
        holder = collections.get(group, collection, expand="restorePoints").as_dict()
        if not is_ours(holder.get("tags"), clients.account.installation):
            error = Refused("The restore point's collection does not carry our tag.", code="not-ours")
            return Deleted(point_id, "kept", error)
        if not may_delete:
            return Deleted(point_id, "kept", Refused("The account may not delete: it is kept.", code="outdated"))
        there = {str(one.get("name", "")).lower() for one in holder["properties"].get("restorePoints") or ()}
        if name.lower() not in there:
            if not there:
                lro.begin(collections.begin_delete, group, collection)
            return Deleted(point_id, "already-gone")
        lro.begin(clients.compute.restore_points.begin_delete, group, collection, name)
        under_way = NotReady(f"The deletion of {name} is under way.", code="deleting", wait=_UNDER_WAY)
        return Deleted(point_id, "kept", under_way)
    except ResourceNotFoundError:
        return Deleted(point_id, "already-gone")
    except AzureError as error:
        told = translate(error, "the deletion of a restore point")
        return Deleted(point_id, "already-gone") if isinstance(told, Gone) else Deleted(point_id, "kept", told)
