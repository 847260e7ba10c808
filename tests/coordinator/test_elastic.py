"""The signal for autoscalers: enough workers for every deadline, and not one more than that takes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.admission import STARTS
from coordinator.elastic import HORIZON_SECONDS, UTILISATION, Crew, Work, needs, threads_needed, workers_needed
from coordinator.elastic_facts import read_needs
from tasks.catalog import Account, Job, Policy, PolicySchedule, Process, Run, Schedule, session, transaction
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane
from tasks.states import JobState
from tasks.telemetry import METRICS, Counters

WORK = st.builds(
    Work,
    lane=st.sampled_from([Lane.POLL, Lane.RESTORE, Lane.REPOSITORY]),  # lanes that no cloud's pace limits
    pool=st.just(""),
    jobs=st.integers(1, 500),
    seconds=st.floats(0.1, 100.0),
    left=st.floats(HORIZON_SECONDS, 10_000.0),
)


def late(work: Sequence[Work], threads: float) -> float:
    """Thread-seconds that miss their deadlines when `threads` work on what is due first, as if it could be split."""
    clock = missed = 0.0
    for item in sorted(work, key=lambda one: one.left):
        clock += item.total / threads
        missed += max(0.0, (clock - item.left) * threads)
    return missed


@pytest.mark.unit
@settings(deadline=None)
@given(st.lists(WORK, min_size=1, max_size=8))
def test_the_threads_that_are_asked_for_meet_every_deadline_and_fewer_would_not(work: list[Work]) -> None:
    """Feature C17: the number is exact for work that can be split; jobs are limited by how many there are."""
    threads = threads_needed(work)
    at_most = sum(item.most for item in work)
    assert threads <= at_most
    if threads < at_most:
        assert late(work, threads * 1.000001) == pytest.approx(0, abs=1e-3)
        assert late(work, threads * 0.99) > 0


@pytest.mark.unit
@settings(deadline=None)
@given(st.lists(WORK, max_size=6), WORK, st.integers(1, 64), st.floats(0, 50))
def test_more_work_never_asks_for_fewer_workers(work: list[Work], more: Work, each: int, arriving: float) -> None:
    before, after = workers_needed(work, each, arriving), workers_needed([*work, more], each, arriving)
    assert 0 <= before <= after
    assert after >= 1
    assert before * each * UTILISATION >= arriving - 1e-6
    assert workers_needed([], each) == 0


@pytest.mark.unit
def test_no_workers_are_asked_for_that_a_cloud_would_only_throttle() -> None:
    """Ten thousand snapshots of one account go at its pace, whoever works."""
    work = [Work(Lane.SNAPSHOT, "", 10_000, 0.5, 600.0)]
    assert threads_needed(work) == STARTS.per_second * 0.5
    spread = [Work(Lane.SNAPSHOT, "", 100, 0.5, 600.0)] * 100
    assert threads_needed(spread) == pytest.approx(10_000 * 0.5 / 600)


@pytest.mark.unit
def test_each_pool_is_weighed_by_itself_and_by_the_threads_its_workers_have() -> None:
    work = [Work(Lane.REPOSITORY, "site-a", 80, 60.0, 600.0), Work(Lane.POLL, "", 1, 1.0, 60.0)]
    common, site = needs(work, {"": Crew(2, 16), "site-a": Crew(1, 4)}, {}, 8)
    assert (common.pool, common.needed, common.workers) == ("", 1, 2)
    assert (site.pool, site.needed, site.threads) == ("site-a", 3, 4)  # 8 threads at 80 %: 10, of 4 each
    assert site.clears[Lane.REPOSITORY] == 80 * 60 / 4


def test_the_need_is_read_from_measured_durations_arrivals_and_slots(catalog: str) -> None:
    """Feature C17: 600 snapshots of 2 s each in 20 places, and 100 s to the next slot."""
    at = datetime.now(UTC)
    counters = Counters()
    for _ in range(10):
        counters.observe("snapfleet_job_duration_seconds", 2.0, kind="snapshot")
    counters.flush()
    with transaction():
        policy = Policy.create(name="gold", spec={}, created_at=at, changed_at=at)
        schedule = Schedule.create(name="often", spec={}, created_at=at, changed_at=at)
        PolicySchedule.create(policy=policy, schedule=schedule, next_slot_at=at + timedelta(seconds=100))
        run = Run.create(policy=policy, slot_at=at, created_at=at)
        for number in range(20):
            account = Account.create(name=f"a{number}", regions=["r"])
            for job in range(30):
                add_job(
                    lane=Lane.SNAPSHOT,
                    at=at,
                    kind="snapshot",
                    run=run,
                    account=account,
                    region="r",
                    key=f"{number}-{job}",
                )
        Process.create(name="w", role="worker", lanes=["snapshot"], threads=4, started_at=at, seen_at=at)
    with session():
        (need,) = read_needs(at, at, threads_each=8)
    assert (need.pool, need.workers, need.threads) == ("", 1, 4)
    assert need.backlog[Lane.SNAPSHOT] == 1200.0
    assert need.clears[Lane.SNAPSHOT] == 300.0
    assert need.needed == 4  # 12 threads, of which 80 % should be busy: 15 in workers of 4
    with transaction():
        Job.update(state=JobState.DONE).execute()
    with session():
        (after,) = read_needs(at + timedelta(hours=2), at, threads_each=8)
    assert (after.backlog[Lane.SNAPSHOT] >= 0, after.workers) == (True, 0)


@pytest.mark.unit
def test_what_alerts_may_be_about_is_what_the_metric_counts() -> None:
    from coordinator.alert_rules import FAMILIES, SLOW_FAMILIES
    from coordinator.detectors import DETECTOR_FAMILIES
    from coordinator.repository_alerts import REPOSITORY_FAMILIES

    values = METRICS["snapfleet_alerts_open_by_family"].values["family"]
    assert values == {*FAMILIES, *SLOW_FAMILIES, *DETECTOR_FAMILIES, *REPOSITORY_FAMILIES, "brake"}
    assert json.dumps(sorted(values or ()))
