"""Publishing beside the rounds: a thread of its own, with a connection of its own.

While one batch waits for the broker's confirms and for its commit, the next one is decided and planned, and what
somebody waits for (a restore) never waits for a round that plans a wave. It shares nothing with the rounds but the
catalog's rows, exactly as another coordinator would.
"""

import logging
import threading
from collections.abc import Callable

from tasks.catalog import session
from tasks.errors import Unavailable

log = logging.getLogger("snapfleet.coordinator")

# Seconds until the outbox is looked at again though nobody said that there is something: while messages go out workers
# make room for more, else what was put off comes due.
BUSY, IDLE = 0.1, 1.0
_END_SECONDS = 20.0  # a batch in hand is ended first; the broker's confirms are waited for 15 s at most


class Relay:
    """Calls `publish` whenever it is woken; again at once while it publishes `batch` messages, as many as it may."""

    def __init__(self, publish: Callable[[], int], batch: int) -> None:
        self._publish, self._batch = publish, batch
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to publish."""
        self._woken.set()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            count = self._once()
            if count < self._batch:
                self._woken.wait(BUSY if count else IDLE)
                self._woken.clear()

    def _once(self) -> int:
        try:
            with session():
                return self._publish()
        except Unavailable:
            return 0  # the rounds say so
        except Exception:  # everything waits for this thread: a defect in one batch must not end it
            log.exception("A batch was not published on a defect.")
            return 0
