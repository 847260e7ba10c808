"""What retention is told and what it answers: facts about points, the rule, and a verdict with reasons per point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from coordinator.periods import KINDS
from coordinator.reason import Reason
from coordinator.wallclock import zone_of
from tasks.states import PointState

PointId = int | str


@dataclass(frozen=True)
class PointFact:
    """One recovery point as the catalog knows it.

    `target` and `destination` ('' where the resource lies, 'account/region' for a copy) make the line on which it
    ages. Points of one line and one `run_id` are one generation. `taken_at` is what counts for age and calendar,
    `good_at` is when the cloud said completed. `held` is the reason of a hold. `in_use` names what depends on it
    (`copy:7`, `restore:12`). `left_at`: since when the target is no longer in the policy, or the policy is deleted.
    `damaged`: something of it is lost, and the rest can still be restored.
    """

    id: PointId
    target: str
    taken_at: datetime
    state: PointState
    destination: str = ""
    run_id: PointId | None = None
    good_at: datetime | None = None
    held: str | None = None
    locked_until: datetime | None = None
    in_use: tuple[str, ...] = ()
    left_at: datetime | None = None
    kind: str = "snapshots"
    damaged: bool = False

    @property
    def line(self) -> tuple[str, str]:
        return self.target, self.destination

    @property
    def order(self) -> tuple[datetime, str]:
        """Oldest first; the id settles equal instants, so that every pass sorts alike."""
        return self.taken_at, str(self.id)


@dataclass(frozen=True)
class Rule:
    """A point is kept while `generations`, one of `keep`, or `keep_for` wants it; a rule that names none keeps all.

    `keep` maps hourly, daily, weekly, monthly, yearly to how many such periods keep their newest good point, by the
    calendar of `zone`. The `floor` newest good generations of a line never go; it is at least 1, because retention is
    never the way to remove the last good point of anything. `former` says why a rule counts whose place the policy
    does not name any more; '' for any other.
    """

    generations: int | None = None
    keep: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    keep_for: timedelta | None = None
    floor: int = 1
    zone: str = "UTC"
    former: str = ""

    def __post_init__(self) -> None:
        if self.generations is not None and self.generations < 1:
            raise ValueError("generations: must be at least 1")
        unknown = [kind for kind in self.keep if kind not in KINDS]
        if unknown:
            raise ValueError(f"keep: {unknown[0]!r} is not one of {', '.join(KINDS)}")
        if any(count < 1 for count in self.keep.values()):
            raise ValueError("keep: counts must be at least 1; leave a period out instead")
        if self.keep_for is not None and self.keep_for <= timedelta(0):
            raise ValueError("keep_for: must be longer than nothing")
        if self.floor < 1:
            raise ValueError("floor: must be at least 1")
        zone_of(self.zone)

    @property
    def tiers(self) -> int:
        """How many clauses the rule has: a new good generation displaces at most one older one from each."""
        return (self.generations is not None) + len(self.keep) + (self.keep_for is not None)

    @property
    def text(self) -> str:
        """The clauses as a person reads them."""
        clauses = [f"generations {self.generations}"] if self.generations is not None else []
        clauses += [f"{kind} {count}" for kind, count in self.keep.items()]
        clauses += [f"{self.keep_for.days} days"] if self.keep_for is not None else []
        return ", ".join(clauses)


@dataclass(frozen=True)
class Verdict:
    """Whether a point stays, and every reason: all that keep it, or why it may go."""

    point_id: PointId
    keep: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class ExpiryPlan:
    """`verdicts` has every point given, `expire` those to mark now (oldest first), `hash` names exactly that set.

    `facts` and `tiers` (by line) are what the brake weighs the plan with.
    """

    verdicts: Mapping[PointId, Verdict]
    expire: tuple[PointId, ...]
    hash: str
    facts: Mapping[PointId, PointFact]
    tiers: Mapping[tuple[str, str], int]
