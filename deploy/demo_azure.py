"""The demo's story of Azure: two machines of a subscription are protected, lost with their disks, and come back.

The emulated Azure is a process of its own, over HTTPS. The policy is run by hand, so this story waits for no night.
"""

import os
import time
from pathlib import Path
from typing import Any, Protocol

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl

ACCOUNT, POLICY = "azure-prod", "azure"
MACHINES = tuple(name for name, *_ in seed.MACHINES)
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
    """Protect both machines, lose them with their disks, restore them, compare; the same from the other region."""
    demo.say("An emulated Azure has 2 machines with real ext4 disks: they are protected like the others.")
    disks = {name: _disks(cloud, name) for name in MACHINES}
    for disk in (one for held in disks.values() for one in held):
        cloud.write(disk, 40 << 20, os.urandom(WRITTEN))
    run = demo.type("run", POLICY, "--wait")
    _check(run["state"] == "done", f"the run of {POLICY} ended {run['state']}")
    before = {name: {one.rsplit("-", 1)[1]: cloud.sha256(one) for one in held} for name, held in disks.items()}
    machine = f"/subscriptions/{seed.SUBSCRIPTION}/resourcegroups/{seed.GROUP}/providers/microsoft.compute"
    for name, held in disks.items():
        cloud.destroy(f"{machine}/virtualmachines/{name}", *held)
    count = sum(map(len, disks.values()))
    demo.say(f"{' and '.join(MACHINES)} are destroyed with their {count} disks.")
    began = time.monotonic()
    for name in MACHINES:
        _restore(demo, cloud, name, "home", before[name])
    took = round(time.monotonic() - began, 1)
    for name in MACHINES:
        _restore(demo, cloud, name, f"{ACCOUNT}/{seed.AWAY}", before[name], "--set", f"subnet={seed.subnet(seed.AWAY)}")
    demo.say(f"Every byte of both is back, in their own region in {took} s and from the copies in {seed.AWAY}.")
    return {"azure_machines": len(MACHINES), "azure_restored_disks": 2 * count, "azure_restore_s": took}


def _disks(cloud: AzureControl, machine: str) -> list[str]:
    return sorted(str(one["id"]).lower() for one in cloud.things("disks") if f"/{machine}-" in str(one["id"]))


def _restore(
    demo: Stage, cloud: AzureControl, machine: str, destination: str, before: dict[str, str], *more: str
) -> None:
    """Restore the newest point that lies there to a new machine, and compare its disks by their place."""
    words = ("points", "--state", "good", "--destination", destination, "--limit", "100")
    points = [row for row in demo.type(*words, shown=False) if machine in str(row["resource"])]
    done = demo.type("restore", points[0]["id"], "--to", "vm", *more, "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "azure-disk"]
    after = {_place(disk): cloud.sha256(disk) for disk in made}
    _check(after == before, f"what came back of {machine} differs: {before} {after}")


def _place(disk: str) -> str:
    """The number of the old disk that a new one is: 'os' was the first, and LUN 0 and 2 the ones after."""
    return {"os": "0", "0": "1", "2": "2"}[disk.rsplit("-", 1)[1]]


def _check(true: bool, text: str) -> None:
    if not true:
        raise SystemExit(text)
