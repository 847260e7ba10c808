"""Who may go next. Pure: candidates and what is in flight in, the jobs to publish out.

Queues in the broker are kept short, so that priority, pause and cancel act at once; the backlog lives in the catalog.
Lanes go in their order (restores first). Within a lane higher priority goes first; within a priority the accounts
take turns, so that 5,000 jobs of one do not stand before 5 of another.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tasks.lanes import LANES, Lane


@dataclass(frozen=True)
class Candidate:
    """A job that may be published.

    `slots` counts against its destination's copies; `turn` is its place in its account's line.
    """

    job: int
    lane: Lane
    account: int
    region: str
    priority: int
    turn: int
    slots: int = 0
    attempt: int = 0
    fence: int = 0
    service: str = ""


@dataclass
class InFlight:
    """What is on its way: messages per lane, copy slots per (account, region, service), starts each place has left."""

    queued: Counter[Lane] = field(default_factory=Counter)
    copies: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    starts: Mapping[tuple[int, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """A steady rate with a burst, as the cloud's own token bucket: GCRA over one instant per name."""

    per_second: float
    burst: int

    def allowed(self, tat: datetime | None, at: datetime) -> int:
        """How many may start now when `tat` is the theoretical arrival time of the next one."""
        if tat is None or tat <= at:
            return self.burst
        used = (tat - at).total_seconds() * self.per_second
        return max(0, int(self.burst - used))

    def worth(self, count: int) -> timedelta:
        """How far `count` starts move the theoretical arrival time ahead."""
        return timedelta(seconds=count / self.per_second)

    def spent(self, tat: datetime | None, at: datetime, count: int) -> datetime:
        """The new theoretical arrival time after `count` starts."""
        base = at if tat is None or tat < at else tat
        return base + self.worth(count)


# CreateSnapshot(s) and CopySnapshot have buckets of 100 refilled at 5 per second per account and region (aws.md
# section 4, from memory there), shared with the customer's own automation: 60 % of it is ours.
STARTS = Pace(per_second=3.0, burst=60)
METERED = frozenset({Lane.SNAPSHOT, Lane.COPY})


@dataclass(frozen=True)
class Admission:
    """How much is let through: messages kept in each lane, and the pace of each place."""

    capacity: Mapping[Lane, int] = field(default_factory=lambda: {lane: LANES[lane].capacity for lane in Lane})
    starts: Pace = STARTS

    def for_fleet(self, threads: int) -> "Admission":
        """With room for two rounds of work of a fleet of so many threads, if that is more."""
        return replace(self, capacity={lane: max(room, 2 * threads) for lane, room in self.capacity.items()})


USUAL = Admission()


def choose(
    candidates: Iterable[Candidate], flight: InFlight, copy_slots: Mapping[str, int], admission: Admission = USUAL
) -> list[Candidate]:
    """The candidates to publish now, in order. `copy_slots` is each service's limit per destination account and
    region.

    A copy that needs more slots than the limit goes when nothing else is in flight there: it could never go otherwise.
    """
    room = {lane: admission.capacity[lane] - flight.queued[lane] for lane in Lane}
    copies = Counter(flight.copies)
    starts: dict[tuple[int, str], int] = defaultdict(lambda: admission.starts.burst, flight.starts)
    chosen = []
    order = {lane: place for place, lane in enumerate(Lane)}
    for item in sorted(candidates, key=lambda c: (order[c.lane], -c.priority, c.turn, c.job)):
        place = (item.account, item.region)
        if room[item.lane] <= 0:
            continue
        if item.lane in METERED:
            if starts[place] <= 0:
                continue
            starts[place] -= 1
        group = (*place, item.service)
        if item.slots and copies[group] and copies[group] + item.slots > copy_slots[item.service]:
            continue
        copies[group] += item.slots
        room[item.lane] -= 1
        chosen.append(item)
    return chosen
