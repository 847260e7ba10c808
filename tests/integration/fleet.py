"""A worker on a real broker, with a recorder where the handlers would be."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import unquote, urlsplit

import pika
from dramatiq import Worker

from tasks.amqp import connection_parameters
from tasks.broker import build_broker, register_actors
from tasks.lanes import Lane
from tests.tasks.poison import KEYS


class Recorder:
    """Notes the jobs it is asked to run. After `hold`, each waits for one `release` before it ends."""

    def __init__(self):
        self.started, self.ended, self.events = [], [], []
        self._held = False
        self._permits = threading.Semaphore(0)

    def run(self, lane, message):
        self.started.append(message.job)
        if self._held:
            self._permits.acquire(timeout=30)
        self.ended.append(message.job)

    def hold(self):
        """Let no job end."""
        self._held = True

    def release(self, count=1):
        """Let so many jobs end."""
        self._permits.release(count)

    def open(self):
        """Let every job end."""
        self._held = False
        self._permits.release(100)

    def observe(self, event, lane, reason):
        self.events.append((event, lane, reason))

    def count(self, event):
        """How often an event was observed."""
        return sum(1 for seen, _, _ in self.events if seen == event)


@contextmanager
def fleet_worker(url, lanes=(Lane.SNAPSHOT,), threads=2, middleware=()) -> Iterator[tuple[Worker, Recorder]]:
    """A running worker for some lanes, stopped at the end."""
    recorder = Recorder()
    broker = build_broker(url, KEYS, queues=lanes, middleware=middleware, observe=recorder.observe)
    register_actors(broker, recorder.run)
    worker = Worker(broker, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield worker, recorder
    finally:
        recorder.open()
        worker.stop(timeout=10_000)


@contextmanager
def raw_channel(url):
    """A plain pika channel, for what our own code would never do."""
    with closing(pika.BlockingConnection(connection_parameters(url, name="test"))) as connection:
        yield connection.channel()


def vhost_of(url):
    """The virtual host of a broker URL."""
    return unquote(urlsplit(url).path[1:])
