"""The thread that keeps a worker's leases, reports the process, and brings counters and progress to the catalog."""

import logging
import threading
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from tasks.catalog import Process, transaction
from tasks.catalog.fleet import BEAT, DRAIN
from tasks.catalog.transitions import renew
from tasks.errors import SnapfleetError
from tasks.lanes import Lane
from workers.context import Context
from workers.drain import GiveBack
from workers.held import Held

log = logging.getLogger("snapfleet.worker")

# A process that was killed leaves its row, and a fleet of containers has a new name for each start.
FORGOTTEN_AFTER = timedelta(days=1)
SHOWN = 32  # jobs in hand that a report names: more threads than that are rare, and the row stays small


class Heartbeat:
    """Beats from `start` until `stop`; begun with the worker, and still there while it drains.

    Leases are renewed at a third of their length, so that two renewals may be lost. A job beyond its lane's time limit
    is not renewed: another worker takes it over, and the fence stops this one.
    """

    def __init__(
        self,
        context: Context,
        held: Held,
        lanes: Collection[Lane],
        threads: int,
        draining: threading.Event,
        give_back: GiveBack | None = None,
    ) -> None:
        self._context, self._held, self._lanes, self._threads = context, held, sorted(lanes), threads
        self._draining, self._give_back = draining, give_back
        self._drained = False  # because an operator wants it
        self._stop = threading.Event()
        self._renewed_at: datetime | None = None
        self._third = min(context.lease(lane) for lane in self._lanes) / 3
        self._pause = min(BEAT, self._third)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more, and report the process as gone."""
        self._stop.set()
        self._thread.join(timeout=BEAT.total_seconds())

    def _run(self) -> None:
        self._survive(self.forget_dead)
        while not self._stop.is_set():
            self._survive(self.beat)
            self._stop.wait(self._pause.total_seconds())
        self._survive(self._farewell)

    def _survive(self, act: Callable[[], None]) -> None:
        try:
            act()
        except SnapfleetError as error:
            log.warning("no heartbeat: %s", error.text)
        except Exception:  # without this thread every lease would lapse
            log.exception("a heartbeat failed on a defect")

    def beat(self) -> None:
        """Report, renew what is due, flush, and do as an operator wants. Raises Unavailable without a catalog."""
        at = self._context.clock.timer()
        row = {
            "lanes": [str(lane) for lane in self._lanes],
            "pool": self._context.settings.pool,
            "threads": self._threads,
            "busy": self._held.busy,
            "detail": {"jobs": self._in_hand(at)},
            "draining": self._draining.is_set(),
            "seen_at": at,
        }
        with transaction():
            upsert: Any = Process.insert(
                name=self._context.owner, role="worker", version=version("snapfleet"), started_at=at, **row
            ).on_conflict(conflict_target=[Process.name], update={getattr(Process, name): row[name] for name in row})
            (mine,) = list(upsert.returning(Process.wanted).execute())
            self._renew(at)
        self._context.counters.flush()
        self._context.meters.write(at, {one.job.id for one in self._held.all()})
        self._obey(drain=mine.wanted == DRAIN)

    def _obey(self, *, drain: bool) -> None:
        """Hold back or go on, once when the operator's wish changes."""
        if self._give_back is None or drain == self._drained:
            return
        self._drained = drain
        if drain:
            self._give_back.hold()
        elif not self._stop.is_set():
            self._give_back.release()

    def _in_hand(self, at: datetime) -> list[dict[str, Any]]:
        """What each thread works on and since when, the oldest first."""
        found = [(at - timedelta(seconds=one.seconds), one) for one in self._held.all()]
        return [
            {"job": one.job.id, "kind": one.job.kind, "lane": str(one.lane), "since": since.isoformat()}
            for since, one in sorted(found, key=lambda pair: pair[0])[:SHOWN]
        ]

    def forget_dead(self) -> None:
        """Remove what processes that ended without a farewell have left. Raises Unavailable."""
        with transaction():
            Process.delete().where(Process.seen_at < self._context.clock.timer() - FORGOTTEN_AFTER).execute()

    def _renew(self, at: datetime) -> None:
        if self._renewed_at is not None and at < self._renewed_at + self._third - self._pause / 2:
            return
        for lane, held in self._held.renewable().items():
            renew(self._context.owner, held, at + self._context.lease(lane))
        self._renewed_at = at

    def _farewell(self) -> None:
        self._context.counters.flush()
        with transaction():
            Process.delete().where(Process.name == self._context.owner).execute()
