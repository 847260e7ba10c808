"""How long a bucket of many keys takes to be kept in step, by one `snapfleet up` over a stand-in for S3.

    python -m tests.bench.buckets [--keys 100000]

Three syncs: all is new, nothing changed, one in a hundred changed. A line of JSON for each: seconds from the wish to
the end of the run, requests by kind, and the highest memory of the process so far (MiB). feature 25
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.scenario.installation import Installation

LOOK_SECONDS = 2.0  # a command takes a second of a core itself
ESTATE = {
    "version": 1,
    "accounts": [{"name": "prod", "regions": ["us-east-1"]}],
    "policies": [
        {
            "name": "bench",
            "targets": [
                {
                    "type": "s3",
                    "id": "data",
                    "region": "us-east-1",
                    "account": "prod",
                    "options": {"bucket": "safe", "delete": "yes"},
                }
            ],
            "generations": 3,
        }
    ],
}


def asked(port: int, touch: int = 0) -> dict[str, Any]:
    """What the stand-in was asked since the last question."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/bench?touch={touch}") as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def peak_mib(pid: int) -> int:
    """The highest resident memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024


def measure(keys: int, threads: int) -> list[dict[str, Any]]:
    """The three syncs."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.thin_buckets", str(keys)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline())
    cloud = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIABENCH",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with tempfile.TemporaryDirectory() as folder:
        here = Installation(Path(folder) / "home", cloud, tick_seconds="0.2", threads=str(threads))
        try:
            here.type("init", "--yes")
            file = Path(folder) / "estate.yaml"
            file.write_text(yaml.safe_dump(ESTATE))
            here.type("apply", "-f", str(file))
            here.up()
            return [_sync(here, port, what, touch) for what, touch in (("new", 0), ("same", 0), ("1 %", keys // 100))]
        finally:
            here.kill()
            server.kill()


def _sync(here: Installation, port: int, what: str, touch: int) -> dict[str, Any]:
    asked(port, touch)
    began = time.monotonic()
    before = {one["id"] for one in here.type("runs")}
    here.type("run", "bench")

    def ended() -> Any:
        time.sleep(LOOK_SECONDS)
        fresh = [one for one in here.type("runs") if one["id"] not in before]
        return next((one for one in fresh if one["state"] not in ("resolving", "open")), None)

    run = here.until("the sync has ended", ended, 3600)
    seconds = time.monotonic() - began
    assert run["state"] == "done", here.type("queue", "failed", accept=(0, 1, 2))
    assert here.process is not None
    return {"sync": what, "seconds": round(seconds, 1), "peak_mib": peak_mib(here.process.pid), **asked(port)}


def main() -> None:
    """Print a line for each sync."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    for row in measure(options.keys, options.threads):
        print(json.dumps({"keys": options.keys, "cores": os.cpu_count(), **row}), flush=True)


if __name__ == "__main__":
    main()
