"""Retention as it happens: judge a policy's points, let the brake look, mark what may go, and hand it to cleanup.

The plan is a value before anything is written; marking re-reads nothing, because cleanup checks each point again in
the transaction that deletes. Runs under the sweep lease, and the marking transaction asks whether it is still held.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from coordinator.alerts import clear_alert, raise_alert
from coordinator.brake import Brake
from coordinator.expiry import ExpiryPlan
from coordinator.judge import judge
from coordinator.lease import Held, still_held
from tasks.catalog import Job, Meta, Point, Policy, Resource, transaction
from tasks.catalog.transitions import add_jobs, move_point
from tasks.crash import reach
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, PointState

# Points in one cleanup job: a hundred deletions take well under the lane's time limit.
POINTS_A_JOB = 50
CLEANUP_ATTEMPTS = 5


def retention_pass(held: Held, now: datetime) -> dict[str, int]:
    """One pass over every policy that has points; counts of marked points and stopped policies."""
    counts = {"marked": 0, "stopped": 0}
    for policy in Policy.select().order_by(Policy.id):
        result = judge(policy, now)
        if result.stopped is not None:
            counts["stopped"] += 1
            _raise_brake(policy, result.stopped, now)
            continue
        with transaction():
            if not still_held(held):
                return counts
            counts["marked"] += _mark(result.plan, now)
            _set_meta(f"retention:{policy.id}", now.isoformat())
            Meta.delete().where(Meta.key == f"confirm:{policy.id}").execute()
            reach("coordinator.mark-before-commit")
        clear_alert(f"brake:{policy.name}", now)
    return counts


def _mark(plan: ExpiryPlan, now: datetime) -> int:
    marked = 0
    for point_id in plan.expire:
        reason = plan.verdicts[point_id].reasons[0]
        marked += move_point(
            int(point_id), PointState.EXPIRING, expire_code=reason.code, expire_text=reason.text, marked_at=now
        )
    return marked


def _raise_brake(policy: Policy, stopped: Brake, now: datetime) -> None:
    raise_alert(
        f"brake:{policy.name}",
        "critical",
        f"Deletion stopped for policy {policy.name}",
        f"{stopped.reason.text} with `snapfleet confirm {policy.name} {stopped.plan_hash}`.",
        now,
    )


def plan_cleanups(at: datetime) -> int:
    """Cleanup jobs for marked points that no unfinished job has yet; how many jobs were written."""
    busy = {
        point
        for job in Job.select(Job.spec).where(Job.kind == "cleanup", Job.state.in_(list(JOB_OPEN)))
        for point in job.spec.get("points", ())
    }
    groups: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    marked = (
        Point.select(Point, Resource.type)
        .join(Resource)
        .where(Point.state == PointState.EXPIRING)
        .order_by(Point.id)
        .limit(5000)
    )
    for point in marked:
        if point.id not in busy:
            groups[point.account_id, point.region, TYPES[point.resource.type].service].append(point.id)
    rows = [
        _cleanup_row(place, ids[start : start + POINTS_A_JOB])
        for place, ids in sorted(groups.items())
        for start in range(0, len(ids), POINTS_A_JOB)
    ]
    if rows:
        with transaction():
            add_jobs(rows, at)
    return len(rows)


def _cleanup_row(place: tuple[int, str, str], points: Sequence[int]) -> dict[str, object]:
    account, region, service = place
    return {
        "kind": "cleanup",
        "lane": str(Lane.CLEANUP),
        "account": account,
        "region": region,
        "service": service,
        "spec": {"points": list(points)},
        "max_attempts": CLEANUP_ATTEMPTS,
    }


def _set_meta(key: str, value: str) -> None:
    Meta.insert(key=key, value=value).on_conflict(conflict_target=[Meta.key], update={Meta.value: value}).execute()
