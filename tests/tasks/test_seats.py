"""Seats: never more things of a family than allowed, several holders of one thing, and an end for each (feature 28)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.seats import Held, current, freed, left, taken

pytestmark = pytest.mark.unit
MOST = 5
_STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "leave", "free"]), st.integers(0, 8), st.integers(0, 3), st.integers(0, 4)),
    max_size=40,
)


@settings(deadline=None)
@given(_STEPS)
def test_whatever_is_taken_left_and_freed_no_more_things_are_open_than_allowed(
    steps: list[tuple[str, int, int, int]],
) -> None:
    held: Held = {}
    at = 0.0
    for what, thing, holder, later in steps:
        at += later
        name, who = f"snap-{thing}", f"work-{holder}"
        if what == "take":
            held = taken(held, [name, f"snap-{thing + 1}"], who, MOST, at, at + 10) or held
        elif what == "leave":
            others = set(current(held, at).get(name, {})) - {who}
            held, last = left(held, name, who, at)
            assert last is not bool(others)
        else:
            held = freed(held, name, who, at)
            assert who not in held.get(name, {})
        assert len(current(held, at)) <= MOST


def test_both_seats_are_taken_or_none_and_what_is_open_already_is_never_refused() -> None:
    held = taken({}, ["a", "b", "c", "d"], "one", MOST, 0, 10)
    assert held is not None
    assert taken(held, ["e", "f"], "two", MOST, 1, 11) is None
    both = taken(held, ["a", "e"], "two", MOST, 1, 11)
    assert both is not None
    assert both["a"] == {"one": 10, "two": 11}
    assert taken(both, ["a", "e"], "three", MOST, 2, 12) is not None


def test_what_a_dead_process_held_comes_back_when_its_time_is_over() -> None:
    held = taken({}, ["a", "b", "c", "d", "e"], "dead", MOST, 0, 960)
    assert held is not None
    assert taken(held, ["f"], "next", MOST, 959, 2000) is None
    assert taken(held, ["f"], "next", MOST, 960, 2000) == {"f": {"next": 2000}}
