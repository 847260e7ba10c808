"""The demonstration estate: production in us-east-1, a vault account, and a management account that may enter both."""

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deploy.sandbox import ext4, kms, launch, network, volumes
from deploy.sandbox.baseline import BASE_IMAGE, WINDOWS_IMAGE, caller
from deploy.sandbox.call import Call
from deploy.sandbox.sts import ROOT_PREFIX, ROOT_SECRET

PROD, VAULT, MANAGEMENT = "111111111111", "222222222222", "333333333333"
HOME = "us-east-1"
REGIONS = (HOME, "eu-west-1", "eu-central-1")
ROLES = (
    {"arn": f"arn:aws:iam::{PROD}:role/snapfleet", "external_id": "prod-external-id"},
    {"arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr", "external_id": "vault-external-id"},
)
PROFILE = "app-profile"
ALIAS = "alias/estate"

# name, other tags, data volumes (GiB, type, key), root key, image; `customer` and `default` are KMS keys
MACHINES: tuple[dict[str, Any], ...] = (
    {"name": "web-1", "data": [(1, "gp3", None)]},
    {"name": "web-2", "data": [(1, "gp3", "customer")], "key": "customer"},
    {"name": "db-1", "data": [(2, "gp3", "customer"), (4, "io2", "customer")], "key": "customer"},
    {"name": "[/red]app-1[bold]", "data": [(1, "gp2", None)], "tags": {"note": "\u009b31mred\u202eesrever"}},
    {"name": "<script>alert('batch-1')</script>", "data": [(1, "gp3", None), (1, "gp2", None)]},
    {"name": "win-1", "data": [(1, "gp3", None)], "image": WINDOWS_IMAGE},
    {"name": "legacy-1", "data": [(1, "standard", None)], "tags": {"backup": "", "owner": "; rm -rf / #"}},
    {"name": "sealed-1", "data": [(1, "gp3", "default")], "tags": {"backup": "sealed"}, "key": "default"},
)


def environment(endpoint: str) -> dict[str, str]:
    """What a client needs to reach the sandbox as the management account."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ROOT_PREFIX + MANAGEMENT,
        "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
        "AWS_DEFAULT_REGION": HOME,
        "AWS_REGION": HOME,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def plant(cloud: Any) -> dict:
    """Make the estate; what a demonstration needs to know about it is returned."""
    world = cloud.world
    world.dice = random.Random("demo")
    for role in ROLES:
        cloud.directory.put_role(dict(role))
    keys = {account: {r: _key(account, r) for r in REGIONS} for account in (PROD, VAULT)}
    call = caller(cloud, PROD, HOME, "RunInstances")
    place = _network()
    made = {m["name"]: _machine(call, m, place, keys[PROD][HOME], n) for n, m in enumerate(MACHINES)}
    loose = [_loose(call, name, size, tags) for name, size, tags in _LOOSE]
    for instance in made.values():
        instance.phase, instance.phase_until = "running", None
    held = list(call.here.volumes.values())
    for volume in held:
        volume.ready_at = call.now
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_fill, held))
    world.dice = random.Random()
    return {
        "accounts": {"prod": PROD, "vault": VAULT, "management": MANAGEMENT},
        "regions": list(REGIONS),
        "roles": list(ROLES),
        "instances": {name: instance.id for name, instance in made.items()},
        "volumes": loose,
        "keys": keys,
        "network": {"subnet": place["subnet"].id, "group": place["group"].id},
    }


_LOOSE = (
    ("scratch", 1, {"backup": "gold"}),
    ("../../etc/passwd", 2, {"note": '"><img src=x onerror=alert(1)>'}),
)


def _fill(volume: Any) -> None:
    """A root gets a larger file system than a data volume; the seed is the id, which repeats from start to start."""
    root = volume.root_of is not None
    ext4.fill(volume.blocks, volume.id, 256 if root else 64, kilobytes=3072 if root else 1024)


def _key(account: str, region: str) -> str:
    """A customer key that both accounts may use, so that encrypted snapshots can travel."""
    statements = [
        {
            "Sid": "own",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{a}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
        for a in dict.fromkeys((account, PROD, VAULT))
    ]
    held = kms.backend(account, region)
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    key = held.create_key(policy, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "the estate's key", None)
    held.create_alias(key.id, ALIAS)
    return key.arn


def _network() -> dict[str, Any]:
    from moto.iam import iam_backends

    held = network.backend(PROD, HOME)
    vpc = held.create_vpc("10.20.0.0/16")
    subnet = held.create_subnet(vpc.id, "10.20.1.0/24", availability_zone=f"{HOME}a")
    other = held.create_subnet(vpc.id, "10.20.2.0/24", availability_zone=f"{HOME}b")
    group = held.create_security_group("app", "the application", vpc.id)
    held.create_key_pair("ops-key", "ed25519", {})
    iam_backends[PROD]["aws"].create_instance_profile(PROFILE, "/", [])
    return {"vpc": vpc, "subnet": subnet, "other": other, "group": group}


def _machine(call: Call, machine: dict, place: dict, customer: str, number: int) -> Any:
    keys = {"customer": customer, "default": kms.default_key(PROD, HOME), None: None}
    root = "/dev/sda1" if machine.get("image") else "/dev/xvda"
    mappings = [_mapping(root, 2, "gp3", keys[machine.get("key")], True)]
    for letter, (size, kind, key) in zip("fgh", machine["data"], strict=False):
        mappings.append(_mapping(f"/dev/sd{letter}", size, kind, keys[key], False))
    tags = {"Name": machine["name"], "backup": "gold", "env": "prod"} | machine.get("tags", {})
    tags = {k: v for k, v in tags.items() if v}
    script = f"#!/bin/sh\nhostname demo-{number}\n"
    answer = launch.run_instances(
        call,
        {
            "ImageId": machine.get("image", BASE_IMAGE),
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": ("t3.small", "m5.large")[number % 2],
            "SubnetId": place["subnet"].id if number % 3 else place["other"].id,
            "SecurityGroupIds": [place["group"].id],
            "PrivateIpAddress": f"10.20.{1 if number % 3 else 2}.{20 + number}",
            "KeyName": "ops-key",
            "IamInstanceProfile": {"Name": PROFILE},
            "UserData": base64.b64encode(script.encode()).decode(),
            "MetadataOptions": {"HttpTokens": "required"},
            "EbsOptimized": True,
            "BlockDeviceMappings": mappings,
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]},
                {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": machine["name"]}]},
            ],
        },
    )
    return call.here.instances[answer["Instances"][0]["InstanceId"]]


def _mapping(device: str, size: int, kind: str, key: str | None, dies: bool) -> dict[str, Any]:
    ebs: dict[str, Any] = {"VolumeSize": size, "VolumeType": kind, "DeleteOnTermination": dies}
    if kind == "io2":
        ebs["Iops"] = 200
    if key:
        ebs |= {"Encrypted": True, "KmsKeyId": key}
    return {"DeviceName": device, "Ebs": ebs}


def _loose(call: Call, name: str, size: int, tags: dict[str, str]) -> str:
    zone = network.zone(PROD, HOME, f"{HOME}a")
    return volumes.new_volume(call, zone, {"Size": size, "VolumeType": "gp3"}, {"Name": name, **tags}).id
