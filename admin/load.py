"""What a day will bring, from the schedules and the newest runs: the rows of `snapfleet forecast`."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from admin.queries import Row
from coordinator.due import Grid
from coordinator.elastic_facts import mean_seconds
from coordinator.load import Crowded, Hour, Place, PolicyLoad, forecast
from coordinator.rpo import readable_grid
from tasks.catalog import Account, Job, Membership, Policy, PolicySchedule, Resource, Run, Schedule, session
from tasks.catalog.pools import read_fleet
from tasks.clock import Clock


def forecast_day(day: date, zone: ZoneInfo, clock: Clock) -> Row:
    """The hours of a day in a zone, and its slots over capacity. 23 to 25 hours where the clocks change."""
    begins_at = datetime.combine(day, time(), zone).astimezone(UTC)
    ends_at = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    with session():
        read: Any = Schedule.select(Schedule.id, Schedule.name, Schedule.spec).order_by(Schedule.name).tuples()
        readable = {number: (name, readable_grid(spec)) for number, name, spec in read}
        policies = _policies({number: grid for number, (_, grid) in readable.items() if grid is not None})
        seconds, threads = mean_seconds(), read_fleet(clock.timer()).threads
    unreadable = [name for name, grid in readable.values() if grid is None]
    hours, crowded = forecast(policies, begins_at, -(-(ends_at - begins_at) // timedelta(hours=1)), seconds, threads)
    return {
        "day": day.isoformat(),
        "time_zone": str(zone),
        "threads": threads,
        "hours": [_hour(hour, zone) for hour in hours],
        "over_capacity": [_crowded(one) for one in crowded],
        "unknown": sorted(policy.name for policy in policies if not policy.targets),
        "unreadable": unreadable,
    }


def _hour(hour: Hour, zone: ZoneInfo) -> Row:
    return {
        "hour": f"{hour.begins_at.astimezone(zone):%H:%M}",
        "begins_at": hour.begins_at,
        "runs": hour.runs,
        "snapshots": hour.jobs["snapshot"],
        "copies": hour.jobs["copy"],
        "archives": hour.jobs["archive"],
        "calls": hour.calls,
        "work": timedelta(seconds=round(hour.seconds)),
        "saturated": [{"place": "/".join(place), "left": jobs} for place, jobs in hour.saturated.items()],
        "workers_short": hour.over_capacity,
    }


def _crowded(one: Crowded) -> Row:
    return {
        "slot_at": one.slot_at,
        "start_at": one.start_at,
        "policy": one.policy,
        "place": "/".join(one.place),
        "jobs": one.jobs,
        "takes": timedelta(seconds=round(one.wait.total_seconds())),
    }


def _policies(read: Mapping[int, Grid]) -> list[PolicyLoad]:
    grids: dict[int, list[Grid]] = defaultdict(list)
    joins: Any = PolicySchedule.select(PolicySchedule.policy, PolicySchedule.schedule).tuples()
    for policy, schedule in joins:
        grids[policy] += [read[schedule]] if schedule in read else []
    targets = _targets()
    active = Policy.select().where(Policy.enabled, Policy.deleted_at.is_null()).order_by(Policy.name)
    return [_policy(row, grids[row.id], targets.get(row.id, {})) for row in active if grids[row.id]]


def _targets() -> dict[int, dict[Place, int]]:
    """How many targets each policy had in each place in its newest planned run that looked at all of them; its members
    where there was no such run yet."""
    planned = (Run.planned_at.is_null(False)) & (Run.trigger == "schedule")
    newest: Any = Run.select(fn.MAX(Run.id)).where(planned).group_by(Run.policy)
    query: Any = (
        Job.select(Run.policy, Account.name, Job.region, fn.COUNT(Job.id))
        .join(Run)
        .switch(Job)
        .join(Account)
        .where(Job.run.in_(newest), Job.kind == "snapshot")
        .group_by(Run.policy, Account.name, Job.region)
    )
    members: Any = (
        Membership.select(Membership.policy, Account.name, Resource.region, fn.COUNT(Membership.id))
        .join(Resource)
        .join(Account)
        .where(
            Membership.left_at.is_null(), ~fn.EXISTS(Run.select(Run.id).where(Run.policy == Membership.policy, planned))
        )
        .group_by(Membership.policy, Account.name, Resource.region)
    )
    found: dict[int, dict[Place, int]] = defaultdict(dict)
    for policy, account, region, count in [*query.tuples(), *members.tuples()]:
        found[policy][account, region] = count
    return found


def _policy(row: Policy, grids: list[Grid], targets: Mapping[Place, int]) -> PolicyLoad:
    spec = row.spec
    copies = [
        (max(1, int(entry.get("every", 1))), (str(entry.get("account") or ""), str(entry.get("region", ""))))
        for entry in spec.get("dr") or ()
    ]
    archive = spec.get("repository") or {}
    every = max(1, int(archive.get("every", 1))) if archive else 0
    return PolicyLoad(row.name, grids, Counter(targets), copies, every)
