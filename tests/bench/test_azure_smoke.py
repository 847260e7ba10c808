"""The bench of Azure's estate at a tiny scale, so that it works on the day somebody needs its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--disks", "40", "--subscriptions", "4", "--workers", "1", "--coordinators", "1")
PACE = ("--snapshot-seconds", "1", "--poll-floor", "2", "--head-start", "3")


def test_every_disk_is_protected_once_and_nothing_is_refused(rabbitmq: Any, postgres_url: str) -> None:
    vhost = rabbitmq.new_vhost()
    servers = {"SNAPFLEET_TEST_AMQP_URL": rabbitmq.url(vhost), "SNAPFLEET_TEST_POSTGRES_URL": postgres_url}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.azure_estate", *SIZE, *PACE],
        cwd=ROOT, env={**os.environ, **servers}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    rabbitmq.delete_vhost(vhost)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["lost"], report["doubled"], report["throttled"], report["accounts"]) == (0, 0, 0, 4)
    assert report["calls"]["PUT snapshots"] == report["jobs"] == 40
