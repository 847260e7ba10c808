"""The broker of the embedded size: lanes as queues in memory, and what publishes into them.

As `tasks.broker` promises for both: what is not a valid signed message never reaches an actor.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.common import join_queue
from dramatiq.errors import QueueNotFound
from dramatiq.middleware import Middleware

from tasks.delivery import Delivery, Observe
from tasks.lanes import LANES, Lane, lane_of, queue_name
from tasks.messages import JobMessage, MessageRefused, SignedEncoder, envelope

log = logging.getLogger("snapfleet.broker")

_DEAD_KEPT = 1000  # dead letters kept in memory by the in-process broker, newest last


class LocalBroker(Broker):
    """The broker of the embedded size: queues in memory, the same lanes, the same signed bodies.

    Everything in it is lost at exit, which is harmless: at start the coordinator publishes again what was unfinished.
    dead_letters  the last thousand (lane, reason, body) that were refused or rejected.
    """

    def __init__(self, encoder: SignedEncoder, *, middleware: list[Middleware], observe: Observe) -> None:
        super().__init__(middleware)
        self.encoder = encoder
        self.observe = observe
        self.draining = threading.Event()
        self.dead_letters: deque[tuple[Lane, str, bytes]] = deque(maxlen=_DEAD_KEPT)

    def declare_queue(self, queue_name: str) -> None:
        """Create a lane's queue, once."""
        if queue_name not in self.queues:
            if lane_of(queue_name) is None:
                raise ValueError(f"{queue_name!r} is not the queue of a lane")
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = queue.Queue()
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """Consume a lane's queue; `timeout` in milliseconds. Raises QueueNotFound."""
        lane = lane_of(queue_name)
        if lane is None or queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        return LocalConsumer(self, lane, min(prefetch, LANES[lane].prefetch), timeout / 1000)

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
        """Put a dramatiq message into its queue. Raises RuntimeError for a delay, QueueNotFound, MessageRefused."""
        if delay is not None:
            raise RuntimeError("a delay is a time in the catalog, not in a queue")
        self.put(message.queue_name, self.encoder.encode(message.asdict()))
        return message

    def put(self, queue_name: str, body: bytes) -> None:
        """Put a body as it is into a queue. Raises QueueNotFound."""
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        self.queues[queue_name].put(body)

    def flush(self, queue_name: str) -> None:
        """Drop every message of a queue that no consumer holds."""
        waiting = self.queues[queue_name]
        while True:
            try:
                waiting.get_nowait()
            except queue.Empty:
                return
            waiting.task_done()

    def flush_all(self) -> None:
        """Drop every message that no consumer holds."""
        for name in self.queues:
            self.flush(name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until all messages of a queue are settled. Raises QueueJoinTimeout after `timeout` milliseconds."""
        join_queue(self.queues[queue_name], timeout=timeout and timeout / 1000)


class LocalConsumer(Consumer):
    """A consumer of one in-memory queue, holding at most `prefetch` unsettled messages."""

    def __init__(self, broker: LocalBroker, lane: Lane, prefetch: int, timeout: float) -> None:
        self._broker, self._lane, self._timeout = broker, lane, timeout
        self._queue = broker.queues[queue_name(lane)]
        self._slots = threading.Semaphore(prefetch)
        self.stopped = threading.Event()

    def __next__(self) -> MessageProxy | None:
        if self._broker.draining.is_set():
            self.stopped.set()
            threading.Event().wait(self._timeout)  # dramatiq asks again at once
            return None
        self.stopped.clear()
        if not self._slots.acquire(timeout=self._timeout):
            return None
        try:
            body = self._queue.get(timeout=self._timeout)
        except queue.Empty:
            self._slots.release()
            return None
        try:
            message = self._broker.encoder.decode_message(body)
            if message.queue_name != queue_name(self._lane):
                raise MessageRefused("foreign-queue", signed=True)
        except MessageRefused as refused:
            self._broker.dead_letters.append((self._lane, refused.reason, body))
            self._done()
            self._broker.observe("refused", self._lane, refused.reason)
            return None
        return Delivery(message, self, 0, redelivered=False)

    def _done(self) -> None:
        self._queue.task_done()
        self._slots.release()

    def ack(self, message: MessageProxy) -> None:  # noqa: ARG002 - dramatiq's signature
        """The message is settled."""
        self._done()

    def nack(self, message: MessageProxy) -> None:
        """The message is settled and kept among the dead letters."""
        body = self._broker.encoder.encode(message.asdict())
        self._broker.dead_letters.append((self._lane, "rejected", body))
        self._done()

    def give_back(self, message: MessageProxy) -> None:
        """Return a message that was not begun."""
        self._queue.put(self._broker.encoder.encode(message.asdict()))
        self._done()

    def stop_fetching(self, timeout: float) -> bool:
        """After `draining` was set: wait until no message is on its way any more."""
        return self.stopped.wait(timeout)


class LocalPublisher:
    """Publishes into the in-process broker of the same program."""

    available = True
    last_error = ""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        """As Publisher.publish; False for a lane that the broker does not serve and for a message that cannot be
        sent."""
        return [self._put(lane, message) for lane, message in messages]

    def _put(self, lane: Lane, message: JobMessage) -> bool:
        try:
            self._broker.enqueue(envelope(lane, replace(message, pool="")))  # one process is every pool
        except (QueueNotFound, MessageRefused) as error:
            log.error("job %s was not published: %s", message.job, error)
            return False
        return True

    def close(self) -> None:
        """Nothing is held."""
