"""What is on its way: the facts with which admission decides, for publishing and for whoever asks why a job waits.

Reads inside the caller's session; decides nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import fn

from coordinator.admission import Admission, Candidate, InFlight, Place
from coordinator.copy_slots import read_slots
from tasks.catalog import Job, rows
from tasks.catalog.pools import Pools, Served, stranded_messages
from tasks.lanes import Lane
from tasks.limits import METERED, Pace, family_of_start
from tasks.states import JobState

# A message older than this waits for a worker; its start was counted, and what it was counted for has come back since.
STALE = timedelta(seconds=5)
_IN_FLIGHT = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)


def queued_messages(pools: Pools, served: Served) -> Counter[Lane]:
    """Messages in each lane that somebody may take."""
    counts = rows(Job.select(Job.lane, fn.COUNT(Job.id)).where(Job.state == JobState.QUEUED).group_by(Job.lane))
    return Counter({Lane(lane): count for lane, count in counts}) - Counter(stranded_messages(pools, served))


@dataclass(frozen=True)
class Paces:
    """The paces of places as they are now: what admission allows, at the share that throttles have left."""

    admission: Admission
    now: Mapping[Place, tuple[datetime, float]]

    def pace(self, place: Place) -> Pace:
        """The pace of a place now."""
        usual = self.admission.pace(place)
        return usual.scaled(self.now[place][1]) if place in self.now else usual

    def left(self, at: datetime) -> dict[Place, int]:
        """How many starts each place has left, of those that have not their whole burst."""
        return {place: self.pace(place).allowed(tat_at, at) for place, (tat_at, _) in self.now.items()}


def read_flight(at: datetime, queued: Counter[Lane], candidates: Sequence[Candidate], paces: Paces) -> InFlight:
    """What is on its way at machine time `at`, as far as these candidates need it."""
    flight = InFlight(queued=queued)
    if any(item.lane in METERED for item in candidates):
        flight.starts = paces.left(at)
        flight.full = _full(at, queued, {item.starts for item in candidates if item.lane in METERED}, paces.admission)
    places = {(item.account, item.region, item.service) for item in candidates if item.slots}
    if places:
        copying = rows(
            Job.select(Job.account, Job.region, Job.service, fn.SUM(Job.slots))
            .where(Job.lane == Lane.COPY, Job.state.in_(_IN_FLIGHT))
            .group_by(Job.account, Job.region, Job.service)
        )
        flight.copies = Counter({(account, region, service): int(slots) for account, region, service, slots in copying})
        flight.limits = read_slots(places, paces.admission.accounts, at)
    return flight


def _full(at: datetime, queued: Counter[Lane], places: Collection[Place], admission: Admission) -> Collection[Place]:
    """Places with as many old messages in the broker as they may have; none while all lanes together have fewer."""
    if sum(queued[lane] for lane in METERED) < min(map(admission.spare, places)):
        return ()
    return {place for place, count in _stale(at).items() if count >= admission.spare(place)}


def _stale(at: datetime) -> Counter[Place]:
    """Starts that lie in the broker since longer than a moment, by place."""
    waiting: Counter[Place] = Counter()
    old = (
        Job.select(Job.account, Job.region, Job.service, Job.lane, fn.COUNT(Job.id))
        .where(Job.state == JobState.QUEUED, Job.lane.in_(list(METERED)), Job.published_at < at - STALE)
        .group_by(Job.account, Job.region, Job.service, Job.lane)
    )
    for account, region, service, lane, count in rows(old):
        waiting[account, region, family_of_start(service, Lane(lane))] += count
    return waiting
