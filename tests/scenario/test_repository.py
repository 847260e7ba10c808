"""The commands of a repository as an operator types them, over one `snapfleet up` and the emulated AWS."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import yaml

from deploy.sandbox.sts import ROOT_PREFIX, ROOT_SECRET
from tests.sandbox import FAST, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME, BLOCK = "111111111111", "222222222222", "us-east-1", 512 << 10
PASSPHRASE = "planted passphrase of a repository"
ESTATE = {
    "version": 1,
    "accounts": [
        {"name": "prod", "role_arn": f"arn:aws:iam::{PROD}:role/snapfleet", "regions": [HOME]},
        {"name": "vault", "kind": "dr", "role_arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr", "regions": [HOME]},
    ],
    "repositories": [
        {"name": "cold", "account": "vault", "url": "s3://cold/main", "region": HOME, "key": "env:COLD_KEY"}
    ],
    "policies": [
        {
            "name": "web",
            "targets": [{"tag": {"backup": "gold"}, "types": ["volume"], "accounts": ["prod"]}],
            "generations": 2,
            "repository": {"name": "cold", "every": 1, "keep": "90d"},
        }
    ],
}


def test_a_repository_from_its_estate_file_to_a_restore_with_nothing_else_running(tmp_path: Path) -> None:
    """feature 82: created, filled, verified, restored by commands; then read with the exported key and the bucket."""
    process, url = start(**FAST, snapshot_interval_seconds=0.0, metering=False)
    sandbox = Sandbox(url, FAST)
    for number, role in ((PROD, "snapfleet"), (VAULT, "snapfleet-dr")):
        sandbox.role(f"arn:aws:iam::{number}:role/{role}")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "backup", "Value": "gold"}]}]
    made = sandbox.client(PROD, HOME).create_volume(AvailabilityZone=f"{HOME}a", Size=1, TagSpecifications=tags)
    disk = made["VolumeId"]
    for index in (0, 9, 2047):
        sandbox.write(PROD, HOME, disk, index * BLOCK, os.urandom(BLOCK))
    was = sandbox.sha256(PROD, HOME, disk)
    sandbox.client(VAULT, service="s3").create_bucket(Bucket="cold")
    here = Installation(
        tmp_path / "home", {**sandbox.environment, "COLD_KEY": PASSPHRASE}, poll_floor_seconds="0.2", tick_seconds="0.2"
    )
    try:
        here.type("init", "--yes")
        file = tmp_path / "estate.yaml"
        file.write_text(yaml.safe_dump(ESTATE))
        here.type("apply", "-f", str(file))
        here.up()
        assert here.type("repository", "create", "cold", "--wait")["created"] is True
        assert here.type("run", "web", "--wait")["state"] == "done"
        (archive,) = here.type("points", "--destination", "repository:cold")
        found = here.type("repository", "verify", "cold", "--full", "--wait")
        assert (found["generations"], found["problems"]) == (1, 0)
        assert found["read_packs"] == found["packs"] > 0
        sandbox.destroy(PROD, HOME, disk)
        done = here.type("restore", archive["id"], "--to", "volume", "--wait")
        (volume,) = [item["id"] for item in done["made"] if item["kind"] == "volume"]
        assert sandbox.sha256(PROD, HOME, volume) == was
        here.type("repository", "export-key", "cold", str(tmp_path / "key"))
        here.kill()
        _restored_alone(tmp_path, url)
        assert sandbox.sha256(PROD, HOME, volume) == _sha256(tmp_path / "disk.img")
        assert PASSPHRASE not in "".join(here.said) + here.log.read_text()
    finally:
        here.kill()
        process.kill()
        process.wait()


def _restored_alone(folder: Path, url: str) -> None:
    """By the break-glass tool, with the bucket's credentials and the exported passphrase."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))}
    env = {**plain, "AWS_ACCESS_KEY_ID": ROOT_PREFIX + VAULT, "AWS_SECRET_ACCESS_KEY": ROOT_SECRET}
    env |= {"AWS_ENDPOINT_URL": url, "AWS_REGION": HOME, "KEY": (folder / "key").read_text()}
    tool = [sys.executable, "-m", "workers.repository", "s3://cold/main", "--passphrase-env", "KEY"]
    listed = subprocess.run([*tool, "list"], env=env, capture_output=True, text=True, check=True, timeout=60)
    generation = listed.stdout.split()[0]
    subprocess.run([*tool, "restore", generation, str(folder / "disk.img")], env=env, check=True, timeout=60)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
