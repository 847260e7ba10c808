"""Who may go next. Pure: candidates and what is in flight in, the jobs to publish out.

Queues in the broker are kept short, so that priority, pause and cancel act at once; the backlog lives in the catalog.
Lanes go in their order (restores first). Within a lane higher priority goes first; within a priority the accounts
take turns (fair queueing by start time: what one has had counts also when it comes in small portions), so that 5,000
jobs of one do not stand before 5 of another, and none that cannot go holds up one that can.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice

from coordinator.plan import MANUAL_PRIORITY
from tasks import limits
from tasks.lanes import LANES, Lane
from tasks.limits import METERED, Limits, Pace, family_of_start

# What work of EC2 is started at where nothing else is said: the pace that forecasts and the signal for autoscalers use.
STARTS = limits.USUAL.pace("ec2.create-snapshot")
Place = tuple[int, str, str]
"""An account's id, a region, and a service (for slots) or a family of calls (for starts)."""


@dataclass
class Candidate:
    """A job that may be published. Nobody changes one; to make one of a frozen class takes three times as long.

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

    @cached_property
    def starts(self) -> Place:
        """The pace that it is started at."""
        return self.account, self.region, family_of_start(self.service, self.lane)

    @property
    def cost(self) -> int:
        """Creating calls that it makes: a copy one for each part, a backup one for all."""
        return max(1, self.slots)


@dataclass
class InFlight:
    """What is on its way: messages per lane, copy slots per (account, region, service), starts each place has left.

    `limits` are slots where they differ from the service's usual number: by an account's settings, by copies of others,
    by a refusal of the cloud. `full` are places with as many messages in the broker as `Admission.spare` allows.
    """

    queued: Counter[Lane] = field(default_factory=Counter)
    copies: Counter[Place] = field(default_factory=Counter)
    starts: Mapping[Place, int] = field(default_factory=dict)
    limits: Mapping[Place, int] = field(default_factory=dict)
    full: Collection[Place] = ()


@dataclass(frozen=True)
class Admission:
    """How much is let through: messages kept in each lane, and the pace of each place (`starts`: the same for all)."""

    capacity: Mapping[Lane, int] = field(default_factory=lambda: {lane: LANES[lane].capacity for lane in Lane})
    starts: Pace | None = None
    accounts: Mapping[int, Limits] = field(default_factory=dict)

    def for_fleet(self, threads: int) -> "Admission":
        """With room for two rounds of work of a fleet of so many threads, if that is more."""
        return replace(self, capacity={lane: max(room, 2 * threads) for lane, room in self.capacity.items()})

    def pace(self, place: Place) -> Pace:
        """The pace of a place while no cloud throttles it."""
        return self.starts or self.limits(place[0]).pace(place[2])

    def spare(self, place: Place) -> int:
        """How many messages may lie in the broker for one place: workers that come back take them all at once, and
        the cloud's bucket must hold them beside our burst."""
        if self.starts:
            return self.starts.burst
        mine = self.limits(place[0])
        return mine.bucket(place[2]).spare(mine.share)

    def limits(self, account: int) -> Limits:
        """What an account allows."""
        return self.accounts.get(account, limits.USUAL)


USUAL = Admission()
# What holds a job back that might go else: codes of reasons.
LANE, PACE, COPIES = "lane-full", "pace", "copy-slots"


@dataclass
class Turns:
    """How much each account has had of each lane, in jobs; one for each coordinator, and lost with it harmlessly.

    An account that comes after a pause begins where the lane is: what it left unused is no credit.
    """

    had: dict[tuple[Lane, int], float] = field(default_factory=dict)
    now: dict[Lane, float] = field(default_factory=dict)

    def of(self, lane: Lane, account: int) -> float:
        """Where an account stands in a lane."""
        return max(self.had.get((lane, account), 0.0), self.now.get(lane, 0.0))

    def serve(self, lane: Lane, account: int) -> float:
        """One job of it goes: the lane is where the account stood, the account one further, which is returned."""
        now = self.now.get(lane, 0.0)
        stood = self.had.get((lane, account), now)
        if stood > now:
            self.now[lane] = stood
        else:
            stood = now
        self.had[lane, account] = stood = stood + 1.0
        return stood


def choose(
    candidates: Iterable[Candidate],
    flight: InFlight,
    copy_slots: Mapping[str, int],
    admission: Admission = USUAL,
    turns: Turns | None = None,
    most: int | None = None,
) -> list[Candidate]:
    """The candidates to publish now, in order, up to `most`. `copy_slots` is each service's limit per destination
    account and region; `turns` remembers what accounts have had, and is written.

    A copy that needs more slots than the limit goes when nothing else is in flight there: it could never go otherwise.
    """
    gate = _Gate(flight, copy_slots, admission)
    lines: dict[tuple[int, int], dict[int, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    order = {lane: place for place, lane in enumerate(Lane)}
    for item in candidates:
        lines[order[item.lane], -item.priority][item.account].append(item)
    turns = turns or Turns()
    shares = (_share_out(tuple(Lane)[place], accounts, gate, turns) for (place, _), accounts in sorted(lines.items()))
    return list(islice(chain.from_iterable(shares), most))


def held_back(item: Candidate, flight: InFlight, copy_slots: Mapping[str, int], admission: Admission = USUAL) -> str:
    """What would keep a job back if no other were ready: '' or a code, by the gate that publishing has."""
    gate = _Gate(flight, copy_slots, admission)
    return gate.refusal(item) if gate.room(item.lane) > 0 else LANE


def _share_out(lane: Lane, accounts: Mapping[int, list[Candidate]], gate: "_Gate", turns: Turns) -> Iterator[Candidate]:
    """The accounts' lines taken in turns, for as long as the lane has room."""
    line = {account: iter(sorted(items, key=_in_line)) for account, items in accounts.items()}
    heads = [(turns.of(lane, account), item.job, account, item) for account in line if (item := next(line[account]))]
    heapq.heapify(heads)
    while heads and gate.room(lane) > 0:
        stands, _, account, item = heads[0]
        admitted = gate.admits(item)
        stands = turns.serve(lane, account) if admitted else turns.of(lane, account)
        following = next(line[account], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (stands, following.job, account, following))
        if admitted:
            yield item


def _in_line(item: Candidate) -> tuple[int, int]:
    return item.turn, item.job


class _Gate:
    """What is left of each room, pace and set of slots while jobs are let through."""

    def __init__(self, flight: InFlight, copy_slots: Mapping[str, int], admission: Admission) -> None:
        self._flight, self._slots, self._admission = flight, copy_slots, admission
        self._room = {lane: admission.capacity[lane] - flight.queued[lane] for lane in Lane}
        self._copies = Counter(flight.copies)
        self._starts = dict(flight.starts)

    def room(self, lane: Lane) -> int:
        """Messages that the lane still takes."""
        return self._room[lane]

    def refusal(self, item: Candidate) -> str:
        """'' when it may go, else the code of what holds it back."""
        if item.lane in METERED and not self._starts_left(item):
            return PACE
        return COPIES if item.slots and not self._slots_left(item) else ""

    def admits(self, item: Candidate) -> bool:
        """Whether it may go; counted when it may."""
        if self.refusal(item):
            return False
        if item.lane in METERED:
            self._starts[item.starts] -= item.slots or 1
        if item.slots:
            self._copies[item.account, item.region, item.service] += item.slots
        self._room[item.lane] -= 1
        return True

    def _starts_left(self, item: Candidate) -> bool:
        """Whether the pace of its place allows one more."""
        place = item.starts
        if place not in self._starts:
            self._starts[place] = self._admission.pace(place).burst
        full = bool(self._flight.full) and place in self._flight.full and item.priority < MANUAL_PRIORITY
        return self._starts[place] > 0 and not full

    def _slots_left(self, item: Candidate) -> bool:
        """Whether its parts fit beside the copies in flight; alone it always goes."""
        group = item.account, item.region, item.service
        most = self._flight.limits.get(group, self._slots.get(item.service, 0))
        return not self._copies[group] or self._copies[group] + item.slots <= most
