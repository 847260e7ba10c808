"""Steps of a restore into a machine that exists: it is deallocated, disks are exchanged, it is started.

A data disk is exchanged in two calls, because Azure changes no LUN's disk ("Changing property dataDisk.managedDisk.id
is not allowed"); a system disk in one, on a deallocated machine ("Change the OS disk used by an Azure VM"). The old
disks stay, unattached. Every step looks first and takes what it finds already so for done. Creations, for the undo:
'azure-stop' by the machine's id, 'azure-detachment' as MACHINE|DISK|LUN|CACHING, 'azure-os-swap' as MACHINE|NEW|OLD.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from tasks.errors import CloudFailed, Gone, Invalid, NotReady, SnapfleetError
from tasks.states import OperationState
from workers.azure import lro
from workers.azure.clients import Clients
from workers.azure.errors import translate
from workers.azure.ids import ArmId, normal, read_id
from workers.driver import Created, Deleted, Operation, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

STEPS = frozenset({"azure-deallocate", "azure-detach-disk", "azure-swap-os", "azure-start"})
OPERATION_KINDS = frozenset({"azure-power", "azure-detachment", "azure-os-swap"})
CREATED_KINDS = frozenset({"azure-stop", "azure-detachment", "azure-os-swap"})
_STOPPED, _RUNNING = "deallocated", "running"
_UNDER_WAY = timedelta(seconds=15)
Model = Mapping[str, Any]


def start_step(clients: Clients, point: Point, step: RestoreStep, pace: Pace) -> StepStarted:
    """Begin one step on the machine `vm_id`. Raises the SDK's errors, Gone, Invalid."""
    machine_id = normal(str(step.params["vm_id"]))
    model = _machine(clients, machine_id)
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat()}
    if step.kind in ("azure-deallocate", "azure-start"):
        wanted = _STOPPED if step.kind == "azure-deallocate" else _RUNNING
        detail |= {"want": wanted, "token": _power(clients, read_id(machine_id), wanted)}
        operation = Operation("azure-power", machine_id, clients.account, point.region, detail)
        if wanted == _RUNNING:
            return StepStarted((operation,), (), {"vm_id": machine_id})
        return StepStarted(
            (operation,), (Created("azure-stop", machine_id),), {"vm_id": machine_id, "held": _held(model)}
        )
    exchange = _detach if step.kind == "azure-detach-disk" else _swap_os
    place, token, outputs = exchange(clients, machine_id, model, step.params)
    kind = "azure-detachment" if step.kind == "azure-detach-disk" else "azure-os-swap"
    operation = Operation(kind, place, clients.account, point.region, {**detail, "token": token})
    return StepStarted((operation,), (Created(kind, place),), outputs)


def _machine(clients: Clients, machine_id: str) -> dict[str, Any]:
    parts = read_id(machine_id)
    try:
        found: dict[str, Any] = clients.compute.virtual_machines.get(parts.group, parts.name).as_dict()
    except ResourceNotFoundError:
        raise Gone(f"The machine {parts.name} does not exist.") from None
    return found


def power(clients: Clients, parts: ArmId) -> str:
    """The machine's power state: 'running', 'deallocated', 'starting' ... Raises the SDK's errors."""
    view = clients.compute.virtual_machines.instance_view(parts.group, parts.name).as_dict()
    codes = [str(one.get("code", "")) for one in view.get("statuses", ())]
    return next((code.split("/", 1)[1] for code in codes if code.startswith("PowerState/")), "")


def _power(clients: Clients, parts: ArmId, wanted: str) -> str:
    """Begin to deallocate or start; '' when it is so already."""
    if power(clients, parts) == wanted:
        return ""
    machines = clients.compute.virtual_machines
    method = machines.begin_deallocate if wanted == _STOPPED else machines.begin_start
    return lro.begin(method, parts.group, parts.name)


def _held(model: Model) -> dict[str, dict[str, str]]:
    """The disks of a machine by place, for the exchanges that follow: 'os' and 'lun-N'."""
    held = {f"lun-{one['lun']}": one for one in _data(model)} | {"os": _system(model)}
    return {place: {"disk": _disk_of(one), "caching": str(one.get("caching") or "None")} for place, one in held.items()}


def _detach(
    clients: Clients, machine_id: str, model: Model, params: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Take the disk at a LUN off; what was there is told, so that it can be put back. The disk `disk_id`, which is to
    come there, counts as an exchange that is over, as an empty place does: an earlier attempt took off what `was` there
    when the machine was stopped."""
    lun, new = int(params["lun"]), normal(str(params["disk_id"]))
    held = next((one for one in _data(model) if one.get("lun") == lun), None)
    old = _disk_of(held) if held else ""
    if not held or old == new:
        was = (params.get("was") or {}).get(f"lun-{lun}", {})
        return f"{machine_id}|{was.get('disk', '')}|{lun}|{was.get('caching', '')}", "", {}
    place = f"{machine_id}|{old}|{lun}|{held.get('caching') or 'None'}"
    return (
        place,
        _exchange(clients, read_id(machine_id), {"dataDisksToDetach": [{"diskId": old}]}),
        {"old_disk_id": old},
    )


def _swap_os(
    clients: Clients, machine_id: str, model: Model, params: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Put a new system disk in the place of the old one; which one that was, once it is done, the stop has noted."""
    new, old = normal(str(params["disk_id"])), _disk_of(_system(model))
    if old == new:
        old = str((params.get("was") or {}).get("os", {}).get("disk", ""))
        return f"{machine_id}|{new}|{old}", "", {}
    return f"{machine_id}|{new}|{old}", _put_os(clients, read_id(machine_id), new), {"old_disk_id": old}


def _put_os(clients: Clients, parts: ArmId, disk_id: str) -> str:
    disk = {"managedDisk": {"id": disk_id}, "name": read_id(disk_id).name}
    body = {"properties": {"storageProfile": {"osDisk": disk}}}
    return lro.begin(clients.compute.virtual_machines.begin_update, parts.group, parts.name, body)


def _exchange(clients: Clients, parts: ArmId, body: dict[str, Any]) -> str:
    method = clients.compute.virtual_machines.begin_attach_detach_data_disks
    return lro.begin(method, parts.group, parts.name, body)


def _data(model: Model) -> list[Model]:
    found: list[Model] = model.get("properties", {}).get("storageProfile", {}).get("dataDisks") or []
    return found


def _system(model: Model) -> Model:
    found: Model = model.get("properties", {}).get("storageProfile", {}).get("osDisk") or {}
    return found


def _disk_of(held: Model) -> str:
    return normal(str((held.get("managedDisk") or {}).get("id", "")))


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """How far a step is, by what the machine shows. Raises the SDK's errors, Gone."""
    machine_id, *rest = operation.external_id.split("|")
    model, parts = _machine(clients, machine_id), read_id(machine_id)
    state = str(model.get("properties", {}).get("provisioningState", ""))
    if operation.kind == "azure-power":
        done = power(clients, parts) == operation.detail.get("want")
    elif operation.kind == "azure-detachment":
        done = not rest[0] or rest[0] not in [_disk_of(one) for one in _data(model)]
    else:
        done = _disk_of(_system(model)) == rest[0]
    if done and state == "Succeeded":
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail={"token": ""})
    if state == "Failed":
        error = _why(clients, operation, parts) or CloudFailed(f"Azure failed to change the machine {parts.name}.")
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(age))


def _why(clients: Clients, operation: Operation, parts: ArmId) -> SnapfleetError | None:
    """What the operation says of its failure (no room for the machine's size, say). Raises lro.Untold."""
    token, machines = operation.detail.get("token"), clients.compute.virtual_machines
    if not token:
        return None
    start = operation.detail.get("want") == _RUNNING
    method, body = {
        "azure-power": (machines.begin_start if start else machines.begin_deallocate, ()),
        "azure-detachment": (machines.begin_attach_detach_data_disks, (None,)),
        "azure-os-swap": (machines.begin_update, (None,)),
    }[operation.kind]

    def resume(text: str, polling: lro.Manual) -> Any:
        return method(parts.group, parts.name, *body, continuation_token=text, polling=polling)

    return lro.failure(resume, str(token), f"to change the machine {parts.name}")


def undo(clients: Clients, one: Created, created: Sequence[Created], waiting: bool) -> Deleted:
    """Take one step back. `waiting`: something that was made later is not gone yet, so that the machine waits too.

    It waits no longer when somebody else's disk has the place of its own, if it then is whole: it has its system disk,
    no place is empty, and nothing of this restore's `created` is in it.
    """
    machine_id, *rest = one.external_id.split("|")
    parts = read_id(machine_id)
    try:
        model = _machine(clients, machine_id)
        begun = _undo(clients, one, parts, rest, model, created, waiting)
    except NotReady as error:
        return Deleted(one.external_id, "kept", error)
    except Gone:
        return Deleted(one.external_id, "already-gone")
    except AzureError as error:
        return Deleted(one.external_id, "kept", translate(error, f"an undo on {parts.name}"))
    if not begun:
        return Deleted(one.external_id, "already-gone")
    told = NotReady(f"The machine {parts.name} is being put back as it was.", code="deleting", wait=_UNDER_WAY)
    return Deleted(one.external_id, "kept", told)


def _made(created: Sequence[Created]) -> set[str]:
    """The disks of a restore, of what it reported as created."""
    disks = {one.external_id for one in created if one.kind == "azure-disk"}
    exchanged = [one for one in created if one.kind in ("azure-attachment", "azure-os-swap")]
    return disks | {one.external_id.split("|")[1] for one in exchanged}


def _is_whole(model: Model, created: Sequence[Created]) -> bool:
    held = {str(one.get("lun")): _disk_of(one) for one in _data(model)} | {"os": _disk_of(_system(model))}
    taken_off = [one.external_id.split("|") for one in created if one.kind == "azure-detachment"]
    emptied = {lun for _, disk, lun, _ in taken_off if disk}
    settled = str(model.get("properties", {}).get("provisioningState", "")) == "Succeeded"
    return settled and emptied <= held.keys() and all(held.values()) and not _made(created) & set(held.values())


def _undo(
    clients: Clients,
    one: Created,
    parts: ArmId,
    rest: list[str],
    model: Model,
    created: Sequence[Created],
    waiting: bool,
) -> bool:
    """Whether there is something to wait for."""
    kind = one.kind
    if kind == "azure-stop":
        return (waiting and not _is_whole(model, created)) or bool(_power(clients, parts, _RUNNING))
    if kind == "azure-os-swap":
        new, old = rest
        if not old or _disk_of(_system(model)) != new:
            return False
        if power(clients, parts) != _STOPPED:  # it had been started already
            return bool(_power(clients, parts, _STOPPED))
        return bool(_put_os(clients, parts, old))
    if kind != "azure-detachment":
        raise Invalid(f"Nothing undoes a {kind}.", code="unknown-kind")
    disk, lun, caching = rest
    if not disk or disk in [_disk_of(one) for one in _data(model)]:
        return False
    there = next((_disk_of(held) for held in _data(model) if held.get("lun") == int(lun)), "")
    if there and there not in _made(created):  # it does not leave by waiting: this counts as an attempt
        text = f"{read_id(there).name} is at LUN {lun} of {parts.name}, so {read_id(disk).name} cannot go back there."
        raise NotReady(text, code="place-taken")
    if waiting or there:
        return True  # the new disk leaves the place first
    wish = {"diskId": disk, "lun": int(lun), "caching": caching, "deleteOption": "Detach"}
    return bool(_exchange(clients, parts, {"dataDisksToAttach": [wish]}))
