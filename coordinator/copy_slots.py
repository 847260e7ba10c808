"""How many copies may run into one account and region: the service's number, less what the cloud says about it.

What runs is counted from the catalog's open copy jobs, so that a lost worker leaks no slot. Copies of others, and a
refusal of the cloud, lower the number for a while.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from coordinator.admission import Place
from tasks.catalog import CopySlots
from tasks.limits import USUAL, Limits
from tasks.resources import TYPES

COPY_SLOTS = {kind.service: kind.copy_slots for kind in TYPES.values()}
_CLOUD = {kind.service: kind.copy_limit for kind in TYPES.values()}
# What others run is asked for every two minutes while copies run (workers.handlers.poll): older answers say nothing.
OTHERS_FRESH = timedelta(minutes=10)
# After a refusal one more is tried at such distances, until the usual number is reached again.
ONE_MORE = timedelta(minutes=2)


def read_slots(places: Collection[Place], accounts: Mapping[int, Limits], at: datetime) -> dict[Place, int]:
    """The limit of each of these places (account, region, service)."""
    numbers = sorted({account for account, _, _ in places})
    rows = CopySlots.select().where(CopySlots.account_id.in_(numbers))
    seen = {(row.account_id, row.region, row.service): row for row in rows}
    return {place: slots_at(place[2], accounts.get(place[0], USUAL), seen.get(place), at) for place in places}


def slots_at(service: str, mine: Limits, seen: CopySlots | None, at: datetime) -> int:
    """How many copies of ours may run now; pure. 0 lets one at a time try, as nothing else would find room again."""
    most = mine.copy_slots.get(service, COPY_SLOTS.get(service, 0))
    cloud = _CLOUD.get(service, 0)
    if seen is None:
        return most
    if cloud and seen.seen_at is not None and at - seen.seen_at < OTHERS_FRESH:
        most = min(most, cloud - seen.others)
    if seen.refused_at is not None and seen.most is not None:
        most = min(most, seen.most + max(timedelta(0), at - seen.refused_at) // ONE_MORE)
    return max(0, most)
