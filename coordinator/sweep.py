"""Retention as it happens: judge a policy's points, let the brake look, mark what may go, and hand it to cleanup.

The plan is a value before anything is written; marking re-reads nothing, because cleanup checks each point again in
the transaction that deletes. Runs under the sweep lease, and the marking transaction asks whether it is still held.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from coordinator.alerts import clear_alert, raise_alert
from coordinator.brake import Brake
from coordinator.expiry import ExpiryPlan
from coordinator.judge import forget_stops, judge, remember_stop
from coordinator.lease import Held, renew, still_held
from tasks.catalog import Account, Job, Point, Policy, Resource, rows, set_meta, transaction
from tasks.catalog.archives import repository_of
from tasks.catalog.point import in_quarantine
from tasks.catalog.transitions import add_jobs, move_points
from tasks.clock import Clock
from tasks.crash import reach
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, JobState, PointState

log = logging.getLogger("snapfleet.coordinator")

# Points in one cleanup job: a hundred deletions take well under the lane's time limit.
POINTS_A_JOB = 50
CLEANUP_ATTEMPTS = 5
# A cleanup job that failed for good (credentials, a right that is missing) is planned anew at this pace.
RETRY_AFTER = timedelta(hours=1)
POINTS_A_PASS = 5000
# Points that are left out in the statement itself (SQLite takes 32,766 parameters); the others are left out after it.
MOST_BUSY = 20_000


def retention_pass(held: Held, clock: Clock) -> dict[str, int]:
    """One pass over every policy; counts of marked points and stopped policies. Ends early when the lease is lost."""
    counts = {"marked": 0, "stopped": 0}
    for policy in Policy.select().order_by(Policy.id):
        if not renew(held, clock.timer()):
            break
        try:
            _pass(policy, held, clock, counts)
        except (KeyError, TypeError, ValueError):  # one policy that cannot be read keeps all its points, and its place
            log.exception("The points of policy %s cannot be judged; nothing of it expires.", policy.name)
    return counts


def _pass(policy: Policy, held: Held, clock: Clock, counts: dict[str, int]) -> None:
    now = clock.now()
    result = judge(policy, now)
    with transaction():
        if not still_held(held):
            return
        if result.stopped is not None:
            counts["stopped"] += 1
            remember_stop(policy, result)
        else:
            counts["marked"] += _mark(result.plan, clock.timer())
            set_meta(f"retention:{policy.id}", now.isoformat())
            forget_stops(policy)
            reach("coordinator.mark-before-commit")
    if result.stopped is not None:
        _raise_brake(policy, result.stopped, clock.timer())
    else:
        clear_alert(f"brake:{policy.name}", clock.timer())


def _mark(plan: ExpiryPlan, at: datetime) -> int:
    """Points that go for the same reason are marked together: a pass may be thousands of points. A mark is of machine
    time, as the quarantine is that it begins."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for point_id in plan.expire:
        reason = plan.verdicts[point_id].reasons[0]
        groups[reason.code, reason.text].append(int(point_id))
    return sum(
        move_points(ids, PointState.EXPIRING, expire_code=code, expire_text=text, marked_at=at)
        for (code, text), ids in groups.items()
    )


def _raise_brake(policy: Policy, stopped: Brake, at: datetime) -> None:
    raise_alert(
        f"brake:{policy.name}",
        "critical",
        f"Deletion stopped for policy {policy.name}",
        f"{stopped.reason.text} with `snapfleet confirm {policy.name} {stopped.plan_hash}`.",
        at,
    )


def plan_cleanups(held: Held, at: datetime, quarantine: timedelta = timedelta(0)) -> int:
    """Cleanup jobs for marked points that no unfinished job has yet; how many jobs were written.

    What a job failed to delete is left alone for a while, what lies in a removed account until it is back, and what
    something could be restored from for its `quarantine`.
    """
    taken = (Job.state.in_(list(JOB_OPEN))) | ((Job.state == JobState.FAILED) & (Job.finished_at > at - RETRY_AFTER))
    busy = {
        point
        for (spec,) in rows(Job.select(Job.spec).where(Job.kind.in_(["cleanup", "archive-cleanup"]), taken))
        for point in spec.get("points", ())
    }
    groups: dict[tuple[int, str, str, str], list[int]] = defaultdict(list)
    marked = (
        Point.select(Point.id, Point.account, Point.region, Resource.type, Point.destination)
        .join(Resource)
        .join(Account, on=(Point.account == Account.id))
        .where(Point.state == PointState.EXPIRING, Account.enabled)
        .order_by(Point.id)
    )
    if quarantine:
        marked = marked.where(~in_quarantine(at, quarantine))
    if busy:
        marked = marked.where(Point.id.not_in(sorted(busy)[:MOST_BUSY]))
    for number, account, region, kind, destination in rows(marked.limit(POINTS_A_PASS)):
        if number not in busy:
            groups[account, region, TYPES[kind].service, repository_of(destination)].append(number)
    jobs = [
        _cleanup_row(place, ids[start : start + POINTS_A_JOB])
        for place, ids in sorted(groups.items())
        for start in range(0, len(ids), POINTS_A_JOB)
    ]
    with transaction():
        if not jobs or not still_held(held):
            return 0
        add_jobs(jobs, at)
    return len(jobs)


def _cleanup_row(place: tuple[int, str, str, str], points: Sequence[int]) -> dict[str, object]:
    account, region, service, repository = place
    return {
        "kind": "archive-cleanup" if repository else "cleanup",
        "lane": str(Lane.CLEANUP),
        "account": account,
        "region": region,
        "service": service,
        "spec": {"points": list(points), **({"repository": repository} if repository else {})},
        "max_attempts": CLEANUP_ATTEMPTS,
    }
