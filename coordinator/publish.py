"""The outbox goes to the broker, only as far as admission allows, and rows leave only after the confirm.

Several coordinators drain side by side (SKIP LOCKED); a crash between confirm and commit sends a message again, and
the claim drops the second. Only this module publishes.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from coordinator.admission import USUAL, Admission, Candidate, Place, Turns, choose
from coordinator.candidates import read_candidates, ready_jobs
from coordinator.copy_slots import COPY_SLOTS
from coordinator.flight import Paces, queued_messages, read_flight
from coordinator.sharing import ALONE, Share
from tasks.broker import Publisher
from tasks.catalog import Job, Outbox, look_up_rows, transaction
from tasks.catalog.budgets import calls_of, read_limits, read_paces, spend
from tasks.catalog.bulk import find_rows
from tasks.catalog.pools import COMMON, Pools, read_fleet, read_pools
from tasks.catalog.standstill import standstill
from tasks.catalog.transitions import mark_published
from tasks.crash import reach
from tasks.lanes import Lane
from tasks.limits import METERED, Pace
from tasks.messages import JobMessage
from tasks.states import JobState
from tasks.telemetry import Counters

BATCH = 1000
# A lane is filled up when a tenth of it is free: to look through ten thousand jobs for the one place that a worker has
# just emptied costs the catalog more than the job itself (a quarter of its time, measured 2026-11 at 10,000 jobs).
REFILL = 10
COUNT_FRESH, ROOMY = timedelta(seconds=3), 100 * BATCH
_PUBLISHED = (JobState.PENDING, JobState.QUEUED)  # the second: its message is sent again


@dataclass
class Memory:
    """What a coordinator remembers from batch to batch, and may lose: whose turn it is, and how many messages it last
    counted in each lane, with those that it has sent since.

    The count is taken anew for each batch, except while every lane has room for a hundred of them: there what others
    send within seconds does no harm, and to count a hundred thousand took half of a batch (measured 2026-11-22).
    """

    turns: Turns = field(default_factory=Turns)
    counted: Counter[Lane] = field(default_factory=Counter)
    counted_at: datetime | None = None

    def note(self, counted: Counter[Lane], at: datetime) -> Counter[Lane]:
        """A count that was taken at machine time `at`."""
        self.counted, self.counted_at = counted, at
        return counted

    def queued(self, admission: Admission, at: datetime) -> Counter[Lane] | None:
        """The messages in each lane by the last count; None when it has to be taken anew."""
        fresh = self.counted_at is not None and self.counted_at <= at < self.counted_at + COUNT_FRESH
        roomy = all(admission.capacity[lane] - self.counted[lane] > ROOMY for lane in Lane)
        return self.counted if fresh and roomy else None


def publish(
    publisher: Publisher,
    counters: Counters,
    at: datetime,
    admission: Admission = USUAL,
    memory: Memory | None = None,
    share: Share = ALONE,
) -> int:
    """Publish what is ready and admitted; how many were confirmed. Raises nothing for a broker that is away.

    `memory` is this coordinator's own, from batch to batch; of more than a batch it takes its `share` first.
    """
    memory = memory or Memory()
    due = ready_jobs(at, BATCH + 1)
    if not due or not publisher.available:
        return 0
    with transaction():
        pools, (served, threads) = read_pools(), read_fleet(at)
        admission = replace(admission.for_fleet(threads), accounts=read_limits())
        queued = memory.queued(admission, at) or memory.note(queued_messages(pools, served), at)
        room = {lane: admission.capacity[lane] - queued[lane] for lane in Lane}
        open_lanes = Lane if standstill() is None else (Lane.POLL,)  # what the cloud does is followed to its end
        lanes = [lane for lane in open_lanes if room[lane] * REFILL >= admission.capacity[lane]]
        if not lanes:
            return 0
        look_up_rows()
        few = due if len(due) <= BATCH else ()
        most = BATCH if few else BATCH * share.of  # more would not go now
        ready = read_candidates(at, {lane: min(room[lane], most) for lane in lanes}, few)
        bound = bool(pools.names)
        candidates = [one for one in ready if not (bound and pools.stranded(one.lane, one.account, one.region, served))]
        # Counted after the candidates were read: what another coordinator has published since is then in the count,
        # and what it is publishing at this moment is among our candidates and locked.
        metered = any(item.lane in METERED for item in candidates)
        paces = Paces(admission, read_paces(at) if metered else {})
        queued = memory.queued(admission, at) or memory.note(queued_messages(pools, served), at)
        flight = read_flight(at, queued, candidates, paces)
        chosen = _ours(choose(candidates, flight, COPY_SLOTS, admission, memory.turns, most), share)
        chosen = _locked(chosen[:BATCH], at)
        if not chosen:
            return 0
        reach("coordinator.before-publish")
        confirmed = publisher.publish([(item.lane, _message(item, pools if bound else None)) for item in chosen])
        reach("coordinator.published-before-commit")
        sent = [item for item, good in zip(chosen, confirmed, strict=True) if good]
        mark_published([item.job for item in sent], at)
        _spend(sent, at, paces)
    memory.counted.update(item.lane for item in sent)
    _count(counters, [item.lane for item in chosen], confirmed)
    return len(sent)


def _count(counters: Counters, lanes: Sequence[Lane], confirmed: Sequence[bool]) -> None:
    for (lane, good), count in Counter(zip(lanes, confirmed, strict=True)).items():
        counters.add("snapfleet_publish_confirms_total", count, lane=lane, result="confirmed" if good else "refused")


def _message(item: Candidate, pools: Pools | None) -> JobMessage:
    pool = pools.of(item.account, item.region) if pools else COMMON
    return JobMessage(item.job, item.attempt, item.fence, pool=pool)


def _ours(chosen: Sequence[Candidate], share: Share) -> list[Candidate]:
    """Our share of the starts before those that another coordinator is about to publish: else all would reach for the
    same. What somebody waits for stays at the head, whosever it is."""
    return sorted(chosen, key=lambda item: item.lane in METERED and item.job % share.of != share.rank)


def _locked(chosen: Sequence[Candidate], at: datetime) -> list[Candidate]:
    """Those whose outbox row is ours alone now, and that are still as they were read: another coordinator publishes
    the others, or a worker's answer has put them off.

    Two statements on purpose: one that joins would read jobs as of before it got the locks, and send, and take off the
    outbox, a message that a worker's answer has just made stale.
    """
    mine = find_rows(Outbox, ["job"], [(item.job,) for item in chosen], ["job", "ready_at"], lock=True)
    ready = [(job,) for job, ready_at in mine if ready_at <= at]
    jobs = find_rows(Job, ["id"], ready, ["id", "fence", "state"])
    fences = {job: fence for job, fence, state in jobs if state in _PUBLISHED}
    return [item for item in chosen if fences.get(item.job) == item.fence]


def _spend(sent: Sequence[Candidate], at: datetime, paces: Paces) -> None:
    """Count the starts of this batch against their places' paces."""
    started: defaultdict[Place, int] = defaultdict(int)
    for item in sent:
        if item.lane in METERED:
            started[item.starts] += item.cost
    worth: dict[tuple[Pace, int], timedelta] = {}  # most places are of a few paces
    spent = {}
    for place, count in started.items():
        pace = paces.pace(place)
        if (pace, count) not in worth:
            worth[pace, count] = pace.worth(count)
        spent[calls_of(*place)] = worth[pace, count]
    spend(spent, at)
