"""The network interfaces of a machine that is made anew in Azure. Pure.

Each goes into the subnet that it was in; the machine's subnets may be others, and must be elsewhere than at home.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_plan import ref
from tasks.errors import Invalid

_OLD_ONLY: Mapping[str, str] = {
    "public": "The old interfaces had public addresses, which stay theirs: associate them anew.",
    "pooled": "The old interfaces were in the pools of a load balancer or gateway: the new ones are not.",
    "grouped": "The old interfaces were in application security groups: the new ones are not.",
}


def plan_interfaces(draft: Draft, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The interfaces of the new machine, the primary one first, each {subnet_id, security_group_id, accelerated,
    forwarding, dns_servers, addresses}. Raises Invalid where `subnets` names more or fewer than there are others."""
    held: Sequence[Mapping[str, Any]] = draft.point.captured("interfaces", [])
    first: Mapping[str, Any] = next((one for one in held if one.get("primary")), held[0] if held else {})
    others = [one for one in held if one is not first]
    named = [str(one) for one in values.get("subnets") or ()]
    if named and len(named) != len(others):
        text = f"--set subnets names {len(named)} subnets; beside the first the machine had {len(others)} interfaces."
        raise Invalid(text, code="option-value")
    at_home = draft.point.here and _is_same(values["subnet"], first.get("subnet_id") or values["subnet"])
    made = [_made(draft, values, first, values["subnet"], values.get("security_group"), at_home)]
    for number, one in enumerate(others):
        subnet = named[number] if named else one.get("subnet_id") if at_home else values["subnet"]
        if not subnet:
            draft.warnings.append(
                f"The interface {_name(one)} could not be read at the backup and is left out: name the subnets of all "
                "others by --set subnets=ID,ID."
            )
            continue
        group = one.get("security_group_id") if draft.point.here else values.get("security_group")
        made.append(_made(draft, values, one, str(subnet), group, at_home))
    if others and not named and not at_home:
        draft.warnings.append(
            f"All {len(held)} interfaces are made in one subnet: name those of the others by --set subnets=ID,ID."
        )
    _say(draft, values, held, len(made))
    return made


def plan_kept(draft: Draft, values: Mapping[str, Any], machine: str, wanted: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Steps that make the interfaces before the machine, with the addresses that the old ones had; references to them.

    They go before the disks: an address that is in use is then refused before anything costs time.
    """
    made = []
    for number, one in enumerate(wanted):
        name = f"{machine}-nic" if number == 0 else f"{machine}-nic-{number + 1}"
        known = ", ".join(str(address["private_ip"]) for address in one["addresses"] if address.get("private_ip"))
        params = {"group": values["group"], "name": name, **one, "tags": draft.request.tags}
        why = f"Make the interface {name} with {known or 'a free address'}."
        step = draft.add(f"interface-{number + 1}", "azure-create-interface", params, why, ("azure-interface",))
        made.append(ref(step, "interface_id"))
    return made


def is_kept(values: Mapping[str, Any]) -> bool:
    """Whether the old addresses are asked for."""
    return bool(values.get("addresses") == "keep")


def _made(
    draft: Draft, values: Mapping[str, Any], old: Mapping[str, Any], subnet: str, group: Any, at_home: bool
) -> dict[str, Any]:
    addresses = [
        {name: one[name] for name in ("version", *(["private_ip"] if is_kept(values) else [])) if one.get(name)}
        for one in _addresses(old)
        if at_home or not one.get("version")
    ]
    if len(addresses) < len(_addresses(old)):
        draft.warnings.append(f"IPv6 addresses of {_name(old)} are left out: another subnet may have none.")
    wish = {
        "subnet_id": subnet,
        "security_group_id": group,
        "accelerated": bool(old.get("accelerated")) and is_same_size(draft, values),
        "forwarding": old.get("forwarding"),
        "dns_servers": old.get("dns_servers") if draft.point.here else None,
        "addresses": addresses or [{}],
    }
    return {name: value for name, value in wish.items() if value}


def is_same_size(draft: Draft, values: Mapping[str, Any]) -> bool:
    """Whether the machine gets the size that it had: not every size takes accelerated interfaces, or several."""
    return bool(values.get("size") == draft.point.captured("size"))


def _addresses(old: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Points of earlier versions have their number only."""
    found = old.get("addresses")
    return found if isinstance(found, list) else []


def _is_same(one: object, other: object) -> bool:
    return str(one).lower() == str(other).lower()


def _name(interface: Mapping[str, Any]) -> str:
    return str(interface.get("id", "")).rsplit("/", 1)[-1]


def _say(draft: Draft, values: Mapping[str, Any], held: Sequence[Mapping[str, Any]], made: int) -> None:
    """What an operator has to see to afterwards."""
    addresses = [one for interface in held for one in _addresses(interface)]
    if not is_same_size(draft, values):
        if any(one.get("accelerated") for one in held):
            draft.notes.append("The old interface was accelerated: switch that on if the new size of machine takes it.")
        if made > 1:
            draft.notes.append(f"The machine gets {made} interfaces: not every size of machine takes so many.")
    draft.notes += [text for what, text in _OLD_ONLY.items() if any(one.get(what) for one in addresses)]
    fixed = [str(one["private_ip"]) for one in addresses if one.get("fixed") and one.get("private_ip")]
    if is_kept(values):
        draft.notes.append("Addresses that are kept are refused where something else has them, or not in their subnet.")
    elif fixed:
        draft.warnings.append(f"Addresses that were fixed ({', '.join(fixed)}) are free ones of their subnets now.")
    else:
        draft.notes.append("New interfaces get free private addresses of their subnets.")
