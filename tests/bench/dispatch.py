"""`make bench-dispatch`: from due to confirmed, at a million schedules, beside APScheduler and celery beat.

Production coordinators (tick, plan, outbox, confirmed publish), two of them as in the compose file, on a PostgreSQL
that syncs every commit and a real RabbitMQ; the peers in an environment of their own, 10,000 entries each, APScheduler
on the same PostgreSQL. The peers only schedule; ours also plan, write jobs and publish with confirms. All take turns,
round by round, so that each round meets the machine as the others do, and their medians are compared. Ours run all the
time, as they do in a fleet, and their time begins when the slots are due, so that they also have to notice them; the
peers are called at that moment. Sweeps belong to another coordinator here. Progress goes to standard error; the last
line of standard output is one JSON object.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from coordinator.main import _loop
from coordinator.tick import tick
from tasks.catalog import close_catalog, database_time, open_catalog, transaction
from tasks.catalog.fleet import BEAT
from tasks.catalog.migrate import migrate
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane
from tests.bench import dispatch_estate as estate
from tests.bench.dispatch_fleet import Another, Confirmed, Timed, engaged
from tests.bench.stages import cpu_of
from tests.bench.watch import machine
from tests.services import PostgresServer, RabbitServer

PEERS = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
PEER_ENTRIES, PEER_DUE = 10_000, 1_000
ROUNDS = 9  # walls of a virtual machine differ by a tenth from one round to the next
PATIENCE = 240.0
AT_ONCE = timedelta(milliseconds=1)
# Slots are written before they are due, so long that the coordinator has come to rest: at least so many a second.
LEAST_AHEAD, SLOTS_WRITTEN = 0.3, 5_000


class Bench:
    """One catalog with its million schedules, one broker, and coordinators, the first of them in this process."""

    def __init__(self, url: str, amqp: str, schedules: int, servers: Mapping[str, int]) -> None:
        self.servers = servers
        self.connection = psycopg.connect(url, autocommit=True)
        open_catalog(url)
        migrate()
        estate.move_in(self.connection, schedules, database_time())
        self.home = tempfile.TemporaryDirectory()
        self.confirmed = Confirmed()
        self.coordinator = engaged(url, amqp, self.home.name, self.confirmed.note, "bench:1:coordinator")
        self.clock = self.coordinator.clock
        self.next = 1
        self._urls = url, amqp
        self._others: list[Another] = []
        self._stop = threading.Event()
        self._loop = threading.Thread(target=_loop, args=(self.coordinator, self._stop))

    def start(self, coordinators: int) -> None:
        """Run the production loops of so many coordinators from now on; returns when all know of each other."""
        self._loop.start()
        for number in range(2, coordinators + 1):
            name = f"bench:{number}:coordinator"
            self._others.append(Another(*self._urls, self.home.name, self.confirmed.note, name))
        time.sleep(1.5 * BEAT.total_seconds() if coordinators > 1 else 0)

    def make_due(self, count: int, ahead: float, over: timedelta) -> datetime:
        """The next `count` schedules that had no slot yet become due, the first in so many seconds; when that is."""
        at = (database_time() + timedelta(seconds=ahead)).replace(microsecond=0)
        estate.forget_looks_age(self.connection, database_time())
        estate.make_due(self.connection, at, self.next, count, over)
        self.connection.execute("vacuum analyze policy_schedule")
        self.next += count
        if database_time() > at - timedelta(seconds=LEAST_AHEAD):
            raise RuntimeError(f"it took more than {ahead:g} s to write {count} slots")
        return at

    def published(self, count: int, at: datetime) -> tuple[float, dict[str, float]]:
        """Seconds from `at`, which is to come, until so many messages are confirmed; and processor seconds meanwhile,
        ours and the servers'."""
        enough = self.confirmed.expect(count)
        offset = datetime.now(UTC) - database_time()
        time.sleep((at - database_time()).total_seconds() - LEAST_AHEAD / 2)
        Timed.spent.clear()
        before = self.cpu()
        if not enough.wait(PATIENCE):
            raise RuntimeError(f"{len(self.confirmed.at)} of {count} after {PATIENCE:g} s")
        used = {name: seconds - before[name] for name, seconds in self.cpu().items()}
        return (self.confirmed.enough_at - offset - at).total_seconds(), used

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, ours and the servers'."""
        ours = time.process_time() + sum(cpu_of(other.pid) for other in self._others)
        return {"ours": ours, **{name: cpu_of(pid) for name, pid in self.servers.items()}}

    def close(self) -> None:
        """Give everything back."""
        self._stop.set()
        if self._loop.is_alive():
            self._loop.join()
        for other in self._others:
            other.close()
        self.coordinator.publisher.close()
        self.connection.close()
        close_catalog()
        self.home.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; 0 unless something is lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dispatch")
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--coordinators", type=int, default=2, help="as the fleet's compose file has them")
    parser.add_argument("--due", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--herd", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="over which slots become due for the p99")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args(arguments)
    needed = (given.rounds + 2) * given.due + given.herd
    if given.schedules < needed:
        parser.error(f"--schedules: each comes due once, and {needed} do")
    with _servers() as (postgres, rabbit):
        servers = {"postgresql": postgres.pid, "rabbitmq": rabbit.pid}
        bench = Bench(postgres.url(postgres.new_database()), rabbit.url(rabbit.new_vhost()), given.schedules, servers)
        _say(f"{given.schedules} schedules are there")
        try:
            with contextlib.ExitStack() as stack:
                url = postgres.url(postgres.new_database())
                peers = {} if given.no_peers else {name: stack.enter_context(one) for name, one in _peers(url).items()}
                report = idle(bench)
                bench.start(given.coordinators)
                report |= due(bench, given.due, peers, given.rounds)
            report |= steady(bench, given.due, given.seconds)
            report |= herd(bench, given.herd)
        finally:
            bench.close()
    report |= {"coordinators": given.coordinators, "schedules": given.schedules}
    report |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    print(json.dumps({"bench": "dispatch", **report}), flush=True)
    return 0


@contextlib.contextmanager
def _servers() -> Iterator[tuple[PostgresServer, RabbitServer]]:
    postgres, rabbit = PostgresServer(durable=True), RabbitServer()
    try:
        yield postgres, rabbit
    finally:
        rabbit.close()
        postgres.close()


def idle(bench: Bench) -> dict[str, Any]:
    """A tick, and a whole round, that find nothing due: medians."""

    def usual(act: Callable[[], Any]) -> float:
        times = []
        for _ in range(101):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
        return round(median(times) * 1000, 2)

    only = usual(lambda: tick(bench.clock.now(), bench.clock.timer(), bench.coordinator.counters))
    report = {"idle_tick_ms": only, "idle_round_ms": usual(bench.coordinator.step)}
    _say(str(report))
    return report


def due(bench: Bench, count: int, peers: Mapping[str, "Peer"], turns: int) -> dict[str, Any]:
    """So many at once, from due to confirmed, in turns with the peers: medians, and what ours spent in its median
    round after a first one, in which PostgreSQL knows nothing of the tables yet."""
    _round(bench, count)
    rounds, others = [], {name: [] for name in peers}
    for _ in range(turns):
        rounds.append(_round(bench, count))
        for name, peer in peers.items():
            others[name].append(peer.round())
    rate, stages, cpu = sorted(rounds, key=lambda one: one[0])[turns // 2]
    report = {
        "due_per_s": rate,
        "due_per_s_rounds": [one[0] for one in rounds],
        "tick_ms": stages.get("tick"),
        "stages_ms": stages,
        "cpu_ms": cpu,
    }
    for name, rates in others.items():
        report |= {f"vs_{name}": round(rate / median(rates), 1), name: {"due_per_s": median(rates), "rounds": rates}}
    _say(str(report))
    return report


def _round(bench: Bench, count: int) -> tuple[float, dict[str, float], dict[str, int]]:
    """Due a second, seconds of each stage, and processor time of each program."""
    seconds, used = bench.published(count, bench.make_due(count, 2.0, AT_ONCE))
    cpu = {name: round(1000 * one) for name, one in used.items()}
    return (
        round(count / seconds, 1),
        {name: round(1000 * one, 1) for name, one in Timed.spent.items() if one > 0.001},
        cpu,
    )


def steady(bench: Bench, count: int, seconds: float) -> dict[str, Any]:
    """So many over a while through the production loop: how long after it was due each message was confirmed."""
    first, offset = bench.next, datetime.now(UTC) - database_time()
    start = bench.make_due(count, 3.0, timedelta(seconds=seconds))
    bench.published(count, start)
    policies = dict(bench.connection.execute(
        "select j.id, r.policy_id from job j join run r on r.id = j.run_id where r.policy_id >= %s", (first,)
    ).fetchall())  # fmt: skip
    waits = sorted(
        (at - offset - start).total_seconds() - int((policies[job] - first) * seconds / count)
        for job, at in bench.confirmed.at.items()
        if job in policies
    )
    report = {
        "p50_due_to_published_s": round(waits[len(waits) // 2], 3),
        "p99_due_to_published_s": round(waits[len(waits) * 99 // 100], 3),
    }
    _say(str(report))
    return report


def herd(bench: Bench, count: int) -> dict[str, Any]:
    """A midnight: so many due at once with admission open, and a restore that is asked for in the middle of it."""
    at = bench.make_due(count, 3.0 + count / SLOTS_WRITTEN, AT_ONCE)
    asked: dict[str, Any] = {}

    def ask() -> None:
        while len(bench.confirmed.at) < count // 2:
            time.sleep(0.005)
        with transaction():
            at = bench.clock.timer()
            job = add_job(lane=Lane.RESTORE, at=at, kind="restore-step", account=1, region="us-east-1")
        asked.update(job=job.id, at=datetime.now(UTC))

    somebody = threading.Thread(target=ask)
    somebody.start()
    seconds, cpu = bench.published(count + 1, at)
    somebody.join()
    waited = (bench.confirmed.at[asked["job"]] - asked["at"]).total_seconds()
    report = {"herd": count, "herd_s": round(seconds, 1), "herd_restore_published_s": round(waited, 2)}
    report["herd_cpu_s"] = {name: round(used, 1) for name, used in cpu.items()}
    _say(str(report))
    return report


class Peer:
    """A peer's program, which has its entries and does a round for each line that it reads."""

    def __init__(self, script: str, *arguments: str) -> None:
        words = [PEERS, Path(__file__).parent / "peers" / script, *arguments]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def round(self) -> float:
        """Due entries a second."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return float(self._answer()["due_per_s"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def _peers(url: str) -> dict[str, Peer]:
    entries, count = str(PEER_ENTRIES), str(PEER_DUE)
    return {
        "apscheduler": Peer("apscheduler_store.py", url, entries, count),
        "celery_beat": Peer("celery_beat.py", entries, count),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
