"""The metrics endpoint's figures: the whole vocabulary, read from the catalog when somebody asks.

One exporter is right for any number of processes: gauges are statements over the catalog, counters and histograms the
sums that all processes have written there. Nothing here names a resource, and the answer never exceeds MAX_SERIES.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

from peewee import fn
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from admin.figures import (
    Estate,
    Slow,
    account_states,
    missed_slots,
    open_alerts,
    open_families,
    policy_figures,
    runs_of_last_day,
    tuples,
)
from admin.health import LaneHealth, live_processes, queue_health
from admin.protection import count_states
from coordinator.elastic_facts import read_needs
from tasks.catalog import Counter, Delivery, Lease, Operation, Outbox, Request, Restore, session
from tasks.clock import Clock
from tasks.states import OperationState, RequestState, RestoreState
from tasks.telemetry import BUCKET, METRICS, MICRO, SUM, Kind, Metric, bound

# Several scrapers and people come at once; what was read this recently is shown again.
FRESH_SECONDS = 5.0
# A scrape of 10,000 series takes 0.17 s to write (measured 2026-11 with prometheus-client 0.26).
MAX_SERIES = 10_000
# Three series a policy: the rest of the vocabulary has its room in any case.
MAX_POLICIES = 2_000
MAX_POOLS = 50
COMMON_LABEL = "common"  # the pool of what is bound to none: an empty label would be no label
THREADS_EACH = 8  # of a worker, where none tells: the setting's default
# Counters with few possible series are shown from zero on, so that a first failure is an increase.
ZEROES = 100

Values = dict[tuple[str, ...], float]


class CatalogCollector(Collector):
    """What prometheus_client asks for the figures."""

    def __init__(self, clock: Clock, estate: Estate) -> None:
        self._clock = clock
        self._estate = estate
        self._lock = threading.Lock()
        self._read_at = -FRESH_SECONDS
        self._families: list[Any] = []

    def collect(self) -> Iterable[Any]:
        """The families; read at most every FRESH_SECONDS however many ask. Raises Unavailable without a catalog."""
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                self._families = list(families(self._clock, self._estate.slow(self._clock.now())))
                self._read_at = time.monotonic()
            return self._families

    def describe(self) -> Iterable[Any]:
        """Nothing: registering must not read the catalog."""
        return ()


def registry(clock: Clock, estate: Estate) -> CollectorRegistry:
    """A registry with the catalog's figures and nothing of this process."""
    made = CollectorRegistry()
    made.register(CatalogCollector(clock, estate))
    return made


def families(clock: Clock, slow: Slow) -> Iterator[Any]:
    """Every metric of the vocabulary, read now."""
    started = time.monotonic()
    with session():
        gauges, omitted = read_gauges(clock, slow)
        rows = _counter_rows()
        rows["snapfleet_slots_missed_total"] = {"{}": missed_slots()}
    gauges["snapfleet_collect_duration_seconds"] = {(): time.monotonic() - started}
    gauges["snapfleet_series_omitted"] = {(): omitted}
    for metric in METRICS.values():
        if metric.kind is Kind.GAUGE:
            yield _gauge(metric, gauges[metric.name])
        elif metric.kind is Kind.COUNTER:
            yield _counter(metric, rows.get(metric.name, {}))
        else:
            yield _histogram(metric, rows.get(metric.name + BUCKET, {}), rows.get(metric.name + SUM, {}))


def read_gauges(clock: Clock, slow: Slow) -> tuple[dict[str, Values], int]:
    """Label values to figure for each gauge, and how many series had to be left out. Needs a session."""
    at, now = clock.timer(), clock.now()
    lanes = queue_health(clock)
    found: dict[str, Values] = {
        "build_info": {(_version(),): 1},
        "queue_jobs": {(lane["lane"], state): n for lane in lanes for state, n in _lane_states(lane).items()},
        "queue_oldest_age_seconds": {(lane["lane"],): lane["oldest_age_s"] for lane in lanes},
        "queue_consumers": {(lane["lane"],): lane["consumers"] for lane in lanes},
        "dead_letters": {(lane["lane"],): lane["dead"] for lane in lanes},
        "runs": _by_value("runs", runs_of_last_day(at)),
        "points": _by_value("points", slow.points),
        "resources": {("yes",): slow.protected, ("no",): slow.resources - slow.protected},
        "accounts": _by_value("accounts", account_states()),
        "alerts_open": _by_value("alerts_open", open_alerts()),
        "alerts_open_by_family": _by_value("alerts_open_by_family", open_families()),
        "restores_open": {(): Restore.select().where(Restore.state.in_(_RESTORES_OPEN)).count()},
        "webhook_deliveries_waiting": {(): Delivery.select().count()},
        "sweep_lease_held": {(): Lease.select().where(Lease.name == "sweep", Lease.until_at > at).count()},
        "resources_rpo": _by_value("resources_rpo", count_states(slow.targets, slow.resources, now)),
        **_elastic(at, now),
        **_backlog(at),
        **_operations(at),
        **_processes(clock),
    }
    policies, omitted = _policies(slow, now)
    return {f"snapfleet_{name}": values for name, values in (found | policies).items()}, omitted


_RESTORES_OPEN = (RestoreState.REQUESTED, RestoreState.RUNNING, RestoreState.UNDOING)


def _lane_states(lane: LaneHealth) -> Mapping[str, int]:
    return {
        "ready": lane["ready"] - lane["in_broker"],
        "published": lane["in_broker"],
        "delayed": lane["delayed"],
        "running": lane["running"],
        "waiting": lane["waiting"],
    }


def _by_value(name: str, counts: Mapping[str, int]) -> Values:
    """Counts by the gauge's only label: every value it may have, zeros included."""
    metric = METRICS[f"snapfleet_{name}"]
    (label,) = metric.labels
    values: Values = {(value,): 0.0 for value in sorted(metric.values[label] or ())}
    for value, count in counts.items():
        key: tuple[str, ...] = (bound(metric, label, value),)
        values[key] = values.get(key, 0) + count
    return values


def _backlog(at: datetime) -> dict[str, Values]:
    """What waits for a coordinator: due messages, wishes."""
    due = Outbox.select(fn.COUNT(Outbox.job), fn.MIN(Outbox.ready_at)).where(Outbox.ready_at <= at)
    new = Request.select(fn.COUNT(Request.id), fn.MIN(Request.created_at)).where(Request.state == RequestState.NEW)
    found: dict[str, Values] = {}
    for name, query in (("outbox", due), ("requests", new)):
        count, oldest = tuples(query)[0]
        found["outbox_messages" if name == "outbox" else "requests_waiting"] = {(): count}
        found[f"{name}_oldest_age_seconds"] = {(): _age(oldest, at)}
    return found


def _elastic(at: datetime, now: datetime) -> dict[str, Values]:
    """What an autoscaler reads. Pools beyond the first MAX_POOLS are left out: nobody runs so many sites."""
    found = read_needs(at, now, THREADS_EACH)[:MAX_POOLS]
    return {
        "backlog_seconds": {
            (str(lane), one.pool or COMMON_LABEL): seconds for one in found for lane, seconds in one.clears.items()
        },
        "workers": {(one.pool or COMMON_LABEL,): one.workers for one in found},
        "workers_needed": {(one.pool or COMMON_LABEL,): one.needed for one in found},
    }


def _operations(at: datetime) -> dict[str, Values]:
    running = Operation.select(Operation.service, fn.COUNT(Operation.id), fn.MIN(Operation.started_at))
    rows = tuples(running.where(Operation.state == OperationState.RUNNING).group_by(Operation.service))
    return {
        "operations_running": _by_value("operations_running", {service: count for service, count, _ in rows}),
        "operations_oldest_age_seconds": {(): max((_age(oldest, at) for *_, oldest in rows), default=0.0)},
    }


def _processes(clock: Clock) -> dict[str, Values]:
    roles: dict[str, int] = defaultdict(int)
    busy = threads = 0
    for process in live_processes(clock):
        roles[process.role] += 1
        busy, threads = busy + process.busy, threads + process.threads
    return {
        "processes": _by_value("processes", roles),
        "process_threads": {("busy",): busy, ("idle",): max(0, threads - busy)},
    }


def _policies(slow: Slow, now: datetime) -> tuple[dict[str, Values], int]:
    """Three gauges for each policy, those furthest behind first where there are too many."""
    found = policy_figures(slow.fresh, now)
    found.sort(key=lambda one: (not one.behind, -(one.point_age.total_seconds() if one.point_age else 0)))
    shown, left = found[:MAX_POLICIES], found[MAX_POLICIES:]
    successes = ((one.fresh.policy, one.fresh.last_success_at) for one in shown)
    return {
        "policy_last_success_timestamp_seconds": {(name,): time.timestamp() for name, time in successes if time},
        "policy_point_age_seconds": {
            (one.fresh.policy,): one.point_age.total_seconds() for one in shown if one.point_age is not None
        },
        "policy_point_age_limit_seconds": {
            (one.fresh.policy,): one.too_old.total_seconds() for one in shown if one.too_old is not None
        },
    }, 3 * len(left)


def _age(oldest: Any, at: datetime) -> float:
    read: Any = Outbox.ready_at.python_value
    return 0.0 if oldest is None else max(0.0, (at - read(oldest)).total_seconds())


def _version() -> str:
    try:
        return version("snapfleet")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "unknown"


def _counter_rows() -> dict[str, dict[str, int]]:
    """Counter rows by name and labels; names that this version does not know are left alone."""
    rows: dict[str, dict[str, int]] = defaultdict(dict)
    for name, labels, value in tuples(Counter.select(Counter.name, Counter.labels, Counter.value)):
        rows[name][labels] = value
    return rows


def _gauge(metric: Metric, values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _counter(metric: Metric, rows: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    values = dict.fromkeys(_zeroes(metric), 0.0)
    values |= {_key(metric, labels): float(value) for labels, value in rows.items()}
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, buckets: Mapping[str, int], sums: Mapping[str, int]) -> HistogramMetricFamily:
    bounds = [*(f"{bound:g}" for bound in metric.buckets), "+Inf"]
    counts: dict[tuple[str, ...], dict[str, int]] = {key: {} for key in _zeroes(metric)}
    for text, count in buckets.items():
        counts.setdefault(_key(metric, text), {})[json.loads(text)["le"]] = count
    totals = {_key(metric, text): value / MICRO for text, value in sums.items()}
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for key, found in counts.items():
        running, cumulative = 0, []
        for limit in bounds:
            running += found.get(limit, 0)
            cumulative.append((limit, running))
        family.add_metric(key, cumulative, totals.get(key, 0.0))
    return family


def _key(metric: Metric, labels: str) -> tuple[str, ...]:
    read = json.loads(labels)
    return tuple(read[label] for label in metric.labels)


def _zeroes(metric: Metric) -> list[tuple[str, ...]]:
    """The series of a metric whose labels have few values, else none."""
    values = [sorted(metric.values[label] or ()) for label in metric.labels]
    size = 1
    for one in values:
        size *= len(one)
    return list(product(*values)) if 0 < size <= ZEROES else []
