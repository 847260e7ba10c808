"""The broker between coordinator and workers: RabbitMQ in a fleet, a queue in memory when embedded
(`tasks.localbroker`). Handlers see no difference, and neither is the truth: the catalog is.

What both promise: a body that is not a valid signed message for the queue it arrived on is moved to the dead queue
and reported to `observe`; it never reaches an actor, never ends a thread, and never holds up the queue.

What is left out of dramatiq, and why:
- Retries, delays, callbacks, pipelines, results: attempts and waiting live in the catalog; a retry that dramatiq
  publishes while the broker is away is acknowledged and lost (measured 2026-11 on dramatiq 2.2.1).
- TimeLimit and ShutdownNotifications: they raise an exception at any line of another thread, between a cloud call and
  the commit as well, and cannot interrupt the blocking socket read they are meant for. A hung handler loses its lease
  at the lane's time limit; a draining worker is told through `FleetBroker.draining`, which slices read at their
  checkpoints.
- The delay queue and its consumer, and dramatiq's idle connection for declaring: one connection per lane and process.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import dramatiq
import pika
import pika.exceptions
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed, QueueNotFound
from dramatiq.middleware import Middleware

from tasks.acks import Ending, Unsettled
from tasks.amqp import HEARTBEAT, connection_parameters, is_local
from tasks.delivery import Delivery, Observe, ignore
from tasks.lanes import (
    LANES,
    Lane,
    dead_queue_arguments,
    dead_queue_name,
    lane_of,
    pool_of,
    queue_arguments,
    queue_name,
)
from tasks.localbroker import LocalBroker
from tasks.messages import JobMessage, MessageRefused, SignedEncoder

log = logging.getLogger("snapfleet.broker")

_NOT_FOUND = 404  # AMQP's answer to a passive declaration of a queue that is not there
_FLUSH_ROUNDS, _FLUSH_SECONDS = 100, 0.05  # at most 5 s for outstanding acknowledgements when a consumer closes


class FleetBroker(Broker):
    """RabbitMQ for workers. It consumes; publishing is the coordinator's alone.

    draining  set while the process takes no messages; long handlers end at their next checkpoint.
    """

    def __init__(
        self, url: str, encoder: SignedEncoder, *, heartbeat: timedelta, middleware: list[Middleware], observe: Observe
    ) -> None:
        super().__init__(middleware)
        connection_parameters(url, name="snapfleet", heartbeat=heartbeat)  # refuses an unusable URL now, not later
        self._url = url
        self._heartbeat = heartbeat
        self.encoder = encoder
        self.observe = observe
        self.draining = threading.Event()

    def declare_queue(self, queue_name: str) -> None:
        """Take a lane's queue into this process. RabbitMQ's side is declared at each (re)connection of its
        consumer."""
        if queue_name not in self.queues:
            if lane_of(queue_name) is None:
                raise ValueError(f"{queue_name!r} is not the queue of a lane")
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Connect and consume. `timeout` in milliseconds. Raises dramatiq's ConnectionClosed; the worker tries
        again."""
        lane = lane_of(queue_name)
        if lane is None or queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        return FleetConsumer(self, lane, queue_name, min(prefetch, LANES[lane].prefetch), timeout / 1000)

    def connect(self, lane: Lane) -> pika.BlockingConnection:
        """A new connection for the lane's consumer. Raises pika's AMQPConnectionError."""
        name = f"snapfleet worker {lane}"
        return pika.BlockingConnection(connection_parameters(self._url, name=name, heartbeat=self._heartbeat))

    def enqueue(self, message: Any, *, delay: int | None = None) -> Any:  # noqa: ARG002 - dramatiq's signature
        """Always raises: what a worker wants done is a row in the catalog, and a delay is a time in that row."""
        raise RuntimeError("workers do not publish; write a job to the catalog and the coordinator publishes it")


class FleetConsumer(Consumer):
    """One lane's consumer: a connection of its own, which lives as long as this object.

    Iterating, `close` and nothing else happen in dramatiq's consumer thread; `ack`, `nack`, `give_back` and
    `stop_fetching` may be called from any thread.
    """

    def __init__(self, broker: FleetBroker, lane: Lane, queue: str, prefetch: int, timeout: float) -> None:
        self._broker, self._lane, self._queue, self._timeout = broker, lane, queue, timeout
        self._arrived: deque[tuple[Any, bytes]] = deque()
        self._unsettled = Unsettled()
        self._cancelled = False
        self.stopped = threading.Event()
        try:
            self._connection = broker.connect(lane)
        except pika.exceptions.AMQPError as error:
            raise ConnectionClosed(error) from None
        try:
            self._channel = self._connection.channel()
            self._channel = self._declared()
            self._channel.basic_qos(prefetch_count=prefetch)
            self._channel.add_on_cancel_callback(self._on_cancelled)
            if broker.draining.is_set():
                self.stopped.set()  # reconnected while draining: only keeps dramatiq's thread company
            else:
                self._tag = self._channel.basic_consume(self._queue, self._on_message)
        except pika.exceptions.AMQPError as error:
            self.close()
            raise ConnectionClosed(error) from None

    def _declared(self) -> Any:
        """A channel on a connection whose queue exists. An account that may not declare, as a worker's with the least
        rights, takes the queue that the coordinator has declared."""
        channel = self._channel
        try:
            channel.queue_declare(self._queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            channel = self._connection.channel()
            declare(channel, self._lane, pool_of(self._queue))
        return channel

    def _on_message(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        self._arrived.append((method, body))

    def _on_cancelled(self, _frame: Any) -> None:
        self._cancelled = True  # the queue was deleted; reconnecting declares it again

    def __next__(self) -> MessageProxy | None:
        try:
            if self._broker.draining.is_set() != self.stopped.is_set():
                self._fetch_again() if self.stopped.is_set() else self._return_arrived()
            if not self._arrived:
                self._connection.process_data_events(time_limit=self._timeout)
            if self._cancelled or not self._channel.is_open:
                raise ConnectionClosed(f"the broker ended the consumer of {self._queue}")
            return self._accept(*self._arrived.popleft()) if self._arrived else None
        except (AssertionError, pika.exceptions.AMQPError) as error:
            raise ConnectionClosed(error) from None

    def _accept(self, method: Any, body: bytes) -> MessageProxy | None:
        try:
            message = self._broker.encoder.decode_message(body)
            if message.queue_name != self._queue:  # validly signed, and moved here by somebody else
                raise MessageRefused("foreign-queue", signed=True)
        except MessageRefused as refused:
            log.error("refused a message on %s (%s); it is in the dead queue", self._queue, refused.reason)
            self._channel.basic_reject(method.delivery_tag, requeue=False)
            self._broker.observe("refused", self._lane, refused.reason)
            return None
        if method.redelivered:
            self._broker.observe("redelivered", self._lane, "")
        self._unsettled.delivered(method.delivery_tag)
        return Delivery(message, self, method.delivery_tag, redelivered=method.redelivered)

    def _return_arrived(self) -> None:
        self._channel.basic_cancel(self._tag)
        while self._arrived:
            self._channel.basic_reject(self._arrived.popleft()[0].delivery_tag, requeue=True)
        self.stopped.set()

    def _fetch_again(self) -> None:
        self.stopped.clear()
        self._tag = self._channel.basic_consume(self._queue, self._on_message)

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge, if the message came over this very connection; otherwise the broker delivers it again."""
        self._settle(message, Ending.DONE)

    def nack(self, message: MessageProxy) -> None:
        """Move to the dead queue, under the same condition."""
        self._settle(message, Ending.DEAD)

    def give_back(self, message: MessageProxy) -> None:
        """Return a message that was not begun, so that another worker gets it at once."""
        self._settle(message, Ending.BACK)

    def _settle(self, message: MessageProxy, ending: Ending) -> None:
        if not isinstance(message, Delivery) or message.origin is not self:
            self._broker.observe("stale", self._lane, "")
        elif self._unsettled.settle(message.tag, ending):
            try:
                self._connection.add_callback_threadsafe(self._send_settled)
            except pika.exceptions.AMQPError:
                self._unsettled.forget()
                self._broker.observe("stale", self._lane, "")

    def _send_settled(self) -> None:
        """In the connection's thread: what all threads have settled meanwhile."""
        frames = self._unsettled.take()
        if not self._channel.is_open:
            return
        for tag, ending in frames.rejected:
            self._channel.basic_reject(tag, requeue=ending is Ending.BACK)
        if frames.up_to:
            self._channel.basic_ack(frames.up_to, multiple=True)
        for tag in frames.single:
            self._channel.basic_ack(tag)

    def stop_fetching(self, timeout: float) -> bool:
        """After `draining` was set: wait until this consumer is cancelled at the broker and has returned what it
        held.

        True when it did so within `timeout` seconds.
        """
        try:
            self._connection.add_callback_threadsafe(lambda: None)  # wakes the consumer thread
        except pika.exceptions.AMQPError:
            return False
        return self.stopped.wait(timeout)

    def close(self) -> None:
        """Send the outstanding acknowledgements, then close the connection. Never raises."""
        flushed = threading.Event()
        try:
            if self._connection.is_open:
                self._connection.add_callback_threadsafe(flushed.set)
                for _ in range(_FLUSH_ROUNDS):
                    self._connection.process_data_events(time_limit=_FLUSH_SECONDS)
                    if flushed.is_set():
                        break
                self._connection.close()
        except Exception as error:  # noqa: BLE001 - the broker delivers again what is lost; the thread must go on
            log.info("closing the consumer of %s: %s", self._queue, type(error).__name__)


def declare(channel: Any, lane: Lane, pool: str = "") -> None:
    """Declare the lane's dead queue and its queue of a pool on a pika channel. Raises pika's AMQPError (406 for other
    arguments)."""
    channel.queue_declare(dead_queue_name(lane), durable=True, arguments=dead_queue_arguments())
    channel.queue_declare(queue_name(lane, pool), durable=True, arguments=queue_arguments(lane))


def build_broker(
    url: str,
    keys: Mapping[str, bytes],
    *,
    heartbeat: timedelta = HEARTBEAT,
    queues: Collection[Lane] = tuple(Lane),
    pool: str = "",
    middleware: Sequence[Middleware] = (),
    observe: Observe = ignore,
) -> FleetBroker | LocalBroker:
    """The broker for a process that works on the lanes in `queues`, for one worker pool.

    url   empty or `local:` for the in-process broker, else as in `tasks.amqp`. Nothing is connected yet.
    keys  as in `SignedEncoder`; the broker's encoder is `broker.encoder`, and dramatiq's global one is not touched.

    Raises Invalid for a URL and ValueError for keys that cannot be used.
    """
    encoder = SignedEncoder(keys)
    broker: FleetBroker | LocalBroker
    if is_local(url):
        broker = LocalBroker(encoder, middleware=list(middleware), observe=observe)
    else:
        broker = FleetBroker(url, encoder, heartbeat=heartbeat, middleware=list(middleware), observe=observe)
    for lane in Lane:
        if lane in queues:
            broker.declare_queue(queue_name(lane, pool))
    return broker


def register_actors(broker: Broker, run: Callable[[Lane, JobMessage], None]) -> None:
    """Declare one actor, named like the lane, for each lane of the broker; it calls `run(lane, message)`.

    `run` should record expected failures itself. What it raises is logged by dramatiq and the message is acknowledged
    all the same: the job's lease runs out and the catalog decides about another attempt.
    """
    for name in sorted(broker.get_declared_queues()):
        lane = lane_of(name)
        if lane is not None:
            declare_actor = dramatiq.actor(
                broker=broker, actor_name=lane.value, queue_name=name, priority=LANES[lane].priority
            )
            declare_actor(partial(_run, run, lane))


def _run(run: Callable[[Lane, JobMessage], None], lane: Lane, **payload: Any) -> None:
    run(lane, JobMessage.from_wire(payload))


class Publisher(Protocol):
    """What the outbox publishes through."""

    @property
    def available(self) -> bool:
        """Whether publishing has a chance just now."""

    @property
    def last_error(self) -> str:
        """Why not, in one sentence; empty when nothing went wrong since it last worked."""

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        """For each message whether the broker has taken responsibility for it. A False may still arrive: send it
        again."""

    def close(self) -> None:
        """Stop; later calls of `publish` return False for everything."""
