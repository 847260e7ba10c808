"""`make demo`: an estate is protected, copied, archived, aged, destroyed and restored, by commands as they are typed.

It starts the emulated cloud and `snapfleet up` as processes of their own and then only runs commands: `snapfleet …`
for everything Snapfleet does, and the sandbox's own command line for what guests and other people do (writing to a
disk, destroying a machine). The calendar runs fast, so that nights pass in seconds; it says so. Every claim at the
end is checked, and a wrong one ends with exit code 1.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy import demo_archive, demo_azure
from deploy.sandbox.client import ControlClient, ControlError
from deploy.sandbox.demo import ALIAS, HOME, PROD, VAULT, environment

BIN = Path(sys.executable).parent
NIGHTS = 5
GENERATIONS = 3
NIGHT_SECONDS = 13.0  # of real time for one night: a run with its copies takes some ten
VIRTUAL_START = datetime(2026, 11, 2, 1, 0, tzinfo=UTC)
FIRST_SLOT = "2026-11-02T01:30"
# Some nights more than are waited for: where the machine is slow, nights that overlap are told and do not count.
LAST_SLOT = "2026-11-10T12:00"
# Where good points lie in the end: at home, in other regions and accounts, in the repository.
PLACES = {"", "prod/eu-west-1", "vault/eu-central-1", "repository:cold", "azure-prod/northeurope"}
PATIENCE = 150.0  # seconds for any one thing to happen, far above what it takes
VICTIM = "db-1"


class Demo:
    """The processes, and a way to type commands."""

    def __init__(self, home: Path, port: int, page: int) -> None:
        self.home, self.page, self.port = home, page, port
        self.url = f"http://127.0.0.1:{port}"
        real = datetime.now(UTC)
        rate = 86_400 / NIGHT_SECONDS
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))},
            **environment(self.url),
            "SNAPFLEET_HOME": str(home / "snapfleet"),
            "SNAPFLEET_FAST_CLOCK": f"{real.isoformat()},{VIRTUAL_START.isoformat()},{rate}",
            "SNAPFLEET_PORT": str(page),
            "SNAPFLEET_POLL_FLOOR_SECONDS": "1",
            "SNAPFLEET_RETENTION_SECONDS": "3",
            "PROD_EXTERNAL_ID": "prod-external-id",
            "VAULT_EXTERNAL_ID": "vault-external-id",
            demo_archive.PASSPHRASE_VARIABLE: secrets.token_urlsafe(24),
            "NO_COLOR": "1",
        }
        self.cloud = ControlClient(self.url)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.started_at = time.monotonic()

    def start(self, name: str, *command: str) -> None:
        """Start a process; what it says goes to a file in the home folder."""
        with (self.home / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))

    def stop(self) -> None:
        """End what was started, last first."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def say(self, text: str) -> None:
        """One line of the story."""
        print(f"[{time.monotonic() - self.started_at:5.1f} s] {text}", flush=True)

    def type(self, *words: str, shown: bool = True, accept: Sequence[int] = (0,)) -> Any:
        """Run `snapfleet WORDS --output json` and return what it printed. Ends the demo when it fails."""
        if shown:
            self.say("$ snapfleet " + " ".join(words))
        done = subprocess.run(
            [BIN / "snapfleet", *words, "--output", "json"], env=self.env, capture_output=True, text=True
        )
        if done.returncode not in accept:
            raise SystemExit(f"snapfleet {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
        return parse(done.stdout)

    def until(self, what: str, ready: Any) -> Any:
        """Ask until `ready()` is true, and return it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = ready()
            if answer:
                return answer
            for process in self.processes:
                if process.poll() is not None:
                    raise SystemExit(f"a process ended while waiting for {what}: see {self.home}/*.log")
            time.sleep(0.5)
        raise SystemExit(f"{what} did not happen within {PATIENCE:.0f} s: see {self.home}/*.log")


def parse(text: str) -> Any:
    """JSON, or the last object of JSON lines."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = [line for line in text.splitlines() if line.strip()]
        return json.loads(lines[-1]) if lines else None


def estate(facts: dict[str, Any], ledger: dict[str, str]) -> dict[str, Any]:
    """The sample estate: two accounts, a nightly schedule, two policies; a repository, and a policy that archives."""
    place = {"region": "us-east-1", "account": "prod"}
    named = [{"type": "instance", "id": facts["instances"][name], **place} for name in ("legacy-1", "sealed-1")]
    vault = {"account": "vault", "region": "eu-central-1", "kms_key": ALIAS}
    archive, azure = demo_archive.estate(ledger), demo_azure.estate()
    common = {"schedules": ["nightly"], "generations": GENERATIONS, "retries": {"attempts": 3, "wait": "1m"}}
    return {
        "version": 1,
        "accounts": [
            {
                "name": "prod",
                "cloud": "aws",
                "role_arn": "arn:aws:iam::111111111111:role/snapfleet",
                "external_id": "env:PROD_EXTERNAL_ID",
                "regions": ["us-east-1", "eu-west-1"],
            },
            {
                "name": "vault",
                "cloud": "aws",
                "kind": "dr",
                "role_arn": "arn:aws:iam::222222222222:role/snapfleet-dr",
                "external_id": "env:VAULT_EXTERNAL_ID",
                "regions": ["eu-central-1"],
            },
            *azure["accounts"],
        ],
        "schedules": [
            {"name": "nightly", "every": "1d", "starts_at": FIRST_SLOT, "ends_at": LAST_SLOT, "time_zone": "UTC"}
        ],
        "policies": [
            {
                "name": "gold",
                "targets": [{"tag": {"backup": "gold"}, "types": ["instance"], "accounts": ["prod"]}, named[0]],
                "dr": [{"region": "eu-west-1"}, vault],
                **common,
            },
            {
                "name": "sealed",
                "targets": [named[1]],
                "dr": [{**vault, "reencrypt_key": ALIAS}],
                **common,
            },
            *archive["policies"],
            *azure["policies"],
        ],
        "repositories": archive["repositories"],
    }


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(cloud: ControlClient) -> bool:
    """Whether the sandbox is up."""
    try:
        cloud.ask("GET", "ready")
    except (OSError, ControlError):
        return False
    return True


def prepare(demo: Demo) -> dict[str, Any]:
    """The cloud, the installation, the estate; what the sandbox planted is returned."""
    # AWS wants 15 s between two snapshots of a volume; a night here is shorter than that.
    demo.say("An emulated AWS starts: 2 accounts, 3 regions, 8 machines with real ext4 disks.")
    demo.start(
        "sandbox", sys.executable, "-m", "deploy.sandbox", "serve", "--port", str(demo.port), "--seed", "none",
        "--snapshot-seconds", "1.5", "--config", json.dumps({"snapshot_interval_seconds": 1.0}),
    )  # fmt: skip
    demo.until("the sandbox", lambda: answers(demo.cloud))
    facts: dict[str, Any] = demo.cloud.seed(kind="demo")
    ledger = demo_archive.plant(demo)
    azure = demo_azure.begin(demo, sys.executable, free_port())
    password = demo.type("init", "--yes").get("password", "")
    (demo.home / "estate.yaml").write_text(yaml.safe_dump(estate(facts, ledger), sort_keys=False))
    demo.type("apply", "-f", str(demo.home / "estate.yaml"))
    demo.say(f"Snapfleet starts. The calendar runs fast: a night takes {NIGHT_SECONDS:.0f} seconds.")
    demo.start("snapfleet", str(BIN / "snapfleet"), "up")
    demo.until("the start of Snapfleet", lambda: demo.type("processes", shown=False))
    return {**facts, "password": password, "ledger": ledger, "azure": azure}


def nights(demo: Demo) -> None:
    """Let the schedule fire until enough nights are over."""
    seen: dict[Any, str] = {}

    def over() -> bool:
        runs = demo.type("runs", shown=False) or []
        for run in sorted(runs, key=lambda row: row["id"]):
            if (
                run["policy"] not in (demo_archive.POLICY, demo_azure.POLICY)
                and run["state"] not in ("resolving", "open")
                and seen.get(run["id"]) != run["state"]
            ):
                seen[run["id"]] = run["state"]
                demo.say(f"  {run['policy']}: night of {run['slot_at'][:16]} {run['state']}")
        return len([state for state in seen.values() if state == "done"]) >= 2 * NIGHTS

    demo.until("the nights", over)
    failed = [state for state in seen.values() if state == "failed"]
    check(not failed, f"{len(failed)} nights failed")


def disaster(demo: Demo, facts: dict[str, Any]) -> dict[str, Any]:
    """Write, back up, destroy, restore, compare."""
    victim = facts["instances"][VICTIM]
    point = newest(demo, victim, "home")
    disks = {part["device"]: part["source_id"] for part in point["parts"]}
    demo.say(f"The guest of {VICTIM} writes to its disks, and somebody backs it up by hand.")
    for number, volume in enumerate(disks.values()):
        demo.cloud.write(PROD, HOME, volume, 4096 * 1024 * (number + 3), os.urandom(1 << 20))
    demo.type("run", "gold", "--resource", victim, "--wait")
    before = {device: demo.cloud.sha256(PROD, HOME, volume) for device, volume in disks.items()}
    demo.say(f"{VICTIM} and its {len(disks)} disks are destroyed.")
    demo.cloud.destroy(PROD, HOME, *disks.values(), victim)
    point = newest(demo, victim, "home")
    began = time.monotonic()
    demo.type("restore", point["id"], "--to", "instance", "--dry-run")
    done = demo.type("restore", point["id"], "--to", "instance", "--wait")
    took = round(time.monotonic() - began, 1)
    after = {device: demo.cloud.sha256(PROD, HOME, volume) for device, volume in disks_of(done).items()}
    check(before == after, f"the restored disks differ: {before} {after}")
    size = sum(part["size_gib"] for part in point["parts"]) << 30
    demo.say(f"Every byte of {VICTIM} is back as it was: {size / 2**30:.0f} GiB compared, restored in {took} s.")
    return {"before": before, "victim": victim, "restored_disks": len(after), "bytes_compared": size, "restore_s": took}


def other_account(demo: Demo, story: dict[str, Any]) -> int:
    """Restore the disks from the copy in the vault account, and compare them too; how many."""
    copy = newest(demo, story["victim"], "vault/eu-central-1")
    demo.say("The copy in the other account is restored as well, in its own region.")
    done = demo.type("restore", copy["id"], "--to", "volume", "--zone", "eu-central-1a", "--wait")
    made = [item["id"] for item in done["made"] if item["kind"] == "volume"]
    after = sorted(demo.cloud.sha256(VAULT, "eu-central-1", volume) for volume in made)
    check(after == sorted(story["before"].values()), "the disks restored from the vault differ")
    return len(made)


def newest(demo: Demo, resource: str, destination: str) -> Any:
    """The newest good point of a machine there, with its parts."""
    words = ("points", "--resource", resource, "--state", "good", "--destination", destination, "--limit", "1")
    return demo.type("point", demo.type(*words, shown=False)[0]["id"], shown=False)


def disks_of(restore: Any) -> dict[str, str]:
    """Device to volume id of the machine that a restore made."""
    (launch,) = [step for step in restore["steps"] if step["kind"] == "run-instance"]
    return dict(launch["outputs"]["volumes"])


def check(true: bool, text: str) -> None:
    """End the demo when a claim is wrong."""
    if not true:
        raise SystemExit(text)


def count(demo: Demo, facts: dict[str, Any]) -> dict[str, Any]:
    """What the nights have left behind."""
    points = demo.type("points", "--limit", "10000", shown=False)
    # A night may be under way: a copy made for another copy to start from is no result of it.
    good = [row for row in points if row["state"] == "good" and row["kind"] != "intermediate"]
    deleted = [row for row in points if row["state"] == "deleted"]
    places = {row["destination"] for row in good}
    check(places == PLACES, f"good points lie in {sorted(places)}")
    check(bool(deleted), "no generation has expired")
    calls = demo.cloud.ask("GET", "calls", recent=0)["counts"]
    return {
        "instances": len(facts["instances"]),
        "points_good": len(good),
        "copies_good": len([row for row in good if row["destination"]]),
        "points_expired": len(deleted),
        "api_calls": sum(row["count"] for row in calls),
    }


def main() -> None:
    """Tell the story; `--serve` leaves everything up until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="leave the page up")
    serve = parser.parse_args().serve
    home = Path(tempfile.mkdtemp(prefix="snapfleet-demo-"))
    demo = Demo(home, free_port(), free_port())
    try:
        facts = prepare(demo)
        nights(demo)
        story = disaster(demo, facts)
        vault_disks = other_account(demo, story)
        archived = demo_archive.tell(demo, facts["ledger"])
        azure = demo_azure.tell(demo, facts["azure"])
        figures = {
            **count(demo, facts),
            **{name: story[name] for name in ("restored_disks", "bytes_compared", "restore_s")},
            "vault_disks": vault_disks,
            **archived,
            **azure,
        }
        if serve:
            demo.say(
                f"The page: https://127.0.0.1:{demo.page}/ (user admin, password {facts['password']}). Ctrl-C ends."
            )
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        demo.stop()
        if not serve and sys.exc_info()[0] is None:
            shutil.rmtree(home, ignore_errors=True)
    print(json.dumps({"demo": "ok", "wall_s": round(time.monotonic() - demo.started_at, 1), **figures}))


if __name__ == "__main__":
    main()
