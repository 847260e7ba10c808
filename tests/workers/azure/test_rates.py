"""What Azure says is left is kept by place, and the last part of it is left to others."""

from datetime import timedelta

import pytest

from workers.azure.rates import Rates

pytestmark = pytest.mark.unit

HERE, THERE = ("az", "westeurope"), ("az", "northeurope")
RESOURCE = "x-ms-ratelimit-remaining-resource"
SHORT, LONG = (
    "Microsoft.Compute/HighCostSnapshotCreateHydrate3Min",
    "Microsoft.Compute/HighCostSnapshotCreateHydrate30Min",
)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> Rates:
    found = Rates(clock)
    found.note(HERE, "put-snapshots", {RESOURCE: f"{SHORT};1000,{LONG};8000"})
    return found


def test_every_bucket_that_an_answer_names_is_kept(rates: Rates) -> None:
    rates.note(HERE, "get-disks", {"x-ms-ratelimit-remaining-subscription-reads": "11999"})
    assert rates.left(HERE) == {SHORT: 1000, LONG: 8000, "subscription-reads": 11999}
    assert rates.hold(HERE, "put-snapshots") is None


def test_the_last_tenth_is_left_to_others_until_it_has_refilled(rates: Rates, clock: Clock) -> None:
    """A bucket of 1,000 in three minutes that has 50 left needs some nine seconds to have 100 again."""
    rates.note(HERE, "put-snapshots", {RESOURCE: f"{SHORT};50,{LONG};8000"})
    wait = rates.hold(HERE, "put-snapshots")
    assert wait is not None
    assert timedelta(seconds=8) < wait < timedelta(seconds=10)
    clock.at += wait.total_seconds() + 0.1
    assert rates.hold(HERE, "put-snapshots") is None
    assert rates.hold(HERE, "put-snapshots") is not None  # the one that went will tell; the others wait for that
    rates.note(HERE, "put-snapshots", {RESOURCE: f"{SHORT};500,{LONG};8000"})
    assert rates.hold(HERE, "put-snapshots") is None


def test_other_calls_and_other_places_do_not_wait(rates: Rates) -> None:
    rates.note(HERE, "put-snapshots", {RESOURCE: f"{SHORT};0"})
    assert rates.hold(HERE, "put-snapshots") is not None
    assert rates.hold(HERE, "get-disks") is None
    assert rates.hold(THERE, "put-snapshots") is None
    assert rates.hold(("other", "westeurope"), "put-snapshots") is None


@pytest.mark.parametrize("text", ["", "nonsense", "a;b", ";", "Policy;-1", "Policy;"])
def test_what_is_no_rate_is_passed_over(rates: Rates, text: str) -> None:
    rates.note(HERE, "put-disks", {RESOURCE: text, "x-ms-ratelimit-remaining-subscription-writes": "many"})
    assert rates.hold(HERE, "put-disks") is None
