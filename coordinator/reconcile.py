"""What was lost on the way goes again: messages nobody claimed, jobs whose worker died, jobs without a message.

This alone turns every loss of the queue (a purge, a wrong acknowledgement, a broker without its disk) into a delay.
Runs under the sweep lease; doing it twice would only send duplicates, which the claim drops.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL, fn

from coordinator.lease import Held, still_held
from coordinator.silence import of_silent, ready_at
from tasks.catalog import Account, Job, Outbox, lock_rows, transaction
from tasks.catalog.pools import read_fleet, read_pools
from tasks.catalog.transitions import (
    CLAIMS_BEYOND_ATTEMPTS,
    add_messages,
    fail_stranded,
    fail_unclaimed,
    publish_again,
    requeue,
)
from tasks.errors import FenceLost
from tasks.lanes import LANES
from tasks.states import JobState
from tasks.telemetry import Counters

BATCH = 500
LEASE = min(one.lease for one in LANES.values())
_HAS_MESSAGE = (JobState.PENDING, JobState.QUEUED)


def reconcile(
    held: Held,
    at: datetime,
    lost_after: timedelta,
    counters: Counters,
    *,
    lease: timedelta = LEASE,
    attentive: bool = True,
) -> int:
    """Send again and take back, at machine time `at`; how many jobs.

    `lease` is the shortest that workers take; `attentive` says whether processes that have not reported can be called
    silent (`coordinator.silence`).
    """
    lapsed = (Job.lease_until_at < at) | of_silent(at, lease, attentive=attentive)
    again, back = _republish(held, at, lost_after), _take_back(held, lapsed, at)
    for job in again:
        counters.add("snapfleet_messages_republished_total", lane=job.lane)
    for job in back:
        counters.add("snapfleet_lease_expirations_total", lane=job.lane)
    return len(again) + len(back)


def _republish(held: Held, at: datetime, lost_after: timedelta) -> list[Job]:
    """Only lanes and pools that somebody works in: where nobody does, the messages wait in the broker and none is
    missing. What lies in the queue of a pool that its place has left goes to the pool that the place has now."""
    served, pools = read_fleet(at).served, read_pools()
    if not served:
        return []
    waiting: Any = (
        Job.select(Job.id, Job.lane, Job.account, Job.region)
        .where(Job.state == JobState.QUEUED, Job.published_at <= at - lost_after)
        .order_by(Job.published_at)
        .tuples()  # at most what admission keeps in the lanes
    )
    ids = [job for job, lane, account, region in waiting if (lane, pools.of(account, region)) in served][:BATCH]
    if not ids:
        return []
    with transaction():
        if not still_held(held):
            return []
        lost = list(Job.select().where(Job.id.in_(ids), Job.state == JobState.QUEUED).order_by(Job.published_at))
        for job in lost:
            publish_again(job, at)
    return lost


def _take_back(held: Held, which: Any, at: datetime) -> list[Job]:
    lapsed = list(Job.select(Job.id).where(Job.state == JobState.RUNNING, which).order_by(Job.id).limit(BATCH))
    return [job for row in lapsed if (job := _take_one_back(held, which & (Job.id == row.id), at)) is not None]


def _take_one_back(held: Held, which: Any, at: datetime) -> Job | None:
    """The job, when it still is as it was found: its worker may have come back, and renewed its lease before a call."""
    try:
        with transaction():
            if not still_held(held):
                return None
            job: Job | None = lock_rows(Job.select().where(Job.state == JobState.RUNNING, which)).first()
            if job is None:
                return None
            if job.claims >= job.max_attempts + CLAIMS_BEYOND_ATTEMPTS:
                fail_stranded(job, at, f"It was claimed {job.claims} times and never finished.")
            else:
                # The attempt did not fail by itself: its worker went away. It is not counted against the policy's.
                requeue(job, at, ready_at(job, at), attempt=max(0, job.attempt - 1))
    except FenceLost:
        return None
    return job


def release_removed_accounts(held: Held, at: datetime) -> int:
    """Jobs of accounts that were removed fail with that reason instead of being tried with rights that are gone.

    What a worker has in hand ends by itself first. How many failed.
    """
    removed = Account.select(Account.id).where(~Account.enabled)
    which = Job.account.in_(removed)
    return _under(held, lambda: fail_unclaimed(which, at, "account-removed", "Its account was removed."))


def mend_outbox(held: Held, at: datetime) -> int:
    """A pending job without a message, or a message without a job that waits for one, is a defect: mended here."""
    waits = Job.select(SQL("1")).where(Job.id == Outbox.job, Job.state.in_(_HAS_MESSAGE))
    has = Outbox.select(SQL("1")).where(Outbox.job == Job.id)
    dumb: Any = Job.select().where(Job.state == JobState.PENDING, ~fn.EXISTS(has)).limit(BATCH)

    def mend() -> int:
        gone = Outbox.delete().where(~fn.EXISTS(waits)).execute()
        return int(gone) + add_messages(list(dumb), at)

    return _under(held, mend)


def _under(held: Held, write: Callable[[], int]) -> int:
    """Write while the lease is held; 0 when it is not."""
    with transaction():
        return write() if still_held(held) else 0
