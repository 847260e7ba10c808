"""Network interfaces of a machine: what a backup keeps of them, and how a restore makes them anew.

Interfaces are made with their machine and go with it, so that an undo has one thing to remove. Made this way they take
free addresses: a fixed one has no place in the call (ComputeRP, VirtualMachineNetworkInterfaceConfiguration).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from azure.core.exceptions import AzureError

from workers.azure.clients import Clients
from workers.azure.errors import translate

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
    properties = item.get("properties", {})
    given: Sequence[Mapping[str, Any]] = [one.get("properties") or {} for one in properties.get("ipConfigurations", ())]
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
    """The network profile of a new machine: `interfaces`, of which the first is the primary one, each {subnet_id,
    security_group_id, accelerated, forwarding, dns_servers, addresses}. Without them the one interface that steps of
    earlier versions wish for."""
    one = {name: params.get(name) for name in ("subnet_id", "security_group_id", "accelerated")}
    wanted = params.get("interfaces") or [one]
    made = [_configuration(str(params["name"]), number, wish) for number, wish in enumerate(wanted)]
    return {"networkApiVersion": _NETWORK_VERSION, "networkInterfaceConfigurations": made}


def _configuration(machine: str, number: int, wish: Mapping[str, Any]) -> dict[str, Any]:
    addresses = [
        {"subnet": {"id": wish["subnet_id"]}, "primary": place == 0, "privateIPAddressVersion": one.get("version")}
        for place, one in enumerate(wish.get("addresses") or [{}])
    ]
    group, servers = wish.get("security_group_id"), wish.get("dns_servers")
    properties = {
        "primary": number == 0,
        "deleteOption": "Delete",
        "ipConfigurations": [
            {"name": f"ipconfig{place}", "properties": {key: value for key, value in one.items() if value is not None}}
            for place, one in enumerate(addresses, 1)
        ],
        "networkSecurityGroup": {"id": group} if group else None,
        "enableAcceleratedNetworking": True if wish.get("accelerated") else None,
        "enableIPForwarding": True if wish.get("forwarding") else None,
        "dnsSettings": {"dnsServers": list(servers)} if servers else None,
    }
    suffix = "-nic" if number == 0 else f"-nic-{number + 1}"
    name = f"{machine[: _NAME_LENGTH - len(suffix)]}{suffix}"
    return {"name": name, "properties": {key: value for key, value in properties.items() if value is not None}}
