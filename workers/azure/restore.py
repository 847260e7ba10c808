"""Steps of a restore: disks from snapshots, machines from disks, a disk attached to a machine; and their progress.

What a step makes carries the key of its job as a tag: a repeated step finds it by its name and adopts it. A name that
something else has is never written to, because a PUT would change that thing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import CloudFailed, Gone, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.azure import in_place, interfaces, lro
from workers.azure.access import UPLOADS
from workers.azure.clients import Clients
from workers.azure.ids import id_of, normal, read_id
from workers.azure.instants import is_restore_point
from workers.azure.tags import fit_tags
from workers.driver import TAG_JOB, Created, Operation, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

OPERATION_KINDS = frozenset({"azure-disk", "azure-vm", "azure-attachment"}) | in_place.OPERATION_KINDS


def start_step(
    clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str], pace: Pace
) -> StepStarted:
    """Begin one step, or adopt what this key has made. Raises the SDK's errors, Invalid, NotReady."""
    if step.kind == "azure-create-disk":
        return _create(clients, point, step.params, key, tags, pace, "azure-disk")
    if step.kind == "azure-create-vm":
        return _create(clients, point, step.params, key, tags, pace, "azure-vm")
    if step.kind == "azure-create-interface":
        return interfaces.create(clients, point, step.params, key, tags, pace)
    if step.kind == "azure-attach-disk":
        return _attach(clients, point, step.params, pace)
    if step.kind in in_place.STEPS:
        return in_place.start_step(clients, point, step, pace)
    raise Invalid(f"This version knows no restore step {step.kind!r}.", code="unknown-step")


def _create(
    clients: Clients, point: Point, params: Mapping[str, Any], key: str, tags: Mapping[str, str], pace: Pace, kind: str
) -> StepStarted:
    collection, folder = (
        (clients.compute.disks, "disks")
        if kind == "azure-disk"
        else (clients.compute.virtual_machines, "virtualMachines")
    )
    group, name = str(params["group"]), str(params["name"])
    made_id = id_of(clients.subscription, group, folder, name)
    output = "disk_id" if kind == "azure-disk" else "vm_id"
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat(), output: made_id}
    there = _get(collection, group, name)
    if there is not None and (there.get("tags") or {}).get(TAG_JOB) != key:
        advice = "Choose another with --set name=..."
        raise Invalid(f"There is a {folder[:-1]} called {name} in {group} already.", code="name-taken", advice=advice)
    if there is None:
        fitted, _ = fit_tags(key, tags, params.get("tags", {}))
        body = (_disk if kind == "azure-disk" else _machine)(point.region, params, fitted)
        detail["token"] = lro.begin(collection.begin_create_or_update, group, name, body)
    operation = Operation(kind, made_id, clients.account, point.region, detail)
    return StepStarted((operation,), (Created(kind, made_id),), {output: made_id})


def _get(collection: Any, group: str, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = collection.get(group, name).as_dict()
    except ResourceNotFoundError:
        return None
    return found


def upload_disk(region: str, params: Mapping[str, Any], tags: Mapping[str, str], size: int) -> dict[str, Any]:
    """An empty disk that waits for `size` bytes, as the old one was. Its size follows from the upload's."""
    wishes = {name: value for name, value in params.items() if name != "size_gib"}
    return _disk(region, wishes, tags, {"createOption": "Upload", "uploadSizeBytes": size})


def _disk(
    region: str, params: Mapping[str, Any], tags: Mapping[str, str], creation: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A disk from a snapshot, as the old one was."""
    properties = {
        "creationData": creation or _copied(str(params["snapshot_id"])),
        "diskSizeGB": params.get("size_gib"),
        "osType": params.get("os_type"),
        "hyperVGeneration": params.get("generation"),
        "diskIOPSReadWrite": params.get("iops"),
        "diskMBpsReadWrite": params.get("mbps"),
    }
    if params.get("encryption_set_id"):
        properties["encryption"] = {
            "type": params.get("encryption_type", "EncryptionAtRestWithCustomerKey"),
            "diskEncryptionSetId": params["encryption_set_id"],
        }
    return {
        "location": region,
        "tags": dict(tags),
        **({"sku": {"name": params["sku"]}} if params.get("sku") else {}),
        **({"zones": [params["zone"]]} if params.get("zone") else {}),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def _copied(source: str) -> dict[str, str]:
    return {"createOption": "Restore" if is_restore_point(source) else "Copy", "sourceResourceId": source}


def _machine(region: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """A machine on the new disks, at their LUNs, with interfaces of its own in the given subnets."""
    model = dict(params.get("model", {}))
    if params.get("size"):
        model["hardwareProfile"] = {**model.get("hardwareProfile", {}), "vmSize": params["size"]}
    system = params["os_disk"]
    storage: dict[str, Any] = {
        "osDisk": {"createOption": "Attach", "osType": params["os_type"], **_held(system)},
        "dataDisks": [
            {"createOption": "Attach", "lun": one["lun"], **_held(one)} for one in params.get("data_disks", ())
        ],
    }
    if params.get("controller"):
        storage["diskControllerType"] = params["controller"]
    body: dict[str, Any] = {
        "location": region,
        "tags": dict(tags),
        "properties": {**model, "storageProfile": storage, "networkProfile": interfaces.network(params)},
    }
    if params.get("zone"):
        body["zones"] = [params["zone"]]
    if params.get("plan"):
        body["plan"] = params["plan"]
    identity = params.get("identity")
    if identity:
        users: dict[str, Any] = {one: {} for one in identity.get("users", ())}
        body["identity"] = {"type": identity["type"], **({"userAssignedIdentities": users} if users else {})}
    return body


def _held(disk: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "managedDisk": {"id": disk["disk_id"]},
        "caching": disk.get("caching"),
        "deleteOption": "Detach",  # an undo, or whoever deletes the machine, decides about each disk by itself
        "writeAcceleratorEnabled": disk.get("write_accelerator"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _attach(clients: Clients, point: Point, params: Mapping[str, Any], pace: Pace) -> StepStarted:
    """Attach a restored disk; done already when the machine holds it."""
    machine_id, disk_id = normal(str(params["vm_id"])), normal(str(params["disk_id"]))
    parts, machines = read_id(machine_id), clients.compute.virtual_machines
    model = _get(machines, parts.group, parts.name)
    if model is None:
        raise Gone(f"The machine {parts.name} does not exist.")
    place = f"{machine_id}|{disk_id}"
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat()}
    if disk_id not in _disks_held(model):
        wish = {"diskId": disk_id, "caching": params.get("caching", "None"), "deleteOption": "Detach"}
        wish |= {"lun": params["lun"]} if "lun" in params else {}
        body = {"dataDisksToAttach": [wish]}
        detail["token"] = lro.begin(machines.begin_attach_detach_data_disks, parts.group, parts.name, body)
    operation = Operation("azure-attachment", place, clients.account, point.region, detail)
    return StepStarted((operation,), (Created("azure-attachment", place),))


def _disks_held(model: Mapping[str, Any]) -> set[str]:
    storage = model.get("properties", {}).get("storageProfile", {})
    held = [storage.get("osDisk") or {}, *(storage.get("dataDisks") or ())]
    return {normal((one.get("managedDisk") or {}).get("id", "")) for one in held}


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """How far a disk, a machine or an attachment is: only 'Succeeded' is done. Raises the SDK's errors."""
    if operation.kind in in_place.OPERATION_KINDS:
        return in_place.progress(clients, operation, pace)
    machine_id, _, disk_id = operation.external_id.partition("|")
    parts = read_id(machine_id)
    collection = clients.compute.disks if operation.kind == "azure-disk" else clients.compute.virtual_machines
    model = _get(collection, parts.group, parts.name)
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    state = str(model["properties"].get("provisioningState", "")) if model else ""
    uploading = operation.kind == "azure-disk" and (model or {}).get("properties", {}).get("diskState") in UPLOADS
    if model and state == "Succeeded" and not uploading and (not disk_id or disk_id in _disks_held(model)):
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail={"token": ""})
    if state in ("Failed", "Canceled") or not model:
        error = _why(collection, operation)
        if error is None and not model and age < pace.grace:
            return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.floor)
        error = error or (CloudFailed(f"Azure failed {parts.name}.") if model else Gone(f"{parts.name} is not there."))
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
    return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(age))


def _why(collection: Any, operation: Operation) -> SnapfleetError | None:
    """What the operation says of its failure; None when it did not fail or nobody knows of it any more."""
    token = operation.detail.get("token")
    if not token:
        return None
    machine_id, _, attached = operation.external_id.partition("|")
    parts = read_id(machine_id)
    method = collection.begin_attach_detach_data_disks if attached else collection.begin_create_or_update

    def resume(text: str, polling: lro.Manual) -> Any:
        return method(parts.group, parts.name, None, continuation_token=text, polling=polling)

    return lro.failure(resume, str(token), parts.name)
