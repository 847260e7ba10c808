"""The deletion brake: a pass that would take far more than rotation explains stops until a person confirms it.

A retention cut by mistake, a clock that jumped, a migration that lost facts: each shows as many points of one policy
going at once without new ones having come. Ordinary rotation does not: each new good point displaces one older, and at
the end of a day, week or month one more may drop out of each clause of the rule.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.expiry import ExpiryPlan, PointFact, PointId
from coordinator.reason import Reason
from tasks.states import PointState

# A fifth: above what lag after a holiday or one departed target of a few takes; and should a wrong pass stay just below
# it, four fifths remain.
BRAKE_SHARE = 0.20

# A fifth of three points rounds to none, and a policy of one small target would stop at every odd point out. One point
# beyond rotation may always go; the floor of last good points stands anyway.
BRAKE_ALWAYS_ALLOWED = 1


@dataclass(frozen=True)
class Brake:
    """Why the pass stopped. `excess` good points beyond rotation of `total`; `limit` may go; confirm `plan_hash`."""

    reason: Reason
    excess: int
    limit: int
    total: int
    plan_hash: str


def brake(
    plan: ExpiryPlan,
    last_pass_at: datetime | None,
    policy_points_total: int | None = None,
    confirmed: Collection[PointId] = (),
) -> Brake | None:
    """Stop a pass, or None to let it go on.

    `last_pass_at` is when this policy's last pass was executed (not merely planned); None allows no rotation, so the
    first pass after an installation or migration stops above the limit too. `policy_points_total` counts the policy's
    good points, by default those in the plan that were good at the last pass. `confirmed` are the points of a plan that
    an operator has confirmed: they are not weighed again, also when later passes add ordinary rotation to them.
    Failed points and the steps of copies are never weighed: nothing can be restored from the one, and a finished copy
    stands for the other.
    """
    good = [fact for fact in plan.facts.values() if _counts(fact)]
    fresh = [fact for fact in good if last_pass_at is not None and (fact.good_at or fact.taken_at) > last_pass_at]
    total = len(good) - len(fresh) if policy_points_total is None else policy_points_total
    going = [plan.facts[point] for point in plan.expire if point not in confirmed]
    leaving = Counter(fact.line for fact in going if _counts(fact))
    allowed = _rotation(plan, fresh)
    excess = sum(max(0, count - allowed.get(line, 0)) for line, count in leaving.items())
    limit = max(BRAKE_ALWAYS_ALLOWED, int(total * BRAKE_SHARE))
    if excess <= limit:
        return None
    text = (
        f"{excess} of {total} good points would go beyond what new ones replace; "
        f"{limit} may go in one pass. Check the retention rule and the clock, then confirm plan {plan.hash}"
    )
    return Brake(Reason("brake", text), excess, limit, total, plan.hash)


def _counts(fact: PointFact) -> bool:
    return fact.state is PointState.GOOD and fact.kind != "intermediate"


def _rotation(plan: ExpiryPlan, fresh: Sequence[PointFact]) -> Mapping[tuple[str, str], int]:
    """How many points the new ones explain, by line: as many as they are, and for one generation of them one more per
    further clause. Not more: a pass that stays stopped must not gain room by waiting. A new archive also lets go of the
    snapshot that the archive before it was made of."""
    runs: dict[tuple[str, str], Counter[PointId]] = defaultdict(Counter)
    for fact in fresh:
        runs[fact.line][fact.id if fact.run_id is None else fact.run_id] += 1
    room = {line: sizes.total() + max(0, plan.tiers[line] - 1) * max(sizes.values()) for line, sizes in runs.items()}
    released = Counter((fact.target, "") for fact in fresh if fact.kind == "archive")
    return {line: room.get(line, 0) + released[line] for line in {*room, *released}}
