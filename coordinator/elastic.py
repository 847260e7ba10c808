"""How many workers are needed, and how long what waits will take: pure, for autoscalers and people.

The measure is time, not length: a hundred jobs of a second and one of a hundred seconds are the same work. Work has a
deadline: the policy's next slot (what waits longer than that is a recovery point that was never taken), or what its
lane promises. Threads work on what is due first, so that n threads meet every deadline exactly when, for each deadline
d, the work due by d is at most n * d (the demand bound of earliest-deadline-first scheduling, for work that can be
split).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from coordinator.admission import STARTS
from tasks.lanes import Lane
from tasks.limits import METERED

# A new worker needs a minute until it works, so no deadline nearer than this asks for more of them.
HORIZON_SECONDS = 60.0
# Threads that are all busy leave no room for a retry or a slow call; queues grow steeply from here on.
UTILISATION = 0.8
# What a job takes until one has been measured: a few calls to a cloud.
UNMEASURED_SECONDS = 2.0
# Seconds within which work without a policy's slot should be done: what an operator waits for first.
PROMISED: Mapping[Lane, float] = {
    Lane.RESTORE: 60.0,
    Lane.POLL: 60.0,
    Lane.SNAPSHOT: 900.0,
    Lane.COPY: 3600.0,
    Lane.REPOSITORY: 14_400.0,
    Lane.CLEANUP: 14_400.0,
    Lane.DISCOVER: 900.0,
}


@dataclass(frozen=True)
class Work:
    """Jobs of one lane, pool and place with one deadline. `seconds` is what one takes a thread, `left` the time until
    the deadline (0 or less: it has passed)."""

    lane: Lane
    pool: str
    jobs: int
    seconds: float
    left: float

    @property
    def total(self) -> float:
        """Thread-seconds."""
        return self.jobs * self.seconds

    @property
    def most(self) -> float:
        """Threads that it can keep busy: no more than jobs, and than the pace at which its place may start them."""
        paced = STARTS.per_second * self.seconds if self.lane in METERED else float("inf")
        return min(float(self.jobs), max(1.0, paced))


@dataclass(frozen=True)
class Crew:
    """Live workers of a pool that do not drain, and their threads."""

    workers: int
    threads: int


@dataclass(frozen=True)
class Need:
    """What a pool needs. `backlog` is thread-seconds by lane, `clears` the seconds until a lane's work is done by the
    threads there are (by one thread where there is none)."""

    pool: str
    workers: int
    threads: int
    needed: int
    backlog: Mapping[Lane, float]
    clears: Mapping[Lane, float]


def threads_needed(work: Sequence[Work], arriving: float = 0.0) -> float:
    """Threads, whole or not, that meet every deadline and keep up with `arriving` thread-seconds a second; never more
    than the clouds' paces let work."""
    demand, most = 0.0, 0.0
    highest = 0.0
    for item in sorted(work, key=lambda one: one.left):
        demand += item.total
        most += item.most
        highest = max(highest, demand / max(item.left, HORIZON_SECONDS))
    return max(min(highest, most), arriving)


def workers_needed(work: Sequence[Work], threads_each: int, arriving: float = 0.0) -> int:
    """Workers of `threads_each` threads for that; at least one while there is any work."""
    threads = threads_needed(work, arriving) / UTILISATION
    return max(ceil(threads / max(1, threads_each) - 1e-9), 1 if any(item.jobs for item in work) else 0)


def needs(
    work: Iterable[Work], crews: Mapping[str, Crew], arriving: Mapping[str, float], threads_each: int
) -> list[Need]:
    """What each pool needs, by name; pools are those that have work, workers or arrivals, and the common one ('').

    `arriving` is each pool's thread-seconds a second over the last hour; `threads_each` counts where no worker tells.
    """
    by_pool: dict[str, list[Work]] = defaultdict(list)
    for item in work:
        by_pool[item.pool].append(item)
    found = []
    for pool in sorted({"", *by_pool, *crews, *arriving}):
        mine, crew = by_pool[pool], crews.get(pool, Crew(0, 0))
        each = crew.threads // crew.workers if crew.workers else threads_each
        backlog = {lane: sum(item.total for item in mine if item.lane is lane) for lane in Lane}
        clears = {lane: seconds / max(1, crew.threads) for lane, seconds in backlog.items()}
        needed = workers_needed(mine, each, arriving.get(pool, 0.0))
        found.append(Need(pool, crew.workers, crew.threads, needed, backlog, clears))
    return found
