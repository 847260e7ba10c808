"""What `elastic` weighs, read from the catalog: what waits, what jobs take, who works. Inside the caller's session."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from peewee import JOIN, fn

from coordinator.elastic import PROMISED, UNMEASURED_SECONDS, Crew, Need, Work, needs
from tasks.catalog import Counter, Job, Outbox, PolicySchedule, Process, Run
from tasks.catalog.fleet import SILENT_AFTER
from tasks.catalog.pools import Pools, read_pools
from tasks.lanes import Lane
from tasks.states import JobState
from tasks.telemetry import BUCKET, MICRO, SUM

DURATION = "snapfleet_job_duration_seconds"
# Over this long arrivals are averaged: a nightly herd is work with a deadline, and no steady load.
ARRIVALS_OVER = timedelta(hours=1)
# The newest jobs among which arrivals are counted: `created_at` has no index, and ids are given in its order.
ARRIVALS_AMONG = 50_000


def read_needs(at: datetime, now: datetime, threads_each: int) -> list[Need]:
    """What each pool needs at machine time `at` and calendar time `now`."""
    pools, seconds = read_pools(), mean_seconds()
    return needs(_work(pools, seconds, at, now), _crews(at), _arriving(pools, seconds, at), threads_each)


def mean_seconds() -> dict[str, float]:
    """What a job of each kind takes a worker's thread, on average since the first one was measured."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = {}
    names = [DURATION + BUCKET, DURATION + SUM]
    query: Any = Counter.select(Counter.name, Counter.labels, Counter.value).where(Counter.name.in_(names))
    for name, labels, value in query.tuples():
        kind = json.loads(labels)["kind"]
        if name.endswith(SUM):
            sums[kind] = value
        else:
            counts[kind] += value
    return {kind: sums.get(kind, 0) / MICRO / count for kind, count in counts.items() if count}


def _work(pools: Pools, seconds: Mapping[str, float], at: datetime, now: datetime) -> list[Work]:
    """What could run now and what runs, by lane, pool, place and deadline."""
    left = _left(now)
    columns = (Job.lane, Job.kind, Job.account, Job.region, Run.policy)
    queued: Any = (
        Job.select(*columns, fn.COUNT(Job.id))
        .join(Run, JOIN.LEFT_OUTER)
        .where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
        .group_by(*columns)
    )
    ready: Any = (
        Outbox.select(*columns, fn.COUNT(Outbox.job))
        .join(Job)
        .join(Run, JOIN.LEFT_OUTER)
        .where(Outbox.ready_at <= at, Job.state == JobState.PENDING)
        .group_by(*columns)
    )
    return [
        Work(
            Lane(lane),
            pools.of(account, region),
            jobs,
            seconds.get(kind, UNMEASURED_SECONDS),
            left.get(policy, PROMISED[Lane(lane)]),
        )
        for lane, kind, account, region, policy, jobs in [*queued.tuples(), *ready.tuples()]
    ]


def _left(now: datetime) -> dict[int | None, float]:
    """Seconds until the next slot of each policy that has one."""
    read: Any = PolicySchedule.next_slot_at.python_value
    query: Any = PolicySchedule.select(PolicySchedule.policy, fn.MIN(PolicySchedule.next_slot_at)).where(
        PolicySchedule.next_slot_at.is_null(False)
    )
    rows = query.group_by(PolicySchedule.policy).tuples()
    return {policy: (read(slot) - now).total_seconds() for policy, slot in rows}


def _crews(at: datetime) -> dict[str, Crew]:
    found: dict[str, Crew] = {}
    fresh = Process.seen_at > at - SILENT_AFTER
    for row in Process.select().where(Process.role == "worker", fresh, ~Process.draining, Process.wanted == ""):
        crew = found.get(row.pool, Crew(0, 0))
        found[row.pool] = Crew(crew.workers + 1, crew.threads + row.threads)
    return found


def _arriving(pools: Pools, seconds: Mapping[str, float], at: datetime) -> dict[str, float]:
    """Thread-seconds a second of new jobs in each pool, over the last hour or as far back as is looked."""
    newest = Job.select(fn.MAX(Job.id)).scalar() or 0
    columns = (Job.kind, Job.account, Job.region)
    query: Any = Job.select(*columns, fn.COUNT(Job.id), fn.MIN(Job.created_at)).where(
        Job.id > newest - ARRIVALS_AMONG, Job.created_at > at - ARRIVALS_OVER
    )
    rows = list(query.group_by(*columns).tuples())
    read: Any = Job.created_at.python_value
    jobs = sum(count for *_, count, _ in rows)
    since = min((read(oldest) for *_, oldest in rows), default=at) if jobs >= ARRIVALS_AMONG else at - ARRIVALS_OVER
    window = max(1.0, (at - since).total_seconds())
    found: dict[str, float] = defaultdict(float)
    for kind, account, region, count, _ in rows:
        found[pools.of(account, region)] += count * seconds.get(kind, UNMEASURED_SECONDS) / window
    return dict(found)
