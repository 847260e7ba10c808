"""The demonstration estate, the large one, and the command line over the control plane."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.sandbox.demo import ALIAS, ROLES
from tests.deploy.estate import AWAY, HOME, PROD, VAULT
from tests.sandbox import ROOT, Sandbox, start

GOLD = [{"Name": "tag:backup", "Values": ["gold"]}]


@pytest.fixture(scope="module")
def demo():
    """A sandbox with the demonstration estate, as `serve --seed demo` gives it."""
    began = time.monotonic()
    process, url = start("demo", snapshot_seconds=0.1)
    held = Sandbox(url, {})
    held.started_in = time.monotonic() - began
    yield held
    process.kill()
    process.wait()


def test_the_demonstration_is_ready_soon(demo):
    """A first try must not wait: the estate stands within seconds."""
    assert demo.started_in < 15


def test_six_machines_are_gold_and_none_is_ours_yet(demo):
    """Eight tagged machines with a root and data volumes, some encrypted, in the production account."""
    ec2 = demo.role_client(ROLES[0]["arn"], ROLES[0]["external_id"], HOME)
    every = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    gold = [i for r in ec2.describe_instances(Filters=GOLD)["Reservations"] for i in r["Instances"]]
    assert (len(every), len(gold)) == (8, 6)
    assert all(2 <= len(i["BlockDeviceMappings"]) <= 3 for i in every)
    assert {i["State"]["Name"] for i in every} == {"running"}
    volumes = ec2.describe_volumes()["Volumes"]
    managers = set()
    kms = demo.client(PROD, service="kms")
    for volume in volumes:
        if volume["Encrypted"]:
            managers.add(kms.describe_key(KeyId=volume["KmsKeyId"])["KeyMetadata"]["KeyManager"])
    assert managers == {"AWS", "CUSTOMER"}
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert demo.client(VAULT, AWAY, "kms").describe_key(KeyId=ALIAS)["KeyMetadata"]["KeyManager"] == "CUSTOMER"


def test_the_volumes_hold_file_systems_that_can_be_read(demo, tmp_path):
    """A restore is proved by its files: debugfs lists and e2fsck accepts what is on a volume."""
    state = demo.state(PROD, HOME)
    for identifier in state["volumes"][:2]:
        path = Path(tmp_path / identifier)
        path.write_bytes(demo.read(PROD, HOME, identifier, 0, 256 * 1024 * 1024))
        subprocess.run(["/usr/sbin/e2fsck", "-fn", str(path)], check=True, capture_output=True)
        command = ["/usr/sbin/debugfs", "-R", "ls -p /data", str(path)]
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert len(listed.splitlines()) > 5


def blob(held, identifier, folder):
    """The bytes of /blob.bin in the file system of a volume."""
    path = folder / "image"
    path.write_bytes(held.read(PROD, HOME, identifier, 0, 64 * 1024 * 1024))
    command = ["/usr/sbin/debugfs", "-R", "cat /blob.bin", str(path)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_the_demonstration_repeats_from_start_to_start(demo, tmp_path):
    """The same ids and the same files each time, so that what is written about it stays true."""
    process, url = start("demo", snapshot_seconds=0.1)
    try:
        again = Sandbox(url, {})
        assert again.state(PROD, HOME)["volumes"] == demo.state(PROD, HOME)["volumes"]
        identifier = demo.state(PROD, HOME)["volumes"][1]
        content = blob(demo, identifier, tmp_path)
        assert len(content) == 1024 * 1024
        assert blob(again, identifier, tmp_path) == content
    finally:
        process.kill()
        process.wait()


def test_the_command_line_writes_hashes_breaks_and_counts(demo):
    """The tools of the demonstration: write, hash, faults, calls, destroy, boots."""

    def run(*arguments):
        command = [sys.executable, "-m", "deploy.sandbox", "--url", demo.url, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        return done.returncode, done.stdout + done.stderr

    identifier = demo.state(PROD, HOME)["volumes"][-2]
    before = run("hash", PROD, HOME, identifier)[1]
    assert run("write", PROD, HOME, identifier, "4096", "ransom")[0] == 0
    assert run("hash", PROD, HOME, identifier)[1] != before
    assert json.loads(run("faults", "throttle", "operation=CreateVolume", "count=1")[1])[0]["kind"] == "throttle"
    assert json.loads(run("faults", "--clear")[1]) == []
    assert json.loads(run("boots", PROD, HOME, demo.state(PROD, HOME)["instances"][0])[1])["boots"] == 1
    assert any(row["operation"] == "AssumeRole" for row in json.loads(run("calls")[1]))
    code, text = run("faults", "no-such-fault")
    assert code == 1
    assert "no such fault" in text
    assert run("destroy", PROD, HOME, identifier)[0] == 0
    assert identifier not in demo.state(PROD, HOME)["volumes"]


def test_a_large_estate_takes_seconds_and_can_be_entered(sandbox):
    """Ten thousand instances in memory; a role in every account; lists in pages; a filter of 200 ids is quick."""
    made = sandbox.seed(kind="bulk", accounts=4, regions=2, instances=4000)
    assert made["seconds"] < 20
    role = made["roles"][3]
    ec2 = sandbox.role_client(role["arn"], role["external_id"], made["regions"][1])
    pages = ec2.get_paginator("describe_instances").paginate(Filters=GOLD, PaginationConfig={"PageSize": 1000})
    assert sum(len(r["Instances"]) for p in pages for r in p["Reservations"]) == 500
    volumes = [v["VolumeId"] for v in ec2.describe_volumes(MaxResults=200)["Volumes"]]
    for identifier in volumes:
        ec2.create_snapshot(VolumeId=identifier)
    ids = [s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=["self"], MaxResults=200)["Snapshots"]]
    asked = {"OwnerIds": ["self"], "Filters": [{"Name": "snapshot-id", "Values": ids}]}
    ec2.describe_snapshots(**asked)
    assert sandbox.calls("DescribeSnapshots")[-1]["seconds"] < 0.05


def test_settings_are_checked_and_reset_brings_back_those_of_the_start(sandbox):
    """The control plane refuses what it does not know, in words."""
    sandbox.configure(snapshot_seconds=9)
    with pytest.raises(Exception, match="no such setting: speed"):
        sandbox.configure(speed=1)
    with pytest.raises(Exception, match="not found"):
        sandbox.resource(PROD, HOME, "vol-00000000000000000")
    sandbox.reset()
    assert sandbox.ask("GET", "config")["snapshot_seconds"] == sandbox.settings["snapshot_seconds"]


def test_the_call_log_keeps_parameters_and_outcomes(sandbox):
    """What a driver sent can be asserted: operation, account, region, parameters, outcome."""
    ec2 = sandbox.client(PROD, AWAY)
    ec2.describe_volumes(MaxResults=7)
    last = sandbox.calls("DescribeVolumes")[-1]
    assert (last["account"], last["region"], last["parameters"], last["outcome"]) == (
        PROD,
        AWAY,
        {"MaxResults": 7},
        "ok",
    )
    sandbox.clear_calls()
    assert sandbox.count("DescribeVolumes") == 0
