"""How fast a service may be asked: a rate that halves when it says so and comes back slowly."""

import random
import time
from threading import Event, Lock


class Pace:
    """At most `rate` permits a second over all threads; `throttled` halves it, a quiet second gives a tenth back."""

    def __init__(self, rate: float) -> None:
        self._most = self._rate = rate
        self._next = self._changed = time.monotonic()
        self._lock = Lock()
        self._never = Event()

    @property
    def rate(self) -> float:
        """Permits a second now."""
        return self._rate

    def take(self) -> None:
        """Wait for a permit."""
        with self._lock:
            now = time.monotonic()
            if self._rate < self._most and now - self._changed > 1:
                self._rate = min(self._most, self._rate + self._most / 10)
                self._changed = now
            self._next = max(self._next, now - 0.05) + 1 / self._rate
            wait = self._next - now
        if wait > 0:
            self._never.wait(wait)

    def throttled(self) -> None:
        """The service asked to slow down; counted once in half a second, however many threads heard it."""
        with self._lock:
            now = time.monotonic()
            if now - self._changed > 0.5 or self._rate == self._most:
                self._rate = max(1.0, self._rate / 2)
                self._changed = now

    def pause(self, attempt: int) -> None:
        """Wait before attempt number `attempt` (from 1): exponential with full jitter, at most 20 s."""
        self._never.wait(random.uniform(0, min(20.0, 0.1 * 2**attempt)))  # noqa: S311 - jitter, not a secret
