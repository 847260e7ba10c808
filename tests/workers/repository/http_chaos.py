"""`make chaos-store`: real processes of the engine killed at every write and at random moments, over HTTP.

    python -m tests.workers.repository.http_chaos [--kills 400] [--server thin|moto] [--seed 1] [--together 3]

Each process archives, prunes or compacts one repository beside the others, and is ended by SIGKILL: right before a
write, right after one (the answer is lost), or after some milliseconds, wherever it is then. Every so often, and in the
end, everything is judged from the store alone. One JSON line last; exit 1 when a promise was broken.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.workers.repository.servers import CREDENTIALS, session
from tests.workers.repository.volumes import BLOCK, KEY, Disk, Snapshot, content
from workers.repository.archive import archive, new_job_id
from workers.repository.clock import host_clock
from workers.repository.compact import compact, plan_compaction
from workers.repository.errors import Conflict, Fenced, Missing, RepositoryError
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.pipeline import Tuning
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import Repository, create, open_repository
from workers.repository.s3 import S3Store, s3_client
from workers.repository.s3wire import Wire
from workers.repository.verify import verify

SMALL = Tuning(pack_bytes=4 * BLOCK, compute=1, uploads=2)
BLOCKS, CHANGED = 24, 3
WRITES = ("put", "create", "replace", "delete")
# A process makes some 15 writes in some 100 ms: kills fall on all of them, and on none of them now and then.
LAST_WRITE, LAST_MOMENT = 18, 0.15
JUDGE_EVERY = 40
REFUSED = 3  # exit code of a process that was told that its job is over


@dataclass
class Outcome:
    """What a spree left behind; wrong, missing, garbage and failed must be zero."""

    kills: int = 0
    by: Counter[str] = field(default_factory=Counter)  # how they died
    of: Counter[str] = field(default_factory=Counter)  # what they did
    finished: int = 0
    refused: int = 0
    failed: int = 0
    judged: int = 0
    generations: int = 0
    wrong: int = 0
    missing: int = 0
    garbage: int = 0
    stories: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def bad(self) -> int:
        """What must not be."""
        return self.wrong + self.missing + self.garbage + self.failed


class Server:
    """A server in a process of its own: the thin stand-in, or moto."""

    def __init__(self, kind: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="snapfleet-http-chaos-"))
        thin = [sys.executable, "-m", "tests.bench.thin_server", "--root", str(self.root), "--verify"]
        moto = [sys.executable, "-c", _MOTO]
        command = thin if kind == "thin" else moto
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


_MOTO = """
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(86400)
"""


class Deadly:
    """A store whose process ends itself at its n-th write: before it is sent, or once it has happened."""

    def __init__(self, store: Any, writes: int, after: bool) -> None:
        self._store, self._left, self._after = store, writes, after
        self.url = store.url

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in WRITES:
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*arguments, **options)
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


class Spree:
    """Keeps `together` processes at work on one repository until enough were killed, then lets nothing be garbage."""

    def __init__(self, server: Server, kills: int, seed: int, together: int) -> None:
        self.dice, self._kills, self._together = random.Random(seed), kills, together
        self._endpoint = server.endpoint
        self._client = s3_client(server.endpoint, "us-east-1", session())
        self._client.create_bucket(Bucket="chaos")
        create(self.store(), KEY)
        self.disks = {name: Disk(BLOCKS, seed + number) for number, name in enumerate(("one", "two"))}
        self.states: dict[str, bytes] = {}
        self.outcome = Outcome()
        self._living: dict[int, tuple[str, str, float]] = {}  # pid: what it does, how it is to die, when
        self._turns: Counter[tuple[str, str]] = Counter()

    def store(self) -> S3Store:
        """The repository's place, over connections of its own."""
        wire = Wire(self._endpoint, "chaos", "us-east-1", lambda: CREDENTIALS)
        return S3Store(self._client, "chaos", "main", wire=wire)

    def run(self) -> Outcome:
        """Until enough were killed; then judge."""
        began, judged = time.monotonic(), 0
        while self.outcome.kills < self._kills:
            while len(self._living) < self._together:
                self._begin()
            self._reap()
            if self.outcome.kills - judged >= JUDGE_EVERY:
                judged = self.outcome.kills
                self._still()
                self._judge()
        self._still()
        self._judge()
        self._sweep()
        self.outcome.seconds = round(time.monotonic() - began, 1)
        return self.outcome

    def _begin(self) -> None:
        what = self.dice.choice(("archive", "archive", "archive", "prune", "prune", "compact"))
        how = self.dice.choice(("before a write", "after a write", "at a moment"))
        writes = self._turns[what, how] % LAST_WRITE  # each write in turn
        self._turns[what, how] += 1
        seed, job = self.dice.random(), new_job_id()
        name = self.dice.choice(sorted(self.disks))
        self.disks[name].change(CHANGED)
        if what == "archive":
            self.states[job] = self.disks[name].bytes()
        pid = os.fork()
        if not pid:
            os._exit(self._live(what, how, writes, random.Random(seed), name, job))
        until = self.dice.uniform(0.005, LAST_MOMENT) if how == "at a moment" else 60.0
        self._living[pid] = (what, how, time.monotonic() + until)

    def _reap(self) -> None:
        """See who ended, and kill whose moment has come."""
        for pid, (what, how, until) in list(self._living.items()):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            del self._living[pid]
            if os.WIFSIGNALED(status):
                self.outcome.kills += 1
                self.outcome.by[how] += 1
                self.outcome.of[what] += 1
            elif os.WEXITSTATUS(status) == REFUSED:
                self.outcome.refused += 1
            elif os.WEXITSTATUS(status):
                self.outcome.failed += 1
                self.outcome.stories.append(f"a process that was to {what} failed")
            else:
                self.outcome.finished += 1
        time.sleep(0.002)

    def _still(self) -> None:
        """Wait for those at work; whoever was to die at a moment does."""
        while self._living:
            self._reap()

    def _live(self, what: str, how: str, writes: int, dice: random.Random, name: str, job: str) -> int:
        """One process; its exit code."""
        store: Any = self.store() if how == "at a moment" else Deadly(self.store(), writes, how == "after a write")
        try:
            repo = open_repository(store, KEY)
            if what == "archive":
                self._archive(repo, dice, name, job)
            elif what == "prune":
                _prune(repo, dice)
            else:
                compact(repo, plan_compaction(repo, 0.9, 1), read_index(repo).generations)
        except (Fenced, Conflict, Missing):
            return REFUSED
        except RepositoryError as error:
            if "needs a base" in str(error):
                return REFUSED
            sys.stderr.write(f"{what}: {type(error).__name__}: {error}\n")
            return 1
        return 0

    def _archive(self, repo: Repository, dice: random.Random, name: str, job: str) -> None:
        known = [one for one in read_index(repo, name).generations if one.id in self.states]
        base = dice.choice(known[-2:]) if known and dice.random() < 0.8 else None
        before = self.states[base.id] if base else None
        archive(repo, name, Snapshot(self.states[job], before), host_clock(), base, tuning=SMALL, job=job)

    def _judge(self) -> None:
        """Every generation that counts restores bit for bit, and nothing that is referred to is missing."""
        outcome, repo = self.outcome, open_repository(self.store(), KEY)
        outcome.judged += 1
        found = read_index(repo).generations
        outcome.generations += len(found)
        for one in found:
            if content(repo, one) != self.states[one.id]:
                outcome.wrong += 1
                outcome.stories.append(f"{one.id} restores to other bytes")
        report = verify(repo, full=True)
        outcome.missing += len(report.problems)
        outcome.stories += [f"{one.name}: {one.kind}: {one.detail}" for one in report.problems[:10]]

    def _sweep(self) -> None:
        """Nobody works any more: two prunes without grace leave nothing but what generations need."""
        repo, nothing = open_repository(self.store(), KEY), Margins(timedelta(0), timedelta(0))
        time.sleep(1.1)  # listings tell seconds
        before = [one.id for one in read_index(repo).generations]
        for _ in range(3):
            execute_prune(repo, plan_prune(repo, [], nothing))
        if [one.id for one in read_index(repo).generations] != before:
            self.outcome.wrong += 1
            self.outcome.stories.append("pruning changed which generations there are")
        self._judge()
        names = [stat.name for stat in self.store().list("")]
        # a process that died in its look at the clock leaves a probe, which a prune an hour later takes
        kinds = {"keys", "repository.json", "leases", "packs", "maps", "generations", "tombs", "probe"}
        strange = [name for name in names if name.split("/")[0] not in kinds]
        dead = sorted(plan_prune(repo, [], nothing).delete)
        open_jobs = read_index(repo).open_jobs()
        manifests = sum(name.startswith("generations/") for name in names) - len(before)
        self.outcome.garbage = len(dead) + len(strange) + len(open_jobs) + manifests
        self.outcome.stories += [f"garbage: {name}" for name in [*dead, *strange][:10]]


def _prune(repo: Repository, dice: random.Random) -> None:
    known = read_index(repo).generations
    newest = {one.lineage: one.id for one in known}
    expire = [one.id for one in known if one.id not in newest.values() and dice.random() < 0.5]
    margins = Margins(timedelta(seconds=dice.choice((0, 0, 2))), timedelta(seconds=dice.choice((0, 1, 3))))
    execute_prune(repo, plan_prune(repo, expire, margins))


def attempt(server: str, kills: int, seed: int, together: int = 3) -> Outcome:
    """One spree against a server of its own."""
    running = Server(server)
    try:
        return Spree(running, kills, seed, together).run()
    finally:
        running.close()


def main() -> None:
    """Run the spree and print what it left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=400)
    parser.add_argument("--server", choices=("thin", "moto"), default="thin")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=3)
    options = parser.parse_args()
    outcome = attempt(options.server, options.kills, options.seed, options.together)
    print(json.dumps({"server": options.server, "seed": options.seed, **vars(outcome)}))
    sys.exit(bool(outcome.bad()))


if __name__ == "__main__":
    main()
