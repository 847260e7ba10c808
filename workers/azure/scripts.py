"""Scripts in the guest of a machine, through its agent: a managed run command, begun and followed without waiting.

"Run scripts in your VM by using managed Run Commands" (virtual machine documentation): the command is a resource of the
machine, runs asynchronously within its timeout, and its instance view has the state, the exit code and the end of what
the script wrote. That text is the guest's own and is never trusted: it is cut, and cleaned of what is not printable.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import CloudFailed, Invalid, NotReady
from tasks.logs import clean
from tasks.states import OperationState
from workers.azure import lro
from workers.azure.clients import Clients
from workers.azure.ids import name_for, normal, part_key, read_id
from workers.azure.tags import fit_tags, is_made_by
from workers.driver import TAG_JOB, Operation, Progress, Resource, Script
from workers.pace import Pace

KIND = "azure-script"
# What Azure itself keeps of a command's output (managed Run Commands: limitations).
_OUTPUT = 4096
# Azure ends a script at its timeout; an agent that does not answer at all is given up so long after that.
_SILENT = timedelta(minutes=5)
_UNDER_WAY = frozenset({"", "Unknown", "Pending", "Running"})


def start(
    clients: Clients, machine: Resource, script: Script, key: str, tags: Mapping[str, str], pace: Pace
) -> Operation:
    """Begin a script in a machine's guest, or adopt what this key began: it runs once. Raises the SDK's errors, Invalid
    for another type or a name in use."""
    if machine.type != "azure-vm":
        raise Invalid(f"A {machine.type} has no guest in which a script could run.", code="no-guest")
    own, parts = part_key(key, script.name), read_id(machine.external_id)
    name = name_for(own)
    place = f"{normal(machine.external_id)}/runcommands/{name}"
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat(), "seconds": script.seconds}
    there = _get(clients, place)
    if there is None:
        fitted, _ = fit_tags(own, tags, {})
        properties = {
            "source": {"script": script.text},
            "asyncExecution": True,
            "timeoutInSeconds": script.seconds,
            "treatFailureAsDeploymentFailure": False,
        }
        body = {"location": machine.region, "tags": fitted, "properties": properties}
        method = clients.compute.virtual_machine_run_commands.begin_create_or_update
        detail["token"] = lro.begin(method, parts.group, parts.name, name, body)
    elif (there.get("tags") or {}).get(TAG_JOB) != own:
        raise Invalid(f"The run command {name} of {parts.name} is not of this job.", code="name-taken")
    return Operation(KIND, place, clients.account, machine.region, {**detail, "must": script.must})


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """How far a script is: done with its exit code 0, or with any where it may fail. Raises the SDK's errors."""
    view = (_get(clients, operation.external_id) or {}).get("properties", {}).get("instanceView") or {}
    state = str(view.get("executionState", ""))
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    silent = age > timedelta(seconds=int(operation.detail["seconds"])) + _SILENT
    if state in _UNDER_WAY and not silent:
        return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(min(age, pace.ceiling)))
    ended = state if state not in _UNDER_WAY else "Silent"
    detail = {
        "token": "",
        "script": ended,
        "exit_code": int(view.get("exitCode") or 0),
        "output": clean(view.get("output", ""))[-_OUTPUT:],
        "error": clean(view.get("error", ""))[-_OUTPUT:],
    }
    well = ended == "Succeeded" and not detail["exit_code"]
    if well or not operation.detail.get("must", True):
        return Progress(operation.external_id, OperationState.DONE, percent=100, detail=detail)
    error = CloudFailed(f"The script ended as {ended} with exit code {detail['exit_code']}.", code="script-failed")
    return Progress(operation.external_id, OperationState.FAILED, error=error, detail=detail)


def end(clients: Clients, operation: Operation) -> bool:
    """Take the run command off the machine, of which Azure allows 25; whether it is gone. Raises the SDK's errors,
    NotReady while it goes."""
    found = _get(clients, operation.external_id)
    if found is None:
        return True
    if not is_made_by(found.get("tags"), clients.account.installation, ()):
        raise Invalid("The run command does not carry our tag: it is not ours to remove.", code="not-ours")
    group, machine, name = _place(operation.external_id)
    lro.begin(clients.compute.virtual_machine_run_commands.begin_delete, group, machine, name)
    raise NotReady(f"The removal of the run command {name} is under way.", code="deleting")


def _place(command_id: str) -> tuple[str, str, str]:
    machine_id, _, name = command_id.rpartition("/runcommands/")
    parts = read_id(machine_id)
    return parts.group, parts.name, name


def _get(clients: Clients, command_id: str) -> dict[str, Any] | None:
    method = clients.compute.virtual_machine_run_commands.get_by_virtual_machine
    try:
        found: dict[str, Any] = method(*_place(command_id), expand="instanceView").as_dict()
    except ResourceNotFoundError:
        return None
    return found
