"""How long a fleet takes to recover: printed by `make chaos` before its kills, each figure in seconds on this machine.

Leases here are as long as in production where the figure says so by itself (leader), and 3 s for jobs: a killed
worker's job goes on after what is left of its lease.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.catalog import Job, Lease, Process, Request, Run, session, transaction
from tasks.catalog.database import database_time
from tasks.errors import Unavailable
from tasks.states import JobState, RunState
from tests.proxy import FaultProxy
from tests.scenario.fleet import Fleet, Seat
from tests.scenario.trouble import through
from tests.services import PostgresServer, RabbitServer

POLICY = {"targets": [{"tag": {"backup": "gold"}, "types": ["volume"], "accounts": ["prod"]}], "generations": 2}
YEARLY = {"every": "1d", "starts_at": "2027-01-01T00:00"}


class Recovery:
    """A small fleet, to which one thing after the other happens."""

    def __init__(self, folder: Path, postgres: PostgresServer, rabbit: RabbitServer) -> None:
        self._postgres, self._rabbit = postgres, rabbit
        # the one virtual host that a broker without its data makes by itself
        database, self._link = postgres.new_database(), FaultProxy(rabbit.port)
        links = (postgres.url(database), through(rabbit.url(), self._link.port))
        self._fleet = Fleet(folder, postgres.url(database), rabbit.url(), links)
        self._fleet.estate(6, {"gold": POLICY}, schedule=YEARLY)
        for role in ("coordinator", "coordinator", "worker", "worker"):
            self._fleet.seat(role)

    def measure(self) -> dict[str, float]:
        """Every figure."""
        self._fleet.start()
        try:
            self._run_through()
            figures: dict[str, Callable[[], float]] = {
                "run_s": lambda: self._seconds(self._run_through),
                "leader_change_s": self._leader,
                "killed_worker_s": self._worker,
                "half_open_link_s": self._half_open,
                "database_restart_s": self._database,
                "broker_restart_s": lambda: self._broker(keep=True),
                "broker_restart_without_data_s": lambda: self._broker(keep=False),
            }
            found = {}
            for name, figure in figures.items():
                found[name] = figure()
                print(name, found[name], file=sys.stderr, flush=True)
            return found
        finally:
            self._fleet.stop()
            self._link.close()

    def _seconds(self, act: Callable[[], Any]) -> float:
        began = time.monotonic()
        act()
        return round(time.monotonic() - began, 1)

    def _until(self, what: str, ready: Callable[[], Any]) -> Any:
        def asked() -> Any:
            try:
                with session():
                    return ready()
            except Unavailable:
                return None

        return self._fleet.until(what, asked, 120)

    def _ask(self) -> int:
        with transaction():
            return int(
                Request.create(
                    kind="run", payload={"policy": "gold"}, requested_by="test", created_at=database_time()
                ).id
            )

    def _run_through(self) -> None:
        """A run is asked for and good."""
        number = self._ask()

        def done() -> bool:
            wish = Request.get_by_id(number)
            return bool(wish.result) and Run.get_by_id(wish.result["run"]).state == RunState.DONE

        self._until("a run", done)

    def _seat_of(self, name: str) -> Seat:
        pid = int(name.split(":")[1])
        return next(seat for seat in self._fleet.seats if seat.process is not None and seat.process.pid == pid)

    def _leader(self) -> float:
        with session():
            holder = Lease.get(Lease.name == "sweep").holder
        self._seat_of(holder).kill()
        return self._seconds(
            lambda: self._until("another leader", lambda: Lease.get(Lease.name == "sweep").holder != holder)
        )

    def _worker(self) -> float:
        """Both workers die with jobs in hand; until the last of those jobs is somebody else's or done."""
        self._fleet.cloud.fault("start_backup", "slow", 6)
        self._ask()
        busy = Job.select(Job.id, Job.fence).where(Job.state == JobState.RUNNING, Job.kind == "snapshot")
        held = self._until("work", lambda: [(row.id, row.fence) for row in busy.clone()])
        for seat in self._fleet.seats:
            if seat.name.startswith("worker"):
                seat.kill()
        return self._seconds(
            lambda: self._until("takeover", lambda: all(Job.get_by_id(number).fence > fence for number, fence in held))
        )

    def _half_open(self) -> float:
        """Every link to the broker falls silent without an end, and new ones work: from then until a run that is asked
        for at once is good. Heartbeats of 10 s are all that tells."""
        self._link.forget()
        return self._seconds(self._run_through)

    def _database(self) -> float:
        self._postgres.kill()
        self._postgres.start()

        def again() -> float:
            since = self._until("the time", database_time)
            fresh = Process.select().where(Process.seen_at > since)
            return self._seconds(lambda: self._until("heartbeats", lambda: fresh.count() >= len(self._fleet.seats)))

        return again()

    def _broker(self, *, keep: bool) -> float:
        """From the broker's return until a run that was asked for meanwhile is good."""
        self._rabbit.kill()
        if not keep:
            shutil.rmtree(self._rabbit.home / "mnesia", ignore_errors=True)
        self._rabbit.start()
        return self._seconds(self._run_through)


def main() -> None:
    """Measure, and print one JSON line."""
    postgres, rabbit = PostgresServer(), RabbitServer()
    try:
        with tempfile.TemporaryDirectory(prefix="snapfleet-recovery-") as folder:
            print(json.dumps(Recovery(Path(folder), postgres, rabbit).measure()))
    finally:
        rabbit.close()
        postgres.close()


if __name__ == "__main__":
    sys.exit(main())
