"""A policy's points judged as they are now: what would expire, whether the brake stops it, and what was confirmed.

The sweep acts on it, and the same answer is what `cleanup --dry-run` and `why` show.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from coordinator.brake import Brake, brake
from coordinator.expiry import ExpiryPlan, PointId
from coordinator.facts import retention_facts
from coordinator.retention import plan_expiry
from coordinator.rules import rules_of
from tasks.catalog import Meta, Policy, meta, set_meta
from tasks.errors import Refused

# A person reads an alert, asks, and confirms: meanwhile later passes have stopped with a few points more.
STOPS_KEPT = 10


@dataclass(frozen=True)
class PolicyPass:
    """What one pass found for one policy: the plan, and the brake if it stopped it."""

    policy: str
    plan: ExpiryPlan
    stopped: Brake | None


def judge(policy: Policy, now: datetime) -> PolicyPass:
    """Judge one policy's points at calendar time `now`; writes nothing."""
    rule, places = rules_of(policy)
    plan = plan_expiry(retention_facts(policy), rule, now, places)
    last = meta(f"retention:{policy.id}")
    confirmed = frozenset(json.loads(meta(f"confirm:{policy.id}") or "[]"))
    stopped = brake(plan, datetime.fromisoformat(last) if last else None, confirmed=confirmed)
    return PolicyPass(policy.name, plan, stopped)


def remember_stop(policy: Policy, found: PolicyPass) -> None:
    """Keep what a stopped pass would have taken, so that the hash that its alert names can be confirmed later."""
    stops = json.loads(meta(f"stopped:{policy.id}") or "[]")
    others = [stop for stop in stops if stop["hash"] != found.plan.hash]
    this = {"hash": found.plan.hash, "points": list(found.plan.expire)}
    set_meta(f"stopped:{policy.id}", json.dumps([*others, this][-STOPS_KEPT:]))


def points_of_plan(policy: Policy, plan_hash: str, now: datetime) -> list[PointId]:
    """The points of a plan that was stopped lately, or of the one that holds now. Raises Refused for any other."""
    for stop in json.loads(meta(f"stopped:{policy.id}") or "[]"):
        if stop["hash"] == plan_hash:
            return list(stop["points"])
    plan = judge(policy, now).plan
    if plan.hash != plan_hash:
        raise Refused(
            f"Plan {plan_hash} of policy {policy.name} does not hold any more; it is {plan.hash} now.",
            code="plan-changed",
            advice="Look at `snapfleet cleanup --dry-run`, then confirm the plan it names.",
        )
    return list(plan.expire)


def forget_stops(policy: Policy) -> None:
    """The pass was done: what was stopped or confirmed before it is settled."""
    Meta.delete().where(Meta.key.in_([f"confirm:{policy.id}", f"stopped:{policy.id}"])).execute()
