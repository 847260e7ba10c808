"""Virtual machines and their network interfaces: attaching disks, interfaces made with a machine, deletion.

Sources: ComputeRP 2024-03-01 examples (VirtualMachine_Create_WithNetworkInterfaceConfiguration, attachDetachDataDisks)
and the Azure error reference (ConflictingUserInput for a disk that another machine owns).
"""

import ipaddress
import uuid
from typing import Any

from deploy.sandbox.azure.disks import put_disk, region
from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

_SECRET = ("adminPassword", "customData")  # sent, and never shown (x-ms-secret, x-ms-mutability)


def put_machine(world: World, resource_id: str, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Create a machine from disks that exist, or from an image on new ones, or change the tags of one."""
    found = world.get(resource_id)
    subscription, location = resource_id.split("/")[2], region(body)
    if found is not None:
        found.tags = dict(body.get("tags", found.tags))
        return found, world.begin("operations", found, subscription, found.location, 0.0)
    properties = {key: value for key, value in body["properties"].items() if key != "provisioningState"}
    profile = {key: value for key, value in (properties.get("osProfile") or {}).items() if key not in _SECRET}
    properties |= {"osProfile": profile} if profile else {}
    storage = properties.get("storageProfile", {})
    wanted = [disk for disk in [storage.get("osDisk"), *storage.get("dataDisks", [])] if disk]
    disks = [_disk_for(world, location, disk, resource_id) for disk in wanted]
    now = world.now()
    made = Thing(
        resource_id,
        "virtualMachines",
        location,
        dict(body.get("tags", {})),
        {key: body[key] for key in ("zones", "identity", "plan") if body.get(key)},
        {**properties, "vmId": str(uuid.uuid4()), "timeCreated": stamp(now)},
        begun=now,
        ends=now + world.settings["machine_seconds"],
    )
    made.properties["networkProfile"] = {"networkInterfaces": _interfaces(world, made, properties)}
    for disk, wish in zip(disks, wanted, strict=True):
        _attach(disk, made, wish)
    return world.put(made), world.begin("operations", made, subscription, location, world.settings["machine_seconds"])


def _disk_for(world: World, location: str, wish: dict[str, Any], machine: str) -> Thing:
    """The disk of a machine: one that exists, or a new one where it is made empty or from an image of 30 GiB."""
    if wish.get("createOption") not in ("FromImage", "Empty") or "vhd" in wish:
        return _attachable(world, location, wish, machine)
    group, name = machine.split("/providers/", maxsplit=1)[0], machine.rsplit("/", 1)[1]
    wish.setdefault("name", f"{name}_disk_{wish.get('lun', 'os')}")
    sku = (wish.get("managedDisk") or {}).get("storageAccountType", "Standard_LRS")
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": wish.get("diskSizeGB") or 30}
    body = {"location": location, "sku": {"name": sku}, "properties": properties}
    disk, _ = put_disk(world, f"{group}/providers/Microsoft.Compute/disks/{wish['name']}", body)
    return disk


def _attachable(world: World, location: str, wish: dict[str, Any], machine: str) -> Thing:
    disk = world.get(str(wish.get("managedDisk", {}).get("id", "")))
    if wish.get("createOption") != "Attach" or disk is None or disk.kind != "disks":
        raise Refusal(404, "InvalidResourceReference", "A disk of the machine does not exist, or is not attached.")
    if disk.provisioning(world.now()) != "Succeeded":
        raise Refusal(409, "OperationNotAllowed", f"The disk {disk.name} is still being made.")
    if disk.properties.get("diskState") in ("ReadyToUpload", "ActiveUpload", "ActiveSAS"):
        raise Refusal(409, "OperationNotAllowed", f"The disk {disk.name} is in state {disk.properties['diskState']}.")
    if disk.location != location:
        raise Refusal(400, "BadRequest", f"Disk {disk.name} is not in the machine's region.")
    owner = disk.fields.get("managedBy", "")
    if owner and owner.lower() != machine.lower():
        text = f"Disk '{disk.name}' cannot be attached as the disk is already owned by VM '{owner}'."
        raise Refusal(409, "ConflictingUserInput", text)
    return disk


def _attach(disk: Thing, machine: Thing, wish: dict[str, Any]) -> None:
    disk.fields["managedBy"] = machine.id
    disk.properties["diskState"] = "Attached"
    wish["managedDisk"] = {"id": disk.id, "storageAccountType": disk.fields.get("sku", {}).get("name", "Standard_LRS")}
    wish.setdefault("name", disk.name)
    wish["diskSizeGB"] = disk.properties["diskSizeGB"]


def _interfaces(world: World, machine: Thing, properties: dict[str, Any]) -> list[dict[str, Any]]:
    network = properties.get("networkProfile", {})
    known = network.get("networkInterfaces", [])
    for one in known:
        nic = world.need(one["id"])
        owner = nic.properties.get("virtualMachine", {}).get("id", "")
        if owner and world.get(owner) is not None:
            raise Refusal(400, "NicInUse", f"Network Interface {nic.name} is used by existing resource {owner}.")
        primary = len(known) == 1 or bool(one.get("properties", {}).get("primary"))
        nic.properties |= {"virtualMachine": {"id": machine.id}, "primary": primary}
    wanted = network.get("networkInterfaceConfigurations", [])
    if len(wanted) > 1:
        _fit_together(world, wanted)
    made = [_interface(world, machine, one) for one in wanted]
    if made and not network.get("networkApiVersion"):
        raise Refusal(400, "InvalidParameter", "networkApiVersion is needed with networkInterfaceConfigurations.")
    if not made and not known:
        raise Refusal(400, "InvalidParameter", "A machine needs a network interface.")
    return [*known, *made]


def _fit_together(world: World, wanted: list[dict[str, Any]]) -> None:
    """Several interfaces of a machine: one is the primary one, all are in one network ("Create and manage a virtual
    machine that has multiple NICs")."""
    properties = [one.get("properties", {}) for one in wanted]
    if len([one for one in properties if one.get("primary")]) != 1:
        text = "Virtual machine must have one network interface set as the primary."
        raise Refusal(400, "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary", text)
    subnets = [
        str(one["properties"]["subnet"]["id"]) for each in properties for one in each.get("ipConfigurations", [])
    ]
    if len({one.lower().rsplit("/subnets/", 1)[0] for one in subnets}) > 1:
        raise Refusal(400, "SubnetsNotInSameVnet", "The subnets of a machine's interfaces are in one virtual network.")


def put_interface(world: World, resource_id: str, body: dict[str, Any]) -> tuple[Thing, Operation]:
    """Create an interface by itself, with addresses that are free."""
    found = world.get(resource_id)
    if found is None:
        nic = Thing(resource_id, "networkInterfaces", region(body), dict(body.get("tags", {})), begun=world.now())
        found = world.put(_shaped(world, nic, body.get("properties", {})))
    return found, world.begin("operations", found, found.subscription, found.location, 0.0)


def _interface(world: World, machine: Thing, wish: dict[str, Any]) -> dict[str, Any]:
    properties = wish.get("properties", {})
    nic = Thing(
        f"{machine.id.split('/providers/')[0]}/providers/Microsoft.Network/networkInterfaces/{wish['name']}",
        "networkInterfaces",
        machine.location,
        begun=world.now(),
    )
    _shaped(world, nic, properties)
    nic.properties |= {"virtualMachine": {"id": machine.id}, "primary": bool(properties.get("primary", True))}
    world.put(nic)
    kept = {name: properties[name] for name in ("primary", "deleteOption") if name in properties}
    return {"id": nic.id, "properties": kept}


def _shaped(world: World, nic: Thing, properties: dict[str, Any]) -> Thing:
    """With addresses, security group and settings as wished for."""
    nic.properties = {"ipConfigurations": _addresses(world, nic, properties.get("ipConfigurations", []))}
    for name in ("enableAcceleratedNetworking", "enableIPForwarding", "dnsSettings"):
        if name in properties:
            nic.properties[name] = properties[name]
    if properties.get("networkSecurityGroup"):
        nic.properties["networkSecurityGroup"] = world.need(properties["networkSecurityGroup"]["id"]) and dict(
            properties["networkSecurityGroup"]
        )
    return nic


def _addresses(world: World, nic: Thing, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The configurations of an interface, each with a free address: one is the primary one, all are in one subnet."""
    given = [one["properties"] for one in wanted]
    if len(given) > 1 and len([one for one in given if one.get("primary")]) != 1:
        raise Refusal(400, "InvalidRequestFormat", "One IP configuration of an interface is the primary one.")
    if len({str(one.get("subnet", {}).get("id", "")).lower() for one in given}) > 1:
        text = "The IP configurations of an interface are in one subnet."
        raise Refusal(400, "IpConfigurationsOnSameNicCannotUseDifferentSubnets", text)
    made = []
    for one, properties in zip(wanted, given, strict=True):
        subnet = world.get(str(properties.get("subnet", {}).get("id", "")))
        if subnet is None or subnet.location != nic.location:
            raise Refusal(400, "InvalidResourceReference", "The subnet does not exist in the machine's region.")
        found = {
            "primary": bool(properties.get("primary", len(wanted) == 1)),
            "subnet": {"id": subnet.id},
            "privateIPAddress": _address(world, subnet, properties),
            "privateIPAddressVersion": properties.get("privateIPAddressVersion", "IPv4"),
            "privateIPAllocationMethod": properties.get("privateIPAllocationMethod", "Dynamic"),
        }
        made.append({"name": one["name"], "properties": found})
    return made


def _address(world: World, subnet: Thing, wish: dict[str, Any]) -> str:
    wanted = str(wish.get("privateIPAddress", ""))
    if not wanted:
        return free_address(world, subnet)
    if ipaddress.ip_address(wanted) not in ipaddress.ip_network(subnet.properties["addressPrefix"]):
        text = f"Private static IP address {wanted} does not belong to the range of subnet prefix."
        raise Refusal(400, "PrivateIPAddressNotInSubnet", text)
    if wanted in _in_use(world, subnet):
        raise Refusal(400, "PrivateIPAddressInUse", f"IP configuration is using the private IP address {wanted}.")
    return wanted


def _in_use(world: World, subnet: Thing) -> set[str]:
    held = [
        one["properties"]
        for nic in world.of_kind("networkInterfaces")
        for one in nic.properties.get("ipConfigurations", [])
    ]
    return {str(one["privateIPAddress"]) for one in held if one["subnet"]["id"].lower() == subnet.id.lower()}


def free_address(world: World, subnet: Thing) -> str:
    """The next private address of a subnet; Azure keeps the first four for itself."""
    taken, prefix = _in_use(world, subnet), ipaddress.ip_network(subnet.properties["addressPrefix"])
    number = subnet.fields.get("_next", 4)
    while str(prefix[number]) in taken:
        number += 1
    subnet.fields["_next"] = number + 1
    return str(prefix[number])


def attach_detach(world: World, machine: Thing, body: dict[str, Any]) -> Operation:
    """POST attachDetachDataDisks: by disk id, with a LUN that is free."""
    disks = machine.properties["storageProfile"].setdefault("dataDisks", [])
    for wish in body.get("dataDisksToDetach") or []:
        for held in [one for one in disks if one["managedDisk"]["id"].lower() == wish["diskId"].lower()]:
            disks.remove(held)
            thing = world.need(held["managedDisk"]["id"])
            thing.fields.pop("managedBy", None)
            thing.properties["diskState"] = "Unattached"
    for wish in body.get("dataDisksToAttach") or []:
        held = {"createOption": "Attach", "managedDisk": {"id": wish["diskId"]}, "caching": wish.get("caching", "None")}
        disk = _attachable(world, machine.location, held, machine.id)
        taken = {one["lun"] for one in disks}
        lun = wish.get("lun")
        held["lun"] = next(n for n in range(64) if n not in taken) if lun is None else int(lun)
        if held["lun"] in taken:
            raise Refusal(409, "ConflictingUserInput", f"A disk is attached at LUN {held['lun']} already.")
        held["deleteOption"] = wish.get("deleteOption", "Detach")
        _attach(disk, machine, held)
        disks.append(held)
    return world.begin("operations", machine, machine.subscription, machine.location, world.settings["machine_seconds"])


def set_power(world: World, machine: Thing, on: bool) -> Operation:
    """POST start or deallocate: so when the operation is over."""
    seconds = world.settings["machine_seconds"]
    machine.fields["_power"] = ("running" if on else "deallocated", world.now() + seconds)
    return world.begin("operations", machine, machine.subscription, machine.location, seconds)


def power_view(world: World, machine: Thing) -> dict[str, Any]:
    """The instance view, as far as its statuses."""
    state, at = machine.fields.get("_power", ("running", 0.0))
    shown = state if world.now() >= at else "starting" if state == "running" else "deallocating"
    codes = (f"ProvisioningState/{machine.provisioning(world.now()).lower()}", f"PowerState/{shown}")
    return {"statuses": [{"code": code, "level": "Info", "displayStatus": code.split("/")[1]} for code in codes]}


def swap_os(world: World, machine: Thing, wish: dict[str, Any]) -> Operation:
    """PATCH of the system disk, on a deallocated machine."""
    if power_view(world, machine)["statuses"][1]["code"] != "PowerState/deallocated":
        raise Refusal(409, "OperationNotAllowed", "The OS disk can be changed on a deallocated machine only.")
    held = machine.properties["storageProfile"]["osDisk"]
    new = {"createOption": "Attach", "managedDisk": {"id": wish["managedDisk"]["id"]}}
    disk, old = _attachable(world, machine.location, new, machine.id), world.get(held["managedDisk"]["id"])
    if old is not None:
        old.fields.pop("managedBy", None)
        old.properties["diskState"] = "Unattached"
    held |= {"name": wish.get("name", disk.name), "managedDisk": {"id": disk.id}}
    _attach(disk, machine, held)
    return world.begin("operations", machine, machine.subscription, machine.location, world.settings["machine_seconds"])


def release(world: World, machine: Thing, at: float) -> None:
    """A machine is being deleted: its disks and interfaces become free, or go with it where that was asked for."""
    storage = machine.properties.get("storageProfile", {})
    for held in [disk for disk in [storage.get("osDisk"), *storage.get("dataDisks", [])] if disk]:
        disk = world.get(held["managedDisk"]["id"])
        if disk is None:
            continue
        disk.fields.pop("managedBy", None)
        disk.properties["diskState"] = "Unattached"
        if held.get("deleteOption") == "Delete":
            disk.gone_at = at
    for one in machine.properties["networkProfile"]["networkInterfaces"]:
        nic = world.get(one["id"])
        if nic is not None and one.get("properties", {}).get("deleteOption") == "Delete":
            nic.gone_at = at
