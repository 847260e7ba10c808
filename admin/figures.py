"""Estate-wide figures in a few statements: what the overview shows and the metrics export. Never a row a resource.

Functions read inside the caller's session.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import SQL, fn

from coordinator.due import Grid
from coordinator.rpo import due_since
from tasks.catalog import Account, Alert, DeadLetter, MissedSlots, Point, PolicySchedule, Resource, Run, Schedule
from tasks.catalog.freshness import Freshness, freshness
from tasks.states import PointState, RunState

DAY = timedelta(hours=24)


@dataclass(frozen=True)
class PolicyFigures:
    """One policy, its points' age at the target that is worst off, and the age that is too old (calendar time)."""

    fresh: Freshness
    point_age: timedelta | None
    too_old: timedelta | None

    @property
    def behind(self) -> bool:
        """Whether a target has had no new point for two slots."""
        return self.point_age is not None and self.too_old is not None and self.point_age > self.too_old


def point_states() -> Mapping[str, int]:
    """Points that still exist, by state."""
    return _counts(Point, Point.state, Point.state != PointState.DELETED)


def runs_of_last_day(at: datetime) -> Mapping[str, int]:
    """Runs begun in the 24 hours before machine time `at`, by state."""
    return _counts(Run, Run.state, Run.created_at > at - DAY)


def account_states() -> Mapping[str, int]:
    """Accounts in use, by what the last contact said."""
    return _counts(Account, Account.state, Account.enabled == True)  # noqa: E712 - a column, not a value


def open_alerts() -> Mapping[str, int]:
    """Open alerts, by severity."""
    return _counts(Alert, Alert.severity, Alert.open_key.is_null(False))


def resources_protected() -> tuple[int, int]:
    """How many resources exist, and how many of them have a good point."""
    good = Point.select(SQL("1")).where(Point.resource == Resource.id, Point.state == PointState.GOOD)
    exists = Resource.select().where(Resource.gone_at.is_null())
    return exists.count(), exists.where(fn.EXISTS(good)).count()


def missed_slots(since: datetime | None = None) -> int:
    """Slots reported as missed, all of them or those recorded since a calendar time."""
    query = MissedSlots.select(fn.SUM(MissedSlots.count))
    return int((query if since is None else query.where(MissedSlots.recorded_at > since)).scalar() or 0)


def policy_figures(now: datetime) -> list[PolicyFigures]:
    """Every enabled policy at calendar time `now`, by name."""
    grids = _grids()
    found = []
    for fresh in freshness():
        since = due_since(grids.get(fresh.policy_id, ()), fresh.first_slot_at, now)
        age = None if fresh.newest_point_at is None else max(timedelta(0), now - fresh.newest_point_at)
        found.append(PolicyFigures(fresh, age, None if since is None else now - since))
    return found


def overview(at: datetime, now: datetime) -> dict[str, int]:
    """The key figures of the estate at machine time `at` and calendar time `now`."""
    total, protected = resources_protected()
    points, runs = point_states(), runs_of_last_day(at)
    return {
        "resources": total,
        "protected": protected,
        "unprotected": total - protected,
        "points_good": points.get(PointState.GOOD, 0),
        "points_creating": points.get(PointState.CREATING, 0),
        "runs_done": runs.get(RunState.DONE, 0),
        "runs_failed": runs.get(RunState.FAILED, 0) + runs.get(RunState.PARTIAL, 0),
        "slots_missed": missed_slots(now - DAY),
        "alerts_open": sum(open_alerts().values()),
        "dead_letters": DeadLetter.select().where(DeadLetter.state == "open").count(),
    }


def _grids() -> Mapping[int, list[Grid]]:
    """The grids of each policy; a schedule that many share is read once."""
    parsed = {row.id: Grid.from_spec(row.spec) for row in Schedule.select(Schedule.id, Schedule.spec)}
    joined: dict[int, list[Grid]] = defaultdict(list)
    for policy, schedule in tuples(PolicySchedule.select(PolicySchedule.policy, PolicySchedule.schedule)):
        joined[policy].append(parsed[schedule])
    return joined


def _counts(model: Any, column: Any, condition: Any) -> dict[str, int]:
    query = model.select(column, fn.COUNT(SQL("1"))).where(condition).group_by(column)
    return dict(tuples(query))


def tuples(query: Any) -> list[Any]:
    """The rows of a statement as tuples."""
    return list(query.tuples())
