"""Places where recovery points lie and nothing is followed: a poll is woken there once a day, for its look alone.

Every other place is looked at by the polls of its work. What a region holds after its policy was moved, and copies
through AWS Backup's vaults, which are followed where they come from, would be compared with the cloud by nobody.
"""

from datetime import datetime, timedelta

from coordinator.standing import Place, wake_all
from tasks.catalog import Account, Job, Meta, Point, Resource, rows, transaction
from tasks.catalog.looking import LOOK_EVERY, LOOKED, look_is_due, look_key
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, PointState

QUIET_EVERY = timedelta(minutes=10)  # reads all good points
# A look lists all that is ours at a place, which keeps a worker from other polls for seconds.
AT_ONCE = 50


def wake_quiet_places(at: datetime) -> int:
    """Wake the polls of places that were not looked at for a day; how many. Those longest ago first, and none whose
    poll waits already: where no worker takes it, others have their turn."""
    looked = dict(rows(Meta.select(Meta.key, Meta.value).where(Meta.key.startswith(LOOKED))))
    waiting = {key for (key,) in rows(Job.select(Job.key).where(Job.kind == "poll", Job.state.in_(list(JOB_OPEN))))}
    due = sorted(
        (looked.get(look_key(*place), ""), place)
        for place in _places(at)
        if look_is_due(looked.get(look_key(*place), ""), at) and "poll:{}:{}:{}".format(*place) not in waiting
    )
    woken = [Place(*place) for _, place in due[:AT_ONCE]]
    if woken:
        with transaction():
            wake_all("poll", Lane.POLL, woken, at)
    return len(woken)


def _places(at: datetime) -> set[tuple[int, str, str]]:
    """Where points lie that are old enough to be looked for: account, region and service."""
    held = (
        Point.select(Point.account, Point.region, Resource.type)
        .join(Resource)
        .switch(Point)
        .join(Account, on=(Point.account == Account.id))
        .where(
            Point.state == PointState.GOOD,
            Point.kind != "archive",
            Point.completed_at < at - LOOK_EVERY,
            Account.enabled,
        )
        .distinct()
    )
    return {(account, region, TYPES[kind].service) for account, region, kind in rows(held) if kind in TYPES}
