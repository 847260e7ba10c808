"""`make bench-pool`: jobs through claim, work, commit and next step, beside bare Dramatiq and Celery prefork.

Production worker processes (one handler more, whose cloud does nothing) and the production coordinator in this process,
on a PostgreSQL that syncs every commit and a real RabbitMQ with quorum queues; the peers do no bookkeeping. All queues
are filled beforehand. Sections: `rate`, `scale` (a cloud that takes its time), `restore` (behind a backlog), `fairness`
(one account is throttled). Progress goes to standard error; the last line of standard output is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from coordinator.admission import USUAL, Admission
from coordinator.main import Coordinator, _loop
from coordinator.publish import publish
from coordinator.rabbitmq import ConfirmingPublisher
from tasks.catalog import Job, close_catalog, database_time, open_catalog, session, transaction
from tasks.catalog.bulk import insert_rows
from tasks.catalog.migrate import migrate
from tasks.catalog.transitions import add_job, add_jobs
from tasks.clock import SystemClock
from tasks.lanes import Lane
from tasks.limits import Pace
from tasks.messages import SignedEncoder
from tasks.secrets import MasterKey
from tasks.settings import FLEET_THREADS, load_settings
from tasks.telemetry import Counters
from tests.bench.stages import cpu_of, read
from tests.bench.unswept import Unswept
from tests.bench.watch import machine
from tests.services import PostgresServer, RabbitServer

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
ACCOUNTS = 100
PATIENCE = 150.0
CALL = 0.5  # seconds that the cloud takes where workers are added
OPEN = Admission(capacity=dict.fromkeys(Lane, 10**9), starts=Pace(per_second=1e6, burst=10**9))
BRISK = Admission(starts=Pace(per_second=1e6, burst=10**9))  # queues as short as ever, and no cloud's pace
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class Site:
    """A catalog, a broker and the fleet on them; everything dies with it."""

    def __init__(self, postgres: PostgresServer, rabbit: RabbitServer) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.servers: dict[str, Any] = {"postgres": postgres, "rabbitmq": rabbit}
        home = Path(self.folder.name)
        MasterKey.create(home / "keys" / "master.key")
        self.url = postgres.url(postgres.new_database())
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SNAPFLEET_")},
            "SNAPFLEET_HOME": str(home),
            "SNAPFLEET_CATALOG_URL": self.url,
            "SNAPFLEET_BROKER_URL": rabbit.url(rabbit.new_vhost()),
            "SNAPFLEET_DRIVERS": "tests.fakes.driver:build_drivers",
            "SNAPFLEET_FAKE_CLOUD": str(home / "cloud.sqlite"),
            "BENCH_FOLDER": str(home),
            "PYTHONPATH": str(ROOT),
        }
        open_catalog(self.url)
        migrate()
        self.connection = psycopg.connect(self.url, autocommit=True)
        self.connection.execute("insert into meta (key, value) values ('installation', 'bench')")
        with transaction():
            from tasks.catalog import Account

            insert_rows(Account, [{"name": f"a{n}", "regions": ["us-east-1"]} for n in range(1, ACCOUNTS + 1)])
        os.environ.update({name: value for name, value in self.env.items() if name.startswith("SNAPFLEET_")})
        settings = load_settings()
        self.publisher = ConfirmingPublisher(settings.broker_url, SignedEncoder(settings.message_keys()))
        self.publisher.wait_available(timedelta(seconds=30))
        self.clock = SystemClock(database_time)
        self.coordinator = Unswept(settings, self.clock, self.publisher, Counters(), admission=BRISK)
        self.workers: list[subprocess.Popen[bytes]] = []

    def fill(self, count: int, seconds: float = 0.0) -> None:
        """So many jobs in line, of all accounts."""
        at = self.clock.timer()
        with transaction():
            add_jobs(
                [
                    {
                        "kind": "noop",
                        "lane": str(Lane.SNAPSHOT),
                        "account": number % ACCOUNTS + 1,
                        "region": "us-east-1",
                        "spec": {"seconds": seconds} if seconds else {},
                    }
                    for number in range(count)
                ],
                at,
            )

    def publish_all(self) -> None:
        """Everything in line goes to the broker."""
        with session():
            while publish(self.publisher, Counters(), self.clock.timer(), OPEN):
                pass
        self.connection.execute("vacuum analyze job")

    def hire(self, count: int, threads: int) -> None:
        """Start worker processes."""
        env = {**self.env, "SNAPFLEET_THREADS": str(threads)}
        for _ in range(count):
            with (Path(self.folder.name) / "worker.log").open("ab") as log:
                process = subprocess.Popen(
                    [*_DIES_WITH_US, sys.executable, "-m", "tests.bench.pool_worker"],
                    env=env, cwd=ROOT, stdout=log, stderr=log,
                )  # fmt: skip
            self.workers.append(process)

    def report_for_work(self) -> None:
        """Wait until every worker that was hired has beaten."""
        count, end = "select count(*) from process where role = 'worker'", time.perf_counter() + PATIENCE
        while self._count(count) < len(self.workers):
            if time.perf_counter() > end:
                raise RuntimeError("not every worker has come")
            time.sleep(0.1)

    def _count(self, query: str) -> int:
        row = self.connection.execute(query).fetchone()  # type: ignore[arg-type]
        return int(row[0]) if row else 0

    def dismiss(self) -> None:
        """Stop the workers."""
        for process in self.workers:
            process.terminate()
        for process in self.workers:
            process.wait(60)
        self.workers.clear()

    def clear(self) -> None:
        """No jobs at all."""
        self.connection.execute("truncate job, outbox cascade")

    def wait(self, condition: str, count: int) -> list[tuple[float, int]]:
        """(time, how many jobs) until so many jobs are as `condition` says."""
        seen: list[tuple[float, int]] = []
        end = time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            seen.append((time.perf_counter(), self._count(f"select count(*) from job where {condition}")))
            if seen[-1][1] >= count:
                return seen
            time.sleep(0.1)
        log = (Path(self.folder.name) / "worker.log").read_text()[-600:]
        raise RuntimeError(f"{seen[-1][1]} of {count} jobs are {condition} after {PATIENCE:g} s: {log}")

    def close(self) -> None:
        """End everything."""
        self.dismiss()
        self.publisher.close()
        self.connection.close()
        close_catalog()
        self.folder.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench, or some of its sections."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pool")
    parser.add_argument("sections", nargs="*", default=["rate", "scale", "restore", "fairness"])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="of `rate`, each with the peers")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=FLEET_THREADS)
    parser.add_argument("--waves", type=int, default=40, help="of CALL seconds, for each number of workers of `scale`")
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--fair-seconds", type=int, default=15, help="of each of ten rounds of `fairness`")
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args(arguments)
    postgres, rabbit = PostgresServer(durable=True), RabbitServer()
    report: dict[str, Any] = {"bench": "pool"}
    try:
        site = Site(postgres, rabbit)
        try:
            for name in given.sections:
                report |= SECTIONS[name](site, given)
                _say(str(report))
        finally:
            site.close()
    finally:
        rabbit.close()
        postgres.close()
    report |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    print(json.dumps(report), flush=True)
    return 0


def rate(site: Site, given: argparse.Namespace) -> dict[str, Any]:
    """The median of some rounds, in turns with the peers: what else the machine does is then everybody's."""
    ours, theirs = [], []
    for _ in range(given.rounds):
        ours.append(_round(site, given))
        _say(str(ours[-1]))
        if not given.no_peers:
            theirs.append(_peers(site.servers["rabbitmq"], given))
            _say(str(theirs[-1]))
    report = sorted(ours, key=lambda one: float(one["jobs_per_s"]))[len(ours) // 2]
    for name in theirs[0] if theirs else ():
        report[f"{name}_per_s"] = median(one[name] for one in theirs)
        ratios = [mine["jobs_per_s"] / its[name] for mine, its in zip(ours, theirs, strict=True)]
        report[f"vs_{name}"] = round(median(ratios), 2)
    return report


def _round(site: Site, given: argparse.Namespace) -> dict[str, Any]:
    """Jobs a second until settled, of a queue that was full when the workers came; processor time by stage."""
    site.fill(given.jobs)
    site.publish_all()
    before = {name: cpu_of(server.pid) for name, server in site.servers.items()}
    with _running(site) as coordinator:
        site.hire(given.processes, given.threads)
        seen = site.wait("settled", given.jobs)
    spent = {name: cpu_of(server.pid) - before[name] for name, server in site.servers.items()}
    site.dismiss()
    stages = {f"worker_{name}": seconds for name, seconds in read(Path(site.folder.name)).items()}
    row = site.connection.execute(
        "select extract(epoch from avg(finished_at - started_at)) * 1000 from job where state = 'done'"
    ).fetchone()
    site.clear()
    spent |= {"coordinator": coordinator.cpu, "worker": sum(stages.values()), **stages}
    return {
        "jobs_per_s": _rate(seen, given.jobs),
        "processes": given.processes,
        "threads": given.threads,
        "cpu_ms_per_job": {name: round(1000 * seconds / given.jobs, 3) for name, seconds in sorted(spent.items())},
        "claimed_to_committed_ms": round(float(row[0]), 2) if row else None,
    }


def scale(site: Site, given: argparse.Namespace) -> dict[str, Any]:
    """1, 2, 4 and 8 workers with a cloud that takes half a second: jobs a second, as a share of linear."""
    rates = {}
    for workers in (1, 2, 4, 8):
        site.hire(workers, given.threads)
        site.report_for_work()
        jobs = given.waves * given.threads * workers
        site.fill(jobs, seconds=CALL)
        site.publish_all()
        site.wait("state = 'done'", jobs)
        row = site.connection.execute(
            "select extract(epoch from max(finished_at) - min(started_at)) from job"
        ).fetchone()
        rates[workers] = round(jobs / float(row[0]), 1) if row else 0.0
        site.dismiss()
        site.clear()
        _say(f"{workers} workers: {rates[workers]} jobs/s")
    return {
        "scale_jobs_per_s": rates,
        "scale_of_ideal": round(rates[8] / (8 * given.threads / CALL), 3),
        **{f"scale_{workers}": round(rates[workers] / rates[1] / workers, 3) for workers in (2, 4, 8)},
    }


def restore(site: Site, given: argparse.Namespace) -> dict[str, Any]:
    """How long after they were asked for restores are begun, one every half second behind a backlog."""
    site.fill(given.backlog, seconds=0.05)
    with _running(site):
        site.hire(given.processes, given.threads)
        site.wait("state = 'done'", 100)
        asked = []
        for _ in range(40):
            with transaction():
                asked.append(
                    add_job(lane=Lane.RESTORE, at=site.clock.timer(), kind="noop", account=1, region="us-east-1").id
                )
            time.sleep(0.5)
        site.wait("lane = 'restore' and state = 'done'", len(asked))
    with session():
        waits = sorted(
            (started - created).total_seconds()
            for started, created in Job.select(Job.started_at, Job.created_at).where(Job.id.in_(asked)).tuples()
        )
        left = Job.select().where(Job.state.in_(["pending", "queued"])).count()
    site.dismiss()
    site.clear()
    return {"restore_p50_s": round(waits[len(waits) // 2], 3), "restore_p99_s": round(waits[-1], 3), "behind": left}


def fairness(site: Site, given: argparse.Namespace) -> dict[str, Any]:
    """20 accounts on 8 threads, jobs coming in steadily, without and with one account that the cloud throttles: how
    much longer the other accounts' jobs wait (p95)."""
    waits: dict[bool, float] = {}
    site.coordinator.admission = USUAL
    with _running(site):
        site.hire(1, 8)
        for throttled in (False, True) * FAIR_ROUNDS:
            _steady(site, throttled=throttled, seconds=given.fair_seconds)
            wait = _others_wait(site, given.fair_seconds)
            waits[throttled] = min(wait, waits.get(throttled, wait))
            tried = site.connection.execute("select coalesce(sum(fence), 0) from job where account_id = 1").fetchone()
            _say(f"throttled {throttled}: p95 of the others {wait} s, tries of the first account {tried}")
            site.clear()
            site.connection.execute("delete from budget")
    site.dismiss()
    site.coordinator.admission = BRISK
    grows = waits[True] / waits[False] - 1
    return {"fair_p95_s": waits[False], "fair_p95_throttled_s": waits[True], "fair_growth": round(grows, 3)}


FAIR_ACCOUNTS, FAIR_CALL, FAIR_ROUNDS = 20, 0.25, 5  # of rounds the quietest counts: what else runs is no account's


def _steady(site: Site, *, throttled: bool, seconds: int) -> None:
    """Every account's jobs, one a second each: two thirds of what 8 threads can do."""
    at = site.clock.timer()
    rows_ = [
        {
            "kind": "noop",
            "lane": str(Lane.SNAPSHOT),
            "account": account,
            "region": "us-east-1",
            "service": "ec2",
            "not_before_at": at + timedelta(seconds=1 + n + account / FAIR_ACCOUNTS),
            "spec": {"seconds": FAIR_CALL, **({"throttled": True} if throttled and account == 1 else {})},
        }
        for n in range(seconds)
        for account in range(1, FAIR_ACCOUNTS + 1)
    ]
    with transaction():
        add_jobs(rows_, at)


def _others_wait(site: Site, seconds: int) -> float:
    """p95 in seconds from due to begun, over all accounts but the first."""
    others = "account_id > 1 and state = 'done'"
    site.wait(others, (FAIR_ACCOUNTS - 1) * seconds)
    row = site.connection.execute(
        "select percentile_cont(0.95) within group (order by extract(epoch from started_at - not_before_at))"
        " from job where account_id > 1"
    ).fetchone()
    return round(float(row[0]), 3) if row else 0.0


SECTIONS: dict[str, Callable[[Site, argparse.Namespace], dict[str, Any]]] = {
    "rate": rate,
    "scale": scale,
    "restore": restore,
    "fairness": fairness,
}


class _running:
    """The coordinator's loop in a thread for a while."""

    def __init__(self, site: Site) -> None:
        self._stop, self.cpu = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._run, args=(site.coordinator,))

    def _run(self, coordinator: Coordinator) -> None:
        _loop(coordinator, self._stop)
        self.cpu = time.thread_time()

    def __enter__(self) -> "_running":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _peers(rabbit: Any, given: argparse.Namespace) -> dict[str, float]:
    """What the others reach on the same broker with no bookkeeping at all."""
    folder = Path(__file__).parent / "peers"
    vhost, jobs = rabbit.new_vhost(), str(given.jobs)
    rabbit.api("PUT", f"/vhosts/{vhost}", {"default_queue_type": "quorum"})
    try:
        return {
            "dramatiq": _peer(folder / "dramatiq_noop.py", rabbit.url(vhost), jobs, "8"),
            "celery_prefork": _peer(folder / "celery_noop.py", rabbit.url(vhost), jobs, "2"),
        }
    finally:
        rabbit.delete_vhost(vhost)


def _peer(script: Path, *arguments: str) -> float:
    done = subprocess.run([PEERS, script, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    return float(json.loads(done.stdout.splitlines()[-1])["per_s"])


def _rate(seen: Sequence[tuple[float, int]], count: int) -> float:
    low = next(one for one in seen if one[1] >= count * 0.05)
    high = next(one for one in seen if one[1] >= count * 0.95)
    return round((high[1] - low[1]) / max(0.001, high[0] - low[0]), 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
