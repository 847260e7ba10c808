"""How far the jobs in hand are, counted in memory by whoever moves blocks and written by the heartbeat.

Counting costs a lock and two additions a block; the catalog hears of it every few seconds and whenever a job hands
back what it has, however fast blocks go by.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from threading import Lock
from typing import Any

from tasks.catalog import Job, transaction
from tasks.progress import Progress, measured
from tasks.states import JobState
from workers.repository.source import Ref, Source


class Meter:
    """One job's bytes; safe to be shared by threads. `total` and `done` are bytes of the whole task."""

    def __init__(self, job: Job, at: datetime, total: int, done: int = 0) -> None:
        before = Progress.of(job.progress)
        self.job, self._total, self._since_at = job, total, at
        self._began_at = datetime.fromisoformat(before.began_at) if before else at
        self._done, self._moved = done, before.moved if before else 0
        self._before = (self._done, self._moved)
        self._lock = Lock()
        self.told: tuple[int, int] | None = None

    def reached(self, done: int, moved: int = 0) -> None:
        """The task is dealt with up to here, and `moved` more bytes had to be moved for it; never goes back."""
        with self._lock:
            self._done, self._moved = max(self._done, done), self._moved + moved

    def moved_to(self, done: int) -> None:
        """The task is dealt with up to here, and everything of it had to be moved."""
        with self._lock:
            self._moved, self._done = self._moved + max(0, done - self._done), max(self._done, done)

    def progress(self, at: datetime) -> Progress:
        """As it is told."""
        with self._lock:
            self.told = (self._done, self._moved)
            done = min(self._done, self._total)
            return measured(done, self._total, self._moved, self._before, self._began_at, self._since_at, at)

    @property
    def is_news(self) -> bool:
        """Whether something was counted since it was last told."""
        with self._lock:
            return self.told != (self._done, self._moved)


class Meters:
    """The meters of a process, one a job."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._meters: dict[int, Meter] = {}

    def begin(self, job: Job, at: datetime, total: int, done: int = 0) -> Meter:
        """Count for a job from here on; what earlier messages of it moved is in the figures."""
        meter = Meter(job, at, total, done)
        with self._lock:
            self._meters[job.id] = meter
        return meter

    def told(self, job: Job, at: datetime) -> dict[str, Any]:
        """The column of a job whose worker hands it back; empty for one that moves no bytes."""
        with self._lock:
            meter = self._meters.pop(job.id, None)
        return {"progress": meter.progress(at).to_json()} if meter is not None else {}

    def write(self, at: datetime, held: Collection[int] | None = None) -> None:
        """Write what is new, and forget jobs that are not among `held`; a statement for each job that got further.

        A worker that was overtaken writes nothing: another one counts there. Raises Unavailable.
        """
        with self._lock:
            if held is not None:
                self._meters = {number: meter for number, meter in self._meters.items() if number in held}
            meters = list(self._meters.values())
        for meter in sorted((one for one in meters if one.is_news), key=lambda one: one.job.id):
            mine = (Job.id == meter.job.id) & (Job.fence == meter.job.fence) & (Job.state == JobState.RUNNING)
            with transaction():
                Job.update(progress=meter.progress(at).to_json()).where(mine).execute()


class Watched:
    """A source whose blocks are counted as they are asked for. `offset` is where the volume's or range's first byte
    stands in the whole task."""

    def __init__(self, source: Source, meter: Meter, offset: int) -> None:
        self._source, self._meter, self._offset = source, meter, offset
        self.size, self.block_bytes = source.size, source.block_bytes
        self.readers, self.incremental = source.readers, source.incremental
        self.read: Callable[[Ref, memoryview], tuple[int, bytes | None]] = source.read

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        """As the source has them."""
        for ref in self._source.blocks(start, stop):
            moved = 0 if ref.gone else self.block_bytes
            self._meter.reached(self._offset + ref.index * self.block_bytes, moved)
            yield ref
