"""The metric vocabulary, and the counters that processes add to.

Every metric of Snapfleet is named here and nowhere else: rules, dashboards and agents are checked against this table.
Names start with `snapfleet_`, units are base units, `_total` is on counters only. Labels are few and bounded: a value
that a label does not know becomes `other`, and none is ever the id or the name of a resource.

Gauges are read from the catalog when somebody asks (admin.metrics). Counters and histograms are added up by each
process in memory and written to the catalog's Counter rows in batches, so that one exporter shows the sum of all
processes, past ones included.
"""

import json
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from peewee import EXCLUDED

from tasks.catalog import Counter, transaction
from tasks.errors import SnapfleetError
from tasks.lanes import Lane
from tasks.resources import TYPES
from tasks.states import OperationState, RestoreState, RunState

OTHER = "other"
BUCKET, SUM = "_bucket", "_sum"
MICRO = 1_000_000  # sums of seconds are kept as whole microseconds: Counter rows hold integers
# A statement's parameters are limited (SQLite: 32,766); three a row.
_ROWS_A_STATEMENT = 1000

# From a cloud call of some 10 ms to a copy of many hours.
SECONDS = (0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
TICK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric. `values` maps each label to the values it may have; None stands for names that operators
    give, of policies and worker pools."""

    name: str
    kind: Kind
    help: str
    unit: str
    values: Mapping[str, frozenset[str] | None]
    buckets: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names, in the order in which they are shown."""
        return tuple(self.values)


def _subclasses(kind: type[SnapfleetError]) -> set[str]:
    return {kind.code}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def _actions() -> set[str]:
    every = (
        action
        for item in TYPES.values()
        for action in (*item.backup_actions, *item.copy_actions, *item.restore_actions, *item.delete_actions)
    )
    return {action.rpartition(":")[2] for action in every}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LANES = frozenset(str(lane) for lane in Lane)
_KINDS = _set(
    "snapshot copy restore-step restore-undo poll discover check cleanup archive archive-cleanup repository sync-part "
    "export-cold"
)
_SERVICES = frozenset({item.service for item in TYPES.values()} | {"sts", "kms", "iam", "ebs", "s3", "compute"})
_OPERATIONS = frozenset(_actions() | {"AssumeRole", "GetCallerIdentity", "DescribeKey", "SimulatePrincipalPolicy"})
_CODES = frozenset(_subclasses(SnapfleetError) | {"cancelled", "crash-loop", "place-strained"})
_REFUSALS = _set(
    "not-json too-large too-deep unsigned unknown-key bad-signature wrong-type missing-field unknown-field "
    "unknown-version out-of-range options args unknown-queue"
)
_EXPIRY = _set("superseded outlived failed_superseded intermediate intermediate_done failed lost outdated")
_FAMILIES = _set(
    "target-failing targets-failing targets-given-up run-failed slots-missed account-unreachable dead-letters "
    "no-worker pool-without-worker outbox-stuck points-too-old never-ran paused-too-long coverage-dropped zero-data "
    "completed-with-warnings tags-unread brake clock-wrong restore-left-over repository-damaged "
    "repository-failing points-lost tags-drifted rebuild-missing"
)
_STATES = _set("ready published delayed running waiting")

LABEL_VALUES: Mapping[str, frozenset[str] | None] = MappingProxyType(
    {
        "lane": _LANES,
        "kind": _KINDS,
        "service": _SERVICES,
        "operation": _OPERATIONS,
        "code": _CODES,
        "policy": None,
        "pool": None,
    }
)
"""Labels that mean the same wherever they occur; the others are given with their metric."""


def _metric(kind: Kind, name: str, help_text: str, *labels: str, **own: str) -> Metric:
    """A row of the table: shared labels by name, own ones as `label="value value …"`."""
    values = {label: LABEL_VALUES[label] for label in labels}
    values |= {label: frozenset(text.split()) for label, text in own.items()}
    unit = next((unit for unit in ("seconds", "bytes") if f"_{unit}" in name), "")
    buckets = () if kind is not Kind.HISTOGRAM else TICK_SECONDS if "tick" in name else SECONDS
    return Metric(f"snapfleet_{name}", kind, help_text, unit, MappingProxyType(values), buckets)


def _counter(name: str, help_text: str, *labels: str, **own: str) -> Metric:
    return _metric(Kind.COUNTER, name, help_text, *labels, **own)


def _gauge(name: str, help_text: str, *labels: str, **own: str) -> Metric:
    return _metric(Kind.GAUGE, name, help_text, *labels, **own)


def _histogram(name: str, help_text: str, *labels: str) -> Metric:
    return _metric(Kind.HISTOGRAM, name, help_text, *labels)


def _words(values: Iterable[str]) -> str:
    return " ".join(str(value) for value in values)


_GAUGES = (
    _gauge("build_info", "Always 1; the version is a label.", version="0"),
    _gauge("queue_jobs", "Jobs of a lane, by what they wait for.", "lane", state=_words(sorted(_STATES))),
    _gauge("queue_oldest_age_seconds", "How long the oldest job that could run has been due.", "lane"),
    _gauge("queue_consumers", "Live worker processes that take a lane.", "lane"),
    _gauge("dead_letters", "Messages that nobody could read and nobody has handled.", "lane"),
    _gauge("outbox_messages", "Messages that are due and not yet confirmed by the broker."),
    _gauge("outbox_oldest_age_seconds", "How long the oldest of them has been due."),
    _gauge("operations_running", "What clouds are doing for us.", "service"),
    _gauge("operations_oldest_age_seconds", "How long the oldest of them has been running."),
    _gauge("processes", "Processes that reported lately.", role="coordinator worker web up"),
    _gauge("process_threads", "Threads of live workers.", state="busy idle"),
    _gauge("sweep_lease_held", "1 while a coordinator holds the lease for estate-wide sweeps."),
    _gauge("runs", "Runs begun in the last 24 hours, by state.", state=_words(RunState)),
    _gauge("restores_open", "Restores that are not finished."),
    _gauge("requests_waiting", "Wishes that no coordinator has picked up."),
    _gauge("requests_oldest_age_seconds", "How long the oldest of them has been waiting."),
    _gauge("points", "Recovery points, by state.", state="creating good failed expiring outdated lost"),
    _gauge("resources", "Resources that exist, with and without a good recovery point.", protected="yes no"),
    _gauge(
        "resources_rpo",
        "Resources by whether they keep what their policies promise.",
        state="waiting met at-risk breached unprotected",
    ),
    _gauge("backlog_seconds", "How long the workers there are need for what waits.", "lane", "pool"),
    _gauge("workers", "Live workers of a pool that do not drain.", "pool"),
    _gauge("workers_needed", "Workers that a pool needs so that nothing waits beyond its policy's next slot.", "pool"),
    _gauge("accounts", "Accounts in use, by what the last contact said.", state="unknown reachable unreachable"),
    _gauge("alerts_open", "Alerts that are open.", severity="info warning critical"),
    _gauge("alerts_open_by_family", "Alerts that are open, by what they are about.", family=_words(sorted(_FAMILIES))),
    _gauge("webhook_deliveries_waiting", "Webhook calls that no receiver has taken yet."),
    _gauge("policy_last_success_timestamp_seconds", "When the newest run that reached all targets ended.", "policy"),
    _gauge("policy_point_age_seconds", "Age of the newest good point of the target that is worst off.", "policy"),
    _gauge("policy_point_age_limit_seconds", "Age at which a point is too old: two slots have come since.", "policy"),
    _gauge("collect_duration_seconds", "How long reading these figures from the catalog took."),
    _gauge("series_omitted", "Series left out to keep the answer small."),
)
_COUNTERS = (
    _counter("slots_started_total", "Slots that became a run."),
    _counter("slots_missed_total", "Slots that no coordinator was there for, coalesced into a newer one."),
    _counter("runs_finished_total", "Runs that ended.", state=_words(RunState)),
    _counter("tick_errors_total", "Ticks of a coordinator that ended with an error."),
    _counter("publish_confirms_total", "What the broker said to a message.", "lane", result="confirmed refused"),
    _counter("messages_republished_total", "Messages sent again because nobody had claimed their job.", "lane"),
    _counter("messages_refused_total", "Bodies that were not ours.", "lane", reason=_words(sorted(_REFUSALS))),
    _counter("messages_redelivered_total", "Messages that the broker delivered again.", "lane"),
    _counter("messages_stale_total", "Messages of a lost connection that were finished.", "lane"),
    _counter("duplicates_dropped_total", "Messages whose job had been claimed already.", "lane"),
    _counter("jobs_claimed_total", "Jobs taken by a worker.", "lane"),
    _counter(
        "job_attempts_total",
        "Attempts, by how they ended; deferred ones cost nothing.",
        "kind",
        outcome="done waiting retry deferred failed fence-lost",
    ),
    _counter("job_errors_total", "Attempts that failed, by the code of the error.", "kind", "code"),
    _counter("lease_expirations_total", "Jobs taken back from a worker that went silent.", "lane"),
    _counter(
        "api_calls_total", "Calls to clouds.", "service", "operation", result="ok throttled denied failed unanswered"
    ),
    _counter("api_throttles_total", "Calls that a cloud refused because they were too many.", "service", "operation"),
    _counter("operations_polled_total", "Answers about running operations.", "service"),
    _counter("operations_finished_total", "Operations that ended.", "service", state=_words(OperationState)),
    _counter("points_completed_total", "Points that became good.", role="snapshots image copy intermediate archive"),
    _counter("points_failed_total", "Points that stayed no good.", role="snapshots image copy intermediate archive"),
    _counter("points_deleted_total", "Points that were deleted, by why.", reason=_words(sorted(_EXPIRY))),
    _counter(
        "deletions_refused_total", "Deletions that a check refused.", reason="held locked floor in-use changed brake"
    ),
    _counter("repository_bytes_total", "Bytes of volumes that archives have read and stored.", moved="read stored"),
    _counter("restores_finished_total", "Restores that ended.", state=_words(RestoreState)),
    _counter("scans_total", "Looks at what exists.", "service", result="ok failed denied"),
    _counter("access_forgotten_total", "Access to blocks that dead workers had left open, and that was revoked."),
    _counter("webhook_attempts_total", "Webhook calls, by what became of them.", result="delivered failed refused"),
    _counter("logins_total", "Logins to the page.", result="accepted refused limited"),
)
_HISTOGRAMS = (
    _histogram("tick_duration_seconds", "How long a tick of a coordinator took."),
    _histogram("job_duration_seconds", "How long a worker had a job in hand.", "kind"),
    _histogram("job_queue_wait_seconds", "From when a job was due to when a worker took it.", "lane"),
    _histogram("api_call_duration_seconds", "How long a call to a cloud took.", "service"),
    _histogram("operation_duration_seconds", "How long a cloud worked on an operation.", "service"),
)
METRICS: Mapping[str, Metric] = MappingProxyType(
    {metric.name: metric for metric in (*_GAUGES, *_COUNTERS, *_HISTOGRAMS)}
)
"""The whole vocabulary by name."""

_THROTTLES = _set("RequestLimitExceeded TooManyRequestsException TooManyRequests SlowDown throttled 429")
_DENIALS = _set("UnauthorizedOperation AuthFailure denied AuthorizationFailed credentials-refused")
_UNANSWERED = _set("ConnectTimeoutError ReadTimeoutError EndpointConnectionError ConnectionClosedError")


def api_result(code: str) -> str:
    """The `result` of api_calls_total for the code with which a cloud's SDK ended a call ('ok' or '' is success)."""
    if code in ("", "ok"):
        return "ok"
    if code in _THROTTLES or "Throttl" in code:
        return "throttled"
    if code in _DENIALS or "AccessDenied" in code:
        return "denied"
    return "unanswered" if code in _UNANSWERED else "failed"


class Counters:
    """What one process has counted since its last flush. Threads share one; adding takes microseconds.

    Memory is bounded, since label values are. A process that dies loses what it counted since its last flush.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added: dict[tuple[str, str], int] = {}

    def add(self, name: str, value: int = 1, **labels: object) -> None:
        """Add to a counter of the vocabulary. Raises ValueError for a metric or a label that it does not have."""
        self._put({_row(name, Kind.COUNTER, _plain(labels)): value})

    def observe(self, name: str, seconds: float, **labels: object) -> None:
        """Add one duration to a histogram of the vocabulary. Raises ValueError as `add` does."""
        plain = _plain(labels)
        total = _row(name, Kind.HISTOGRAM, plain)
        bucket = _row(name, Kind.HISTOGRAM, plain, _fitting(METRICS[name].buckets, seconds))
        self._put({bucket: 1, total: round(max(0.0, seconds) * MICRO)})

    def api_call(self, service: str, operation: str, code: str, seconds: float) -> None:
        """Count one call to a cloud with everything the vocabulary says about calls."""
        result = api_result(code)
        self.add("snapfleet_api_calls_total", service=service, operation=operation, result=result)
        self.observe("snapfleet_api_call_duration_seconds", seconds, service=service)
        if result == "throttled":
            self.add("snapfleet_api_throttles_total", service=service, operation=operation)

    def flush(self) -> int:
        """Write what was added to the catalog; how many rows changed.

        All or nothing: when it raises (Unavailable, a database error), everything is kept for the next flush.
        """
        with self._lock:
            taken, self._added = self._added, {}
        if not taken:
            return 0
        try:
            with transaction():
                _write(taken)
        except BaseException:
            self._put(taken)
            raise
        return len(taken)

    def _put(self, amounts: Mapping[tuple[str, str], int]) -> None:
        with self._lock:
            for key, amount in amounts.items():
                self._added[key] = self._added.get(key, 0) + amount


_Labels = tuple[tuple[str, str], ...]


def _plain(labels: Mapping[str, object]) -> _Labels:
    return tuple([(name, str(value)) for name, value in labels.items()])


def _fitting(buckets: Sequence[float], seconds: float) -> str:
    place = bisect_left(buckets, seconds)
    return f"{buckets[place]:g}" if place < len(buckets) else "+Inf"


@lru_cache(maxsize=4096)  # every combination of a large fleet's labels
def _row(name: str, kind: Kind, labels: _Labels, le: str = "") -> tuple[str, str]:
    """The catalog's row of a counter, or of a histogram's sum, or of one of its buckets: name and labels."""
    given = dict(labels)
    metric = _known(name, kind, given)
    if kind is Kind.COUNTER:
        return name, canonical(metric, given)
    return (name + BUCKET, canonical(metric, given, le=le)) if le else (name + SUM, canonical(metric, given))


def canonical(metric: Metric, labels: Mapping[str, object], **extra: str) -> str:
    """The labels as the catalog keeps them: JSON with sorted keys, unknown values as `other`."""
    bounded = {name: bound(metric, name, labels[name]) for name in metric.labels}
    return json.dumps({**bounded, **extra}, sort_keys=True, separators=(",", ":"))


def bound(metric: Metric, label: str, value: object) -> str:
    """The value of a label, `other` when the vocabulary does not know it."""
    allowed = metric.values[label]
    return str(value) if allowed is None or str(value) in allowed else OTHER


def _known(name: str, kind: Kind, labels: Mapping[str, object]) -> Metric:
    metric = METRICS.get(name)
    if metric is None or metric.kind is not kind:
        raise ValueError(f"{name} is not a {kind} of the vocabulary")
    if set(labels) != set(metric.labels):
        raise ValueError(f"{name} has the labels {', '.join(metric.labels) or 'none'}, not {', '.join(labels)}")
    return metric


def _write(amounts: Mapping[tuple[str, str], int]) -> None:
    """Upsert in one order of rows, so that processes which flush together wait for each other and never deadlock."""
    rows = [{"name": name, "labels": labels, "value": value} for (name, labels), value in sorted(amounts.items())]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        Counter.insert_many(rows[start : start + _ROWS_A_STATEMENT]).on_conflict(
            conflict_target=[Counter.name, Counter.labels], update={Counter.value: Counter.value + EXCLUDED.value}
        ).execute()
