"""One coordinator sweeps at a time; a dead one is followed within 15 s, and what it still writes changes nothing."""

import threading
from datetime import timedelta

from coordinator.lease import give_back, renew, still_held, take
from tasks.catalog import session
from tests.coordinator.house import START, House

SECOND = timedelta(seconds=1)


def test_a_dead_holder_is_followed_within_fifteen_seconds_by_a_higher_fence(catalog: str) -> None:
    first = take("sweep", "a", START)
    assert first is not None
    takers = [take("sweep", "b", START + n * SECOND) for n in range(1, 16)]
    second = next(held for held in takers if held is not None)
    assert takers.index(second) < 14
    assert second.fence == first.fence + 1
    with session():
        assert not still_held(first)
        assert still_held(second)
    assert not renew(first, START + 15 * SECOND)
    assert take("sweep", "a", START + 16 * SECOND) is None


def test_one_that_was_taken_under_a_clock_that_was_ahead_holds_nobody_up(catalog: str) -> None:
    """Its holder may be dead; one that lives finds out by its fence."""
    ahead = take("sweep", "a", START + timedelta(days=30))
    assert ahead is not None
    second = take("sweep", "b", START)
    assert second is not None
    assert second.fence == ahead.fence + 1
    with session():
        assert not still_held(ahead)
    assert take("sweep", "a", START + SECOND) is None
    assert take("sweep", "b", START - 30 * SECOND) == second


def test_a_live_holder_keeps_it_with_its_fence(catalog: str) -> None:
    fences = set()
    for n in range(0, 60, 5):
        held = take("sweep", "a", START + n * SECOND)
        assert held is not None
        assert take("sweep", "b", START + n * SECOND) is None
        fences.add(held.fence)
    assert len(fences) == 1


def test_one_that_is_given_back_is_free_at_once(catalog: str) -> None:
    held = take("sweep", "a", START)
    assert held is not None
    give_back(held, START)
    assert take("sweep", "b", START) is not None


def test_a_holder_that_was_away_comes_back_under_a_new_fence(catalog: str) -> None:
    """Its lease ran out and nobody took it: what it planned before it stood still is not written."""
    before = take("sweep", "a", START)
    after = take("sweep", "a", START + 60 * SECOND)
    assert before is not None
    assert after is not None
    assert after.fence > before.fence


def test_of_many_that_want_it_at_once_one_gets_it(catalog: str) -> None:
    got: list[object] = []
    start = threading.Barrier(6)

    def want(name: str) -> None:
        start.wait()
        got.append(take("sweep", name, START))

    threads = [threading.Thread(target=want, args=(f"c{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([held for held in got if held is not None]) == 1


def test_of_two_coordinators_one_sweeps_and_the_other_follows_when_it_stops(pair: House) -> None:
    pair.step()
    first, second = pair.staff
    assert (first._held is not None, second._held is not None) == (True, False)
    first.stop()
    pair.clock.advance(6 * SECOND)
    second.step()
    assert second._held is not None
