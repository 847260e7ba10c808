"""Which places answer nothing just now: their work is put off for nothing, so that it takes no thread from others.

A region that is cut off holds a thread for up to a minute with every call. At the rate at which one place may start
work that is more threads than a small fleet has, and the backups of all other accounts would wait behind it. So after
three calls in a row that were throttled or not answered, one job at a time tries the place, at growing distances, and
the first one that succeeds opens it again. Each process learns this by itself.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

STRIKES = 3
FIRST, LONGEST = timedelta(seconds=10), timedelta(minutes=5)
Place = tuple[int, str]
"""An account's id and a region."""


@dataclass
class _Pressed:
    strikes: int = 0
    pause: timedelta = FIRST
    until: datetime | None = None
    trying: bool = False


class Strain:
    """Shared by the threads of a worker; times are machine time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[Place, _Pressed] = {}

    def pause(self, place: Place, at: datetime) -> timedelta | None:
        """How long work for this place should be put off; None when it may go on now, as the one that tries perhaps."""
        with self._lock:
            pressed = self._places.get(place)
            if pressed is None or pressed.until is None:
                return None
            if at < pressed.until or pressed.trying:
                return max(pressed.until - at, FIRST)
            pressed.trying = True
            return None

    def note(self, place: Place, at: datetime, *, strike: bool) -> None:
        """How work for this place ended: throttled or not answered is a strike, whatever else opens it again."""
        with self._lock:
            if not strike:
                self._places.pop(place, None)
                return
            pressed = self._places.setdefault(place, _Pressed())
            pressed.strikes += 1
            if pressed.strikes < STRIKES:
                return
            if pressed.trying:
                pressed.pause = min(LONGEST, pressed.pause * 2)
            if pressed.until is None or pressed.trying:
                pressed.until, pressed.trying = at + pressed.pause, False
