"""The copy slots of the estate bench at a tiny scale, and the arithmetic by which its figures come about."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.limits import SLOTS, occupancy

ROOT = Path(__file__).resolve().parents[2]
SIZE = ("--scale", "0", "--snapshots", "0", "--azure", "0", "--copies", "30", "--copy-seconds", "3")
# Killed in a creating call, a worker holds that copy until its lease ends: 120 s as it ships, more than the rest takes.
LEASE = ("--lease", "15")


@pytest.mark.unit
def test_slots_that_are_always_taken_are_wholly_busy() -> None:
    """Twenty at a time, one after the other without a gap."""
    spans = [(10.0 * row, 10.0 * row + 10.0) for row in range(5) for _ in range(SLOTS)]
    figures = occupancy(spans, 40.0, killed_at=99.0)
    assert (figures["slots_busy"], figures["most"], figures["slots_refilled_s"]) == (1.0, SLOTS, 0.0)


@pytest.mark.unit
def test_gaps_and_too_many_at_once_are_seen() -> None:
    """A second without work in each ten, a dip after the kill, and one copy too many at the end."""
    spans = [(10.0 * row, 10.0 * row + 9.0) for row in range(4) for _ in range(SLOTS)] + [(35.0, 36.0)]
    figures = occupancy(spans, 39.0, killed_at=15.0)
    assert figures["most"] == SLOTS + 1
    assert figures["slots_busy"] == pytest.approx(36 / 39, abs=0.001)
    assert figures["slots_refilled_s"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def report(rabbitmq: Any, postgres_url: str) -> dict[str, Any]:
    """What the bench printed, run as `make bench-estate` runs it, on the servers of this session."""
    vhost = rabbitmq.new_vhost()
    servers = {"SNAPFLEET_TEST_AMQP_URL": rabbitmq.url(vhost), "SNAPFLEET_TEST_POSTGRES_URL": postgres_url}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.estate", *SIZE, *LEASE],
        cwd=ROOT,
        env={**os.environ, **servers},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    rabbitmq.delete_vhost(vhost)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_copies_keep_to_their_slots_while_a_worker_dies(report: dict[str, Any]) -> None:
    """Feature C3: 30 copies into twenty slots, one of two workers killed in between."""
    assert (report["copy_slots"]["copies"], report["slots_exceeded"]) == (30, 0)
    assert report["copy_slots"]["most"] == SLOTS
