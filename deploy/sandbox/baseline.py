"""What exists in AWS before anybody has done anything: a public image to launch from, and strangers' public snapshots.

The strangers' snapshots are a trap on purpose: DescribeSnapshots without OwnerIds returns public snapshots too.
"""

from datetime import timedelta
from typing import Any

from deploy.sandbox import images, sharing, snapshots
from deploy.sandbox.blocks import BlockMap
from deploy.sandbox.call import Call, Principal

REGIONS = ("us-east-1", "eu-west-1", "eu-central-1", "us-west-2", "ap-southeast-2", "sa-east-1")
STRANGER = "099720109477"
BASE_IMAGE = "ami-0ba5e000000000001"  # the same id in every region, for convenience
WINDOWS_IMAGE = "ami-0ba5e000000000002"
PUBLIC_SNAPSHOTS = 3


def caller(cloud: Any, account: str, region: str, operation: str = "Seed") -> Call:
    """A call in the name of an account's root that meets no faults and no limits."""
    world = cloud.world
    who = Principal(account, f"arn:aws:iam::{account}:root", account)
    return Call(world, cloud.faults, who, operation, account, region, world.settle())


def lay(cloud: Any, regions: tuple[str, ...] = REGIONS) -> None:
    """Make the baseline where it is not there yet."""
    for region in regions:
        if BASE_IMAGE not in cloud.world.region(images.AMAZON, region).images:
            _image(cloud, region, BASE_IMAGE, "al2023-sandbox-x86_64", "Linux/UNIX")
            _image(cloud, region, WINDOWS_IMAGE, "Windows_Server-2022-sandbox", "Windows")
            for _ in range(PUBLIC_SNAPSHOTS):
                _public_snapshot(caller(cloud, STRANGER, region), "stranger's public data", "Linux/UNIX")


def _public_snapshot(call: Call, description: str, billing: str) -> snapshots.Snapshot:
    world = call.world
    made = snapshots.Snapshot(
        id=world.new_id("snap"),
        sequence=next(world.sequence),
        owner=call.account,
        region=call.region,
        volume_id=world.new_id("vol"),
        size=1,
        created_at=call.now - timedelta(days=90),
        ready_at=call.now - timedelta(days=90),
        blocks=BlockMap(world.store, 1),
        origin="public",
        description=description,
        billing=billing,
    )
    snapshots.add(call, made, {})
    sharing.share(world, made, sharing.EVERYONE)
    return made


def _image(cloud: Any, region: str, identifier: str, name: str, platform: str) -> None:
    call = caller(cloud, images.AMAZON, region)
    root = _public_snapshot(call, f"root of {name}", platform)
    device = "/dev/sda1" if platform == "Windows" else "/dev/xvda"
    ebs = {"SnapshotId": root.id, "VolumeSize": 1, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": False}
    made = images.put(
        call,
        name,
        device,
        [{"DeviceName": device, "Ebs": ebs}],
        [root],
        {},
        platform_details=platform,
        details={
            "Architecture": "x86_64",
            "VirtualizationType": "hvm",
            "EnaSupport": True,
            "BootMode": "uefi-preferred",
        },
    )
    call.here.images.pop(made.id)
    root.root_of.clear()
    made.id, made.created_at, made.settle = identifier, root.created_at, timedelta(0)
    root.root_of[identifier] = None
    call.here.images[identifier] = made
    made.shared_with[sharing.EVERYONE] = None
    cloud.world.image_shares[region, sharing.EVERYONE][identifier] = made
