"""Managed run commands of machines: a script runs for `script_seconds` and writes what it was told to.

Sources: runCommand.json of ComputeRP 2024-03-01 and its examples; the documentation of managed Run Commands for the
instance view. A planted failure of the operation is a script that ends with exit code 1 and the fault's message.
"""

import re
from typing import Any

from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

COMMANDS = "runCommands"
PATH = re.compile(
    r"^(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.compute/virtualmachines/[^/]+)"
    r"/runcommands(?:/([^/]+))?$",
    re.I,
)
_HIDDEN = ("runAsPassword", "protectedParameters")


def put(world: World, machine: Thing, resource_id: str, body: dict[str, Any], failure: str) -> tuple[Thing, Operation]:
    """Run a script anew; another under its name is replaced."""
    wish = dict(body.get("properties") or {})
    if machine.fields.get("_power", ("running",))[0] != "running" or not (wish.get("source") or {}):
        raise Refusal(409, "OperationNotAllowed", "The machine is not running, or there is no script.")
    now, seconds = world.now(), float(world.settings["script_seconds"])
    made = Thing(resource_id, COMMANDS, machine.location, dict(body.get("tags") or {}))
    made.properties = {key: value for key, value in wish.items() if key not in _HIDDEN}
    limit = float(wish.get("timeoutInSeconds") or 5400)
    made.fields = {"_began": now, "_ends": now + min(seconds, limit), "_late": seconds > limit, "_failure": failure}
    return world.put(made), world.begin("operations", made, made.subscription, made.location, 0.0)


def wish_of(thing: Thing | None) -> dict[str, Any]:
    """What a change of a run command starts from."""
    return {"tags": thing.tags, "properties": thing.properties} if thing else {}


def view(world: World, thing: Thing, expanded: bool) -> dict[str, Any]:
    """A run command as it is shown; how its script is doing only when it is asked for."""
    properties = {**thing.properties, "provisioningState": "Succeeded"}
    if expanded:
        properties["instanceView"] = _instance(world, thing)
    return {
        "id": thing.id, "name": thing.name, "type": "Microsoft.Compute/virtualMachines/runCommands",
        "location": thing.location, "tags": thing.tags, "properties": properties,
    }  # fmt: skip


def _instance(world: World, thing: Thing) -> dict[str, Any]:
    began, ends, failure = thing.fields["_began"], thing.fields["_ends"], thing.fields["_failure"]
    if world.now() < ends:
        return {"executionState": "Running", "startTime": stamp(began)}
    state = "TimedOut" if thing.fields["_late"] else "Failed" if failure else "Succeeded"
    source = thing.properties["source"]
    return {
        "executionState": state, "exitCode": 0 if state == "Succeeded" else 1,
        "output": f"ran: {source.get('script') or source.get('scriptUri', '')}", "error": failure,
        "startTime": stamp(began), "endTime": stamp(ends),
    }  # fmt: skip
