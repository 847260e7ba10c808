"""Who may have an access signature: Azure gives out those of five snapshots of a family at once, and more are refused.

The fleet counts them itself (`Seats`; in the catalog in production), so that no more are ever asked for. Work that
needs two snapshots takes both seats or none: nobody waits for a second one with the first in hand.
"""

import secrets
import threading
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol

from tasks import seats
from tasks.errors import QuotaReached
from workers.azure.ids import normal
from workers.azure.limits import LIMITS, SIGNATURES

MOST = next(limit.most for limit in LIMITS if limit.what == SIGNATURES)
# Others' work on the same disk ends its slice within minutes; a look at the seats costs one small transaction.
_WAIT = timedelta(seconds=30)


class Seats(Protocol):
    """Seats of families, shared by whoever shares the limit."""

    def take(self, family: str, things: Collection[str], holder: str, most: int, lasts: timedelta) -> bool:
        """Take or prolong the seats of all `things` for so long; whether there was room."""

    def leave(self, family: str, thing: str, holder: str) -> bool:
        """Leave a thing that others have open too ('' is everybody); True for the last, which shuts it and frees it."""

    def free(self, family: str, thing: str, holder: str) -> None:
        """The thing is shut: the seat that `holder` had is free."""


class OwnSeats:
    """Seats of one process, for use without a catalog; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, seats.Held] = {}

    def take(self, family: str, things: Collection[str], holder: str, most: int, lasts: timedelta) -> bool:
        at = time.monotonic()
        with self._lock:
            found = seats.taken(self._held.get(family, {}), things, holder, most, at, at + lasts.total_seconds())
            if found is not None:
                self._held[family] = found
            return found is not None

    def leave(self, family: str, thing: str, holder: str) -> bool:
        with self._lock:
            self._held[family], is_last = seats.left(self._held.get(family, {}), thing, holder, time.monotonic())
            return is_last

    def free(self, family: str, thing: str, holder: str) -> None:
        with self._lock:
            self._held[family] = seats.freed(self._held.get(family, {}), thing, holder, time.monotonic())


def family_of(model: Mapping[str, Any]) -> str:
    """What a snapshot shares its limit with: its family, whose copies in other regions count with it; a snapshot
    without one is alone."""
    told = model.get("properties", {}).get("incrementalSnapshotFamilyId") or model.get("id", "")
    return normal(str(told))


class Places:
    """The seats of one piece of work: of `things` in one family, taken together."""

    def __init__(self, kept: Seats, family: str, things: Collection[str], holder: str = "") -> None:
        self._kept, self._family = kept, f"access:{family}"
        self._things, self._holder = sorted(things), holder or secrets.token_hex(8)
        self.taken = False  # ever

    def take(self, lasts: timedelta) -> None:
        """Take all of them. Raises QuotaReached when five snapshots of the family are open: nothing was asked for."""
        if not self._kept.take(self._family, self._things, self._holder, MOST, lasts):
            text = f"Azure opens {MOST} snapshots of a disk at once, and so many are being read: this one waits."
            raise QuotaReached(text, code="signatures-taken", wait=_WAIT)
        self.taken = True

    def leave(self, thing: str) -> bool:
        """Whether it is to be shut, because nobody else reads it."""
        return self._kept.leave(self._family, thing, self._holder)

    def free(self, thing: str) -> None:
        """It is shut."""
        self._kept.free(self._family, thing, self._holder)

    def clear(self, thing: str) -> None:
        """Everybody leaves it, because it is about to be shut; who takes it from now on is counted anew."""
        self._kept.leave(self._family, thing, "")

    def cleared(self, thing: str) -> None:
        """It is shut."""
        self._kept.free(self._family, thing, "")
