"""The estate bench at a tiny scale, so that it works on the day somebody needs its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.resources import TYPES

ROOT = Path(__file__).resolve().parents[2]
PLACES = 4 * 3
SIZE = ("--scale", "60", "--accounts", "4", "--regions", "3", "--workers", "1", "--coordinators", "1")
PACE = ("--snapshot-seconds", "1", "--poll-floor", "2", "--head-start", "3")
NO_LIMITS = ("--snapshots", "0", "--copies", "0", "--azure", "0")


@pytest.fixture(scope="module")
def report(rabbitmq: Any, postgres_url: str) -> dict[str, Any]:
    """What the bench printed last, run as `make bench-estate` runs it, on the servers of this session."""
    vhost = rabbitmq.new_vhost()
    servers = {"SNAPFLEET_TEST_AMQP_URL": rabbitmq.url(vhost), "SNAPFLEET_TEST_POSTGRES_URL": postgres_url}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.estate", *SIZE, *PACE, *NO_LIMITS],
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


def test_every_machine_is_protected_exactly_once_each_night(report: dict[str, Any]) -> None:
    """Promise 2, at the scale of an estate: nothing lost, nothing doubled, nothing that no point knows of."""
    assert (report["resources"], report["lost"], report["doubled"], report["orphans"]) == (60, 0, 0, 0)
    assert {night["state"] for night in report["nights"].values()} == {"done"}
    assert {night["calls"]["CreateSnapshots"] for night in report["nights"].values()} == {60}


def test_describe_calls_are_bounded_by_places_and_time(report: dict[str, Any]) -> None:
    """A first look is three calls a place for EC2 and at most two for each other service, and two ask for orphans; a
    place is then asked at most once in half a poll pause."""
    looks = 5 + 2 * len({kind.service for kind in TYPES.values() if kind.cloud == "aws"} - {"ec2"})
    for night in report["nights"].values():
        polls = night["seconds"] / 1.0 + 1
        assert night["describe_calls"] <= PLACES * (looks + polls)
        assert night["threads_waiting"] == 0


def test_hidden_attributes_are_asked_once_a_launch(report: dict[str, Any]) -> None:
    attributes = {name: night["attribute_calls"] for name, night in report["nights"].items()}
    assert attributes == {"cold": 120, "steady": 0}
