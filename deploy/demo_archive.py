"""The demo's story of a repository: a machine is archived twice, lost with every snapshot of it, and comes back.

It is told by a policy and a machine of its own, so that no other story
waits for it.
"""

import os
import time
from typing import Any, Protocol

import boto3
from botocore.config import Config

from deploy.sandbox.baseline import BASE_IMAGE
from deploy.sandbox.client import ControlClient
from deploy.sandbox.demo import HOME, PROD, VAULT
from deploy.sandbox.sts import ROOT_PREFIX, ROOT_SECRET

POLICY, REPOSITORY, BUCKET, MACHINE = "ledger", "cold", "ledger-archive", "ledger-1"
BUCKET_REGION = "eu-central-1"
PASSPHRASE_VARIABLE = "COLD_PASSPHRASE"
# Written by the guest: enough for several packs' worth of blocks to travel, little enough for seconds.
FIRST, LATER = 48, 2
BLOCK = 512 << 10


class Stage(Protocol):
    """What the story needs of the demo."""

    url: str
    cloud: ControlClient

    def say(self, text: str) -> None:
        """One line of the story."""

    def type(self, *words: str, shown: bool = True) -> Any:
        """Run a `snapfleet` command."""


def plant(demo: Stage) -> dict[str, str]:
    """What other people set up: a bucket in the vault account, and a machine with a root and a data disk. Its disks
    by device."""
    _client(demo, VAULT, "s3", BUCKET_REGION).create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": BUCKET_REGION}
    )
    ec2 = _client(demo, PROD, "ec2", HOME)
    data = {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}}
    name = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": MACHINE}]}]
    answer = ec2.run_instances(
        ImageId=BASE_IMAGE, MinCount=1, MaxCount=1, BlockDeviceMappings=[data], TagSpecifications=name
    )
    machine = str(answer["Instances"][0]["InstanceId"])
    return {"machine": machine, **demo.cloud.instance(PROD, HOME, machine)["volumes"]}


def _client(demo: Stage, account: str, service: str, region: str) -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=demo.url,
        aws_access_key_id=ROOT_PREFIX + account,
        aws_secret_access_key=ROOT_SECRET,
        config=Config(s3={"addressing_style": "path"}),
    )


def estate(ledger: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The repository and its policy for the estate file; run by hand here, so it needs no schedule."""
    target = {"type": "instance", "id": ledger["machine"], "region": HOME, "account": "prod"}
    place = {"account": "vault", "region": BUCKET_REGION, "url": f"s3://{BUCKET}/main"}
    archives = {"name": REPOSITORY, "every": 1, "keep": "10y"}
    return {
        "repositories": [{"name": REPOSITORY, **place, "key": f"env:{PASSPHRASE_VARIABLE}"}],
        "policies": [{"name": POLICY, "targets": [target], "generations": 2, "repository": archives}],
    }


def tell(demo: Stage, ledger: dict[str, str]) -> dict[str, Any]:
    """Archive, archive what changed, lose everything in EC2, restore from the repository, compare. The figures."""
    disks = {device: volume for device, volume in ledger.items() if device != "machine"}
    demo.say(f"{MACHINE} has a repository in the vault account's S3: encrypted, incremental, apart from EC2.")
    demo.type("repository", "create", REPOSITORY, "--wait")
    first = _archived(demo, disks, FIRST)
    second = _archived(demo, disks, LATER)
    _check(0 < second < first, f"the first archive read {first} blocks and the second {second}")
    before = {device: demo.cloud.sha256(PROD, HOME, volume) for device, volume in disks.items()}
    snapshots = _snapshots(demo, ledger["machine"])
    demo.cloud.destroy(PROD, HOME, *disks.values(), ledger["machine"], *snapshots)
    demo.say(f"{MACHINE}, its {len(disks)} disks and all {len(snapshots)} snapshots of them are destroyed.")
    point = _points(demo, ledger["machine"], f"repository:{REPOSITORY}")[0]
    began = time.monotonic()
    done = demo.type("restore", point["id"], "--to", "instance", "--wait")
    took = round(time.monotonic() - began, 1)
    (launch,) = [step for step in done["steps"] if step["kind"] == "run-instance"]
    after = {device: demo.cloud.sha256(PROD, HOME, volume) for device, volume in launch["outputs"]["volumes"].items()}
    _check(before == after, f"what came back from the repository differs: {before} {after}")
    demo.say(f"Every byte of {MACHINE} is back from the repository alone, restored in {took} s.")
    found = demo.type("repository", "verify", REPOSITORY, "--full", "--wait")
    _check((found["generations"], found["problems"]) == (2 * len(disks), 0), f"the verification found {found}")
    return {
        "archive_generations": found["generations"],
        "archive_full_blocks": first,
        "archive_incremental_blocks": second,
        "archive_restored_disks": len(after),
        "archive_bytes_compared": point["size_gib"] << 30,
        "archive_restore_s": took,
    }


def _archived(demo: Stage, disks: dict[str, str], blocks: int) -> int:
    """The guest writes so many blocks to each disk; a run backs that up and archives it. Blocks that EBS was asked
    for."""
    for volume in disks.values():
        for number in range(blocks):
            demo.cloud.write(PROD, HOME, volume, (7 * number + 3) * BLOCK, os.urandom(BLOCK))
    read = demo.cloud.count("GetSnapshotBlock", "ok")
    run = demo.type("run", POLICY, "--wait")
    _check(run["state"] == "done", f"the run of {POLICY} ended {run['state']}")
    return demo.cloud.count("GetSnapshotBlock", "ok") - read


def _points(demo: Stage, resource: str, destination: str) -> list[Any]:
    words = ("points", "--resource", resource, "--state", "good", "--destination", destination)
    return list(demo.type(*words, shown=False))


def _snapshots(demo: Stage, machine: str) -> list[str]:
    """Every snapshot of the machine that Snapfleet knows."""
    found = [demo.type("point", row["id"], shown=False) for row in _points(demo, machine, "home")]
    return [part["external_id"] for point in found for part in point["parts"]]


def _check(true: bool, text: str) -> None:
    if not true:
        raise SystemExit(text)
