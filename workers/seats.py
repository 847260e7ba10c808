"""The fleet's seats as drivers take them: each call is a transaction of its own, and none is open beside a cloud's."""

from collections.abc import Collection
from datetime import timedelta

from tasks.catalog import transaction
from tasks.catalog.seats import free_seat, leave_seat, take_seats
from tasks.clock import Clock


class FleetSeats:
    """Implements workers.azure.seats.Seats in the catalog. Raises Unavailable without one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def take(self, family: str, things: Collection[str], holder: str, most: int, lasts: timedelta) -> bool:
        at = self._clock.timer()
        with transaction():
            return take_seats(family, things, holder, most, at, at + lasts)

    def leave(self, family: str, thing: str, holder: str) -> bool:
        with transaction():
            return leave_seat(family, thing, holder, self._clock.timer())

    def free(self, family: str, thing: str, holder: str) -> None:
        with transaction():
            free_seat(family, thing, holder, self._clock.timer())
