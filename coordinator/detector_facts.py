"""The facts that detectors look at, read in a few statements. Functions read inside the caller's session."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from peewee import fn

from coordinator.detectors import NEVER_AFTER, PAUSED_AFTER, Coverage, Doubts, NewestPoints, UnreadTags
from coordinator.targets import may_choose
from tasks.catalog import Account, Policy, PolicySchedule, Resource, Run, database
from tasks.catalog.freshness import dated

# The newest two scheduled runs of each policy that came to know their targets.
_COVERAGE = """
WITH pair AS (
  SELECT p.name, (
    SELECT r.id FROM run r WHERE r.policy_id = p.id AND r.trigger = 'schedule' AND r.planned_at IS NOT NULL
      AND r.slot_at <= {latest}
    ORDER BY r.slot_at DESC LIMIT 1
  ) AS newest_id, (
    SELECT r.id FROM run r WHERE r.policy_id = p.id AND r.trigger = 'schedule' AND r.planned_at IS NOT NULL
      AND r.slot_at <= {latest}
    ORDER BY r.slot_at DESC LIMIT 1 OFFSET 1
  ) AS before_id
  FROM policy p WHERE p.enabled AND p.deleted_at IS NULL
)
SELECT pair.name, n.id, n.targets, b.targets
FROM pair JOIN run n ON n.id = pair.newest_id JOIN run b ON b.id = pair.before_id
WHERE n.targets < b.targets ORDER BY pair.name
"""
# The newest good point of each target of the newest such run, one index seek a target. Copies and archives follow it.
_POINTS = """
WITH newest AS (
  SELECT p.id AS policy_id, p.name, (
    SELECT r.id FROM run r WHERE r.policy_id = p.id AND r.trigger = 'schedule' AND r.planned_at IS NOT NULL
      AND r.slot_at <= {latest}
    ORDER BY r.slot_at DESC LIMIT 1
  ) AS run_id
  FROM policy p WHERE p.enabled AND p.deleted_at IS NULL
), target AS (
  SELECT n.name, (
    SELECT o.id FROM point o WHERE o.policy_id = n.policy_id AND o.resource_id = j.resource_id
      AND o.destination = '' AND o.state = 'good'
      AND o.taken_at <= {latest} ORDER BY o.taken_at DESC LIMIT 1
  ) AS point_id
  FROM newest n JOIN job j ON j.run_id = n.run_id AND j.kind = 'snapshot'
), seen AS (
  SELECT t.name, o.id AS point_id,
    o.size_gib = 0 OR NOT EXISTS (SELECT 1 FROM part a WHERE a.point_id = o.id) AS is_empty,
    CAST(o.warnings AS TEXT) <> '[]' AS is_warned
  FROM target t JOIN point o ON o.id = t.point_id WHERE o.kind <> 'archive'
)
SELECT name,
  COUNT(CASE WHEN is_empty THEN 1 END), MIN(CASE WHEN is_empty THEN point_id END),
  COUNT(CASE WHEN is_warned THEN 1 END), MIN(CASE WHEN is_warned THEN point_id END)
FROM seen WHERE is_empty OR is_warned GROUP BY name ORDER BY name
"""


def read_doubts(now: datetime) -> Doubts:
    """What the detectors need at calendar time `now`. Looks at every target."""
    return Doubts(
        idle=_idle(now),
        paused=_paused(now),
        coverage=[Coverage(*row) for row in database.execute_sql(dated(_COVERAGE, now)).fetchall()],
        points=[NewestPoints(*row) for row in database.execute_sql(dated(_POINTS, now)).fetchall()],
        unread=_unread(),
    )


def _idle(now: datetime) -> list[tuple[str, datetime]]:
    """Enabled policies without any run whose first start has passed. The tick moves it on when it takes the slot."""
    due: Any = fn.MIN(PolicySchedule.next_start_at)
    rows: Any = (
        Policy.select(Policy.name, due)
        .join(PolicySchedule, on=PolicySchedule.policy == Policy.id)
        .where(
            Policy.enabled,
            Policy.deleted_at.is_null(),
            PolicySchedule.next_start_at < now - NEVER_AFTER,
            ~fn.EXISTS(Run.select(Run.id).where(Run.policy == Policy.id)),
        )
        .group_by(Policy.name)
        .order_by(Policy.name)
    )
    read: Any = PolicySchedule.next_start_at.python_value
    return [(name, read(at)) for name, at in rows.tuples()]


def _paused(now: datetime) -> list[tuple[str, datetime]]:
    rows: Any = Policy.select(Policy.name, Policy.changed_at).where(
        ~Policy.enabled, Policy.deleted_at.is_null(), Policy.changed_at < now - PAUSED_AFTER
    )
    return list(rows.order_by(Policy.name).tuples())


def _unread() -> list[UnreadTags]:
    """What a policy might choose by its tags, if they could be read. Discovery notes what may not be."""
    noted: Any = (
        Resource.select(Account.name, Resource.region, Resource.type, Resource.external_id, Resource.attributes)
        .join(Account)
        .where(Resource.gone_at.is_null(), Account.enabled, Resource.attributes.cast("TEXT").contains('"unread"'))
        .order_by(Resource.id)
        .tuples()
    )
    found = [(*place, name) for *place, name, attributes in noted if "tags" in attributes.get("unread", ())]
    if not found:
        return []
    counted: Mapping[tuple[str, str], list[str]] = defaultdict(list)
    for policy in Policy.select().where(Policy.enabled, Policy.deleted_at.is_null()).order_by(Policy.name):
        for account, region, kind, name in found:
            if any(may_choose(target, account, region, kind) for target in policy.spec.get("targets", ())):
                counted[policy.name, kind].append(f"{name} in {account}/{region}")
    return [UnreadTags(policy, kind, len(names), names[0]) for (policy, kind), names in counted.items()]
