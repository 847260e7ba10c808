"""A policy's points judged as they are now: what would expire, and whether the brake would stop it. Writes nothing.

The sweep acts on it, and the same answer is what `cleanup --dry-run` and `why` show.
"""

from dataclasses import dataclass
from datetime import datetime

from coordinator.brake import Brake, brake
from coordinator.expiry import ExpiryPlan
from coordinator.facts import retention_facts, rules_of
from coordinator.retention import plan_expiry
from tasks.catalog import Meta, Policy


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
    last = _meta(f"retention:{policy.id}")
    confirmed = plan.expire if _meta(f"confirm:{policy.id}") == plan.hash else ()
    stopped = brake(plan, datetime.fromisoformat(last) if last else None, confirmed=confirmed)
    return PolicyPass(policy.name, plan, stopped)


def _meta(key: str) -> str:
    row = Meta.get_or_none(Meta.key == key)
    return row.value if row else ""
