"""Seats that the whole fleet shares: one row a family, read and written under its lock. Rules: `tasks.seats`."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from tasks import seats
from tasks.catalog.database import database
from tasks.catalog.fields import is_postgres
from tasks.catalog.fleet import SeatFamily


def take_seats(family: str, things: Collection[str], holder: str, most: int, at: datetime, until: datetime) -> bool:
    """Take or prolong the seats of all `things`; whether there was room. Call inside a transaction."""
    found = seats.taken(_held(family), things, holder, most, at.timestamp(), until.timestamp())
    if found is not None:
        _write(family, found)
    return found is not None


def leave_seat(family: str, thing: str, holder: str, at: datetime) -> bool:
    """Leave a thing that others have open too ('' is everybody); True for the last one, which keeps its seat until it
    is shut. Call inside a transaction."""
    found, is_last = seats.left(_held(family), thing, holder, at.timestamp())
    _write(family, found)
    return is_last


def free_seat(family: str, thing: str, holder: str, at: datetime) -> None:
    """The thing is shut: the seat that `holder` had is free. Call inside a transaction."""
    _write(family, seats.freed(_held(family), thing, holder, at.timestamp()))


def _held(family: str) -> seats.Held:
    """The family's seats; its row is made when there is none, and locked until the transaction ends."""
    SeatFamily.insert(name=family).on_conflict_ignore().execute()
    query: Any = SeatFamily.select().where(SeatFamily.name == family)
    row = (query.for_update("FOR UPDATE") if is_postgres(database) else query).get()
    return dict(row.held)


def _write(family: str, held: seats.Held) -> None:
    SeatFamily.update(held=held).where(SeatFamily.name == family).execute()
