"""The broker's port: at least once, in any order, at any time, and sometimes never."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.lanes import Lane
from tasks.messages import JobMessage
from tests.sim.world import Actor, Process, World


@dataclass
class Delivery:
    """A message that waits (`holder` is None) or that a worker has in hand."""

    number: int
    lane: Lane
    message: JobMessage
    ready_at: float
    holder: Process | None = None


class SimBroker:
    """What coordinators publish through (tasks.broker.Publisher) and workers take from."""

    last_error = ""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self._queue: dict[int, Delivery] = {}
        self._idle: list[Actor] = []
        self.away_until = 0.0

    @property
    def available(self) -> bool:
        return self._world.now >= self.away_until

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        """Take messages; a False may still arrive."""
        if not self.available:
            return [False] * len(messages)
        world, answers = self._world, []
        silent = world.chance(world.weather.unconfirmed)
        for lane, message in messages:
            arrived = not silent or world.chance(0.5)
            if arrived:
                self._put(lane, message)
                if world.chance(world.weather.duplicate):
                    self._put(lane, message)
            answers.append(not silent)
        return answers

    def _put(self, lane: Lane, message: JobMessage) -> None:
        world = self._world
        wait = world.dice.uniform(60, 400) if world.chance(world.weather.delay) else world.dice.uniform(0.001, 0.5)
        self._number += 1
        wire = JobMessage.from_wire(message.to_wire())
        self._queue[self._number] = Delivery(self._number, lane, wire, world.now + wait)
        world.at(world.now + wait, self._call)

    def _call(self) -> None:
        """Something can be taken now: an idle worker may."""
        if self._idle:
            self._world.wake(self._idle.pop(self._world.dice.randrange(len(self._idle))))

    def take(self) -> Delivery:
        """The current actor's next message, any of those that wait; waits for one."""
        world = self._world
        while True:
            ready = [one for one in self._queue.values() if one.holder is None and one.ready_at <= world.now]
            actor = world.current
            assert actor is not None
            if ready and self.available:
                taken = world.dice.choice(ready)
                taken.holder = actor.process
                return taken
            self._idle.append(actor)
            world.park()

    def ack(self, delivery: Delivery) -> None:
        """Done with it; an acknowledgement that comes over a lost connection changes nothing."""
        if delivery.holder is not None:
            self._queue.pop(delivery.number, None)

    def lost(self, process: Process) -> None:
        """A consumer's connection is gone: what it held is delivered again."""
        self._idle = [actor for actor in self._idle if actor.process is not process]
        for one in [one for one in self._queue.values() if one.holder is process]:
            del self._queue[one.number]
            self._put(one.lane, one.message)

    def purge(self) -> int:
        """Everything is gone, also what is in hand; how many messages."""
        lost = len(self._queue)
        self._queue.clear()
        return lost

    def go_away(self, seconds: float, keep: bool) -> None:
        """The broker restarts, with or without what it held. Workers go on with what they have in hand."""
        self.away_until = self._world.now + seconds
        for one in [one for one in self._queue.values() if one.holder is not None]:
            del self._queue[one.number]
            one.holder = None
            self._put(one.lane, one.message)
        if not keep:
            self.purge()
        self._world.at(self.away_until, self._call_all)

    def _call_all(self) -> None:
        idle, self._idle = self._idle, []
        for actor in idle:
            self._world.wake(actor)

    def close(self) -> None:
        """Nothing to close."""
