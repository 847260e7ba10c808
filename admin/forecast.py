"""What would happen: retention's verdicts and plans, and a restore's steps, from the same functions that act.

Nothing is written. The coordinator judges again when it acts, so an answer holds for the catalog as it is now.
"""

from datetime import datetime
from typing import Any

from admin.queries import Row, find_point, find_policy
from coordinator.facts import check_restorable, restore_point_facts
from coordinator.judge import PolicyPass, judge
from coordinator.restore import RestorePlan, RestoreRequest, plan_restore
from tasks.catalog import Point, Policy, Resource, session
from tasks.errors import Refused
from tasks.states import PointState

_BATCH = 500  # ids in one query; SQLite takes 32,766 parameters


def why_point(text: str, now: datetime) -> Row:
    """Whether a point stays at calendar time `now`, with every reason."""
    with session():
        point = find_point(text)
        if point.state in (PointState.DELETED, PointState.LOST):
            reasons = [{"code": point.expire_code or str(point.state), "text": _gone_text(point)}]
            return {"point": f"rp-{point.id}", "state": str(point.state), "keep": False, "reasons": reasons}
        found = judge(Policy.get_by_id(point.policy_id), now)
    verdict = found.plan.verdicts[point.id]
    reasons = [{"code": reason.code, "text": reason.text} for reason in verdict.reasons]
    if found.stopped is not None and point.id in found.plan.expire:
        how = f"`snapfleet confirm {found.policy} {found.stopped.plan_hash}`"
        reasons.append({"code": found.stopped.reason.code, "text": f"{found.stopped.reason.text} with {how}"})
    if point.state in (PointState.EXPIRING, PointState.OUTDATED) and point.expire_text:
        reasons.append({"code": point.expire_code, "text": point.expire_text})
    return {"point": f"rp-{point.id}", "state": str(point.state), "keep": verdict.keep, "reasons": reasons}


def _gone_text(point: Point) -> str:
    if point.state == PointState.LOST:
        return point.error_text or "somebody else deleted it in the cloud"
    when = f" at {point.deleted_at:%Y-%m-%d %H:%M} UTC" if point.deleted_at else ""
    return f"deleted{when}: {point.expire_text or point.expire_code}"


def forecast_cleanup(now: datetime) -> list[Row]:
    """What a retention pass would do now, policy by policy: counts, the brake if it stops it, and each point to go."""
    with session():
        policies: Any = Policy.select().order_by(Policy.name)
        return [_pass(policy, judge(policy, now)) for policy in policies]


def _pass(policy: Policy, found: PolicyPass) -> Row:
    plan = found.plan
    marked = {
        row["id"]: row
        for start in range(0, len(plan.expire), _BATCH)
        for row in _named(plan.expire[start : start + _BATCH])
    }
    points = [
        {
            **marked[point],
            "id": f"rp-{point}",
            "code": plan.verdicts[point].reasons[0].code,
            "reason": "; ".join(reason.text for reason in plan.verdicts[point].reasons),
        }
        for point in plan.expire
    ]
    return {
        "policy": policy.name,
        "points": len(plan.facts),
        "expire": len(plan.expire),
        "keep": len(plan.facts) - len(plan.expire),
        "hash": plan.hash if plan.expire else "",
        "brake": found.stopped.reason.text if found.stopped else "",
        "to_expire": points,
    }


def _named(ids: Any) -> list[Row]:
    query: Any = Point.select(Point, Resource).join(Resource).where(Point.id.in_(list(ids)))
    return [
        {
            "id": row.id,
            "resource": row.resource.external_id,
            "name": row.resource.name,
            "destination": row.destination,
            "state": str(row.state),
            "taken_at": row.taken_at,
            "size_gib": row.size_gib,
        }
        for row in query
    ]


def check_hash(policy: str, plan_hash: str, now: datetime) -> int:
    """How many points the plan of this hash would remove. Raises Refused when the plan is another by now."""
    with session():
        plan = judge(find_policy(policy, deleted=True), now).plan
    if plan.hash != plan_hash:
        raise Refused(
            f"The plan of {policy} is not {plan_hash} (any more).", advice="See `snapfleet cleanup --dry-run` for it."
        )
    return len(plan.expire)


def forecast_restore(text: str, wish: RestoreRequest) -> RestorePlan:
    """The exact steps of a restore. Raises Invalid, Gone or Impossible as the coordinator would."""
    with session():
        point = find_point(text)
        check_restorable(point)
        return plan_restore(restore_point_facts(point, wish), wish)
