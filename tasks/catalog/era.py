"""Eras: how often this catalog was put back from a backup, and up to which slot work may have been done already.

What happened after the backup was made is not in the catalog, but its traces are in the clouds, under tokens made from
job keys. A key that names stable things (policy, slot, the resource's own id) stays the same in every era, so that a
slot which runs again finds what was made for it. A key that names rows must not: the next row may get a number that
another one had, and would adopt that one's work.

A catalog that was lost without a backup is begun anew under the lost one's installation id (`take_over`). It knows
nothing of what lies in the clouds: until a place was rebuilt from its tags (`mark_rebuilt`), nobody may take what lies
there for left over.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from tasks.catalog.database import rows
from tasks.catalog.estate import Meta, meta, set_meta

KEY = "restored"
TAKEN_OVER = "taken-over"  # the Meta row of a catalog that was begun anew under a lost one's id: when
_REBUILT = "rebuilt:"


@dataclass(frozen=True)
class Era:
    """`number` counts restorations; slots up to `until` (calendar time) may have run before the last one."""

    number: int
    until: datetime

    def looks_first(self, slot: datetime) -> bool:
        """Whether work for this slot may exist in the cloud though no row tells of it."""
        return slot <= self.until


def read_era() -> Era | None:
    """The present era; None in a catalog that was never put back. Reads inside the caller's session."""
    row = Meta.get_or_none(Meta.key == KEY)
    if row is None:
        return None
    read = json.loads(row.value)
    return Era(read["number"], datetime.fromisoformat(read["until"]))


def begin_era(until: datetime, number: int = 0) -> Era:
    """Write down that the catalog was put back at calendar time `until`; `number` is the least that the era has. Inside
    the caller's transaction."""
    before = read_era()
    era = Era(max(number, before.number + 1 if before else 1), until)
    set_meta(KEY, json.dumps({"number": era.number, "until": until.isoformat()}))
    return era


def take_over(now: datetime, at: datetime) -> Era:
    """Begin a catalog that has no memory of what its installation did before: an era with a number that no earlier one
    can have had, the seconds since 1970. Inside the caller's transaction."""
    set_meta(TAKEN_OVER, at.isoformat())
    return begin_era(now, int(at.timestamp()))


def mark_rebuilt(place: str, at: datetime) -> None:
    """What lies at a place (`place_of`) has its rows again. Inside the caller's transaction."""
    set_meta(f"{_REBUILT}{place}", at.isoformat())


def awaits_rebuild(place: str) -> bool:
    """Whether points of before may lie at a place of which no row tells. Reads inside the caller's session."""
    return bool(meta(TAKEN_OVER)) and not meta(f"{_REBUILT}{place}")


def taken_over_at() -> datetime | None:
    """When this catalog was begun under a lost one's id, in machine time; None for any other. Reads inside the caller's
    session."""
    since = meta(TAKEN_OVER)
    return datetime.fromisoformat(since) if since else None


def rebuilt_places() -> set[str]:
    """The places that have their rows again. Reads inside the caller's session."""
    found = rows(Meta.select(Meta.key).where(Meta.key.startswith(_REBUILT)))
    return {key.removeprefix(_REBUILT) for (key,) in found}


def place_of(account_id: int, region: str, service: str) -> str:
    """A place in the names of Meta rows."""
    return f"{account_id}:{region}:{service}"
