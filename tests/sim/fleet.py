"""The processes of a simulated fleet: thin loops around the production coordinator and the production worker code."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.main import Coordinator
from coordinator.silence import Attention
from tasks.catalog import session
from tasks.catalog.claims import Wanted
from tasks.crash import reach
from tasks.errors import SnapfleetError, Unavailable
from tasks.lanes import Lane
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tasks.telemetry import Counters
from tests.sim.broker import Delivery, SimBroker
from tests.sim.cloud import SimCloud, SimDriver
from tests.sim.world import Process, World
from workers import together
from workers.app import work
from workers.context import Context
from workers.heartbeat import Heartbeat
from workers.held import Held

COORDINATORS, WORKERS = 2, 3
INSTALLATION = "simulated"
# What decides nothing about backups: it is tested elsewhere, and half of a round's time.
LEFT_OUT = frozenset({"accounts", "beat", "alerts", "repositories", "count", "watch"})
# Seconds between two rounds: slower than in production, so that more happens between them and a seed costs less.
BUSY, NEWS, IDLE_MOST = (1.0, 9.0), (6.0, 25.0), 120.0
SWEEP_EVERY = timedelta(seconds=40)
BEAT_EVERY = 10.0


class Deaf(Counters):
    """Counts nothing; what a round swallowed is a defect of the world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def add(self, name: str, *_: Any, **__: Any) -> None:
        if name == "snapfleet_tick_errors_total":
            self._world.defects.append("coordinator: an error was counted")

    def observe(self, *_: Any, **__: Any) -> None: ...

    def flush(self) -> None: ...


class Attentive(Attention):
    """Rounds are minutes apart here, and whoever lives has beaten right before each: who has not is silent."""

    def look(self, at: datetime) -> bool:
        return True


class SimCoordinator(Coordinator):
    """A production coordinator whose parts are told apart, and whose swallowed defects come to light."""

    world: World

    def _is_due(self, what: str, every: timedelta, at: datetime) -> bool:
        return super()._is_due(what, SWEEP_EVERY if what == "sweep" else every, at)

    def _part(self, name: str, work: Callable[[], int | None]) -> int:
        if name in LEFT_OUT:
            return 0

        def watched() -> int | None:
            try:
                return work()
            except SnapfleetError:
                raise
            except Exception as error:
                if "Error" in type(error).__name__ and type(error).__module__ == "peewee" and _is_loss(error):
                    raise
                self.world.defects.append(f"coordinator, {name}: {type(error).__name__}: {error}")
                raise

        return super()._part(name, watched)


def _is_loss(error: Exception) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError")


class OwnGather:
    """What stands for the module's `Gather`: every simulated process has one of its own, as every real one has."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, wish: Any) -> Any:
        actor = self._world.current
        assert actor is not None
        tools = actor.process.tools
        if "together" not in tools:
            tools["together"] = together.Gather(together._turn)
        return tools["together"](wish)


class Fleet:
    """Coordinators and workers that a supervisor starts again when they die."""

    def __init__(self, world: World, broker: SimBroker, cloud: SimCloud, folder: Path) -> None:
        self.world, self.broker, self.cloud = world, broker, cloud
        self.settings = Settings(home=folder, retention_seconds=400, discover_seconds=600, poll_floor_seconds=20)
        self.key = MasterKey(bytes(32))
        self.driver = SimDriver(cloud, world)
        self._number = 0
        self._hearts: dict[str, tuple[Process, Heartbeat]] = {}
        self._beaten_at = 0.0
        self._roles: dict[str, str] = {}
        self.living: dict[str, Process] = {}
        world.on_death = self._died

    def start(self) -> None:
        """Start every process."""
        for role, count in (("coordinator", COORDINATORS), ("worker", WORKERS)):
            for _ in range(count):
                self._start(role)

    def _start(self, role: str) -> None:
        self._number += 1
        process = self.world.process(f"host:{self._number}:{role}", role == "worker")
        self._roles[process.name], self.living[process.name] = role, process
        run = self._coordinate if role == "coordinator" else self._work
        self.world.spawn(process, lambda: run(process))

    def _died(self, process: Process) -> None:
        world = self.world
        self.broker.lost(process)
        self._hearts.pop(process.name, None)
        self.living.pop(process.name, None)
        world.at(world.now + world.dice.uniform(1, 40), lambda: self._start(self._roles[process.name]))

    # --- a coordinator ---

    def _coordinate(self, process: Process) -> None:
        world = self.world
        me = SimCoordinator(
            self.settings, process.clock, self.broker, Deaf(self.world), attention=Attentive(), name=process.name
        )
        me.world = world
        pause, seen = NEWS, -1
        while True:
            self._beat()
            try:
                busy = me.step()
            except Unavailable:
                world.sleep(world.dice.uniform(1, 10))
                continue
            if busy or world.commits != seen:
                pause = BUSY if busy else NEWS
            seen = world.commits
            world.sleep(world.dice.uniform(*pause))
            pause = min(IDLE_MOST, pause[0] * 2), min(IDLE_MOST, pause[1] * 2)

    def _beat(self) -> None:
        """Every worker that lives has beaten by now. Beats are only seen by coordinators, so they happen right before
        one looks; a frozen process does not beat."""
        world, actor = self.world, self.world.current
        if world.now < max(world.catalog_back_at, self._beaten_at + BEAT_EVERY):
            return
        world.current, self._beaten_at = None, world.now
        try:
            for process, heart in self._hearts.values():
                if process.frozen_until <= world.now:
                    heart.beat()
        finally:
            world.current = actor

    # --- a worker ---

    def _work(self, process: Process) -> None:
        context = Context(
            settings=self.settings,
            clock=process.clock,
            drivers={"instance": self.driver, "volume": self.driver},
            keys=self.key,
            installation=INSTALLATION,
            counters=Deaf(self.world),
            owner=process.name,
        )
        held = Held()
        self._hearts[process.name] = process, Heartbeat(context, held, tuple(Lane), 1, threading.Event())
        while True:
            delivery = self.broker.take()
            self._handle(context, held, delivery)
            self.world.step("ack")
            self.broker.ack(delivery)

    def _handle(self, context: Context, held: Held, delivery: Delivery) -> None:
        """What the middleware and the actor do with one message."""
        reach("claim.before")
        try:
            with session():
                at, lease = context.clock.timer(), context.lease(delivery.lane)
                hint = delivery.message
                job = together.claim(Wanted(hint.job, hint.fence, context.owner, at, lease))
        except SnapfleetError:
            return
        if job is None:
            return
        held.take(job, delivery.lane)
        try:
            reach("claim.after")
            outcome = work(context, job)
            self.world.tell(context.owner, f"{job.kind} {job.id} {outcome} {job.error_code}")
        finally:
            held.drop()
