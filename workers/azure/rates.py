"""What Azure says is left of its request buckets, and how long a call should wait for them.

Each answer of Microsoft.Compute tells the buckets that its call drew on (`x-ms-ratelimit-remaining-resource`, a list of
POLICY;LEFT, the window at the end of the policy's name: ...3Min, ...30Min), and each of ARM's what is left to the
subscription (`x-ms-ratelimit-remaining-subscription-reads`, `-writes`, `-deletes`). They are one subscription's and one
region's. The last part of each is left to the customer's own automation: a call for which no more is left is not sent,
because a refused call counts too, and refusals of one process tell the others nothing.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

# As the fleet's own paces say it (workers.allowance): the cloud was not asked, so that this counts as no refusal of it.
SPENT = "budget-spent"
# Left to others: a tenth of the most that was ever seen in a bucket.
RESERVE = 0.1
LEAST, LONGEST = timedelta(seconds=5), timedelta(minutes=5)
_RESOURCE = "x-ms-ratelimit-remaining-resource"
_SUBSCRIPTION = "x-ms-ratelimit-remaining-subscription-"
_WINDOW = re.compile(r"(\d+)Min$")
# Subscription buckets refill within the second or the minute (ARM's token buckets); an hour was the window before.
_USUAL_WINDOW = timedelta(minutes=1)
Place = tuple[str, str]
"""An account's name, and a region ('' where a call names none)."""


@dataclass
class _Bucket:
    left: int
    most: int
    window: timedelta
    seen_at: float

    def wait(self, at: float) -> timedelta | None:
        """How long until there is more than the reserve; None when there is, or when nobody has asked for that long."""
        reserve = self.most * RESERVE
        if self.left > reserve:
            return None
        needed = self.window * ((reserve - self.left + 1) / max(1, self.most))
        whole = min(LONGEST, max(LEAST, needed))
        rest = whole - timedelta(seconds=at - self.seen_at)
        return rest if rest > timedelta(0) else None


class Rates:
    """Shared by the threads of a process. Of a bucket that is low one call goes after each wait, and tells anew."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[tuple[Place, str], _Bucket] = {}
        self._drawn: dict[tuple[Place, str], frozenset[str]] = {}

    def note(self, place: Place, operation: str, headers: Mapping[str, str]) -> None:
        """What an answer to `operation` ('put-snapshots') told."""
        told = dict(_read(headers))
        if not told:
            return
        at = self._now()
        with self._lock:
            self._drawn[place, operation] = frozenset(told)
            for name, left in told.items():
                known = self._buckets.get((place, name))
                most = max(left, known.most if known else left)
                self._buckets[place, name] = _Bucket(left, most, _window(name), at)

    def hold(self, place: Place, operation: str) -> timedelta | None:
        """How long a call should not be sent; None when it may go. One that goes after a wait is the next to tell."""
        at = self._now()
        with self._lock:
            names = self._drawn.get((place, operation), frozenset())
            low = [one for one in (self._buckets[place, name] for name in names) if one.left <= one.most * RESERVE]
            waits = [wait for one in low if (wait := one.wait(at)) is not None]
            if waits:
                return max(waits)
            for one in low:
                one.seen_at = at  # the others wait until this call has told
            return None

    def left(self, place: Place) -> dict[str, int]:
        """What was last told of a place's buckets, by their names."""
        with self._lock:
            return {name: one.left for (where, name), one in self._buckets.items() if where == place}


def _read(headers: Mapping[str, str]) -> list[tuple[str, int]]:
    found = []
    for name, value in headers.items():
        if name.lower().startswith(_SUBSCRIPTION) and value.isdigit():
            found.append((name.lower().removeprefix("x-ms-ratelimit-remaining-"), int(value)))
        if name.lower() == _RESOURCE:
            for one in value.split(","):
                policy, _, left = one.strip().rpartition(";")
                if policy and left.isdigit():
                    found.append((policy, int(left)))
    return found


def _window(name: str) -> timedelta:
    found = _WINDOW.search(name)
    return timedelta(minutes=int(found[1])) if found else _USUAL_WINDOW
