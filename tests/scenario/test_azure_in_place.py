"""An Azure machine is damaged and restored in place by one `snapfleet up`; a restore that fails leaves it as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl
from tests.azure import QUICK, start_azure
from tests.scenario.installation import Installation

MACHINE = "az-web-1"
BASE = f"/subscriptions/{seed.SUBSCRIPTION}/resourceGroups/{seed.GROUP}/providers/Microsoft.Compute".lower()
ESTATE: dict[str, Any] = {
    "version": 1,
    "accounts": [
        {
            "name": "az", "cloud": "azure", "subscription_id": seed.SUBSCRIPTION, "tenant_id": seed.TENANT,
            "client_id": seed.CLIENT, "client_secret": "env:AZURE_SECRET", "regions": [seed.HOME],
        }
    ],
    "policies": [
        {
            "name": "web",
            "targets": [
                {"type": "azure-vm", "id": f"{BASE}/virtualmachines/{MACHINE}", "region": seed.HOME, "account": "az"}
            ],
            "generations": 3,
        }
    ],
}  # fmt: skip


@dataclass
class Story:
    """What there is to look at afterwards."""

    cloud: AzureControl
    here: Installation
    point: str = ""

    def held(self) -> list[str]:
        """The disks that the machine holds, the system's first."""
        found: list[str] = self.cloud.ask("GET", "held", id=f"{BASE}/virtualmachines/{MACHINE}")["disks"]
        return found

    def contents(self) -> list[str]:
        return [self.cloud.sha256(one) for one in self.held()]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    process, cloud = start_azure(tmp_path_factory.mktemp("azure"))
    cloud.ask("POST", "config", QUICK)
    cloud.seed(kind="demo")
    home = tmp_path_factory.mktemp("in-place") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2"}
    told = Story(cloud, Installation(home, {**cloud.environment(), "AZURE_SECRET": seed.SECRET}, **settings))
    try:
        told.here.type("init", "--yes")
        path = home.parent / "estate.yaml"
        path.write_text(yaml.safe_dump(ESTATE))
        told.here.type("apply", "-f", str(path))
        told.here.up()
        assert told.here.type("run", "web", "--wait")["state"] == "done"
        told.point = told.here.type("points", "--policy", "web")[0]["id"]
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def test_a_restore_that_fails_on_the_way_leaves_the_machine_with_its_own_disks(story: Story) -> None:
    """Feature 26: Azure refuses to start it with the new disks; everything goes back."""
    before = story.held()
    story.cloud.fault("denied", method="POST", type="virtualMachines", name="/start")
    done = story.here.type("restore", story.point, "--to", "in-place", "--wait", accept=(1, 3))
    assert done["state"] in ("failed", "undone"), done
    story.here.until("everything is back", lambda: story.held() == before and _power(story) == "running", 60)
    disks = [str(one["id"]).lower() for one in story.cloud.things("disks")]
    story.here.until("the new disks are gone", lambda: len(story.cloud.things("disks")) == 5, 60)
    assert set(before) <= set(disks)


def _power(story: Story) -> str:
    return str(story.cloud.ask("GET", "power", id=f"{BASE}/virtualmachines/{MACHINE}")["power"])


def test_a_damaged_machine_comes_back_in_place_byte_for_byte(story: Story) -> None:
    """Feature 26: the same machine, running, with the disks of the point at their places."""
    before, old = story.contents(), story.held()
    for disk in old:
        story.cloud.write(disk, 8192, b"damage")
    plan = story.here.type("restore", story.point, "--to", "in-place", "--dry-run")
    assert story.held() == old
    assert plan["estimate"]["interrupts"] is True
    done = story.here.type("restore", story.point, "--to", "in-place", "--wait")
    assert done["state"] == "done"
    assert story.contents() == before
    assert not set(story.held()) & set(old)
    assert _power(story) == "running"
