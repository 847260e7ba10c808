"""What carries our tags no more, as the last look at each place found it: written by workers, told of by others.

One Meta row a place, gone when all is well there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tasks.catalog.database import rows
from tasks.catalog.era import place_of
from tasks.catalog.estate import Account, Meta, set_meta
from tasks.catalog.point import Point
from tasks.states import PointState

MOST = 500  # things that a row holds: they come one by one, or all at once and for one reason
_KEY = "drifted:"
_HELD = (PointState.GOOD, PointState.EXPIRING)


@dataclass(frozen=True)
class Drifted:
    """A snapshot or image of a point, and the tags that it is to carry and does not."""

    external_id: str
    point: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class DriftedPlace:
    """A place with such things; `count` of them, `things` the first."""

    account: str
    region: str
    service: str
    count: int
    things: Sequence[Drifted]


def note_drift(account_id: int, region: str, service: str, things: Sequence[Drifted]) -> None:
    """Write what a look at a place found, or that it found nothing. Inside the caller's transaction."""
    key = f"{_KEY}{place_of(account_id, region, service)}"
    if not things:
        Meta.delete().where(Meta.key == key).execute()
        return
    set_meta(key, json.dumps({"count": len(things), "things": [asdict(one) for one in things[:MOST]]}))


def read_drift() -> list[DriftedPlace]:
    """The places of accounts in use whose points are still held there. Reads inside the caller's session."""
    noted = rows(Meta.select(Meta.key, Meta.value).where(Meta.key.startswith(_KEY)).order_by(Meta.key))
    if not noted:
        return []
    accounts = dict(rows(Account.select(Account.id, Account.name).where(Account.enabled)))
    found = []
    for key, value in noted:
        account, region, service = key.removeprefix(_KEY).split(":")
        read = json.loads(value)
        held = _held([Drifted(**one) for one in read["things"]])
        if held and int(account) in accounts:
            count = read["count"] - len(read["things"]) + len(held)
            found.append(DriftedPlace(accounts[int(account)], region, service, count, held))
    return found


def _held(things: Sequence[Drifted]) -> list[Drifted]:
    points = sorted({one.point for one in things})
    held = {number for (number,) in rows(Point.select(Point.id).where(Point.id.in_(points), Point.state.in_(_HELD)))}
    return [one for one in things if one.point in held]
