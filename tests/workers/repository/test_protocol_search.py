"""The commit and collection protocol of FORMAT.md sections 8 and 9, searched exhaustively.

Every interleaving of writers and collectors, each of which may pause at any step for ever (every prefix is a state).
World: generation M0, in pack P0, is committed, and retention wants it gone. Each writer archives changes upon M0
into a pack of its own; each collector runs once, with no grace, and may give up any open job at any time. A state is
bad when a generation that counts misses a pack. Leaving out a rule must be caught: that shows the search can see.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

OPEN, COMMITTED, REVOKED = "open", "committed", "revoked"


class State(NamedTuple):
    packs: frozenset[str]
    manifests: frozenset[tuple[str, tuple[str, ...]]]  # name and the packs it refers to
    tombs: frozenset[str]
    leases: tuple[tuple[str, bool] | None, ...]  # of each writer: state, and whether it pins M0
    first: str | None  # M0's own lease: committed, or forgotten
    writers: tuple[tuple, ...]
    collectors: tuple[tuple, ...]


def put(values: tuple, index: int, value: object) -> tuple:
    return (*values[:index], value, *values[index + 1 :])


def counts(state: State, name: str) -> bool:
    lease = state.first if name == "M0" else (state.leases[int(name[1:]) - 1] or (None,))[0]
    return lease == COMMITTED and name not in state.tombs


def bad(state: State) -> bool:
    return any(counts(state, name) and not set(packs) <= state.packs for name, packs in state.manifests)


def write(state: State, i: int, rules: frozenset[str]) -> Iterator[State]:
    """The next step of a writer: section 8."""
    step, *kept = state.writers[i]
    pack, manifest = f"P{i + 1}", f"M{i + 1}"

    def then(*next_step: object, **changes: object) -> State:
        return state._replace(writers=put(state.writers, i, next_step), **changes)

    lease = state.leases[i]
    if step == "start":
        pins = "pin" in rules
        yield then("leased", leases=put(state.leases, i, (OPEN, pins)))
    elif step == "leased":
        if "look" in rules and "M0" in state.tombs:
            yield then("based", ())
        else:
            yield then("untombed")
    elif step == "untombed":
        there = any(name == "M0" for name, _ in state.manifests)
        yield then("based", ("P0",) if there else ())
    elif step == "based":
        yield then("packed", kept[0], packs=state.packs | {pack})
    elif step == "packed":
        yield then("described", manifests=state.manifests | {(manifest, (*kept[0], pack))})
    elif step == "described":
        if (lease is not None and lease[0] == OPEN) or "fence" not in rules:
            yield then("done", leases=put(state.leases, i, (COMMITTED, False)))
        else:
            yield then("fenced")


def collect(state: State, j: int, rules: frozenset[str]) -> Iterator[State]:
    """The next step of a collector: section 9."""
    step, *kept = state.collectors[j]

    def then(*next_step: object, **changes: object) -> State:
        return state._replace(collectors=put(state.collectors, j, next_step), **changes)

    def listing() -> tuple:
        return (frozenset(state.packs), frozenset(name for name, _ in state.manifests), state.tombs)

    if step == "idle":
        yield then("hidden", tombs=state.tombs | {"M0"})
    elif step == "hidden":
        early = listing() if "list-first" in rules else None
        yield then("visit", early, 0, frozenset(), frozenset())
    elif step == "visit":
        seen, i, respected, pinned = kept
        if i == len(state.leases):
            yield then("roots", seen if seen is not None else listing(), respected, pinned)
            return
        lease = state.leases[i]
        if lease is not None and lease[0] == OPEN:
            yield then("visit", seen, i + 1, respected | {i + 1}, pinned or lease[1])
            yield then("visit", seen, i + 1, respected, pinned, leases=put(state.leases, i, (REVOKED, lease[1])))
        else:
            yield then("visit", seen, i + 1, respected, pinned)
    elif step == "roots":
        (packs, manifests, tombs), respected, pinned = kept
        pinned = bool(pinned)
        alive = {
            pack
            for name, refers in state.manifests
            if counts(state, name) or (name == "M0" and pinned) or (name not in tombs and counts(state, name))
            for pack in refers
        }
        owned = {f"P{i}" for i in respected}
        doomed = tuple(sorted(packs - alive - owned))
        hidden = "M0" in manifests and "M0" in tombs and not pinned
        orphans = tuple(
            sorted(
                name
                for name in manifests
                if name != "M0" and not counts(state, name) and int(name[1:]) not in respected
            )
        )
        yield then("delete", doomed, (*orphans, *(("M0",) if hidden else ())), "M0" in tombs and not pinned)
    elif step == "delete":
        doomed, manifests, forget = kept
        if doomed:
            yield then("delete", doomed[1:], manifests, forget, packs=state.packs - {doomed[0]})
        elif manifests:
            left = frozenset(item for item in state.manifests if item[0] != manifests[0])
            yield then("delete", (), manifests[1:], forget, manifests=left)
        elif forget:
            yield then("tomb", first=None)
        else:
            yield then("end")
    elif step == "tomb":
        yield then("end", tombs=state.tombs - {"M0"})


ALL = frozenset({"pin", "look", "fence", "list-first"})


def search(writers: int, collectors: int, rules: frozenset[str] = ALL) -> tuple[int, bool]:
    """How many states there are (up to the first bad one), and whether none is bad."""
    start = State(
        frozenset({"P0"}),
        frozenset({("M0", ("P0",))}),
        frozenset(),
        (None,) * writers,
        COMMITTED,
        (("start",),) * writers,
        (("idle",),) * collectors,
    )
    seen, front = {start}, [start]
    while front:
        ahead = []
        for state in front:
            if bad(state):
                return len(seen), False
            steps = [write(state, i, rules) for i in range(writers)] + [
                collect(state, j, rules) for j in range(collectors)
            ]
            for options in steps:
                for after in options:
                    if after not in seen:
                        seen.add(after)
                        ahead.append(after)
        front = ahead
    return len(seen), True


@pytest.mark.unit
@pytest.mark.parametrize(("writers", "collectors"), [(1, 1), (2, 1), (1, 2)])
def test_no_interleaving_loses_a_pack(writers: int, collectors: int) -> None:
    """feature C9: archives and collections at once, without a lock server."""
    states, safe = search(writers, collectors)
    assert safe
    assert states > 50


def test_three_writers_beside_a_collector_are_safe() -> None:
    """522 022 states. Two writers and two collectors have 1 359 673, all of them safe too (searched 2026-11)."""
    states, safe = search(3, 1)
    assert safe
    assert states > 500_000


@pytest.mark.unit
@pytest.mark.parametrize("rule", sorted(ALL))
def test_each_rule_is_needed(rule: str) -> None:
    assert not search(2, 1, ALL - {rule})[1] or not search(1, 2, ALL - {rule})[1]
