"""Coordinators side by side divide what is due among them, and leave nothing to one that is gone."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from coordinator.sharing import ALONE, WORTH, Share, read_share
from coordinator.tick import tick
from tasks.catalog import Process, Run, session, transaction
from tasks.catalog.fleet import SILENT_AFTER
from tasks.telemetry import Counters
from tests.coordinator.house import DAY, NIGHTLY, House

IDS = st.lists(st.integers(1, 10_000), unique=True, max_size=3 * WORTH).map(sorted)


@given(IDS, st.integers(1, 5), st.integers(1, 1000))
def test_all_of_what_is_due_is_somebodys_and_nothing_of_much_is_two_coordinators(
    due: list[int], of: int, most: int
) -> None:
    firsts = [Share(rank, of).first(due, len(due)) for rank in range(of)]
    assert set().union(*firsts) == set(due)
    if len(due) >= WORTH and all(set(first) != set(due) for first in firsts):
        assert sum(map(len, firsts)) == len(due)
    assert all(bool(first) == bool(due) for first in firsts)
    for rank in range(of):
        assert len(Share(rank, of).first(due, most)) <= max(most, WORTH)


def test_one_alone_takes_the_first_of_all_and_one_without_a_share_left_what_the_others_have() -> None:
    even = list(range(0, 2 * WORTH, 2))
    assert ALONE.first(even, 10) == even[:10]
    assert Share(1, 2).first(even, 10) == even[:10]
    assert Share(1, 2).first([*even, 1], 10) == [1]


def test_a_coordinator_counts_those_that_reported_lately_and_itself(house: House) -> None:
    at = house.clock.timer()
    with session():
        assert read_share("b", at) == ALONE
    with transaction():
        for name, role, age in (("a", "worker", 0), ("b", "coordinator", 0), ("c", "coordinator", 1)):
            Process.create(name=name, role=role, started_at=at, seen_at=at - age * SILENT_AFTER / 2)
        Process.create(name="aa", role="coordinator", started_at=at, seen_at=at - SILENT_AFTER)
    with session():
        assert (read_share("b", at), read_share("c", at)) == (Share(0, 2), Share(1, 2))
        assert read_share("aa", at) == ALONE


def test_a_wave_is_divided_and_the_part_of_a_coordinator_that_died_is_done_by_the_other(
    catalog: str, tmp_path: Path
) -> None:
    house = House(tmp_path, coordinators=2)
    house.account()
    for number in range(WORTH):
        house.policy(f"p{number:03}", [NIGHTLY])
    for each in house.staff * 2:  # the first beat of the second is news for the first one's next
        each.step()
        house.clock.advance(SILENT_AFTER / 4)
    shares = [each._share for each in house.staff]
    assert shares == [Share(0, 2), Share(1, 2)]
    house.clock.advance(DAY)
    now, at = house.clock.now(), house.clock.timer()
    assert tick(now, at, Counters(), share=shares[0]).begun == WORTH // 2
    with session():
        assert {run.policy_id % 2 for run in Run.select()} == {0}
    assert tick(now, at, Counters(), share=shares[0]).begun == WORTH // 2
    assert tick(now, at, Counters(), share=shares[1]).begun == 0
