"""What the estate bench measures, as real processes: the sandbox, RabbitMQ, PostgreSQL, coordinators and workers.

The product is started as an operator starts it (`snapfleet coordinator`, `snapfleet worker`) with its own drivers; only
the calendar is moved, so that the nightly slot is a few seconds away. Everything dies with the bench.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from deploy.sandbox.client import ControlClient
from deploy.sandbox.demo import environment
from tasks.catalog import close_catalog, open_catalog
from tests import sandbox
from tests.services import ForeignPostgres, ForeignRabbit, PostgresServer, RabbitServer

ROOT = Path(__file__).resolve().parents[2]
SNAPFLEET = Path(sys.executable).with_name("snapfleet")
FIRST_NIGHT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True)
class Size:
    """How large the estate and the fleet are. `snapshot_seconds` is how long the cloud takes for a snapshot,
    `poll_floor` the product's shortest pause between two questions, as it ships; the fleet starts `head_start` seconds
    before the slot is due, so that it is there, as on any evening. `lease` is for how long a dead worker's claim holds
    and how long is waited before something is created again, in seconds (0: as it ships, 120 and 90)."""

    instances: int = 10_000
    accounts: int = 20
    regions: int = 3
    volumes: int = 2
    coordinators: int = 2
    workers: int = 2
    threads: int = 8
    snapshot_seconds: float = 20.0
    poll_floor: float = 15.0
    head_start: float = 6.0
    lease: float = 0.0

    @property
    def places(self) -> int:
        """Pairs of account and region: each has request limits of its own."""
        return self.accounts * self.regions


class Servers:
    """RabbitMQ and PostgreSQL: own ones, or those that the tests' environment variables name."""

    def __init__(self) -> None:
        amqp, postgres = (os.environ.get(f"SNAPFLEET_TEST_{name}_URL") for name in ("AMQP", "POSTGRES"))
        self.rabbit: Any = ForeignRabbit(amqp) if amqp else RabbitServer()
        self.postgres = ForeignPostgres(postgres) if postgres else PostgresServer()

    def close(self) -> None:
        """End what was started."""
        if isinstance(self.rabbit, RabbitServer):
            self.rabbit.close()
        self.postgres.close()


@dataclass
class House:
    """One estate with its catalog, broker and cloud; processes run from `open_night` to `close_night`."""

    size: Size
    folder: Path
    env: dict[str, str]
    cloud: ControlClient
    sandbox_pid: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def command(self, *words: str, night: int = 0) -> None:
        """Run `snapfleet WORDS` to its end; RuntimeError with what it said when it fails."""
        done = subprocess.run(
            [SNAPFLEET, *words], env=self._at(night), capture_output=True, text=True, cwd=ROOT, check=False
        )
        if done.returncode:
            raise RuntimeError(f"snapfleet {' '.join(words)}: {done.stderr or done.stdout}")

    def open_night(self, night: int) -> None:
        """Start the fleet a few seconds before the nightly slot of this night (from 1)."""
        env = self._at(night)
        roles = [("worker", self.size.workers), ("coordinator", self.size.coordinators)]
        for role, count in roles:
            for number in range(1, count + 1):
                name = f"{role}-{number}"
                with (self.folder / f"{name}.log").open("ab") as log:
                    self.processes[name] = subprocess.Popen(
                        [*_DIES_WITH_US, SNAPFLEET, role],
                        env=env, stdout=log, stderr=log, cwd=ROOT,
                    )  # fmt: skip

    def close_night(self) -> None:
        """Stop the fleet in good order."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def look(self) -> None:
        """RuntimeError with its last words when a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                text = (self.folder / f"{name}.log").read_text()[-800:]
                raise RuntimeError(f"{name} ended with {process.returncode}: {text}")

    def _at(self, night: int) -> dict[str, str]:
        slot = FIRST_NIGHT + timedelta(days=night - 1)
        real, virtual = datetime.now(UTC), slot - timedelta(seconds=self.size.head_start if night else 3600)
        return {**self.env, "SNAPFLEET_FAST_CLOCK": f"{real.isoformat()},{virtual.isoformat()},1"}


@contextlib.contextmanager
def moved_in(
    servers: Servers, size: Size, estate: Callable[[dict[str, Any]], dict[str, Any]] | None = None, **settings: Any
) -> Iterator[House]:
    """A house of this size, its estate applied, nothing running yet but the sandbox.

    `estate` makes the estate file from what the sandbox was filled with (default: every machine by tag, each night);
    `settings` are the sandbox's.
    """
    folder = Path(tempfile.mkdtemp(prefix="snapfleet-bench-"))
    vhost, database = servers.rabbit.new_vhost(), servers.postgres.new_database()
    process, url = sandbox.start(snapshot_seconds=size.snapshot_seconds, **settings)
    try:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))},
            **environment(url),
            "SNAPFLEET_HOME": str(folder / "home"),
            "SNAPFLEET_CATALOG_URL": servers.postgres.url(database),
            "SNAPFLEET_BROKER_URL": servers.rabbit.url(vhost),
            "SNAPFLEET_THREADS": str(size.threads),
            "SNAPFLEET_POLL_FLOOR_SECONDS": str(size.poll_floor),
            "SNAPFLEET_DISCOVER_SECONDS": "5",  # each night looks anew, though a night is minutes here
            "SNAPFLEET_ADMIN_PASSWORD": "only-for-the-bench",
            "PYTHONPATH": str(ROOT),
            "EXTERNAL_ID": "bulk-external-id",
        }
        if size.lease:
            env |= {f"SNAPFLEET_{name}_SECONDS": str(size.lease) for name in ("LEASE", "GUARD")}
        house = House(size, folder, env, ControlClient(url), process.pid)
        _settle_in(house, estate or _nightly)
        open_catalog(servers.postgres.url(database))
        yield house
    finally:
        with contextlib.suppress(NameError):
            house.close_night()
        close_catalog()
        process.kill()
        process.wait()
        servers.postgres.drop_database(database)
        servers.rabbit.delete_vhost(vhost)
        shutil.rmtree(folder, ignore_errors=True)


def _settle_in(house: House, made: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    size = house.size
    facts = house.cloud.seed(
        kind="bulk", accounts=size.accounts, regions=size.regions, instances=size.instances, volumes=size.volumes
    )
    path = house.folder / "estate.yaml"
    path.write_text(yaml.safe_dump(made(facts)))
    house.command("init", "--yes")
    house.command("apply", "-f", str(path))


def _nightly(facts: dict[str, Any]) -> dict[str, Any]:
    accounts = [
        {
            "name": f"account-{number:02d}",
            "cloud": "aws",
            "role_arn": role["arn"],
            "external_id": "env:EXTERNAL_ID",
            "regions": facts["regions"],
        }
        for number, role in enumerate(facts["roles"])
    ]
    nightly = {"name": "nightly", "every": "1d", "starts_at": f"{FIRST_NIGHT:%Y-%m-%dT%H:%M}", "time_zone": "UTC"}
    policy = {
        "name": "gold",
        "schedules": ["nightly"],
        "targets": [{"tag": {"backup": "gold"}, "types": ["instance"]}],
        "generations": 30,
        "retries": {"attempts": 3, "wait": "1m"},
    }
    return {"version": 1, "accounts": accounts, "schedules": [nightly], "policies": [policy]}
