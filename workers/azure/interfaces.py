"""Network interfaces of a machine: what a backup keeps of them, and how a restore makes them anew.

Interfaces are made with their machine and go with it, so that an undo has one thing to remove. Made this way they take
free addresses: a fixed one has no place in the call (ComputeRP, VirtualMachineNetworkInterfaceConfiguration). Where the
old addresses are asked for, each interface is made before the machine, by a step of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError

from tasks.errors import CloudFailed, Gone, Invalid, NotReady, Refused
from tasks.states import OperationState
from workers.azure.clients import Clients
from workers.azure.errors import translate
from workers.azure.ids import normal, read_id
from workers.azure.tags import fit_tags, is_made_by
from workers.driver import TAG_JOB, Created, Deleted, Operation, Point, Progress, StepStarted
from workers.pace import Pace

KIND = "azure-interface"
_ABSENT = 404
_NETWORK_VERSION = "2022-11-01"  # for interfaces made with a machine (ComputeRP examples)
_NAME_LENGTH = 80  # of an interface (Azure resource naming rules)


def with_networks(clients: Clients, attributes: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The machine's interfaces with subnet, security group and addresses, and a warning where one cannot be read."""
    read, warnings = [], []
    for one in attributes.get("interfaces", ()):
        try:
            read.append({**one, **_interface(clients.interface(one["id"]))})
        except AzureError as error:
            read.append(dict(one))
            warnings.append(f"A network interface was not captured. {translate(error, 'a look at it').text}")
    return read, warnings


def _interface(item: Mapping[str, Any]) -> dict[str, Any]:
    properties = item.get("properties") or {}
    listed = properties.get("ipConfigurations") or ()  # Azure shows null as well as nothing
    given: Sequence[Mapping[str, Any]] = [one.get("properties") or {} for one in listed]
    held = sorted(given, key=lambda one: not one.get("primary"))
    first = held[0] if held else {}
    found = {
        "subnet_id": (first.get("subnet") or {}).get("id"),
        "private_ip": first.get("privateIPAddress"),
        "security_group_id": (properties.get("networkSecurityGroup") or {}).get("id"),
        "accelerated": properties.get("enableAcceleratedNetworking"),
        "forwarding": properties.get("enableIPForwarding") or None,
        "dns_servers": (properties.get("dnsSettings") or {}).get("dnsServers") or None,
        "addresses": [_address(one) for one in held],
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _address(item: Mapping[str, Any]) -> dict[str, Any]:
    """One address, the primary one first; what only the old interface has (a public address, its places in pools and
    groups) is kept to be told."""
    pools = ("loadBalancerBackendAddressPools", "applicationGatewayBackendAddressPools")
    found = {
        "private_ip": item.get("privateIPAddress"),
        "fixed": item.get("privateIPAllocationMethod") == "Static",
        "version": item.get("privateIPAddressVersion") if item.get("privateIPAddressVersion") == "IPv6" else None,
        "public": bool(item.get("publicIPAddress")),
        "pooled": any(item.get(name) for name in pools),
        "grouped": bool(item.get("applicationSecurityGroups")),
    }
    return {name: value for name, value in found.items() if value}


def network(params: Mapping[str, Any]) -> dict[str, Any]:
    """The network profile of a new machine: those of `interface_ids`, which are there, or `interfaces` to be made with
    it, each {subnet_id, security_group_id, accelerated, forwarding, dns_servers, addresses}; the first is the primary
    one. Without either the one interface that steps of earlier versions wish for."""
    there = [
        {"id": one, "properties": {"primary": number == 0, "deleteOption": "Delete"}}
        for number, one in enumerate(params.get("interface_ids") or ())
    ]
    if there:
        return {"networkInterfaces": there}
    one = {name: params.get(name) for name in ("subnet_id", "security_group_id", "accelerated")}
    wanted = params.get("interfaces") or [one]
    made = [
        {
            "name": f"{str(params['name'])[: _NAME_LENGTH - len(_suffix(number))]}{_suffix(number)}",
            "properties": {"primary": number == 0, "deleteOption": "Delete", **_properties(wish)},
        }
        for number, wish in enumerate(wanted)
    ]
    return {"networkApiVersion": _NETWORK_VERSION, "networkInterfaceConfigurations": made}


def _suffix(number: int) -> str:
    return "-nic" if number == 0 else f"-nic-{number + 1}"


def _properties(wish: Mapping[str, Any]) -> dict[str, Any]:
    group, servers = wish.get("security_group_id"), wish.get("dns_servers")
    properties = {
        "ipConfigurations": [
            {"name": f"ipconfig{place + 1}", "properties": _configuration(wish, one, place == 0)}
            for place, one in enumerate(wish.get("addresses") or [{}])
        ],
        "networkSecurityGroup": {"id": group} if group else None,
        "enableAcceleratedNetworking": True if wish.get("accelerated") else None,
        "enableIPForwarding": True if wish.get("forwarding") else None,
        "dnsSettings": {"dnsServers": list(servers)} if servers else None,
    }
    return {key: value for key, value in properties.items() if value is not None}


def _configuration(wish: Mapping[str, Any], address: Mapping[str, Any], primary: bool) -> dict[str, Any]:
    found = {
        "subnet": {"id": wish["subnet_id"]},
        "primary": primary,
        "privateIPAddressVersion": address.get("version"),
        "privateIPAddress": address.get("private_ip"),
        "privateIPAllocationMethod": "Static" if address.get("private_ip") else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def create(
    clients: Clients, point: Point, params: Mapping[str, Any], key: str, tags: Mapping[str, str], pace: Pace
) -> StepStarted:
    """Begin an interface with the addresses that are asked for, or adopt what this key has made. Raises the SDK's
    errors (an address that is in use is refused at once), Invalid."""
    group, name = str(params["group"]), str(params["name"])
    base = f"/subscriptions/{clients.subscription}/resourceGroups/{group}/providers/Microsoft.Network"
    made_id = normal(f"{base}/networkInterfaces/{name}")
    there = _get(clients, made_id)
    if there is not None and (there.get("tags") or {}).get(TAG_JOB) != key:
        advice = "Choose another with --set name=..."
        raise Invalid(f"There is an interface called {name} in {group} already.", code="name-taken", advice=advice)
    if there is None:
        fitted, _ = fit_tags(key, tags, params.get("tags", {}))
        clients.put_interface(made_id, {"location": point.region, "tags": fitted, "properties": _properties(params)})
    detail = {"started_at": pace.clock.timer().isoformat()}
    operation = Operation(KIND, made_id, clients.account, point.region, detail)
    return StepStarted((operation,), (Created(KIND, made_id),), {"interface_id": made_id})


def _get(clients: Clients, interface_id: str) -> dict[str, Any] | None:
    try:
        return clients.interface(interface_id)
    except HttpResponseError as error:
        if error.status_code == _ABSENT:
            return None
        raise


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """How far an interface is. Raises the SDK's errors."""
    model, name = _get(clients, operation.external_id), read_id(operation.external_id).name
    state = str((model or {}).get("properties", {}).get("provisioningState", ""))
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    if state == "Succeeded":
        return Progress(operation.external_id, OperationState.DONE, percent=100)
    if state in ("Failed", "Canceled") or (model is None and age >= pace.grace):
        error = CloudFailed(f"Azure failed the interface {name}.") if model else Gone(f"{name} is not there.")
        return Progress(operation.external_id, OperationState.FAILED, error=error)
    return Progress(operation.external_id, OperationState.RUNNING, ask_again=pace.again(age))


def undo(clients: Clients, one: Created) -> Deleted:
    """Remove an interface that a restore made; while a machine has it, it waits for that one's end. Raises the SDK's
    errors."""
    model, name = _get(clients, one.external_id), read_id(one.external_id).name
    if model is None:
        return Deleted(one.external_id, "already-gone")
    if not is_made_by(model.get("tags"), clients.account.installation, one.keys):
        told = f"{name} does not carry the tags of this restore: it is not ours to remove."
        return Deleted(one.external_id, "kept", Refused(told, code="not-ours"))
    if not model.get("properties", {}).get("virtualMachine"):
        clients.remove_interface(one.external_id)
    under_way = NotReady(f"The removal of {name} is under way.", code="deleting")
    return Deleted(one.external_id, "kept", under_way)
