"""Eras: how often this catalog was put back from a backup, and up to which slot work may have been done already.

What happened after the backup was made is not in the catalog, but its traces are in the clouds, under tokens made from
job keys. A key that names stable things (policy, slot, the resource's own id) stays the same in every era, so that a
slot which runs again finds what was made for it. A key that names rows must not: the next row may get a number that
another one had, and would adopt that one's work.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from tasks.catalog.estate import Meta

KEY = "restored"


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


def begin_era(until: datetime) -> Era:
    """Write down that the catalog was put back at calendar time `until`. Inside the caller's transaction."""
    before = read_era()
    era = Era(before.number + 1 if before else 1, until)
    value = json.dumps({"number": era.number, "until": until.isoformat()})
    Meta.insert(key=KEY, value=value).on_conflict(conflict_target=[Meta.key], update={Meta.value: value}).execute()
    return era
