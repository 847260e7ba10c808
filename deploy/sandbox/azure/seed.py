"""The demonstration estate: a subscription with a network and machines whose disks hold real ext4 file systems."""

import uuid
from typing import Any

from deploy.sandbox import ext4
from deploy.sandbox.azure import disks, machines, seed_sql
from deploy.sandbox.azure.state import Principal, Thing, World

TENANT = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
CLIENT = "22222222-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
SECRET = "emulated-azure-secret"
SUBSCRIPTION = "33333333-cccc-4ccc-8ccc-cccccccccccc"
GROUP = "app"
HOME, AWAY = "westeurope", "northeurope"

# name, size, data disks (GiB), zone
MACHINES: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("az-web-1", "Standard_D2s_v5", (1,), ""),
    ("az-db-1", "Standard_E2s_v5", (1, 2), "1"),
)


def subnet(region: str, name: str = "app") -> str:
    """The id of one of the subnets that are planted in a region: 'app' or 'data'."""
    network = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network"
    return f"{network}/virtualNetworks/{region}/subnets/{name}"


def plant(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """Plant `kind` demo, sql (two servers beside it), or bulk: `disks` disks in each of `subscriptions` subscriptions.
    What was made is returned."""
    if wish.get("kind") == "bulk":
        return _bulk(world, int(wish["subscriptions"]), int(wish["disks"]))
    world.principals[CLIENT] = Principal(TENANT, CLIENT, SECRET, {SUBSCRIPTION})
    if wish.get("kind") == "sql":
        return seed_sql.plant(world, SUBSCRIPTION, GROUP, HOME, AWAY)
    base = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
    subnets = {}
    for number, region in enumerate((HOME, AWAY)):
        for place, name in enumerate(("data", "app")):
            made_subnet = Thing(subnet(region, name), "subnets", region)
            made_subnet.properties["addressPrefix"] = f"10.4{number}.{1 - place}.0/24"
            subnets[region] = world.put(made_subnet).id
        group = Thing(f"{base}/Microsoft.Network/networkSecurityGroups/{region}", "networkSecurityGroups", region)
        world.put(group)
    made = {name: _machine(world, base, name, size, data, zone) for name, size, data, zone in MACHINES}
    return {
        "tenant": TENANT,
        "client": CLIENT,
        "secret": SECRET,
        "subscription": SUBSCRIPTION,
        "regions": [HOME, AWAY],
        "machines": made,
        "subnets": subnets,
    }


def _machine(world: World, base: str, name: str, size: str, data: tuple[int, ...], zone: str) -> dict[str, Any]:
    tags = {"backup": "gold", "env": "prod"}
    zones = {"zones": [zone]} if zone else {}
    held = []
    for number, gib in enumerate((2, *data)):
        disk_id = f"{base}/Microsoft.Compute/disks/{name}-{number}"
        body = {"location": HOME, "tags": tags, "sku": {"name": "Premium_LRS", "tier": "Premium"}, **zones}
        system = {"osType": "Linux", "hyperVGeneration": "V2"} if number == 0 else {}
        creation = {"createOption": "Empty"}
        disk, _ = disks.put_disk(
            world, disk_id, {**body, "properties": {"creationData": creation, "diskSizeGB": gib, **system}}
        )
        disk.ends = disk.begun
        if disk.content is not None:
            ext4.fill(disk.content, disk_id, 128 if number == 0 else 64)
        held.append(disk.id)
    wish = {
        "hardwareProfile": {"vmSize": size},
        "storageProfile": {
            "osDisk": {
                "createOption": "Attach",
                "osType": "Linux",
                "caching": "ReadWrite",
                "managedDisk": {"id": held[0]},
            },
            "dataDisks": [
                {"lun": lun * 2, "createOption": "Attach", "caching": "ReadOnly", "managedDisk": {"id": disk}}
                for lun, disk in enumerate(held[1:])
            ],
        },
        "networkProfile": {
            "networkApiVersion": "2022-11-01",
            "networkInterfaceConfigurations": [_interface(base, f"{name}-nic")],
        },
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
    }
    body = {"location": HOME, "tags": tags, **zones, "identity": {"type": "SystemAssigned"}, "properties": wish}
    machine, _ = machines.put_machine(world, f"{base}/Microsoft.Compute/virtualMachines/{name}", body)
    machine.ends = machine.begun
    return {"id": machine.id, "disks": held}


def _interface(base: str, name: str) -> dict[str, Any]:
    network = f"{base}/Microsoft.Network"
    return {
        "name": name,
        "properties": {
            "primary": True,
            "enableAcceleratedNetworking": True,
            "networkSecurityGroup": {"id": f"{network}/networkSecurityGroups/{HOME}"},
            "ipConfigurations": [
                {"name": "ip", "properties": {"subnet": {"id": f"{network}/virtualNetworks/{HOME}/subnets/app"}}}
            ],
        },
    }


def _bulk(world: World, subscriptions: int, count: int) -> dict[str, Any]:
    made = [str(uuid.UUID(int=(4 << 76) | (8 << 60) | number + 1)) for number in range(subscriptions)]
    world.principals[CLIENT] = Principal(TENANT, CLIENT, SECRET, set(made))
    for subscription in made:
        for number in range(count):
            disk_id = f"/subscriptions/{subscription}/resourceGroups/bulk/providers/Microsoft.Compute/disks/d{number}"
            body = {"location": HOME, "tags": {"backup": "gold"}, "sku": {"name": "Standard_LRS"}}
            body["properties"] = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 8}
            disk, _ = disks.put_disk(world, disk_id, body)
            disk.ends = disk.begun
    return {"tenant": TENANT, "client": CLIENT, "secret": SECRET, "subscriptions": made, "regions": [HOME]}
