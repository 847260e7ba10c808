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
    """Of the rules alone; what the cloud has open is the next one's."""
    held: Held = {}
    at = 0.0
    for what, thing, holder, later in steps:
        at += later
        name, who = f"snap-{thing}", f"work-{holder}"
        if what == "take":
            held = taken(held, [name, f"snap-{thing + 1}"], who, MOST, at, at + 10) or held
        elif what == "leave":
            before = current(held, at).get(name, {})
            held, last = left(held, name, who, at)
            assert last or set(before) - {who}, "somebody else shuts it"
        else:
            held = freed(held, name, who, at)
            assert who not in held.get(name, {})
        assert len(current(held, at)) <= MOST


class Cloud:
    """Who does what with the things of a family, and what the cloud has open. A right lives as long as a seat at most:
    it is asked for after the seat was taken. '' is the sweep, which opens nothing and shuts whatever there is."""

    def __init__(self) -> None:
        self.held: Held = {}
        self.at, self.died = 0.0, False
        self.open: dict[str, float] = {}
        self.state: dict[tuple[str, str], str] = {}  # (who, thing) -> has, shutting, shut

    def possible(self) -> dict[str, list[tuple[str, str]]]:
        """Every step that may come next, by its kind: (who, thing)."""
        things, workers = [f"snap-{number}" for number in range(7)], ("one", "two", "three")
        free = [(who, one) for one in things for who in workers if self.state.get((who, one), "has") == "has"]
        by_state = {
            kind: [key for key, one in self.state.items() if one == kind] for kind in ("has", "shutting", "shut")
        }
        found = {
            "open": free, "take": free, "leave": by_state["has"] + [("", one) for one in things],
            "shut": by_state["shutting"], "free": by_state["shut"], "die": [key for key in self.state if key[0]],
        }  # fmt: skip
        return {kind: keys for kind, keys in found.items() if keys}

    def step(self, what: str, who: str, thing: str) -> None:
        if what in ("open", "take"):
            found = taken(self.held, [thing], who, MOST, self.at, self.at + 960)
            if found is not None:
                self.held, self.state[who, thing] = found, "has"
                self.open |= {thing: self.at + 960} if what == "open" else {}
        elif what == "leave":
            self.held, last = left(self.held, thing, who, self.at)
            self.state.pop((who, thing), None)
            self.state |= {(who, thing): "shutting"} if last else {}
        elif what == "shut":
            self.open.pop(thing, None)
            self.state[who, thing] = "shut"
        elif what == "free":
            self.held = freed(self.held, thing, who, self.at)
            del self.state[who, thing]
        else:
            self.died, self.state = True, {key: one for key, one in self.state.items() if key[0] != who}

    def opened(self) -> set[str]:
        return {one for one, until in self.open.items() if until > self.at}


_NUMBERS = st.integers(0, 41)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(_NUMBERS, _NUMBERS, st.sampled_from([0, 0, 1, 480])), max_size=30))
def test_wherever_a_process_dies_what_is_open_has_a_seat_and_every_seat_comes_back(
    steps: list[tuple[int, int, int]],
) -> None:
    """feature 28: before or after it asked for a right, while it gives it back, or before it gives back the seat."""
    cloud = Cloud()
    for kind, number, later in steps:
        cloud.at += later
        possible = cloud.possible()
        what = sorted(possible)[kind % len(possible)]
        cloud.step(what, *possible[what][number % len(possible[what])])
        assert cloud.opened() <= set(current(cloud.held, cloud.at))
        assert len(cloud.opened()) <= MOST
        known = {thing for (_, thing), one in cloud.state.items() if one != "shut"}
        assert cloud.died or cloud.opened() <= known, "nobody would shut it"
    cloud.at += 961
    assert current(cloud.held, cloud.at) == {}
    assert cloud.opened() == set()


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
