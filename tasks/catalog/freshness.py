"""How fresh the recovery points of each policy are: facts for alerts and metrics, read in two statements.

The targets of a policy are those of its newest scheduled run that was planned; what left the policy or never joined
it does not count. A target without any good point counts from the first slot at which it was a target. Before such a
run, targets are the policy's members.

Points and runs that are dated in the future, by a clock that was wrong, are not the newest of anything: they would look
fresh until that date.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.catalog.database import database, session
from tasks.catalog.fields import UtcField
from tasks.clock import DATED_AHEAD

_POLICIES = """
SELECT p.id, p.name,
  (SELECT r.finished_at FROM run r WHERE r.policy_id = p.id AND r.state = 'done' ORDER BY r.slot_at DESC LIMIT 1),
  (SELECT r.slot_at FROM run r WHERE r.policy_id = p.id AND r.trigger = 'schedule' ORDER BY r.slot_at LIMIT 1)
FROM policy p WHERE p.enabled AND p.deleted_at IS NULL ORDER BY p.name
"""
# One index seek a target: 50,000 targets over 500,000 points take some 0.2 s on two cores (measured 2026-11).
_WORST = """
WITH newest AS (
  SELECT p.id AS policy_id, (
    SELECT r.id FROM run r
    WHERE r.policy_id = p.id AND r.trigger = 'schedule' AND r.planned_at IS NOT NULL AND r.slot_at <= {latest}
    ORDER BY r.slot_at DESC LIMIT 1
  ) AS run_id
  FROM policy p WHERE p.enabled AND p.deleted_at IS NULL
), target AS (
  SELECT n.policy_id, j.resource_id, COALESCE(
    (SELECT MAX(o.taken_at) FROM point o WHERE o.policy_id = n.policy_id AND o.resource_id = j.resource_id
       AND o.destination = '' AND o.state = 'good' AND o.taken_at <= {latest}),
    (SELECT MIN(r.slot_at) FROM job f JOIN run r ON r.id = f.run_id
       WHERE f.resource_id = j.resource_id AND r.policy_id = n.policy_id)
  ) AS newest_at
  FROM newest n JOIN job j ON j.run_id = n.run_id AND j.kind = 'snapshot'
)
SELECT policy_id, COUNT(*), MIN(newest_at) FROM target GROUP BY policy_id
"""
# Each target with its newest good point, and the first slot that counts for it: where it has no point, that at which it
# was first a target, else the policy's.
_TARGETS = """
WITH newest AS (
  SELECT p.id AS policy_id, (
    SELECT r.id FROM run r
    WHERE r.policy_id = p.id AND r.trigger = 'schedule' AND r.planned_at IS NOT NULL AND r.slot_at <= {latest}
    ORDER BY r.slot_at DESC LIMIT 1
  ) AS run_id
  FROM policy p WHERE p.enabled AND p.deleted_at IS NULL
), pair AS (
  SELECT n.policy_id, j.resource_id FROM newest n JOIN job j ON j.run_id = n.run_id AND j.kind = 'snapshot'
  UNION ALL
  SELECT n.policy_id, m.resource_id FROM newest n JOIN membership m ON m.policy_id = n.policy_id AND m.left_at IS NULL
  WHERE n.run_id IS NULL
), target AS (
  SELECT n.policy_id, n.resource_id,
    (SELECT MAX(o.taken_at) FROM point o WHERE o.policy_id = n.policy_id AND o.resource_id = n.resource_id
       AND o.destination = '' AND o.state = 'good' AND o.taken_at <= {latest}) AS point_at
  FROM pair n
)
SELECT t.policy_id, t.resource_id, t.point_at, CASE WHEN t.point_at IS NULL THEN (
  SELECT MIN(r.slot_at) FROM job f JOIN run r ON r.id = f.run_id
  WHERE f.resource_id = t.resource_id AND r.policy_id = t.policy_id
) ELSE (
  SELECT r.slot_at FROM run r WHERE r.policy_id = t.policy_id AND r.trigger = 'schedule' ORDER BY r.slot_at LIMIT 1
) END FROM target t
"""


@dataclass(frozen=True)
class TargetFreshness:
    """One target of one enabled policy; calendar times. None: there was nothing of that kind yet."""

    policy_id: int
    resource_id: int
    newest_point_at: datetime | None
    first_slot_at: datetime | None


@dataclass(frozen=True)
class Freshness:
    """One enabled policy; all times but `last_success_at` (machine time) are calendar time.

    `newest_point_at` belongs to the target that is worst off. None: nothing of that kind has happened yet.
    """

    policy_id: int
    policy: str
    last_success_at: datetime | None
    first_slot_at: datetime | None
    newest_point_at: datetime | None
    targets: int


def freshness(now: datetime) -> list[Freshness]:
    """Every enabled policy at calendar time `now`, by name."""
    with session():
        worst = {policy: (count, at) for policy, count, at in database.execute_sql(dated(_WORST, now)).fetchall()}
        return [
            Freshness(policy, name, _read(success), _read(first), _read(at), count)
            for policy, name, success, first in database.execute_sql(_POLICIES).fetchall()
            for count, at in [worst.get(policy, (0, None))]
        ]


def target_freshness(now: datetime, resources: Collection[int] | None = None) -> list[TargetFreshness]:
    """Every target of every enabled policy at calendar time `now`, or those of some resources.

    Reads inside the caller's session.
    """
    some = (
        "" if resources is None else f" WHERE t.resource_id IN ({', '.join(map(str, map(int, resources))) or 'NULL'})"
    )
    found = database.execute_sql(dated(_TARGETS, now) + some).fetchall()
    return [TargetFreshness(policy, resource, _read(point), _read(since)) for policy, resource, point, since in found]


def dated(sql: str, now: datetime) -> str:
    """The statement with `{latest}` written out: what is later is dated in the future of calendar time `now`."""
    latest = (now + DATED_AHEAD).astimezone(UTC)
    return sql.format(latest=f"'{latest:%Y-%m-%d %H:%M:%S.%f}+00:00'")  # as `UtcField` writes it


def _read(value: Any) -> datetime | None:
    return UtcField().python_value(value)
