"""The facts that alert rules look at, read in a handful of statements. Functions read inside the caller's session."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from coordinator.ahead import read_wrong_clock
from coordinator.alert_rules import Facts, FailedTarget, LaneFact, LostPoints, PoolFact, StalePolicy
from coordinator.looks import read_looks, services_of
from coordinator.routes import TWO_HOPS
from coordinator.rpo import due_since, slots_by_policy
from coordinator.undone import read_failed_undos
from tasks.catalog import (
    Account,
    DeadLetter,
    Job,
    MissedSlots,
    Outbox,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Resource,
    Run,
    Schedule,
    database,
    rows,
)
from tasks.catalog.era import place_of, rebuilt_places, taken_over_at
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.freshness import dated, freshness
from tasks.catalog.point import DELETED_ELSEWHERE
from tasks.catalog.pools import COMMON, Pools, due_by_pool, oldest_messages, read_fleet, read_pools
from tasks.catalog.standstill import standstill
from tasks.lanes import LANES, Lane
from tasks.states import AccountState, JobState, PointState, RunState

# How long a report of missed slots is worth an alert; the list of missed slots keeps it for ever.
MISSED_FOR = timedelta(hours=24)
# How long points that somebody else deleted are worth an alert: until whoever is back from a week's leave has seen it.
LOST_FOR = timedelta(days=7)
# A catalog that took over a lost one's id is rebuilt within this time, or somebody has forgotten it.
REBUILT_WITHIN = timedelta(days=1)
# Statements take a limited number of parameters (SQLite: 32,766).
CHUNK = 500
_ENDED = (RunState.DONE, RunState.PARTIAL, RunState.FAILED)
# The newest run of each policy that looked at all its targets and has ended.
_NEWEST = """
SELECT p.name, (
  SELECT r.id FROM run r
  WHERE r.policy_id = p.id AND r.state IN ('done', 'partial', 'failed') AND CAST(r."only" AS TEXT) = '[]'
    AND r.slot_at <= {latest}
  ORDER BY r.slot_at DESC LIMIT 1
) FROM policy p WHERE p.enabled AND p.deleted_at IS NULL
"""


def read_facts(at: datetime, now: datetime) -> Facts:
    """Everything but stale and lost points, at machine time `at` and calendar time `now`."""
    pools = read_pools()
    due = due_by_pool(pools, at) if pools.names else {}
    newest = {run: policy for policy, run in database.execute_sql(dated(_NEWEST, now)).fetchall() if run is not None}
    return Facts(
        targets=_failed_targets(newest),
        given_up=_failed_targets(_open_runs()),
        runs=_failed_runs(newest),
        missed=_missed(now),
        accounts=_accounts(),
        letters=_letters(),
        lanes=_lanes(at, pools, due),
        pools=_pools(at, pools, due),
        undos=read_failed_undos(at),
        clock=read_wrong_clock(now),
        still=standstill(),
    )


def read_stale(now: datetime) -> list[StalePolicy]:
    """Policies with a target whose newest good point is too old. Looks at every target."""
    specs: Any = Schedule.select(Schedule.id, Schedule.spec).tuples()
    joins: Any = PolicySchedule.select(PolicySchedule.policy, PolicySchedule.schedule).tuples()
    slots = slots_by_policy(list(specs), list(joins), now)
    found = []
    for one in freshness(now):
        due = due_since(slots.get(one.policy_id, ()), one.first_slot_at)
        if due is not None and one.newest_point_at is not None and one.newest_point_at < due:
            found.append(StalePolicy(one.policy, one.newest_point_at, due, one.targets))
    return found


def read_lost(at: datetime) -> list[LostPoints]:
    """Policies with points that somebody else deleted, as found lately. Looks at every such point: there may be as many
    as an account has."""
    columns = [Policy.name, Point.id, Resource.external_id, Point.error_text]
    lost = Point.select(*columns).join(Policy).switch(Point).join(Resource)
    lately = [Point.state == PointState.LOST, Point.error_code == DELETED_ELSEWHERE, Point.deleted_at > at - LOST_FOR]
    found: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for policy, *point in rows(lost.where(*lately).order_by(Point.deleted_at.desc(), Point.id)):
        found[policy].append((point[0], point[1], point[2]))
    return [LostPoints(policy, [one[:2] for one in points], points[0][2]) for policy, points in found.items()]


def read_unrebuilt(at: datetime) -> list[str]:
    """Places that were looked at and await their rebuilding since a day, in words."""
    since = taken_over_at()
    if since is None or since >= at - REBUILT_WITHIN:
        return []
    looks, done = read_looks(), rebuilt_places()
    return [
        f"{name} {region} {service}"
        for name, region, service in sorted(looks.finished)
        if region in looks.accounts[name].regions
        and service in services_of(looks.accounts[name].cloud)
        and place_of(looks.accounts[name].id, region, service) not in done
    ]


def _failed_targets(newest: dict[int, str]) -> list[FailedTarget]:
    """Targets that failed for good in these runs (to their policies), and in no later run of the policy succeeded."""
    found: list[FailedTarget] = []
    runs = sorted(newest)
    for start in range(0, len(runs), CHUNK):
        jobs: Any = (
            Job.select(Job, Resource.id, Resource.external_id, Account.name)
            .join(Resource)
            .switch(Job)
            .join(Account)
            .where(
                Job.run.in_(runs[start : start + CHUNK]),
                Job.state == JobState.FAILED,
                Job.error_code != TWO_HOPS,  # two other jobs do what that one could not
                Resource.gone_at.is_null(),
            )
            .order_by(Job.id)
        )
        failed = {(newest[job.run_id], job.resource_id): job for job in jobs}
        recovered = _recovered({job.resource_id for job in failed.values()}, newest)
        found += [
            FailedTarget(
                policy=policy,
                account=job.account.name,
                region=job.region,
                resource=job.resource.external_id,
                run=job.run_id,
                code=job.error_code,
                text=job.error_text,
            )
            for (policy, resource), job in failed.items()
            if recovered.get((policy, resource), 0) <= job.run_id
        ]
    return found


def _open_runs() -> dict[int, str]:
    """Runs that still go on, to their policies: a job that has failed in one is not tried again by itself."""
    found: Any = Run.select(Run.id, Policy.name).join(Policy)
    return dict(found.where(Run.state == RunState.OPEN, Policy.deleted_at.is_null()).tuples())


def _recovered(resources: set[int], newest: dict[int, str]) -> dict[tuple[str, int], int]:
    """(policy, resource) to its newest run in which a job was done and none failed; runs after the newest full ones."""
    if not resources:
        return {}
    oldest = min(newest)
    outcome: dict[tuple[str, int, int], bool] = defaultdict(lambda: True)
    numbers = sorted(resources)
    for start in range(0, len(numbers), CHUNK):
        jobs: Any = (
            Job.select(Job.run, Job.resource, Job.state, Policy.name)
            .join(Run)
            .join(Policy)
            .where(
                Job.resource.in_(numbers[start : start + CHUNK]),
                Job.run >= oldest,
                Job.state.in_([JobState.DONE, JobState.FAILED]),
                Job.error_code != TWO_HOPS,
            )
            .tuples()
        )
        for run, resource, state, policy in jobs:
            outcome[policy, resource, run] &= state == JobState.DONE
    found: dict[tuple[str, int], int] = {}
    for (policy, resource, run), good in outcome.items():
        if good:
            found[policy, resource] = max(run, found.get((policy, resource), 0))
    return found


def _failed_runs(newest: dict[int, str]) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    runs = sorted(newest)
    for start in range(0, len(runs), CHUNK):
        failed: Any = Run.select(Run.id, Run.targets).where(
            Run.id.in_(runs[start : start + CHUNK]), Run.state == RunState.FAILED
        )
        found += [(newest[run.id], run.id, run.targets) for run in failed]
    return found


def _missed(now: datetime) -> list[tuple[str, int, datetime, datetime]]:
    rows: Any = (
        MissedSlots.select(MissedSlots, Policy.name)
        .join(Policy)
        .where(MissedSlots.recorded_at > now - MISSED_FOR, Policy.deleted_at.is_null())
        .order_by(MissedSlots.id)
    )
    merged: dict[str, tuple[str, int, datetime, datetime]] = {}
    for row in rows:
        name = row.policy.name
        _, count, first, last = merged.get(name, (name, 0, row.first_at, row.last_at))
        merged[name] = (name, count + row.count, min(first, row.first_at), max(last, row.last_at))
    return list(merged.values())


def _accounts() -> list[tuple[str, str]]:
    rows: Any = Account.select().where(Account.enabled, Account.state == AccountState.UNREACHABLE)
    return [(row.name, row.state_text) for row in rows.order_by(Account.name)]


def _letters() -> dict[str, int]:
    rows: Any = DeadLetter.select(DeadLetter.lane, fn.COUNT(DeadLetter.id)).where(DeadLetter.state == "open")
    return dict(rows.group_by(DeadLetter.lane).tuples())


def _pools(at: datetime, pools: Pools, due: Mapping[tuple[str, str], datetime]) -> list[PoolFact]:
    """What waits in each pool for a lane that nobody takes there."""
    served = read_fleet(at).served if pools.names else frozenset()
    found = []
    for pool in pools.names:
        idle = {lane: since for (lane, name), since in due.items() if name == pool and (lane, pool) not in served}
        if idle:
            found.append(PoolFact(pool, min(idle.values()), tuple(sorted(idle))))
    return found


def _lanes(at: datetime, pools: Pools, due: Mapping[tuple[str, str], datetime]) -> list[LaneFact]:
    """The lanes of the common pool; without any binding, that is everything."""
    workers: dict[str, int] = defaultdict(int)
    for process in Process.select().where(Process.seen_at > at - SILENT_AFTER, ~Process.draining):
        for lane in process.lanes if process.pool == COMMON else ():
            workers[lane] += 1
    unsent = oldest_messages(at)
    return [_lane(lane, workers[lane], at, pools, due.get((lane, COMMON)), unsent.get(lane)) for lane in LANES]


def _lane(
    lane: Lane, workers: int, at: datetime, pools: Pools, due_in_common: datetime | None, unsent: datetime | None
) -> LaneFact:
    free = None
    if unsent is not None:
        ready: Any = Outbox.select(fn.MIN(Outbox.ready_at)).where(Outbox.lane == lane, Outbox.ready_at <= at)
        # Copies wait for their slot, jobs of a chain for each other, and those of a pool for its workers: that is not
        # the broker's doing.
        bound = {*pools.accounts, *(account for account, _ in pools.regions)}
        mine = Job.account.not_in(sorted(bound)) if bound else Job.id.is_null(False)
        free = _least(ready.join(Job).where(Job.slots == 0, Job.chain == "", mine))
    queued: Any = Job.select(fn.MIN(Job.not_before_at)).where(Job.state == JobState.QUEUED, Job.lane == lane)
    due = due_in_common
    if not pools.names:
        due = min((one for one in (unsent, _least(queued)) if one is not None), default=None)
    in_broker = Job.select().where(Job.state == JobState.QUEUED, Job.lane == lane).count() if free else 0
    return LaneFact(
        lane=str(lane),
        due_at=due,
        unsent_at=free,
        moved_at=_moved(lane, at) if free else None,
        has_room=in_broker < LANES[lane].capacity,
        workers=workers,
    )


def _moved(lane: Lane, at: datetime) -> datetime | None:
    """When a message of the lane was last published, as far as open jobs and those of the last minutes tell."""
    recent = timedelta(minutes=5)
    newest: Any = Job.select(fn.MAX(Job.published_at)).where(
        Job.lane == lane,
        Job.state.in_([JobState.QUEUED, JobState.RUNNING, JobState.WAITING]) | (Job.finished_at > at - recent),
    )
    return _least(newest)


def _least(query: Any) -> datetime | None:
    read: Any = Outbox.ready_at.python_value
    return read(query.scalar())  # type: ignore[no-any-return]
