"""One seed, from an empty catalog to a verdict: an estate, a spell of bad weather, calm, one sweep."""

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from peewee import Field

from tasks import crash
from tasks.catalog import (
    Account,
    Job,
    Meta,
    Point,
    Policy,
    PolicySchedule,
    Request,
    Restore,
    Run,
    Schedule,
    database,
    session,
    transaction,
)
from tasks.states import JOB_OPEN, RUN_OPEN, JobState, PointState, RestoreState
from tests.sim.broker import SimBroker
from tests.sim.catalog import SimDatabase, quick_column, template
from tests.sim.cloud import SimCloud
from tests.sim.fleet import INSTALLATION, Fleet, OwnGather
from tests.sim.verdict import Floor, Verdict, judge, slots_between
from tests.sim.world import START, Weather, World
from workers import together

EVERY = timedelta(minutes=10)
MINUTE = 60.0
HEALING_MOST = 3 * 3600.0  # what is still open then is stuck: the longest honest wait is an hour (workers.cleanup)
RETRIES = {"attempts": 50, "wait": "1m"}
POLICIES: dict[str, dict[str, Any]] = {
    "gold": {"targets": [{"tag": {"backup": "gold"}, "types": ["volume"]}], "generations": 2, "retries": RETRIES},
    "copied": {
        "targets": [{"tag": {"backup": "copied"}, "types": ["instance", "volume"]}],
        "generations": 1,
        "retries": RETRIES,
        "dr": [{"region": "eu-west-1", "every": 1}],
    },
}
# What may go wrong in a seed; each kind is there in about half of all seeds, so that they also meet one by one.
STORM = Weather(
    death=0.0006,
    crash_point=0.01,
    freeze=0.0008,
    overtaken=0.05,
    catalog=0.0008,
    throttle=0.04,
    lost_request=0.03,
    lost_answer=0.04,
    late=0.04,
    error_state=0.05,
    lag=0.3,
    duplicate=0.15,
    delay=0.05,
    unconfirmed=0.1,
    purge=0.05,
    broker_away=0.04,
    catalog_away=0.03,
    clock_jump=0.02,
)
_LENGTHS = ("freeze_seconds", "freeze_at")


NAMING = 0.5  # of the seeds: a policy names its volumes, so that its second slot is planned where it is decided


def _named(volume: str) -> dict[str, str]:
    return {"type": "volume", "id": volume, "account": "prod", "region": "us-east-1"}


@dataclass(frozen=True)
class Options:
    """What a story is about; a mutant may want other weather or another size than a seed by itself has."""

    weather: Weather | None = None
    slots: int = 2
    targets: tuple[int, int] = (1, 3)
    wishes: bool = True
    healing: float = HEALING_MOST


# The smallest estate in which everything meets: volumes, an instance of two, copies, retention, wishes.
SMALL = Options(slots=1, targets=(0, 1))


@dataclass
class Outcome:
    """How a seed ended: its verdict, its trace, and how much happened."""

    seed: int
    verdict: Verdict
    trace: list[tuple[float, str, str]]
    jobs: int = 0
    deaths: int = 0
    seconds: float = 0.0
    points: set[str] = field(default_factory=set)
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A name of the trace: the same for the same seed and code."""
        return sha256(repr(self.trace).encode()).hexdigest()[:16]


def weather_of(seed: int) -> Weather:
    """A seed's own mixture of what goes wrong."""
    dice = random.Random(f"weather {seed}")
    rates = {name: rate for name, rate in vars(STORM).items() if name not in _LENGTHS}
    chosen = {name: rate * dice.choice((0, 0, 1, 2)) for name, rate in rates.items()}
    return replace(STORM, **chosen)


def run_seed(
    seed: int,
    folder: Path,
    options: Options = Options(),
    changed: Callable[[World], AbstractContextManager[None]] = lambda _: contextlib.nullcontext(),
) -> Outcome:
    """Live through one seed. `folder` is for the template of the catalog; `changed` is a mutant's product."""
    folder.mkdir(parents=True, exist_ok=True)
    image = template(str(folder))
    world = World(seed, Weather())
    with _ports(world, image, seed), changed(world):
        return _Story(world, seed, folder, options).live()


@contextlib.contextmanager
def _ports(world: World, image: bytes, seed: int) -> Iterator[None]:
    """The world's clock, dice and catalog instead of the machine's, for as long as the block lasts."""
    before, real = database.obj, SimDatabase(world, image)
    database.initialize(real)
    crash.listen(world.point)
    bytes_of = random.Random(f"bytes {seed}").randbytes
    try:
        with (
            mock.patch.object(time, "monotonic", new=world.monotonic),
            mock.patch.object(os, "urandom", bytes_of),
            mock.patch.object(Field, "__sql__", quick_column),
            mock.patch.object(together, "_write", OwnGather(world)),
        ):
            yield
    finally:
        crash.listen(None)
        real.shut()
        database.initialize(before)


class _Story:
    def __init__(self, world: World, seed: int, folder: Path, options: Options) -> None:
        self._world, self._seed, self._options = world, seed, options
        self._broker, self._cloud = SimBroker(world), SimCloud(world)
        self._fleet = Fleet(world, self._broker, self._cloud, folder)
        self._floor = Floor(self._cloud, self._fleet.driver._state)
        self._targets: dict[str, set[str]] = {}
        self._healed = False
        self._deaths = 0

    def live(self) -> Outcome:
        world, began = self._world, time.perf_counter()
        self._found()
        self._fleet.start()
        world.weather = self._options.weather or weather_of(self._seed)
        bad = START_MOMENT + self._options.slots * EVERY.total_seconds() + 4 * MINUTE
        self._plan_minutes(bad)
        world.run(lambda: False, bad)
        world.weather = Weather()
        world.tell("world", "calm")
        world.run(lambda: False, bad + 3 * MINUTE)  # a slot that was due just now is still seen by somebody
        due = slots_between(START, world.database_time() - timedelta(minutes=2), EVERY)
        with transaction():
            Policy.update(enabled=False).execute()
        self._heal()
        with transaction():
            Request.create(kind="cleanup", payload={}, requested_by="sim", created_at=world.database_time())
        world.tell("world", "one sweep")
        self._heal()
        return self._end(due, began)

    def _end(self, due: list[datetime], began: float) -> Outcome:
        with session():
            verdict = judge(self._cloud, self._floor, dict.fromkeys(POLICIES, due), self._targets)
            jobs = Job.select().count()
        verdict.defects = list(self._world.defects)
        if not self._healed:
            verdict.lost.append("the fleet did not come to rest")
        trace = self._world.trace
        deaths = sum(what.startswith("died") for _, _, what in trace)
        reached = {what for _, _, what in trace if what in crash.POINTS}
        calls = dict(self._world.calls)
        return Outcome(self._seed, verdict, trace, jobs, deaths, time.perf_counter() - began, reached, calls)

    # --- what there is ---

    def _found(self) -> None:
        dice, at = self._world.dice, self._world.database_time()
        for name in POLICIES:
            count = dice.randint(*self._options.targets)
            self._targets[name] = {
                self._cloud.volume(f"vol-{name}-{number}", tags={"backup": name}) for number in range(count)
            }
        self._targets["copied"].add(self._cloud.instance("i-pair", volumes=2, tags={"backup": "copied"}))
        with transaction():
            Meta.create(key="installation", value=INSTALLATION)
            Account.create(name="prod", regions=["us-east-1"])
            grid = {"every": "10m", "starts_at": "2026-01-01T00:00", "time_zone": "UTC"}
            schedule = Schedule.create(name="often", spec=grid, created_at=at, changed_at=at)
            for name, spec in POLICIES.items():
                named = name == "gold" and random.Random(f"named {self._seed}").random() < NAMING
                own = {**spec, "targets": [_named(one) for one in sorted(self._targets[name])]} if named else spec
                policy = Policy.create(name=name, spec=own, created_at=at, changed_at=at)
                PolicySchedule.create(policy=policy, schedule=schedule, last_slot_at=START, next_start_at=START)

    # --- what happens beside the processes' own steps ---

    def _plan_minutes(self, until: float) -> None:
        moment = START_MOMENT + MINUTE
        while moment < until:
            self._world.at(moment + self._world.dice.uniform(0, MINUTE), self._minute)
            moment += MINUTE

    def _minute(self) -> None:
        world, weather = self._world, self._world.weather
        if world.chance(weather.purge):
            world.tell("broker", f"purged of {self._broker.purge()}")
        if world.chance(weather.broker_away):
            keep = world.chance(0.5)
            world.tell("broker", f"restarts, keeps what it holds: {keep}")
            self._broker.go_away(world.dice.uniform(2, 120), keep)
        if world.chance(weather.catalog_away):
            world.catalog_back_at = world.now + world.dice.uniform(1, 90)
            world.tell("catalog", "away")
        if world.chance(weather.clock_jump):
            jump = world.dice.choice((-90, -5, 7, 20))  # what a lease allows for
            world.skew += timedelta(seconds=jump)
            world.tell("catalog", f"its clock jumps by {jump} s")
        living = list(self._fleet.living.values())
        if world.chance(weather.crash_point * 10) and living:
            world.kill(world.dice.choice(living), "killed")
        if self._options.wishes and world.chance(0.15):
            self._wish()

    def _wish(self) -> None:
        with transaction():
            at = self._world.database_time()
            point = (
                Point.select(Point.id)
                .where(Point.state == PointState.GOOD, Point.destination == "")
                .order_by(Point.id.desc())
                .first()
            )
            if point is None or self._world.chance(0.4):
                kind, payload = "run", {"policy": self._world.dice.choice(list(POLICIES))}
            else:
                request = {"kind": "volume", "zone": "us-east-1a"}
                kind, payload = "restore", {"point": point.id, "request": request, "keep_on_failure": False}
            self._world.tell("operator", f"asks for a {kind}")
            self._world.commits += 1
            Request.create(kind=kind, payload=payload, requested_by="sim", created_at=at)

    # --- the end ---

    def _heal(self) -> None:
        """Let time pass until nothing is left to do."""
        self._healed = False
        self._world.at(self._world.now + 45, self._look)
        self._world.run(lambda: self._healed, self._world.now + self._options.healing)

    def _look(self) -> None:
        with session():
            self._healed = not (
                Run.select().where(Run.state.in_(list(RUN_OPEN))).exists()
                or Request.select().where(Request.state == "new").exists()
                or Job.select().where(Job.state.in_(list(JOB_OPEN))).exists()
                or Job.select().where(~Job.settled).exists()
                or Meta.select().where(Meta.key == "retention:now").exists()
                or Point.select().where(Point.state.in_([PointState.CREATING, PointState.EXPIRING])).exists()
                or Restore.select().where(Restore.state.in_([RestoreState.RUNNING, RestoreState.UNDOING])).exists()
            )
        if not self._healed:
            self._world.at(self._world.now + 45, self._look)


START_MOMENT = 1000.0  # machine seconds at which the database's clock reads START
__all__ = ["JobState", "Options", "Outcome", "run_seed", "weather_of"]
