"""Archives under kills: a fleet over the emulated AWS that archives, restores, forgets and prunes while it dies.

Real processes on RabbitMQ and PostgreSQL, the sandbox's S3 and EBS. What a snapshot held is learnt from the cloud and
never from Snapfleet, and the repository is judged with the bucket alone when everything has stopped.
"""

import hashlib
import json
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.catalog import (
    Account,
    Job,
    Meta,
    Part,
    Point,
    Policy,
    Repository,
    Request,
    Restore,
    RestoreStep,
    Run,
    database_time,
    rows,
    session,
    transaction,
)
from tasks.secrets import MasterKey, Secret, seal
from tasks.states import JOB_OPEN, RUN_OPEN, JobState, PointState, RestoreState
from tests.deploy.estate import HOME, PROD, VAULT
from tests.sandbox import Sandbox
from tests.scenario.fleet import Fleet
from tests.scenario.killing import ARCHIVING_POINTS, points_for
from workers.repository.generations import read_index
from workers.repository.keys import Passphrase
from workers.repository.liveness import Margins
from workers.repository.manifest import Generation
from workers.repository.prune import plan_prune
from workers.repository.repository import Repository as Opened
from workers.repository.repository import open_repository
from workers.repository.restore import restore
from workers.repository.s3 import S3Store
from workers.repository.verify import verify

BLOCK = 512 << 10
CHECKPOINT = 8  # blocks between two checkpoints of the repository
SMALL, BIG_GIB = 6, 2  # volumes of one GiB, and one that is big here
PASSPHRASE = "a passphrase for archives under kills"
POLICY: dict[str, Any] = {
    "targets": [],
    "generations": 2,
    "retries": {"attempts": 50, "wait": "1m"},
    "repository": {"name": "cold", "every": 1},
}
# Long enough for most archives here and short enough for some that were killed to be given up by a prune.
GRACE = 25.0
PRUNE_EVERY, KILL_EVERY = 3.0, 1.5
ARMS = 4  # points that a process has at once: it dies at whichever it comes by first
HEALING = 400.0  # at most
REST = 8.0  # a coordinator's round of sweeps is due every five seconds, retention within it every two
RUNS = 3  # at once: an archive that a prune gave up waits, and the others go on
RESTORES = 2  # at once: two of the thirteen points are theirs, and they are the last to be come by
# A process that comes by none of its points within this time is given others: a run takes some ten seconds.
PATIENCE = 40.0
OVER = [RestoreState.DONE, RestoreState.FAILED, RestoreState.CANCELLED]
COORDINATES = ("part.planned",)
# Those of archives; buckets that are kept in step have a spree of their own.
POINTS = tuple(name for name in ARCHIVING_POINTS if name.startswith(("archive.", "part.", "fetch.", "forget.")))
Content = dict[int, bytes]


@dataclass
class Outcome:
    """What a spree left behind: wrong, missing, unknown, garbage, left and bad restores must be zero."""

    kills: int = 0
    put_off: int = 0  # killed too, because they came by none of their points
    reached: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    archives: int = 0
    parts: int = 0
    epochs: int = 0
    prunes: int = 0
    restores: int = 0
    generations: int = 0
    wrong: int = 0
    missing: int = 0
    unknown: int = 0
    garbage: int = 0
    left: int = 0
    bad_restores: int = 0
    seconds: float = 0.0
    stories: list[str] = field(default_factory=list)

    def bad(self) -> int:
        """What must not be."""
        return self.wrong + self.missing + self.unknown + self.garbage + self.left + self.bad_restores

    def to_json(self) -> str:
        """One line."""
        plain = {name: value for name, value in vars(self).items() if name != "reached"}
        return json.dumps({**plain, "points": dict(sorted(self.reached.items())), "seconds": round(self.seconds, 1)})


class Archivists:
    """A fleet with an estate whose volumes are archived; `dice` says what guests write."""

    def __init__(self, folder: Path, catalog_url: str, broker_url: str, sandbox: Sandbox, dice: random.Random) -> None:
        self.sandbox, self.dice = sandbox, dice
        self.fleet = Fleet(folder, catalog_url, broker_url)
        self.fleet.env |= {
            **sandbox.environment,
            "SNAPFLEET_DRIVERS": "",
            "SNAPFLEET_SPLIT_GIB": str(BIG_GIB),
            "SNAPFLEET_CHECKPOINT_GIB": str(CHECKPOINT * BLOCK / (1 << 30)),
            "SNAPFLEET_GRACE_SECONDS": str(GRACE),
        }
        for number, role in ((PROD, "snapfleet"), (VAULT, "snapfleet-dr")):
            sandbox.role(f"arn:aws:iam::{number}:role/{role}")
        sandbox.client(VAULT, service="s3").create_bucket(Bucket="cold")
        self.volumes: dict[str, int] = {}
        self._estate(MasterKey.load(folder / "home" / "keys" / "master.key"))

    def _estate(self, keys: MasterKey) -> None:
        at = database_time()
        spec = {"account": "vault", "region": HOME, "url": "s3://cold/main"}
        sealed = seal(keys, Secret(PASSPHRASE), "repository.key.cold")
        with transaction():
            Meta.create(key="installation", value="archives-under-test")
            for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
                arn = f"arn:aws:iam::{number}:role/{role}"
                Account.create(name=name, regions=[HOME], number=number, role_arn=arn)
            Repository.create(name="cold", spec=spec, key_sealed=sealed, created_at=at)
            Policy.create(name="gold", spec=POLICY, created_at=at, changed_at=at)

    def volume(self, gib: int, blocks: int) -> str:
        """A volume with so many blocks written all over it."""
        made = self.sandbox.client(PROD, HOME).create_volume(AvailabilityZone=f"{HOME}a", Size=gib)["VolumeId"]
        self.volumes[made] = gib
        targets = [{"type": "volume", "id": one, "region": HOME, "account": "prod"} for one in self.volumes]
        with transaction():
            Policy.update(spec={**POLICY, "targets": targets}).execute()
        for number in range(blocks):
            self.write(made, number * (gib * 2048 // blocks))
        return str(made)

    def write(self, volume: str, block: int) -> None:
        """What a guest does."""
        self.sandbox.write(PROD, HOME, volume, block * BLOCK, os.urandom(BLOCK))

    def ask(self, kind: str, **payload: Any) -> None:
        """A wish, as a command writes it."""
        with transaction():
            Request.create(kind=kind, payload=payload, requested_by="test", created_at=database_time())

    def healed(self) -> bool:
        """Nothing is under way or wished for."""
        with session():
            return not (
                Run.select().where(Run.state.in_(list(RUN_OPEN))).exists()
                or Request.select().where(Request.state == "new").exists()
                or Job.select().where(Job.state.in_(list(JOB_OPEN)), Job.kind.not_in(["poll", "discover"])).exists()
                or Job.select().where(~Job.settled).exists()
                or Restore.select().where(Restore.state.not_in(OVER)).exists()
                or Point.select().where(Point.state.in_([PointState.CREATING, PointState.EXPIRING])).exists()
            )

    def prune(self) -> None:
        """Ask for a pruning and wait for it."""
        since = database_time()
        self.ask("repository", name="cold", verb="prune")
        self.fleet.until("pruning", lambda: self._done("prune", since), 90)

    def create(self) -> None:
        """Ask for the repository and wait for it."""
        self.ask("repository", name="cold", verb="create")
        self.fleet.until("the repository", lambda: self._done("create", None), 90)

    def _done(self, verb: str, since: Any) -> bool:
        with session():
            job = Job.get_or_none(Job.key == f"repository-{verb}:{Repository.get().id}")
        over = job is not None and job.state == JobState.DONE
        return over and (since is None or job.finished_at > since)

    def opened(self) -> Opened:
        """The repository, with the bucket's own credentials and the passphrase."""
        return open_repository(
            S3Store(self.sandbox.client(VAULT, HOME, "s3"), "cold", "main"), Passphrase(PASSPHRASE), clock=database_time
        )


class Fingerprint:
    """A sink that remembers what it was given as the sandbox fingerprints a volume of `size` bytes (whole GiB): by
    block, zeros left out."""

    proves = False

    def __init__(self, size: int) -> None:
        self.gib, self.blocks = size >> 30, Content()

    def write(self, index: int, content: bytes | memoryview, digest: bytes) -> None:
        self.blocks[index] = hashlib.sha256(bytes(content).ljust(BLOCK, b"\0")).digest()

    def finish(self) -> None:
        """All was written."""

    def text(self) -> str:
        """As `Sandbox.fingerprint` gives it."""
        whole = hashlib.sha256(self.gib.to_bytes(8, "big"))
        for index in sorted(self.blocks):
            whole.update(index.to_bytes(8, "big") + self.blocks[index])
        return whole.hexdigest()


def content_of(opened: Opened, generation: Generation) -> str:
    """The fingerprint of what a generation restores to."""
    sink = Fingerprint(generation.size)
    restore(opened, generation, sink)
    return sink.text()


class Spree:
    """Keeps the archivists busy until their crash points are used up and enough were killed at random moments too."""

    def __init__(
        self,
        folder: Path,
        catalog_url: str,
        broker_url: str,
        sandbox: Sandbox,
        kills: int,
        seed: int = 1,
        workers: int = 4,
    ) -> None:
        self.dice = random.Random(seed)
        self.at = Archivists(folder, catalog_url, broker_url, sandbox, self.dice)
        for _ in range(SMALL):
            self.at.volume(1, 12)
        self.at.volume(BIG_GIB, 64)
        fleet, mine = self.at.fleet, [name for name in POINTS if name not in COORDINATES]
        share = max(1, kills // 15)
        named = points_for(tuple(mine), max(len(mine), kills // 3 - share), self.dice)
        fleet.seat("coordinator", [f"{name}:{1 + n % 3}" for n in range(share) for name in COORDINATES])
        fleet.seat("coordinator")
        line = deque(named)
        self.victims = [fleet.seat("worker", line, arms=ARMS) for _ in range(workers)]
        self.random_kills = max(1, kills - len(named) - share)
        self.outcome = Outcome()
        self.known: dict[str, str] = {}
        self.restored: dict[int, str] = {}
        self._pruned_at = self._killed_at = time.monotonic()
        self._healed_at = 0.0

    def run(self, seconds: float) -> Outcome:
        """Work under kills, heal, prune what is garbage, stop, and judge."""
        began = time.monotonic()
        fleet = self.at.fleet
        fleet.start()
        try:
            self.at.create()
            while time.monotonic() - began < seconds and self._goes_on():
                self._learn()
                self._keep_busy()
                fleet.hurry()
                for seat in fleet.seats:
                    seat.put_off_when_unreached(PATIENCE)
                time.sleep(0.1)
            for seat in fleet.seats:
                self.outcome.missed += list(seat.points)
                seat.points.clear()
                seat.env["SNAPFLEET_GRACE_SECONDS"] = "0"  # from now on a prune takes at once what nothing needs
                seat.kill()  # it still has its wish in its environment: the supervisor starts it without
            self.at.sandbox.clear_faults()
            fleet.until("healing", self._at_rest, HEALING)
            self.at.prune()
        finally:
            fleet.stop()
        self._learn()
        self.outcome.seconds = time.monotonic() - began
        return self._judge()

    def _at_rest(self) -> bool:
        """Healed for some passes of retention: what a restore had kept is let go of after it."""
        self._learn()
        self.at.fleet.hurry()
        if not self.at.healed():
            self._healed_at = 0.0
        elif not self._healed_at:
            self._healed_at = time.monotonic()
        return bool(self._healed_at) and time.monotonic() - self._healed_at > REST

    def _goes_on(self) -> bool:
        return self.random_kills > 0 or any(seat.points for seat in self.at.fleet.seats)

    def _learn(self) -> None:
        """What each snapshot and each restored volume holds, from the cloud, before it may be gone."""
        good = (Point.state == PointState.GOOD) & (Point.destination == "")
        with session():
            snapshots = [name for (name,) in rows(Part.select(Part.external_id).join(Point).where(good))]
            done = rows(
                RestoreStep.select(RestoreStep.restore, RestoreStep.outputs)
                .join(Restore)
                .where(RestoreStep.kind == "create-volume", Restore.state == RestoreState.DONE)
            )
        for name in snapshots:
            if name not in self.known:
                self.known[name] = self.at.sandbox.fingerprint(PROD, HOME, name)
        for number, outputs in done:
            if number not in self.restored:
                volume = outputs["volume_id"]
                self.restored[number] = self.at.sandbox.fingerprint(PROD, HOME, volume)
                self.at.sandbox.destroy(PROD, HOME, volume)

    def _keep_busy(self) -> None:
        now, ask = time.monotonic(), self.at.ask
        with session():
            busy = Run.select().where(Run.state.in_(list(RUN_OPEN))).count() >= RUNS
            wishes = Request.select().where(Request.state == "new").exists()
            restoring = Restore.select().where(Restore.state.not_in(OVER)).count() >= RESTORES
            archives = [
                number
                for (number,) in rows(
                    Point.select(Point.id).where(Point.kind == "archive", Point.state == PointState.GOOD)
                )
            ]
        if self.random_kills > 0 and now - self._killed_at > KILL_EVERY * self.dice.uniform(0.2, 1.8):
            self._killed_at = now
            self.random_kills -= 1
            self.outcome.kills += 1
            self.dice.choice(self.victims).kill()
        if wishes:
            return
        if now - self._pruned_at > PRUNE_EVERY:
            self._pruned_at = now
            ask("repository", name="cold", verb="prune")
        if not busy:
            for volume, gib in self.at.volumes.items():
                for _ in range(2 * gib):
                    self.at.write(volume, self.dice.randrange(gib * 2048))
            self.at.sandbox.clear_faults()
            self.at.sandbox.fault("slow", operation="GetSnapshotBlock", seconds=0.03, probability=0.5)
            ask("run", policy="gold")
        if archives and not restoring:
            ask("restore", point=self.dice.choice(archives), request={"kind": "volume"}, keep_on_failure=False)

    def _judge(self) -> Outcome:
        outcome, opened = self.outcome, self.at.opened()
        outcome.put_off = sum(seat.other_ends for seat in self.at.fleet.seats) - outcome.kills
        for seat in self.at.fleet.seats:
            outcome.kills += len(seat.reached)
            outcome.reached.update(point.split(":")[0] for point in seat.reached)
        found = read_index(opened).generations
        outcome.generations = len(found)
        for generation in found:
            if content_of(opened, generation) != self.known[generation.source["snapshot"]]:
                outcome.wrong += 1
                outcome.stories.append(f"{generation.id} of {generation.source['snapshot']} restores to other bytes")
        report = verify(opened, full=True)
        outcome.missing = len(report.problems)
        outcome.stories += [f"{one.name}: {one.kind}: {one.detail}" for one in report.problems[:10]]
        dead = sorted(plan_prune(opened, [], Margins(timedelta(0), timedelta(0))).delete)
        outcome.garbage = len(dead)
        outcome.stories += [f"garbage: {name}" for name in dead[:10]]
        with session():
            self._compare({one.id for one in found})
        return outcome

    def _compare(self, found: set[str]) -> None:
        """The catalog beside the bucket and the cloud."""
        outcome = self.outcome
        jobs = Job.select().where(Job.kind == "archive", Job.state == JobState.DONE)
        outcome.archives, outcome.epochs = jobs.count(), jobs.where(Job.epoch > 0).count()
        outcome.parts = Job.select().where(Job.kind == "archive-part", Job.state == JobState.DONE).count()
        outcome.prunes = Request.select().where(Request.kind == "repository").count()
        good = dict(rows(Part.select(Part.external_id, Point.kind).join(Point).where(Point.state == PointState.GOOD)))
        told = {name for name, kind in good.items() if kind == "archive"}
        outcome.unknown = len(told ^ found)
        outcome.stories += [f"the catalog and the repository differ in {one}" for one in sorted(told ^ found)]
        left = set(self.at.sandbox.state(PROD, HOME)["snapshots"]) - set(good)
        outcome.left = len(left)
        outcome.stories += [f"left in the cloud: {one}" for one in sorted(left)]
        outcome.restores = len(self.restored)
        for number, text in self._expected():
            if self.restored.get(number) != text:
                outcome.bad_restores += 1
                outcome.stories.append(f"restore-{number} made other bytes")

    def _expected(self) -> Iterator[tuple[int, str]]:
        query = Restore.select(Restore.id, Restore.point).where(Restore.state == RestoreState.DONE)
        for number, point in rows(query):
            (part,) = Part.select().where(Part.point == point)
            yield number, self.known[part.attributes["snapshot_id"]]
