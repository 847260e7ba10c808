"""The dispatch and the pool bench at a tiny scale, so that they work on the day somebody needs their figures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def report(*words: str) -> dict[str, Any]:
    """What a bench printed last."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_every_slot_of_a_wave_is_published_and_a_restore_does_not_wait_for_it() -> None:
    found = report(
        "tests.bench.dispatch",
        "--schedules",
        "3000",
        "--rounds",
        "1",
        "--due",
        "100",
        "--herd",
        "2000",
        "--seconds",
        "1",
        "--no-peers",
    )
    assert found["due_per_s"] > 0
    assert found["herd_restore_published_s"] < found["herd_s"]
    assert {"tick_ms", "idle_tick_ms", "p99_due_to_published_s", "machine"} <= found.keys()


def test_every_job_of_a_full_queue_is_claimed_done_and_settled() -> None:
    found = report("tests.bench.pool", "rate", "--jobs", "3000", "--rounds", "1", "--processes", "1", "--no-peers")
    assert found["jobs_per_s"] > 0
    assert {"claimed_to_committed_ms", "machine"} <= found.keys()
    assert {"worker", "worker_catalog", "worker_messages", "postgres", "rabbitmq"} <= found["cpu_ms_per_job"].keys()
