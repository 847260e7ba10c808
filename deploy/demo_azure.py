"""The demo's story of Azure: two machines of a subscription are protected, one is lost with its disks and comes back.

The emulated Azure is a process of its own, over HTTPS. The policy is run by hand, so this story waits for no night.
"""

import os
import time
from pathlib import Path
from typing import Any, Protocol

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl

ACCOUNT, POLICY, VICTIM = "azure-prod", "azure", "az-db-1"
SECRET_VARIABLE = "AZURE_CLIENT_SECRET_OF_PROD"  # the name of a variable; what it holds is the emulator's own
WRITTEN = 1 << 20  # bytes that the guest writes to each disk before the last backup


class Stage(Protocol):
    """What the story needs of the demo."""

    home: Path
    env: dict[str, str]

    def say(self, text: str) -> None:
        """One line of the story."""

    def start(self, name: str, *command: str) -> None:
        """Start a process."""

    def type(self, *words: str, shown: bool = True) -> Any:
        """Run a `snapfleet` command."""

    def until(self, what: str, ready: Any) -> Any:
        """Wait for something."""


def begin(demo: Stage, python: str, port: int) -> AzureControl:
    """Start the emulated Azure with its two machines, and tell Snapfleet's environment where it is."""
    folder = demo.home / "azure"
    demo.start("azure", python, "-m", "deploy.sandbox.azure", "serve", "--port", str(port), "--folder", str(folder))
    url = f"https://127.0.0.1:{port}"
    demo.until("the emulated Azure", (folder / "ca.pem").exists)
    control = AzureControl(url, str(folder / "ca.pem"))
    demo.until("the emulated Azure", lambda: _answers(control))
    control.seed(kind="demo")
    demo.env.update({**control.environment(), SECRET_VARIABLE: seed.SECRET})
    return control


def _answers(control: AzureControl) -> bool:
    try:
        return bool(control.ask("GET", "ready"))
    except OSError:
        return False


def estate() -> dict[str, list[dict[str, Any]]]:
    """The subscription and its policy for the estate file."""
    account = {
        "name": ACCOUNT,
        "cloud": "azure",
        "subscription_id": seed.SUBSCRIPTION,
        "tenant_id": seed.TENANT,
        "client_id": seed.CLIENT,
        "client_secret": f"env:{SECRET_VARIABLE}",
        "regions": [seed.HOME, seed.AWAY],
    }
    target = {"tag": {"backup": "gold"}, "types": ["azure-vm"], "accounts": [ACCOUNT]}
    policy = {"name": POLICY, "targets": [target], "generations": 2, "dr": [{"region": seed.AWAY}]}
    return {"accounts": [account], "policies": [policy]}


def tell(demo: Stage, cloud: AzureControl) -> dict[str, Any]:
    """Protect both machines, lose one with its disks, restore it, compare; the same from the other region."""
    demo.say("An emulated Azure has 2 machines with real ext4 disks: they are protected like the others.")
    disks = _disks(cloud)
    for disk in disks:
        cloud.write(disk, 40 << 20, os.urandom(WRITTEN))
    run = demo.type("run", POLICY, "--wait")
    _check(run["state"] == "done", f"the run of {POLICY} ended {run['state']}")
    before = {disk.rsplit("-", 1)[1]: cloud.sha256(disk) for disk in disks}
    machine = f"/subscriptions/{seed.SUBSCRIPTION}/resourcegroups/{seed.GROUP}/providers/microsoft.compute"
    cloud.destroy(f"{machine}/virtualmachines/{VICTIM}", *disks)
    demo.say(f"{VICTIM} and its {len(disks)} disks are destroyed.")
    began = time.monotonic()
    _restore(demo, cloud, "home", before)
    took = round(time.monotonic() - began, 1)
    subnet = seed.subnet(seed.AWAY)
    _restore(demo, cloud, f"{ACCOUNT}/{seed.AWAY}", before, "--set", f"subnet={subnet}")
    demo.say(f"Every byte of {VICTIM} is back, in its own region in {took} s and from the copy in {seed.AWAY}.")
    return {"azure_machines": len(seed.MACHINES), "azure_restored_disks": 2 * len(before), "azure_restore_s": took}


def _disks(cloud: AzureControl) -> list[str]:
    return sorted(str(one["id"]).lower() for one in cloud.things("disks") if f"/{VICTIM}-" in str(one["id"]))


def _restore(demo: Stage, cloud: AzureControl, destination: str, before: dict[str, str], *more: str) -> None:
    """Restore the newest point that lies there to a new machine, and compare its disks by their place."""
    words = ("points", "--state", "good", "--destination", destination, "--limit", "100")
    points = [row for row in demo.type(*words, shown=False) if VICTIM in str(row["resource"])]
    done = demo.type("restore", points[0]["id"], "--to", "vm", *more, "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "azure-disk"]
    after = {_place(disk): cloud.sha256(disk) for disk in made}
    _check(after == before, f"what came back of {VICTIM} differs: {before} {after}")


def _place(disk: str) -> str:
    """The number of the old disk that a new one is: 'os' was the first, and LUN 0 and 2 the ones after."""
    return {"os": "0", "0": "1", "2": "2"}[disk.rsplit("-", 1)[1]]


def _check(true: bool, text: str) -> None:
    if not true:
        raise SystemExit(text)
