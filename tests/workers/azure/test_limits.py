"""Limits of single disks and machines: data with sources, and a wait instead of a refusal."""

from datetime import timedelta

import pytest

from tasks.errors import QuotaReached
from workers.azure.limits import LIMITS, RESTORE_POINT, SNAPSHOT, Starts

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


def test_every_limit_names_its_source_and_what_it_is_for() -> None:
    assert all(one.source and one.most > 0 and one.per in ("disk", "machine") for one in LIMITS)


@pytest.mark.parametrize(("what", "most", "within"), [(SNAPSHOT, 7, 300), (RESTORE_POINT, 3, 3600)])
def test_one_more_than_the_limit_waits_until_the_first_is_old_enough(what: str, most: int, within: int) -> None:
    clock = Clock()
    starts = Starts(clock)
    for _ in range(most):
        starts.begin(what, "a")
        clock.at += 1
    with pytest.raises(QuotaReached) as caught:
        starts.begin(what, "a")
    assert (caught.value.code, caught.value.wait) == ("object-limit", timedelta(seconds=within - most))
    starts.begin(what, "b")
    clock.at += caught.value.wait.total_seconds()
    starts.begin(what, "a")


def test_what_is_over_is_forgotten() -> None:
    clock = Clock()
    starts = Starts(clock)
    for number in range(100):
        starts.begin(SNAPSHOT, f"disk-{number}")
        clock.at += 400
    assert len(starts._begun) < 10
