"""Which jobs this process has in hand: what its heartbeat renews, and what each thread is working on."""

import threading
import time
from dataclasses import dataclass, field

from tasks.catalog import Job
from tasks.lanes import LANES, Lane


@dataclass(frozen=True)
class InHand:
    """One claimed job. `began` is the monotonic clock's reading in seconds when it was claimed."""

    job: Job
    lane: Lane
    fence: int
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has been in hand."""
        return time.monotonic() - self.began


class Held:
    """The jobs in hand, by thread; shared by the threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[int, InHand] = {}

    def take(self, job: Job, lane: Lane) -> None:
        """This thread begins to work on a job that it has claimed."""
        with self._lock:
            self._by_thread[threading.get_ident()] = InHand(job, lane, job.fence)

    def mine(self) -> InHand | None:
        """What this thread has in hand."""
        with self._lock:
            return self._by_thread.get(threading.get_ident())

    def drop(self) -> InHand | None:
        """This thread is done with its job; what it was."""
        with self._lock:
            return self._by_thread.pop(threading.get_ident(), None)

    def all(self) -> list[InHand]:
        """Everything in hand just now."""
        with self._lock:
            return list(self._by_thread.values())

    @property
    def busy(self) -> int:
        """How many threads have a job in hand."""
        with self._lock:
            return len(self._by_thread)

    def renewable(self) -> dict[Lane, list[tuple[int, int]]]:
        """(job, fence) by lane, of those within their lane's time limit: a hung one loses its lease."""
        found: dict[Lane, list[tuple[int, int]]] = {}
        with self._lock:
            for one in self._by_thread.values():
                if one.seconds < LANES[one.lane].time_limit.total_seconds():
                    found.setdefault(one.lane, []).append((one.job.id, one.fence))
        return found
