"""How far a job is: what is counted, what is written and when, and what becomes of it."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog import Job
from tasks.progress import Progress, measured
from workers.progress import Meter, Meters, Watched
from workers.repository.source import Ref

pytestmark = pytest.mark.unit

AT = datetime(2026, 11, 22, tzinfo=UTC)
MIB = 1 << 20


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def test_rate_and_time_left_are_those_of_the_present_message_and_bytes_those_of_the_whole_job() -> None:
    """feature 82"""
    meter = Meter(Job(id=1), AT, 100 * MIB)
    meter.reached(20 * MIB, 10 * MIB)
    first = meter.progress(after(10))
    assert (first.percent, first.rate, first.seconds_left) == (20, MIB, 40)
    later = Meter(Job(id=1, progress=first.to_json()), after(100), 100 * MIB, 20 * MIB)
    assert later.progress(after(100)).seconds_left is None
    later.reached(30 * MIB, 10 * MIB)
    second = later.progress(after(105))
    assert (second.percent, second.moved, second.rate, second.seconds_left) == (30, 20 * MIB, 2 * MIB, 35)
    assert second.began_at == first.began_at


def test_blocks_are_counted_where_they_stand_and_what_became_zeros_is_not_moved() -> None:
    class Source:
        size, block_bytes, readers, incremental = 8 * MIB, MIB, 1, True

        def blocks(self, start: int, stop: int) -> list[Ref]:
            return [Ref(start), Ref(start + 2, gone=True), Ref(stop - 1)]

        def read(self, ref: Ref, into: memoryview) -> tuple[int, None]:
            raise AssertionError

    meter = Meter(Job(id=1), AT, 16 * MIB)
    assert len(list(Watched(Source(), meter, 8 * MIB).blocks(0, 8))) == 3
    far = meter.progress(after(1))
    assert (far.done, far.moved) == (15 * MIB, 2 * MIB)


def test_many_threads_count_into_one_meter_and_what_was_told_is_no_news() -> None:
    meters = Meters()
    meter = meters.begin(Job(id=1), AT, 1000)
    threads = [Thread(target=lambda: [meter.reached(0, 1) for _ in range(200)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.is_news
    assert meters.told(Job(id=1), after(1))["progress"]["moved"] == 1000
    assert not meter.is_news
    assert meters.told(Job(id=1), after(1)) == {}


@settings(deadline=None)
@given(
    done=st.integers(0, 1 << 50),
    total=st.integers(0, 1 << 50),
    moved=st.integers(0, 1 << 50),
    before=st.tuples(st.integers(0, 1 << 50), st.integers(0, 1 << 50)),
    seconds=st.floats(0, 1e7),
)
def test_figures_never_leave_their_range(
    done: int, total: int, moved: int, before: tuple[int, int], seconds: float
) -> None:
    far = measured(min(done, total), total, moved, before, AT, AT, after(seconds))
    assert 0 <= far.percent <= 100
    assert far.rate >= 0
    assert far.seconds_left is None or far.seconds_left >= 0
    assert Progress.of(far.to_json()) == far


def test_what_another_version_wrote_is_no_progress() -> None:
    assert Progress.of({"done": 1}) is None
    assert Progress.of(None) is None
