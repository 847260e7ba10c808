"""A large estate in memory: tens of thousands of instances in seconds, with an assumable role in every account."""

import random
import time
from datetime import timedelta
from typing import Any

from deploy.sandbox import network
from deploy.sandbox.baseline import BASE_IMAGE, REGIONS, caller
from deploy.sandbox.blocks import BLOCK, BlockMap
from deploy.sandbox.call import Call
from deploy.sandbox.instances import METADATA_DEFAULT, Instance
from deploy.sandbox.volumes import Volume, attach

FIRST_ACCOUNT = 400_000_000_000
ROLE = "snapfleet"
EXTERNAL_ID = "bulk-external-id"


def plant(
    cloud: Any,
    accounts: int = 20,
    regions: int = 3,
    instances: int = 10_000,
    volumes: int = 2,
    blocks: int = 2,
    gold: float = 1.0,
) -> dict:
    """Spread `instances` over accounts and regions, each with `volumes` volumes of `blocks` written blocks.

    `gold` is the share that carries the tag backup=gold. The answer names accounts, regions and roles.
    """
    began, names = time.monotonic(), [str(FIRST_ACCOUNT + n) for n in range(accounts)]
    places = REGIONS[:regions]
    dice = random.Random(11)
    patterns = [cloud.world.store.put(dice.randbytes(BLOCK)) for _ in range(64)]
    calls = []
    for account in names:
        arn = f"arn:aws:iam::{account}:role/{ROLE}"
        cloud.directory.put_role({"arn": arn, "external_id": EXTERNAL_ID})
        calls += [caller(cloud, account, region) for region in places]
    nets = [_subnets(c) for c in calls]
    for number in range(instances):
        at = number % len(calls)
        tags = {"Name": f"node-{number:06d}", "group": f"g{number % 100}"}
        if dice.random() < gold:
            tags["backup"] = "gold"
        net = nets[at][number // len(calls) % len(nets[at])]
        _instance(calls[at], net, tags, [dice.sample(patterns, blocks) for _ in range(volumes)])
    return {
        "accounts": names,
        "regions": list(places),
        "roles": [{"arn": f"arn:aws:iam::{a}:role/{ROLE}", "external_id": EXTERNAL_ID} for a in names],
        "instances": instances,
        "volumes": instances * volumes,
        "seconds": round(time.monotonic() - began, 3),
    }


def _subnets(call: Call) -> list[tuple[Any, tuple[str, str], list]]:
    held = network.backend(call.account, call.region)
    found = [s for by_zone in held.subnets.values() for s in by_zone.values()]
    return [
        (
            s,
            network.zone(call.account, call.region, s.availability_zone),
            network.groups(call.account, call.region, [], s.vpc_id),
        )
        for s in found
    ]


def _instance(call: Call, net: tuple, tags: dict[str, str], contents: list[list[bytes]]) -> None:
    world, here = call.world, call.here
    subnet, zone, groups = net
    identifier = world.new_id("i")
    born = call.now - timedelta(days=30)
    address = network.take_address(here, subnet, None, identifier)
    instance = Instance(
        id=identifier,
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        zone=zone[0],
        image_id=BASE_IMAGE,
        kind="t3.small",
        root_device="/dev/xvda",
        created_at=born,
        reservation="r-" + identifier[2:],
        launched_at=born,
        subnet_id=subnet.id,
        vpc_id=subnet.vpc_id,
        private_ip=address,
        phase="running",
        groups=groups,
        facts={
            "Placement": {"AvailabilityZone": zone[0], "Tenancy": "default"},
            "MetadataOptions": METADATA_DEFAULT,
            "EbsOptimized": False,
        },
        image_details={"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True},
    )
    here.instances[identifier] = instance
    here.tags.put(instance, tags)
    devices = ["/dev/xvda", *(f"/dev/sd{c}" for c in "fghijklmnop")]
    for device, content in zip(devices, contents, strict=False):
        _volume(call, instance, zone, device, content, born)


def _volume(
    call: Call, instance: Instance, zone: tuple[str, str], device: str, content: list[bytes], born: Any
) -> None:
    world = call.world
    made = Volume(
        id=world.new_id("vol"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        zone=zone[0],
        zone_id=zone[1],
        size=8,
        kind="gp3",
        created_at=born,
        ready_at=born,
        blocks=BlockMap(world.store, 8),
        iops=3000,
        throughput=125,
    )
    for index, digest in enumerate(content):
        made.blocks.set_block(index * 16, digest)
    call.here.volumes[made.id] = made
    call.here.tags.put(made, {"Name": instance.tags["Name"], "disk": "bulk"})
    attach(made, instance, device, born, device == instance.root_device)
    if device == instance.root_device:
        made.root_of = instance.id
        instance.root_lineage.append(made.id)
