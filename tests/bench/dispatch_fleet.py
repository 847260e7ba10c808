"""The coordinators of the dispatch bench: one in the bench's own process, others in processes of their own. All run the
production loop with the production publisher, and all tell when the broker had confirmed which jobs."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from coordinator.admission import Admission
from coordinator.main import _loop, _spare_the_collector
from coordinator.rabbitmq import ConfirmingPublisher
from tasks.catalog import database_time, open_catalog
from tasks.clock import SystemClock
from tasks.lanes import Lane
from tasks.limits import Pace
from tasks.messages import JobMessage, SignedEncoder
from tasks.settings import Settings
from tasks.telemetry import Counters
from tests.bench.unswept import Unswept

OPEN = Admission(capacity=dict.fromkeys(Lane, 10**9), starts=Pace(per_second=1e6, burst=10**9))
Note = Callable[[Sequence[int], datetime], None]
"""Takes jobs whose messages were confirmed, and when."""


class Noting:
    """The production publisher, which tells of each confirmed batch."""

    def __init__(self, amqp: str, note: Note) -> None:
        self._real, self._note = ConfirmingPublisher(amqp, SignedEncoder({"bench": bytes(32)})), note
        self._real.wait_available(timedelta(seconds=30))

    @property
    def available(self) -> bool:
        return self._real.available

    @property
    def last_error(self) -> str:
        return self._real.last_error

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        good = self._real.publish(messages)
        self._note([one.job for (_, one), ok in zip(messages, good, strict=True) if ok], datetime.now(UTC))
        return good

    def close(self) -> None:
        self._real.close()


class Confirmed:
    """When each job's message was confirmed, by whomever; tells when enough are."""

    def __init__(self) -> None:
        self.at: dict[int, datetime] = {}
        self.enough, self.enough_at = threading.Event(), datetime.min
        self._wanted = 0
        self._lock = threading.Lock()

    def expect(self, count: int) -> threading.Event:
        """Forget what was; set once so many are confirmed, at `enough_at`."""
        with self._lock:
            self.at.clear()
            self._wanted, self.enough = count, threading.Event()
        return self.enough

    def note(self, jobs: Sequence[int], at: datetime) -> None:
        with self._lock:
            self.at.update(dict.fromkeys(jobs, at))
            if len(self.at) >= self._wanted and not self.enough.is_set():
                self.enough_at = max(self.at.values())
                self.enough.set()


class Timed(Unswept):
    """The production coordinator, noting what each part of its rounds takes."""

    spent: Counter[str] = Counter()

    def _part(self, name: str, work: Callable[[], int | None]) -> int:
        began = time.perf_counter()
        done = super()._part(name, work)
        self.spent[name] += time.perf_counter() - began
        return done


def engaged(url: str, amqp: str, home: str, note: Note, name: str) -> Timed:
    """A coordinator that has done its first round. The catalog at `url` is open."""
    settings = Settings(home=Path(home), catalog_url=url, broker_url=amqp)
    one = Timed(settings, SystemClock(database_time), Noting(amqp, note), Counters(), admission=OPEN, name=name)
    one.step()
    _spare_the_collector()
    return one


class Another:
    """A coordinator in a process of its own, which runs when this is made and ends with `close` or with the bench."""

    def __init__(self, url: str, amqp: str, home: str, note: Note, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers, its = context.Pipe()
        self._process = context.Process(target=_run, args=(url, amqp, home, name, its), daemon=True)
        self._process.start()
        self._answers.recv()
        self.pid = self._process.pid or 0
        threading.Thread(target=self._listen, args=(note,), daemon=True).start()

    def _listen(self, note: Note) -> None:
        try:
            while True:
                note(*self._answers.recv())
        except (EOFError, OSError):  # it has ended
            return

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _run(url: str, amqp: str, home: str, name: str, answers: Connection) -> None:
    open_catalog(url)
    one = engaged(url, amqp, home, lambda jobs, at: answers.send((jobs, at)), name)
    answers.send("ready")
    stop = threading.Event()
    threading.Thread(target=lambda: answers.poll(None) and stop.set(), daemon=True).start()  # nothing but the end comes
    _loop(one, stop)
