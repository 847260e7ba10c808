"""Azure's machines archived in repositories and brought back, by one `snapfleet up`: Azure Blob (Azurite) and S3.

The bytes of a machine's disks are compared with those of the disks that are made from a repository, in another region
too; after each step nothing in the subscription has an access signature.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl
from tests import azurite
from tests.azure import QUICK, start_azure
from tests.sandbox import FAST, Sandbox, start
from tests.scenario.installation import Installation

VAULT, US = "222222222222", "us-east-1"
PASSPHRASE = "planted passphrase of an Azure repository"
URL = f"azure://{azurite.ACCOUNT}/archives/main"


def estate(machine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    subscription = {
        "name": "az", "cloud": "azure", "subscription_id": seed.SUBSCRIPTION, "tenant_id": seed.TENANT,
        "client_id": seed.CLIENT, "client_secret": "env:AZURE_SECRET", "storage_secret": "env:STORAGE_KEY",
        "regions": [seed.HOME, seed.AWAY],
    }  # fmt: skip
    vault = {"name": "vault", "kind": "dr", "role_arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr", "regions": [US]}
    places = (("blob", "az", URL, seed.HOME), ("cold", "vault", "s3://cold/main", US))
    key = {"key": "env:REPOSITORY_KEY"}
    place = {"account": "az", "region": seed.HOME}
    return {
        "version": 1,
        "accounts": [subscription, vault],
        "repositories": [
            {"name": name, "account": account, "url": url, "region": region, **key}
            for name, account, url, region in places
        ],
        "policies": [
            {
                "name": "machines",
                "targets": [{"type": "azure-vm", "id": machine["id"].lower(), **place}],
                "generations": 1,
                "repository": {"name": "blob", "every": 1, "keep": "90d"},
            },
            {
                "name": "instants",
                "targets": [
                    {"type": "azure-vm", "id": other["id"].lower(), **place, "options": {"consistency": "crash"}}
                ],
                "generations": 1,
            },
            {
                "name": "disks",
                "targets": [{"type": "azure-disk", "id": machine["disks"][1].lower(), **place}],
                "generations": 2,
                "repository": {"name": "cold", "every": 1, "keep": "90d"},
            },
        ],
    }


class Story:
    """The clouds and the installation."""

    def __init__(self, folder: Path, cloud: AzureControl, blob: azurite.Azurite, sandbox: Sandbox):
        self.cloud, self.blob, self.sandbox = cloud, blob, sandbox
        self.facts = cloud.seed(kind="demo")
        blob.wire("archives")
        sandbox.role(f"arn:aws:iam::{VAULT}:role/snapfleet-dr")
        sandbox.client(VAULT, service="s3").create_bucket(Bucket="cold")
        secrets = {"AZURE_SECRET": seed.SECRET, "STORAGE_KEY": blob.key, "REPOSITORY_KEY": PASSPHRASE}
        clouds = {**sandbox.environment, **cloud.environment(), "SNAPFLEET_AZURE_BLOB_ENDPOINT": blob.endpoint}
        settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "retention_seconds": "1"}
        self.here = Installation(folder / "home", {**clouds, **secrets}, **settings)

    def open_things(self) -> list[str]:
        return [one["id"] for kind in ("snapshots", "disks") for one in self.cloud.things(kind) if one["open"]]

    def archives(self, repository: str, count: int) -> list[dict[str, Any]]:
        def good() -> list[dict[str, Any]]:
            found = self.here.type("points", "--destination", f"repository:{repository}")
            whole = sorted((one for one in found if one["state"] == "good"), key=lambda one: int(one["id"][3:]))
            return whole if len(whole) >= count else []

        return list(self.here.until(f"{count} archives in {repository}", good))


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    process, cloud = start_azure(tmp_path / "azure")
    blob_process, blob = azurite.start(tmp_path / "azurite")
    aws_process, url = start(**FAST, snapshot_interval_seconds=0.0, metering=False)
    cloud.ask("POST", "config", QUICK)
    told = Story(tmp_path, cloud, blob, Sandbox(url, FAST))
    try:
        yield told
    finally:
        told.here.kill()
        azurite.stop(blob_process)
        for one in (process, aws_process):
            one.kill()
            one.wait()


def _begin(story: Story, folder: Path) -> None:
    here, file = story.here, folder / "estate.yaml"
    here.type("init", "--yes")
    file.write_text(yaml.safe_dump(estate(*(story.facts["machines"][name] for name in ("az-web-1", "az-db-1")))))
    here.type("apply", "-f", str(file))
    here.up()
    here.until("it runs", lambda: here.type("processes", accept=(0, 1)))
    for name in ("blob", "cold"):
        assert here.type("repository", "create", name, "--wait")["created"] is True


def test_a_machine_is_archived_by_changes_and_comes_back_in_another_region(story: Story, tmp_path: Path) -> None:
    """Feature 26, feature 28, feature 82: changed ranges into Azure Blob and S3, restored through uploads."""
    here, cloud = story.here, story.cloud
    _begin(story, tmp_path)
    system, data = story.facts["machines"]["az-web-1"]["disks"]
    assert here.type("run", "machines", "--wait")["state"] == "done"
    story.archives("blob", 1)
    cloud.write(data, 700 << 20, os.urandom(6 << 20))
    cloud.write(data, 0, bytes(1 << 20))
    was = [cloud.sha256(system), cloud.sha256(data)]
    assert here.type("run", "machines", "--wait")["state"] == "done"
    newest = story.archives("blob", 2)[-1]
    assert here.type("run", "disks", "--wait")["state"] == "done"
    (of_disk,) = story.archives("cold", 1)
    assert story.open_things() == []
    verified = here.type("repository", "verify", "blob", "--full", "--wait")
    assert (verified["generations"], verified["problems"]) == (4, 0)
    cloud.destroy(story.facts["machines"]["az-web-1"]["id"], system, data, *_snapshots(story))
    settings = (f"subnet={story.facts['subnets'][seed.AWAY]}", f"security_group={_group(story)}", "name=back")
    words = [word for text in settings for word in ("--set", text)]
    done = here.type("restore", newest["id"], "--to", "vm", "--region", seed.AWAY, *words, "--wait")
    disks = [item["id"] for item in done["made"] if item["kind"] == "azure-disk"]
    assert sorted(cloud.sha256(one) for one in disks) == sorted(was)
    assert [item["kind"] for item in done["made"]].count("azure-vm") == 1
    back = here.type("restore", of_disk["id"], "--to", "disk", "--set", "name=single", "--wait")
    (single,) = [item["id"] for item in back["made"] if item["kind"] == "azure-disk"]
    assert cloud.sha256(single) == was[1]
    assert story.open_things() == []
    _instants(story)
    _broken_glass(story, tmp_path, was[0])
    told = "".join(here.said) + here.log.read_text()
    assert all(secret not in told for secret in (PASSPHRASE, story.blob.key, "sig="))


def _instants(story: Story) -> None:
    """Feature 26: restore points are taken where the policy asks, restored from, and let go like any other backup."""
    here, cloud, disks = story.here, story.cloud, story.facts["machines"]["az-db-1"]["disks"]
    assert here.type("run", "instants", "--wait")["state"] == "done"
    for number, disk in enumerate(disks):
        cloud.write(disk, number << 20, os.urandom(4096))
    assert here.type("run", "instants", "--wait")["state"] == "done"
    here.until("the first restore point is gone", lambda: len(cloud.things("restorePoints")) == 1)
    was = sorted(cloud.sha256(disk) for disk in disks)
    (point,) = [one for one in here.type("points") if one["policy"] == "instants" and one["state"] == "good"]
    done = here.type("restore", point["id"], "--to", "vm", "--set", "name=db-back", "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "azure-disk"]
    assert sorted(cloud.sha256(one) for one in made) == was


def _snapshots(story: Story) -> list[str]:
    return [one["id"] for one in story.cloud.things("snapshots")]


def _group(story: Story) -> str:
    return next(one["id"] for one in story.cloud.things("networkSecurityGroups") if one["location"] == seed.AWAY)


def _broken_glass(story: Story, folder: Path, wanted: str) -> None:
    """With the container, the exported passphrase and nothing else running."""
    here = story.here
    here.type("repository", "export-key", "blob", str(folder / "key"))
    here.kill()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_", "AZURE_"))}
    env = {**plain, "AZURE_STORAGE_KEY": story.blob.key, "KEY": (folder / "key").read_text()}
    tool = [sys.executable, "-m", "workers.repository", URL, "--endpoint", story.blob.endpoint]
    tool += ["--passphrase-env", "KEY"]
    listed = subprocess.run([*tool, "list"], env=env, capture_output=True, text=True, check=True, timeout=60)
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert len(lines) == 4
    newest = max((line for line in lines if "az-web-1-0" in line[-1]), key=lambda line: line[1:3])
    image = folder / "disk.img"
    subprocess.run([*tool, "restore", newest[0], str(image)], env=env, check=True, timeout=60)
    with image.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == wanted
