"""What was lost on the way goes again: messages nobody claimed, jobs whose worker died.

This alone turns every loss of the queue (a purge, a wrong acknowledgement, a broker without its disk) into a delay.
Runs under the sweep lease; doing it twice would only send duplicates, which the claim drops.
"""

from datetime import datetime, timedelta

from tasks.catalog import Job, Process, transaction
from tasks.catalog.transitions import CLAIMS_BEYOND_ATTEMPTS, fail_stranded, publish_again, requeue
from tasks.errors import FenceLost
from tasks.states import JobState
from tasks.telemetry import Counters

BATCH = 500
# A process that has not reported for this long is not counted as there (it reports every 5 s).
PROCESS_FRESH = timedelta(seconds=20)


def reconcile(at: datetime, lost_after: timedelta, counters: Counters) -> int:
    """Send again and take back, at machine time `at`; how many jobs."""
    again, back = _republish(at, lost_after), _take_back(at)
    for job in again:
        counters.add("snapfleet_messages_republished_total", lane=job.lane)
    for job in back:
        counters.add("snapfleet_lease_expirations_total", lane=job.lane)
    return len(again) + len(back)


def _republish(at: datetime, lost_after: timedelta) -> list[Job]:
    """Only lanes that somebody works on: where nobody does, the messages wait in the broker and none is missing."""
    served = {
        lane
        for row in Process.select().where(Process.role == "worker", Process.seen_at > at - PROCESS_FRESH)
        for lane in row.lanes
    }
    if not served:
        return []
    with transaction():
        lost = list(
            Job.select()
            .where(Job.state == JobState.QUEUED, Job.published_at <= at - lost_after, Job.lane.in_(sorted(served)))
            .order_by(Job.published_at)
            .limit(BATCH)
        )
        for job in lost:
            publish_again(job, at)
    return lost


def _take_back(at: datetime) -> list[Job]:
    expired = list(
        Job.select().where(Job.state == JobState.RUNNING, Job.lease_until_at < at).order_by(Job.id).limit(BATCH)
    )
    return [job for job in expired if _take_one_back(job, at)]


def _take_one_back(job: Job, at: datetime) -> bool:
    try:
        with transaction():
            if job.claims >= job.max_attempts + CLAIMS_BEYOND_ATTEMPTS:
                fail_stranded(job, at, f"It was claimed {job.claims} times and never finished.")
            else:
                # The attempt did not fail by itself: its worker went away. It is not counted against the policy's.
                requeue(job, at, attempt=max(0, job.attempt - 1))
    except FenceLost:
        return False
    return True
