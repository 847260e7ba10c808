"""Where time comes from. Two readings, because a try-out may run the calendar faster than the machinery.

`now()` is calendar time: slots, ages of recovery points, retention. `timer()` is machine time: leases, polls,
retries, heartbeats. In production they are the same instant: the database's, so that hosts whose clocks differ
agree. With a fast calendar (SNAPFLEET_FAST_CLOCK, for the sandbox and tests only) `now()` runs ahead at a given
rate while `timer()` does not, so that a lease still lasts its real seconds.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

# The database is asked for its time this often; in between the host's monotonic clock carries it. Quartz crystals
# drift by some 50 ppm: 1.5 ms in 30 s, far below any lease.
RESYNC_SECONDS = 30.0


# What is dated later than this after now was written under a clock that was wrong. Coordinators' clocks differ by
# milliseconds, and what a clock that is set right by less than this leaves behind, time makes up for within this time.
DATED_AHEAD = timedelta(minutes=30)


class Clock(Protocol):
    """What every process reads the time from; both readings are aware UTC."""

    def now(self) -> datetime:
        """Calendar time: slots, ages, retention."""

    def timer(self) -> datetime:
        """Machine time: leases, polls, retries."""


def host_time() -> datetime:
    """The host's own wall clock, aware UTC: for the embedded size, where one host is the whole fleet."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class FastCalendar:
    """A calendar that starts at `virtual` when the real time is `real` and runs `rate` times as fast."""

    real: datetime
    virtual: datetime
    rate: float

    @classmethod
    def parse(cls, text: str) -> "FastCalendar":
        """Read `REAL,VIRTUAL,RATE`, two ISO instants and a number. Raises ValueError with the expected shape."""
        try:
            real, virtual, rate = text.split(",")
            parsed = cls(datetime.fromisoformat(real), datetime.fromisoformat(virtual), float(rate))
        except ValueError as error:
            raise ValueError("a fast clock is written REAL,VIRTUAL,RATE with two ISO instants in UTC") from error
        if parsed.real.tzinfo is None or parsed.virtual.tzinfo is None or parsed.rate <= 0:
            raise ValueError("a fast clock needs instants with a zone and a rate above 0")
        return parsed

    def at(self, real: datetime) -> datetime:
        """The calendar's instant at a real one."""
        return self.virtual + (real - self.real) * self.rate


class SystemClock:
    """Time from `source` (the database's in a fleet), carried by the monotonic clock between two questions."""

    def __init__(self, source: Callable[[], datetime] = host_time, fast: FastCalendar | None = None) -> None:
        self._source = source
        self._fast = fast
        self._lock = threading.Lock()
        self._read_at = -RESYNC_SECONDS
        self._value = datetime.min.replace(tzinfo=UTC)

    def timer(self) -> datetime:
        with self._lock:
            monotonic = time.monotonic()
            if monotonic - self._read_at >= RESYNC_SECONDS:
                self._value, self._read_at = self._source(), time.monotonic()
                return self._value
            return self._value + timedelta(seconds=monotonic - self._read_at)

    def now(self) -> datetime:
        instant = self.timer()
        return self._fast.at(instant) if self._fast else instant


class FixedClock:
    """A clock that stands still until it is moved: for tests and the simulator."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock needs an aware time")
        self._at = at

    def now(self) -> datetime:
        return self._at

    def timer(self) -> datetime:
        return self._at

    def advance(self, by: timedelta) -> None:
        """Move both readings forward (or back, to play a clock that jumps)."""
        self._at += by
