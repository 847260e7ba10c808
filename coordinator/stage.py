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
    wakes the stages that come `after` it when it has done any. `due_in` says in how many seconds the next thing comes
    due (0: something is due and could not be done), and it looks then."""

    def __init__(
        self,
        name: str,
        work: Callable[[], int],
        batch: int,
        *after: "Stage",
        due_in: Callable[[], float] = lambda: IDLE,
    ) -> None:
        self._work, self._batch, self._after, self._due_in = work, batch, after, due_in
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
            pause = self._once()
            if pause:
                self._woken.wait(pause)
                self._woken.clear()

    def _once(self) -> float:
        """Do a batch; the seconds until the next one."""
        try:
            with session():
                count = self._work()
                for stage in self._after if count else ():
                    stage.wake()
                self._away = False
                if count:
                    return 0.0 if count >= self._batch else BUSY
                return min(IDLE, self._due_in() or BUSY)
        except Unavailable as error:
            if not self._away:
                log.warning("%s The stage %r tries again every second.", error.text, self._thread.name)
            self._away = True
            return IDLE
        except Exception:  # everything waits for this thread: a defect in one batch must not end it
            log.exception("A batch of the stage %r was given up on a defect.", self._thread.name)
            return IDLE
