"""How the queue is, lane by lane: what `queue status`, the overview page and the metrics all show.

Everything is read from the catalog, which is the truth; the broker is never asked. Times are machine time.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from peewee import fn

from tasks.catalog import DeadLetter, Job, Outbox, Process, session
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.pools import oldest_messages
from tasks.clock import Clock
from tasks.lanes import LANES
from tasks.states import JobState

# The rate is a mean over this window: long enough to be steady, short enough to show a lane that stopped.
RATE_WINDOW = timedelta(minutes=5)
# A lane's queue holds about two rounds of work; what waits longer than this does not get its turn.
BEHIND_AFTER = timedelta(minutes=10)


class LaneHealth(TypedDict):
    """One lane. Counts are jobs, except `dead` (letters); `rate_per_min` is jobs finished."""

    lane: str
    ready: int  # could run now: due and unpublished, or published and not yet claimed
    in_broker: int  # of those, published
    delayed: int  # due later
    running: int
    waiting: int  # the cloud works
    oldest_age_s: float  # how long the oldest ready job has been due
    consumers: int  # live worker processes that take this lane and are not draining
    threads: int  # their threads, which the lanes of a process share
    rate_per_min: float
    dead: int
    capacity: int


class _Counts(NamedTuple):
    """Jobs, or letters, by lane; published ones, running and waiting ones by lane and state."""

    held: dict[tuple[str, str], int]
    unpublished: dict[str, int]
    delayed: dict[str, int]
    finished: dict[str, int]
    dead: dict[str, int]


def queue_health(clock: Clock) -> list[LaneHealth]:
    """The health of every lane, in the order in which lanes are published."""
    with session():
        counts = _counts(clock.timer())
        unsent = oldest_messages(clock.timer())
        oldest = {lane: _oldest_age(lane, unsent.get(lane), clock) for lane in LANES}
        workers = live_processes(clock)
    lanes: list[LaneHealth] = []
    for lane, limits in LANES.items():
        takers = [worker for worker in workers if takes(worker, lane) and not worker.draining]
        published = counts.held.get((lane, JobState.QUEUED), 0)
        lanes.append(
            LaneHealth(
                lane=str(lane),
                ready=counts.unpublished.get(lane, 0) + published,
                in_broker=published,
                delayed=counts.delayed.get(lane, 0),
                running=counts.held.get((lane, JobState.RUNNING), 0),
                waiting=counts.held.get((lane, JobState.WAITING), 0),
                oldest_age_s=round(oldest[lane], 1),
                consumers=len(takers),
                threads=sum(worker.threads for worker in takers),
                rate_per_min=round(counts.finished.get(lane, 0) / (RATE_WINDOW / timedelta(minutes=1)), 1),
                dead=counts.dead.get(lane, 0),
                capacity=limits.capacity,
            )
        )
    return lanes


def _counts(at: datetime) -> _Counts:
    jobs, messages = fn.COUNT(Job.id), fn.COUNT(Outbox.job)
    at_work = [JobState.QUEUED, JobState.RUNNING, JobState.WAITING]
    held = Job.select(Job.lane, Job.state, jobs).where(Job.state.in_(at_work)).group_by(Job.lane, Job.state)
    waiting = Outbox.select(Outbox.lane, messages).group_by(Outbox.lane)
    ready = waiting.join(Job).where(Outbox.ready_at <= at, Job.state == JobState.PENDING)
    finished = Job.select(Job.lane, jobs).where(Job.finished_at > at - RATE_WINDOW).group_by(Job.lane)
    letters = DeadLetter.select(DeadLetter.lane, fn.COUNT(DeadLetter.id)).where(DeadLetter.state == "open")
    return _Counts(
        {(lane, state): count for lane, state, count in _tuples(held)},
        _count(ready),
        _count(waiting.where(Outbox.ready_at > at)),
        _count(finished),
        _count(letters.group_by(DeadLetter.lane)),
    )


def live_processes(clock: Clock) -> list[Process]:
    """Processes of every role that reported lately, draining ones included. Needs a session."""
    since = clock.timer() - SILENT_AFTER
    return list(Process.select().where(Process.seen_at >= since).order_by(Process.name))


def takes(process: Process, lane: str) -> bool:
    """Whether a process works on a lane: only those that list it do."""
    return lane in process.lanes


def _tuples(query: Any) -> list[Any]:
    return list(query.tuples())


def _count(query: Any) -> dict[str, int]:
    return dict(_tuples(query))


def _oldest_age(lane: str, unsent: datetime | None, clock: Clock) -> float:
    """Seconds since the lane's oldest ready job became due; 0 when nothing is ready."""
    at = clock.timer()
    queued = Job.select(fn.MIN(Job.not_before_at)).where(Job.state == JobState.QUEUED, Job.lane == lane).scalar()
    read: Any = Outbox.ready_at.python_value
    due = [value for value in (unsent, read(queued)) if value is not None]
    return max(0.0, (at - min(due)).total_seconds()) if due else 0.0


def word_of(lane: LaneHealth) -> str:
    """The lane in a word, the worst first: no worker, dead letters, behind, working, idle."""
    if lane["ready"] and not lane["consumers"]:
        return "no worker"
    if lane["dead"]:
        return "dead letters"
    if lane["oldest_age_s"] > BEHIND_AFTER.total_seconds():
        return "behind"
    return "working" if lane["ready"] or lane["running"] or lane["waiting"] else "idle"
