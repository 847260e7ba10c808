"""When a place was last compared with the catalog: a worker's poll looks once a day, and the coordinator sees to it
that one comes where nothing else is to be asked about."""

from datetime import datetime, timedelta

from tasks.catalog.era import place_of

LOOK_EVERY = timedelta(days=1)
LOOKED = "orphans:"
"""How the names of the Meta rows begin that hold when that was, one a place."""


def look_key(account_id: int, region: str, service: str) -> str:
    """The Meta row of a place."""
    return f"{LOOKED}{place_of(account_id, region, service)}"


def look_is_due(looked: str, at: datetime) -> bool:
    """Whether it is time again, by what the row says ('' for none). A time ahead is one of a clock that was wrong."""
    return not looked or not timedelta(0) <= at - datetime.fromisoformat(looked) < LOOK_EVERY
