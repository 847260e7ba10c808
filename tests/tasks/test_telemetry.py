"""The vocabulary keeps its rules, and counters lose nothing."""

import json
import re
import threading

import pytest

from tasks.catalog import Counter, database, session, transaction
from tasks.lanes import Lane
from tasks.telemetry import METRICS, OTHER, Counters, Kind, api_result

LIMIT = 3_000  # series of all metrics without policies, whatever anybody counts


def values(name: str) -> dict[str, int]:
    with session():
        return {row.labels: row.value for row in Counter.select().where(Counter.name == name)}


@pytest.mark.unit
def test_names_follow_the_rules_of_prometheus() -> None:
    """Own prefix, base units, `_total` on counters only, a help text that is a sentence."""
    assert len(METRICS) > 40
    for metric in METRICS.values():
        assert re.fullmatch(r"snapfleet_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kib|mib|gib)(_|$)", metric.name)
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert metric.help.endswith(".")
        assert len(metric.labels) <= 3


@pytest.mark.unit
def test_the_number_of_series_is_bounded_by_the_table_itself() -> None:
    """No label takes a resource's id or name; only policies and worker pools are named."""
    total = 0
    for metric in METRICS.values():
        assert not {"resource", "run", "job", "point", "account", "region"} & set(metric.labels)
        if {"policy", "pool"} & set(metric.labels):
            assert metric.kind is Kind.GAUGE
            continue
        size = 1
        for allowed in metric.values.values():
            assert allowed
            size *= len(allowed) + 1
        if "operation" not in metric.labels:  # seldom called by more than one service
            total += size * (len(metric.buckets) + 3 if metric.buckets else 1)
    assert total < LIMIT


def test_what_several_threads_and_processes_count_is_added_up(catalog: str) -> None:
    """No increment is lost between threads, nor between two processes' flushes."""
    processes = [Counters(), Counters()]

    def count(counters: Counters) -> None:
        for _ in range(500):
            counters.add("snapfleet_jobs_claimed_total", lane=Lane.COPY)
            counters.observe("snapfleet_tick_duration_seconds", 0.2)

    for _ in range(2):
        threads = [threading.Thread(target=count, args=(counters,)) for counters in processes * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for counters in processes:
            counters.flush()
    assert values("snapfleet_jobs_claimed_total") == {'{"lane":"copy"}': 4000}
    assert values("snapfleet_tick_duration_seconds_bucket") == {'{"le":"0.25"}': 4000}
    assert values("snapfleet_tick_duration_seconds_sum") == {"{}": 800_000_000}


def test_a_flush_that_fails_keeps_everything_for_the_next(catalog: str) -> None:
    """What was counted meanwhile is kept as well; nothing is written twice."""
    counters = Counters()
    counters.add("snapfleet_slots_started_total", 3)
    with transaction():
        database.execute_sql("ALTER TABLE counter RENAME TO elsewhere")
    with pytest.raises(Exception, match="counter"):
        counters.flush()
    counters.add("snapfleet_slots_started_total", 4)
    with transaction():
        database.execute_sql("ALTER TABLE elsewhere RENAME TO counter")
    assert counters.flush() == 1
    assert counters.flush() == 0
    assert values("snapfleet_slots_started_total") == {"{}": 7}


def test_a_flush_inside_a_transaction_that_is_undone_is_the_callers_loss(catalog: str) -> None:
    """The rows belong to the transaction around them; flush outside of others."""
    counters = Counters()
    counters.add("snapfleet_slots_started_total")
    with pytest.raises(RuntimeError), transaction():
        counters.flush()
        raise RuntimeError
    assert values("snapfleet_slots_started_total") == {}


@pytest.mark.unit
def test_unknown_names_are_refused_and_unknown_values_become_other(embedded_catalog: str) -> None:
    """A wrong name is a defect; a strange value from outside is not."""
    counters = Counters()
    for name, labels in (
        ("snapfleet_nothing_total", {}),
        ("snapfleet_jobs_claimed_total", {}),
        ("snapfleet_jobs_claimed_total", {"lane": "copy", "resource": "vol-1"}),
        ("snapfleet_queue_jobs", {"lane": "copy", "state": "ready"}),
        ("snapfleet_tick_duration_seconds", {}),
    ):
        with pytest.raises(ValueError, match=name):
            counters.add(name, **labels)
    for value in ("vol-0123456789", '"}', "", "\x00"):
        counters.add("snapfleet_jobs_claimed_total", lane=value)
    counters.flush()
    assert values("snapfleet_jobs_claimed_total") == {json.dumps({"lane": OTHER}, separators=(",", ":")): 4}


@pytest.mark.unit
def test_one_call_to_a_cloud_is_counted_with_all_that_is_said_about_calls(embedded_catalog: str) -> None:
    """Throttles also count by themselves."""
    counters = Counters()
    counters.api_call("ec2", "CreateSnapshots", "ok", 0.3)
    counters.api_call("ec2", "CreateSnapshots", "RequestLimitExceeded", 0.04)
    counters.api_call("ec2", "SomethingNew", "UnauthorizedOperation", 400000)
    counters.flush()
    assert values("snapfleet_api_calls_total") == {
        '{"operation":"CreateSnapshots","result":"ok","service":"ec2"}': 1,
        '{"operation":"CreateSnapshots","result":"throttled","service":"ec2"}': 1,
        '{"operation":"other","result":"denied","service":"ec2"}': 1,
    }
    assert values("snapfleet_api_throttles_total") == {'{"operation":"CreateSnapshots","service":"ec2"}': 1}
    assert values("snapfleet_api_call_duration_seconds_bucket") == {
        '{"le":"0.05","service":"ec2"}': 1,
        '{"le":"0.5","service":"ec2"}': 1,
        '{"le":"+Inf","service":"ec2"}': 1,
    }


@pytest.mark.unit
@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("", "ok"),
        ("ok", "ok"),
        ("Throttling", "throttled"),
        ("ThrottlingException", "throttled"),
        ("SlowDown", "throttled"),
        ("AccessDeniedException", "denied"),
        ("UnauthorizedOperation", "denied"),
        ("ReadTimeoutError", "unanswered"),
        ("InvalidParameterValue", "failed"),
    ],
)
def test_codes_of_clouds_become_a_few_results(code: str, result: str) -> None:
    """What the SDK of a cloud says ends in one of five results."""
    assert api_result(code) == result
