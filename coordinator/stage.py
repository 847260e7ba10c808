"""Deciding, planning and publishing as a pipeline: each in a thread of its own, with a connection of its own.

While one batch waits for the broker's confirms and for its commit, the next one is planned and the one after it is
decided; and what somebody waits for (a restore) never waits for a round that plans a wave. Stages share nothing but
the catalog's rows, exactly as several coordinators do.
"""

import logging
import threading
from collections.abc import Callable

from tasks.catalog import session
from tasks.errors import Unavailable

log = logging.getLogger("snapfleet.coordinator")

# Seconds until a stage looks again though nobody said that there is something: while messages go out workers make room
# for more, and slots that trickle in are taken together; else what was put off comes due.
BUSY, IDLE = 0.1, 1.0
_END_SECONDS = 20.0  # a batch in hand is ended first; the broker's confirms are waited for 15 s at most


class Stage:
    """Calls `work` whenever it is woken, and again at once while it does `batch` things or more, as many as it may;
    wakes the stages that come `after` it when it has done any."""

    def __init__(self, name: str, work: Callable[[], int], batch: int, *after: "Stage") -> None:
        self._work, self._batch, self._after = work, batch, after
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._away = False

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            count = self._once()
            for stage in self._after if count else ():
                stage.wake()
            if count < self._batch:
                self._woken.wait(BUSY if count else IDLE)
                self._woken.clear()

    def _once(self) -> int:
        try:
            with session():
                count = self._work()
            self._away = False
            return count
        except Unavailable as error:
            if not self._away:
                log.warning("%s The stage %r tries again every second.", error.text, self._thread.name)
            self._away = True
            return 0
        except Exception:  # everything waits for this thread: a defect in one batch must not end it
            log.exception("A batch of the stage %r was given up on a defect.", self._thread.name)
            return 0
