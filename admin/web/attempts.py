"""How often somebody may try a password: per name and address, and per address."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_SECONDS = 300.0
PER_NAME_AND_ADDRESS = 5
PER_ADDRESS = 30
# Attackers choose names and addresses; the oldest are forgotten first.
REMEMBERED = 10_000


class Attempts:
    """Failed logins of the last minutes, in this process's memory. Safe for threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failed: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def wait_seconds(self, name: str, address: str) -> int:
        """Seconds until another try is allowed; 0 when one is allowed now."""
        with self._lock:
            waits = (
                self._wait((name, address), PER_NAME_AND_ADDRESS),
                self._wait(("", address), PER_ADDRESS),
            )
            return round(max(waits) + 0.5) if any(waits) else 0

    def failed(self, name: str, address: str) -> None:
        """Remember a failed login (or one that is about to be checked)."""
        with self._lock:
            for key in ((name, address), ("", address)):
                self._failed.setdefault(key, deque(maxlen=PER_ADDRESS)).append(self._monotonic())
                self._failed.move_to_end(key)
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a name that got in; those of the address as a whole stay."""
        with self._lock:
            self._failed.pop((name, address), None)

    def _wait(self, key: tuple[str, str], allowed: int) -> float:
        at = self._monotonic()
        times = self._failed.get(key, deque())
        while times and times[0] <= at - WINDOW_SECONDS:
            times.popleft()
        return times[-allowed] + WINDOW_SECONDS - at if len(times) >= allowed else 0.0
