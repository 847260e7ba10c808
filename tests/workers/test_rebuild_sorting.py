"""Which attempts of a lost catalog's jobs count as its backups (feature C11). Pure."""

from datetime import timedelta
from typing import Any

import pytest

from tests.workers.test_orphans import LONG_AGO, START
from tests.workers.test_rebuild import of_policy
from workers import driver
from workers.rebuilding import Sorted, sort_out

pytestmark = pytest.mark.unit
ANOTHER = "Another attempt of its job made a good point."
TWICE = "It was made twice."


def made(name: str, epoch: int, volume: str = "vol-1", **more: Any) -> driver.Tagged:
    """A snapshot of a volume by an attempt of one job."""
    return of_policy(name, job=f"old-{epoch}", source_id=volume, **more)


def sort(*found: driver.Tagged) -> Sorted:
    return sort_out(found, frozenset(), START)


def good(out: Sorted) -> list[set[str]]:
    return [{one.external_id for one in attempt.members} for attempt in out.good]


def left(out: Sorted) -> dict[str, str]:
    return {one.external_id: why for attempt, why in out.left for one in attempt.members}


def test_the_fullest_of_several_attempts_counts_over_a_later_one() -> None:
    """Of the later one a deletion may have left a part, which looks whole by its tags."""
    out = sort(made("a", 0), made("b", 0, "vol-2"), made("rest", 1))
    assert (good(out), left(out)) == ([{"a", "b"}], {"rest": ANOTHER})


def test_of_attempts_that_are_as_full_the_last_counts() -> None:
    """By number: the tenth comes after the ninth."""
    out = sort(made("ninth", 9), made("tenth", 10), made("second", 2))
    assert (good(out), left(out)) == ([{"tenth"}], {"ninth": ANOTHER, "second": ANOTHER})


def test_what_was_made_twice_makes_no_attempt_fuller() -> None:
    out = sort(made("a", 0), made("twin", 0, began_at=LONG_AGO + timedelta(minutes=1)), made("b", 1))
    assert (good(out), left(out)) == ([{"b"}], {"a": ANOTHER, "twin": TWICE})


def test_an_attempt_that_is_not_whole_counts_over_none_however_full_it_is() -> None:
    out = sort(made("a", 1), made("b", 1, "vol-2", complete=False), made("whole", 0))
    assert good(out) == [{"whole"}]
    assert set(left(out)) == {"a", "b"}


def test_what_was_made_twice_is_left_alone_while_the_cloud_still_makes_it() -> None:
    """Of two calls that went out either may come to something."""
    young = START - timedelta(hours=1)
    out = sort(*(made(name, 0, complete=False, began_at=young) for name in ("a", "twin")))
    assert (out.good, out.left, len(out.running)) == ([], [], 1)


def test_of_what_was_made_twice_the_complete_one_counts_and_else_the_first() -> None:
    later = LONG_AGO + timedelta(minutes=1)
    out = sort(
        made("broken", 0, complete=False),
        made("whole", 0, began_at=later),
        made("first", 0, "vol-2"),
        made("second", 0, "vol-2", began_at=later),
    )
    assert (good(out), left(out)) == ([{"whole", "first"}], {"broken": TWICE, "second": TWICE})
