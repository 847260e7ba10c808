"""The coordinator's side of RabbitMQ: publish with confirms, look at the queues, bring the dead letters home.

Publishing is pipelined: a batch is written at once and the broker's confirms are counted as they come. Waiting for each
confirm in turn reaches 1,800 messages a second, this about ten times as many (measured 2026-11 on two cores). A batch
goes to the socket as one text: pika 1.4's `basic_publish` makes three system calls of each message, and in each of them
another thread of this process may take the interpreter for its 5 ms.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple

import pika
import pika.exceptions

from tasks.amqp import HEARTBEAT, connection_parameters, sentence
from tasks.broker import declare
from tasks.errors import Unavailable
from tasks.lanes import Lane, dead_queue_arguments, dead_queue_name, lane_of, pool_of, queue_arguments, queue_name
from tasks.messages import JobMessage, MessageRefused, SignedEncoder

log = logging.getLogger("snapfleet.publisher")

CONFIRM_TIMEOUT = timedelta(seconds=15)
"""A healthy broker confirms a batch within tens of milliseconds. After this the connection is given up: a broker that
is silent this long is partitioned from us, and the caller holds rows locked meanwhile."""

_PAUSE_FIRST, _PAUSE_MOST = 0.25, 15.0  # seconds between attempts to connect, doubling
_CLOSE_SECONDS = 5.0
_PERSISTENT = pika.BasicProperties(delivery_mode=2)
_FRAME_END = bytes((pika.spec.FRAME_END,))
_EXCERPT_CHARS = 300  # enough to recognise a message of ours, too little to fill the catalog

Sink = Callable[[Lane, str, str, int | None, bool], None]
"""Keeps one dead letter: (lane, reason code, printable excerpt of the body, job, signed). The job is None unless a key
of ours signed the body. It returns once the letter is committed, and may be called again for the same letter."""


class QueueDepth(NamedTuple):
    """Messages ready and consumers of a lane's queue, and letters in its dead queue. All 0 while a queue is missing."""

    ready: int
    consumers: int
    dead: int


class _Batch:
    """Messages published together, and what became of each: settled in the session's thread, awaited in another."""

    def __init__(self, messages: list[tuple[str, bytes]]) -> None:
        self.messages = messages
        self.confirmed = [False] * len(messages)
        self.returned: set[int] = set()
        self.done = threading.Event()
        self._open = len(messages)

    def settle(self, index: int, *, good: bool) -> None:
        self.confirmed[index] = good and index not in self.returned
        self._open -= 1
        if not self._open:
            self.done.set()


@lru_cache(maxsize=1024)
def _head(channel: int, queue: str, length: int) -> bytes:
    """What goes before a message's body, which is shorter than a frame may be: two frames and the third's beginning."""
    publish = pika.spec.Basic.Publish(exchange="", routing_key=queue, mandatory=True)
    frames = pika.frame.Method(channel, publish).marshal() + pika.frame.Header(channel, length, _PERSISTENT).marshal()
    return bytes(frames + pika.frame.Body(channel, bytes(length)).marshal()[: -length - len(_FRAME_END)])


class _Session:
    """One connection from opening to its end; apart from `submit`, everything runs in the thread that calls `run`."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self.ready = threading.Event()
        self.was_ready = False
        self.error = ""
        self.batches: set[_Batch] = set()
        self._pending: dict[int, tuple[_Batch, int]] = {}
        self._published = 0
        self._declaring = False
        self._channel: Any = None
        self._connection: Any = pika.SelectConnection(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )

    def run(self) -> None:
        """Serve until the connection ends."""
        self._connection.ioloop.start()
        self._connection.ioloop.close()

    def submit(self, batch: _Batch) -> None:
        """From any thread: publish a batch. The caller makes sure that `run` has not ended."""
        self.batches.add(batch)
        self._connection.ioloop.add_callback_threadsafe(partial(self._send, batch))

    def end(self, error: str) -> None:
        """From any thread, under the same condition: close the connection."""
        self._connection.ioloop.add_callback_threadsafe(partial(self._close, error))

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _channel, reason: self._close(sentence(reason)))
        channel.add_on_return_callback(self._returned)
        start = partial(channel.confirm_delivery, self._confirmed, callback=self._serving)
        self._declare(start)

    def _serving(self, _frame: Any) -> None:
        self.was_ready = True
        self.ready.set()

    def _declare(self, then: Callable[[], None], missing: str = "") -> None:
        """Declare the lanes' queues, and one of a worker pool that was found `missing`."""
        wanted: list[tuple[str, dict[str, object]]] = []
        for lane in Lane:
            wanted += [(dead_queue_name(lane), dead_queue_arguments()), (queue_name(lane), queue_arguments(lane))]
        lane_of_pool = lane_of(missing) if pool_of(missing) else None
        if lane_of_pool is not None:
            wanted.append((missing, queue_arguments(lane_of_pool)))

        def next_one(_frame: Any = None) -> None:
            if wanted:
                name, arguments = wanted.pop(0)
                self._channel.queue_declare(name, durable=True, arguments=arguments, callback=next_one)
            else:
                self._declaring = False
                then()

        self._declaring = True
        next_one()

    def _send(self, batch: _Batch) -> None:
        if not self.ready.is_set() or not self._channel.is_open:
            batch.done.set()
            return
        channel: int = self._channel.channel_number
        frames: list[bytes] = []
        for index, (queue, body) in enumerate(batch.messages):
            self._published += 1
            self._pending[self._published] = (batch, index)
            frames += (_head(channel, queue, len(body)), body, _FRAME_END)
        self._connection._output_marshaled_frames([b"".join(frames)])

    def _confirmed(self, frame: Any) -> None:
        good = isinstance(frame.method, pika.spec.Basic.Ack)
        tag = frame.method.delivery_tag
        tags = list(itertools.takewhile(lambda one: one <= tag, self._pending)) if frame.method.multiple else [tag]
        for one in tags:
            found = self._pending.pop(one, None)
            if found:
                batch, index = found
                batch.settle(index, good=good)

    def _returned(self, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        """A queue is missing. The broker confirms such a message right after it returned it."""
        for batch in list(self.batches):
            batch.returned.update(index for index, message in enumerate(batch.messages) if message[1] == body)
        if not self._declaring:
            log.warning("The queue %s was missing and is declared.", method.routing_key)
            self._declare(lambda: None, missing=method.routing_key)

    def _blocked(self, _connection: Any, frame: Any) -> None:
        self.ready.clear()
        self.error = "RabbitMQ takes no messages now, because it is short of memory or disk."
        log.warning("%s (%s)", self.error, frame.method.reason)
        self._give_up()

    def _unblocked(self, _connection: Any, _frame: Any) -> None:
        self.error = ""
        self.ready.set()

    def _give_up(self) -> None:
        self._pending.clear()
        for batch in list(self.batches):
            batch.done.set()

    def _close(self, error: str) -> None:
        self.ready.clear()
        self.error = self.error or error
        self._give_up()
        if not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()

    def _ended(self, _connection: Any, reason: Any) -> None:
        self.ready.clear()
        self.error = self.error or sentence(reason)
        self._give_up()
        self._connection.ioloop.stop()


class ConfirmingPublisher:
    """Publishes through one connection that a thread of its own keeps open, for as long as the process lives.

    Never call it from a thread that serves a request: `publish` waits for the broker, up to `confirm_timeout`.
    Raises Invalid for an unusable URL, and nothing later for a broker that is away.
    """

    def __init__(
        self,
        url: str,
        encoder: SignedEncoder,
        *,
        confirm_timeout: timedelta = CONFIRM_TIMEOUT,
        heartbeat: timedelta = HEARTBEAT,
    ) -> None:
        hosts = connection_parameters(url, name="snapfleet publisher", heartbeat=heartbeat)
        self._hosts = itertools.cycle(hosts)
        self._encoder = encoder
        self._timeout = confirm_timeout.total_seconds()
        self._lock = threading.Lock()  # guards _session: nothing is handed to a session whose loop has ended
        self._session: _Session | None = None
        self._error = "RabbitMQ has not been reached yet."
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    @property
    def available(self) -> bool:
        """Whether there is a connection on which the broker takes messages."""
        session = self._session
        return session is not None and session.ready.is_set()

    @property
    def last_error(self) -> str:
        """Why it is not available, in one sentence; empty while it is."""
        session = self._session
        if session is not None and session.ready.is_set():
            return ""
        return (session.error if session is not None else "") or self._error

    def wait_available(self, timeout: timedelta) -> bool:
        """Wait for the connection; whether there is one."""
        moment = threading.Event()
        for _ in range(max(1, int(timeout.total_seconds() / 0.05))):
            if self.available:
                return True
            moment.wait(0.05)
        return self.available

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        """For each message whether the broker confirmed it. False after a nack, a return, a timeout or a lost
        connection; such a message may arrive nevertheless: it is published again and the job's claim sorts it out."""
        bodies = [self._encode(lane, message) for lane, message in messages]
        wanted = zip(messages, bodies, strict=True)
        batch = _Batch([(queue_name(lane, message.pool), body) for (lane, message), body in wanted if body])
        if batch.messages:
            self._deliver(batch)
        outcomes = iter(batch.confirmed)
        return [next(outcomes) if body else False for body in bodies]

    def close(self) -> None:
        """Close the connection; what is being published becomes False."""
        self._stop.set()
        with self._lock:
            if self._session is not None:
                self._session.end("The publisher was closed.")
        self._thread.join(_CLOSE_SECONDS)

    def _encode(self, lane: Lane, message: JobMessage) -> bytes:
        try:
            return self._encoder.encode_job(lane, message)
        except MessageRefused as refused:
            log.error("job %s was not published: %s", message.job, refused.reason)
            return b""

    def _deliver(self, batch: _Batch) -> None:
        with self._lock:
            session = self._session
            if session is None or not session.ready.is_set():
                return
            session.submit(batch)
        if not batch.done.wait(self._timeout):
            with self._lock:
                if session is self._session:
                    session.end("RabbitMQ did not confirm messages in time.")
        session.batches.discard(batch)

    def _run(self) -> None:
        pause = _PAUSE_FIRST
        for parameters in self._hosts:
            if self._stop.is_set():
                return
            session = self._serve(parameters)
            pause = _PAUSE_FIRST if session is not None and session.was_ready else min(pause * 2, _PAUSE_MOST)
            self._stop.wait(pause)

    def _serve(self, parameters: pika.ConnectionParameters) -> _Session | None:
        try:
            session = _Session(parameters)
        except Exception as error:  # noqa: BLE001 - the thread must go on to the next host
            self._error = sentence(error)
            return None
        with self._lock:
            self._session = session
        try:
            session.run()
        except Exception as error:
            session.error = session.error or sentence(error)
            log.exception("the publisher's connection failed")
        with self._lock:
            self._session = None
            self._error = session.error
            for batch in list(session.batches):
                batch.done.set()
        if not self._stop.is_set():
            log.warning("%s Connecting again.", self._error)
        return session


@contextmanager
def _connected(url: str, name: str) -> Iterator[Any]:
    try:
        with closing(pika.BlockingConnection(connection_parameters(url, name=name))) as connection:
            yield connection
    except pika.exceptions.AMQPError as error:
        raise Unavailable(sentence(error)) from None


def declare_pools(url: str, pools: Collection[str]) -> None:
    """Make the queues of worker pools, all lanes of each. Raises Unavailable and Invalid."""
    with _connected(url, "snapfleet pools") as connection:
        channel = connection.channel()
        for pool in pools:
            for lane in Lane:
                declare(channel, lane, pool)


def queue_depths(url: str) -> dict[Lane, QueueDepth]:
    """How full the lanes' queues are, asked without creating any. Raises Unavailable and Invalid."""
    with _connected(url, "snapfleet queue depths") as connection:
        depths = {}
        for lane in Lane:
            ready, consumers = _count(connection, queue_name(lane))
            dead, _ = _count(connection, dead_queue_name(lane))
            depths[lane] = QueueDepth(ready, consumers, dead)
        return depths


def _count(connection: Any, queue: str) -> tuple[int, int]:
    channel = connection.channel()  # a missing queue closes the channel, so each question has its own
    try:
        answer = channel.queue_declare(queue, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
        return 0, 0
    channel.close()
    return answer.message_count, answer.consumer_count


def drain_dead_letters(url: str, sink: Sink, limit: int, *, encoder: SignedEncoder) -> int:
    """Hand up to `limit` dead letters to `sink`, each acknowledged after sink returned; how many there were.

    What sink raises comes through, and its letter stays in the queue. Raises Unavailable and Invalid.
    """
    kept = 0
    with _connected(url, "snapfleet dead letters") as connection:
        for lane in Lane:
            if not _count(connection, dead_queue_name(lane))[0]:
                continue
            channel = connection.channel()
            while kept < limit:
                method, properties, body = channel.basic_get(dead_queue_name(lane))
                if method is None:
                    break
                sink(lane, *_letter(lane, properties, body, encoder))
                channel.basic_ack(method.delivery_tag)
                kept += 1
            channel.close()
    return kept


def _letter(lane: Lane, properties: Any, body: bytes, encoder: SignedEncoder) -> tuple[str, str, int | None, bool]:
    verdict = encoder.judge(body)
    reason = verdict.reason
    if reason is None:
        reason = "foreign-queue" if lane_of(verdict.queue or "") is not lane else _broker_reason(properties)
    return reason, excerpt(body), verdict.job, verdict.signed


def _broker_reason(properties: Any) -> str:
    """Why the broker moved a valid message: rejected, delivery-limit, expired or maxlen."""
    deaths = (properties.headers or {}).get("x-death")
    first = deaths[0] if isinstance(deaths, list) and deaths else {}
    reason = first.get("reason") if isinstance(first, dict) else None
    return reason.replace("_", "-")[:32] if isinstance(reason, str) and reason.isascii() else "rejected"


def excerpt(body: bytes) -> str:
    """The beginning of a body as printable ASCII, safe for a terminal, a log and a page."""
    text = body[:_EXCERPT_CHARS].decode("latin-1")
    return "".join(char if " " <= char <= "~" else "." for char in text)
