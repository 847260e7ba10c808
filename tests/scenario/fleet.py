"""A real fleet for tests: coordinators and workers as processes, on RabbitMQ, PostgreSQL and a fake cloud in a file.

Each seat of the fleet is one process that is started again when it dies, as a supervisor would. A seat may be given
crash points: it then kills itself (SIGKILL) at one after the other, and the log proves that the point was reached.
Several seats may draw from one line of points; each process is then armed with a few of them, those first whose names
have most of them left, and dies at whichever it comes by first.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.catalog import (
    Account,
    Job,
    Meta,
    Outbox,
    Policy,
    PolicySchedule,
    Schedule,
    database_time,
    open_catalog,
    transaction,
)
from tasks.catalog.database import lock_rows
from tasks.catalog.migrate import migrate
from tasks.secrets import MasterKey
from tasks.states import JobState
from tests.fakes.cloud import FakeCloud
from tests.scenario.nursery import Child

SNAPFLEET = Path(sys.executable).parent / "snapfleet"
ROOT = Path(__file__).parent.parent.parent


# The calendar of these fleets: it starts here and runs 200 times as fast, so that 15 minutes pass in 4.5 seconds.
VIRTUAL = datetime(2026, 3, 1, tzinfo=UTC)
RATE = 200
# A job that failed waits a minute or more for its next attempt, and what it leads to may do so too: here so long.
RETRY_SOON = timedelta(seconds=2)


def name_of(point: str) -> str:
    """A crash point's name without the pass at which it counts."""
    return point.partition(":")[0]


def _calendar() -> str:
    return f"{datetime.now(UTC).isoformat()},{VIRTUAL.isoformat()},{RATE}"


@dataclass
class Seat:
    """One place for a process: its command, the crash points still to come, and what has happened."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    folder: Path
    points: deque[str] = field(default_factory=deque)
    arms: int = 1  # points of different names that a process has at once
    reached: list[str] = field(default_factory=list)
    other_ends: int = 0
    process: subprocess.Popen[bytes] | Child | None = None
    wishes: tuple[str, ...] = ()
    log: Path = Path()
    _since: tuple[tuple[int, int], float] = ((0, 0), 0.0)

    def start(self) -> None:
        """Start the process with some of the crash points that are left."""
        env = dict(self.env)
        self.wishes = self._choose()
        if self.wishes:
            self.log = self.folder / f"{self.name}-{len(self.reached)}-{self.other_ends}.crash"
            env |= {"SNAPFLEET_CRASH_AT": ",".join(self.wishes), "SNAPFLEET_CRASH_LOG": str(self.log)}
        log = self.folder / f"{self.name}.log"
        if env["PYTHONPATH"] == str(ROOT):
            self.process = Child(self.command, env, log)
            return
        with log.open("ab") as out:  # with modules of its own it needs an interpreter of its own
            self.process = subprocess.Popen(self.command, env=env, stdout=out, stderr=out, cwd=ROOT)

    def _choose(self) -> tuple[str, ...]:
        """Points of different names: those of whose name most are left, so that nobody has died there often; among
        equals by the dice."""
        left = self.points.copy()
        names, different = Counter(map(name_of, left)), {name_of(point): point for point in left}
        dice = random.Random(f"{self.name} {len(self.reached)} {self.other_ends}")
        order = sorted(sorted(different), key=lambda name: (-names[name], dice.random()))
        return tuple(different[name] for name in order[: self.arms])

    def look(self) -> None:
        """Start again what has died, and note where it died."""
        if self.process is None or self.process.poll() is None:
            return
        there = self.log.read_text().split() if self.wishes and self.log.exists() else []
        if there and self.process.returncode == -signal.SIGKILL:
            reached = next(point for point in self.wishes if name_of(point) == there[-1])
            with contextlib.suppress(ValueError):  # another seat has died there too
                self.points.remove(reached)
            self.reached.append(reached)
        else:
            self.other_ends += 1
        self.start()

    def put_off_when_unreached(self, patience: float) -> None:
        """Try others, if there are any, when this process has not come by any of its present points for so long
        (seconds)."""
        state = (len(self.reached), self.other_ends)
        others = set(map(name_of, self.points.copy())) - set(map(name_of, self.wishes))
        if self._since[0] != state:
            self._since = (state, time.monotonic())
        elif self.wishes and others and time.monotonic() - self._since[1] > patience:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """An orderly end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            if self.process.poll() is None:
                self.kill()


class Fleet:
    """Coordinators and workers over one catalog, broker and fake cloud, with a supervisor thread."""

    def __init__(self, folder: Path, catalog_url: str, broker_url: str, links: tuple[str, str] | None = None) -> None:
        """`links` are the URLs of catalog and broker that the processes use, when they go through a proxy."""
        self.folder = folder
        home = folder / "home"
        MasterKey.create(home / "keys" / "master.key")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))},
            "SNAPFLEET_HOME": str(home),
            "SNAPFLEET_CATALOG_URL": links[0] if links else catalog_url,
            "SNAPFLEET_BROKER_URL": links[1] if links else broker_url,
            "SNAPFLEET_DRIVERS": "tests.fakes.driver:build_drivers",
            "SNAPFLEET_FAKE_CLOUD": str(folder / "cloud.sqlite"),
            "SNAPFLEET_POLL_FLOOR_SECONDS": "0.2",
            "SNAPFLEET_LEASE_SECONDS": "3",
            "SNAPFLEET_LOST_SECONDS": "5",
            "SNAPFLEET_RETENTION_SECONDS": "2",
            "SNAPFLEET_TICK_SECONDS": "0.1",
            "SNAPFLEET_DISCOVER_SECONDS": "5",
            "SNAPFLEET_THREADS": "4",
            "SNAPFLEET_GUARD_SECONDS": "0.1",
            "SNAPFLEET_FAST_CLOCK": _calendar(),
            "PYTHONPATH": str(ROOT),
        }
        open_catalog(catalog_url)
        migrate()
        # A worker that asks for its fence over a dead link is inside a call: whoever mends links must not wait.
        self.cloud = FakeCloud(str(folder / "cloud.sqlite"), patience=3)
        self.seats: list[Seat] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def estate(self, volumes: int, policies: dict[str, dict[str, Any]], schedule: dict[str, Any]) -> None:
        """An account with volumes to protect, a DR account, and policies that all follow one schedule."""
        for number in range(volumes):
            self.cloud.volume(f"vol-{number:04d}", tags={"backup": "gold"})
        at = database_time()
        with transaction():
            Meta.create(key="installation", value="fleet-under-test")
            Account.create(name="prod", regions=["us-east-1"])
            Account.create(name="vault", kind="dr", regions=["eu-central-1"])
            grid = Schedule.create(name="often", spec=schedule, created_at=at, changed_at=at)
            for name, spec in policies.items():
                policy = Policy.create(name=name, spec=spec, created_at=at, changed_at=at)
                PolicySchedule.create(policy=policy, schedule=grid, last_slot_at=VIRTUAL, next_start_at=VIRTUAL)

    def seat(self, role: str, points: Iterable[str] = (), *, arms: int = 1, **more: str) -> Seat:
        """Add a process; it is started by `start` or at once when the fleet runs. A deque of points may be shared."""
        name = f"{role}-{len(self.seats)}"
        line = points if isinstance(points, deque) else deque(points)
        seat = Seat(name, (str(SNAPFLEET), role), self.env | more, self.folder, line, arms)
        self.seats.append(seat)
        if self._thread.is_alive():
            seat.start()
        return seat

    def start(self) -> None:
        """Start every seat and the supervisor."""
        for seat in self.seats:
            seat.start()
        self._thread.start()

    def _supervise(self) -> None:
        while not self._stop.wait(0.05):
            for seat in self.seats:
                seat.look()

    def hurry(self) -> None:
        """What waits for another attempt after an error waits no longer than a moment; what somebody else has in hand
        stays. Whatever else is put off too long stays so, and the spree does not heal."""
        with transaction():
            soon = database_time() + RETRY_SOON
            failed = Job.select(Job.id).where(Job.state == JobState.PENDING, Job.error_code != "")
            waits = (Outbox.ready_at > soon) & Outbox.job.in_(failed)
            late = [row.job_id for row in lock_rows(Outbox.select(Outbox.job).where(waits))]
            Outbox.update(ready_at=soon).where(Outbox.job.in_(late)).execute()

    def until(self, what: str, ready: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until `ready()` is true; fails naming `what` and the logs' last lines."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = ready()
            if answer:
                return answer
            time.sleep(0.3)
        tails = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log")))
        raise AssertionError(f"{what} did not happen within {seconds:.0f} s\n{tails}")

    def stop(self) -> None:
        """Stop the supervisor, then every process in order."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for seat in self.seats:
            seat.stop()
