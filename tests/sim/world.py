"""Virtual time and who goes next: one thread, one heap of moments, and dice that a seed has thrown beforehand.

Actors are greenlets: a coordinator's loop, a worker's, the supervisor. Production code runs in them as it is, and stops
only where a real process may be overtaken: at a statement outside a transaction, at the beginning of one, in a call to
a cloud, at a named crash point. There the dice decide whether it goes on, waits, freezes or dies. The same seed gives
the same trace, event by event.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from greenlet import getcurrent, greenlet

from tasks.catalog.database import _depth
from tasks.clock import SystemClock

START = datetime(2026, 3, 1, tzinfo=UTC)


class Death(BaseException):
    """A process ends at this line. Not an Exception: nothing in production code may catch it."""


@dataclass(frozen=True)
class Weather:
    """How often what goes wrong, by step, call or minute (probabilities), and how bad. Zero is a calm day."""

    death: float = 0.0  # at a step (some thousands in a seed)
    crash_point: float = 0.0  # at a named point
    freeze: float = 0.0  # of a process, at a step: for longer than a lease
    freeze_seconds: tuple[float, float] = (30.0, 400.0)
    freeze_at: str = ""  # only there: at a statement's first letters, a call, or `proceed`
    overtaken: float = 0.0  # at a step: others go first for a moment
    catalog: float = 0.0  # a statement or a commit that loses its connection
    throttle: float = 0.0  # a cloud call; the following likewise
    lost_request: float = 0.0
    lost_answer: float = 0.0  # done, and nobody hears of it
    late: float = 0.0  # given up by the caller, and done after that
    error_state: float = 0.0  # what a create made fails afterwards
    lag: float = 0.0  # a new thing is invisible for up to a minute
    duplicate: float = 0.0  # a message comes twice
    delay: float = 0.0  # a message comes minutes late
    unconfirmed: float = 0.0  # a publish without its answer: sent or not
    purge: float = 0.0  # a minute in which the queues lose everything
    broker_away: float = 0.0  # a minute in which the broker goes away for some
    catalog_away: float = 0.0
    clock_jump: float = 0.0  # a minute in which the database's clock jumps


@dataclass
class Process:
    """One process of the fleet: alive or not, frozen or not, with a clock of its own."""

    name: str
    clock: SystemClock
    works: bool = True  # what it commits is news for coordinators
    alive: bool = True
    frozen_until: float = 0.0
    actors: list["Actor"] = field(default_factory=list)
    tools: dict[str, Any] = field(default_factory=dict)  # what would be its modules' own state


class Actor:
    """One line of control of a process, with its own place in the catalog's session."""

    def __init__(self, process: Process, target: Callable[[], None]) -> None:
        self.process = process
        self.depth = 0
        self.broken = False  # its connection to the catalog
        self.greenlet = greenlet(target)


class World:
    """The clock, the heap, the dice and the trace of one seed."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.dice = random.Random(seed)
        self.weather = weather
        self.now = 1000.0  # machine seconds, as time.monotonic() reads
        self.skew = timedelta(0)  # how far the database's clock has jumped
        self.current: Actor | None = None
        self.trace: list[tuple[float, str, str]] = []
        self.defects: list[str] = []
        self.commits = 0
        self.calls: Counter[str] = Counter()  # to the cloud, by method
        self.catalog_back_at = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._hub = getcurrent()
        self.on_death: Callable[[Process], None] = lambda _: None

    # --- time ---

    def database_time(self) -> datetime:
        """What the catalog's server says the time is."""
        return START + timedelta(microseconds=round((self.now - 1000.0) * 1e6)) + self.skew

    def monotonic(self) -> float:
        """What stands for time.monotonic()."""
        return self.now

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Let something happen at a moment; of one moment, in the order of asking."""
        self._number += 1
        heapq.heappush(self._heap, (moment, self._number, act))

    def run(self, until: Callable[[], bool], most: float) -> bool:
        """Let time pass until it is so, or until the moment `most`; whether it came to be so."""
        while self._heap and self._heap[0][0] <= most:
            self.now, _, act = heapq.heappop(self._heap)
            act()
            if until():
                return True
        self.now = max(self.now, most)
        return False

    # --- processes ---

    def process(self, name: str, works: bool) -> Process:
        """A new process; its clock asks the catalog's server, as in production."""
        return Process(name, SystemClock(self.database_time), works)

    def spawn(self, process: Process, target: Callable[[], None]) -> Actor:
        """Begin a line of control at this moment."""
        actor = Actor(process, lambda: self._live(process, target))
        process.actors.append(actor)
        self.at(self.now, lambda: self._resume(actor))
        return actor

    def _live(self, process: Process, target: Callable[[], None]) -> None:
        try:
            target()
        except Death:
            pass
        except Exception as error:
            self.defects.append(f"{process.name} ended on {type(error).__name__}: {error}")
            self.end(process, "defect")

    def _resume(self, actor: Actor, thrown: BaseException | None = None) -> None:
        if actor.greenlet.dead or (not actor.process.alive and thrown is None):
            return
        if actor.process.frozen_until > self.now and thrown is None:
            self.at(actor.process.frozen_until, lambda: self._resume(actor))
            return
        before, depth = self.current, getattr(_depth, "value", 0)
        self.current, _depth.value = actor, actor.depth
        try:
            actor.greenlet.throw(thrown) if thrown is not None else actor.greenlet.switch()
        finally:
            actor.depth, _depth.value = _depth.value, depth
            self.current = before

    def sleep(self, seconds: float) -> None:
        """The current actor waits; others go on."""
        actor = self.current
        assert actor is not None
        self.at(self.now + seconds, lambda: self._resume(actor))
        self._hub.switch()

    def park(self) -> Actor:
        """The current actor waits until somebody wakes it."""
        actor = self.current
        assert actor is not None
        self._hub.switch()
        return actor

    def wake(self, actor: Actor) -> None:
        """Let a parked actor go on at this moment."""
        self.at(self.now, lambda: self._resume(actor))

    def kill(self, process: Process, why: str) -> None:
        """End a process between two of its steps, from outside of it."""
        if process.alive:
            self.end(process, why)
            for actor in process.actors:
                if actor is not self.current and not actor.greenlet.dead:
                    self._resume(actor, Death())

    def end(self, process: Process, why: str) -> None:
        """A process is dead from here on; whoever calls this in one of its actors raises Death next."""
        process.alive = False
        self.tell(process.name, f"died: {why}")
        self.on_death(process)

    # --- what may happen at a step ---

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append((round(self.now, 6), who, what))

    def chance(self, probability: float) -> bool:
        """Throw the dice; not for what never happens, so that a calm day costs none."""
        return probability > 0.0 and self.dice.random() < probability

    def step(self, name: str) -> None:
        """The current process is between two of its steps and holds no transaction."""
        actor = self.current
        if actor is None:
            return
        if not actor.process.alive:
            raise Death
        weather, roll = self.weather, self.dice.random()
        for probability, what in (
            (weather.death, self._die),
            (weather.freeze, self._freeze),
            (weather.overtaken, self._pause),
        ):
            if roll < probability:
                what(actor, name)
                return
            roll -= probability

    def point(self, name: str) -> None:
        """A named crash point was reached, perhaps in the middle of a transaction."""
        actor = self.current
        if actor is not None:
            self.tell(actor.process.name, name)
            if self.chance(self.weather.crash_point):
                self._die(actor, name)

    def _die(self, actor: Actor, name: str) -> None:
        self.end(actor.process, f"at {name}")
        for other in actor.process.actors:
            if other is not actor and not other.greenlet.dead:
                self._resume(other, Death())
        raise Death

    def _freeze(self, actor: Actor, name: str) -> None:
        if self.weather.freeze_at not in ("", name):
            return
        seconds = self.dice.uniform(*self.weather.freeze_seconds)
        self.tell(actor.process.name, f"frozen for {seconds:.0f} s at {name}")
        actor.process.frozen_until = self.now + seconds
        self.sleep(seconds)

    def _pause(self, actor: Actor, _name: str) -> None:
        self.sleep(self.dice.choice((0.01, 0.05, 0.5, 5.0)))

    def depth(self) -> int:
        """How many sessions of the catalog the current actor has open."""
        return int(getattr(_depth, "value", 0))
