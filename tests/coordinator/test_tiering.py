"""Which archives move to a cold class, and what an estate file may say about it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.tiering import ArchiveFact, ColdRule, cold_points

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def facts(*days: int, resource: int = 1) -> list[ArchiveFact]:
    return [
        ArchiveFact(resource * 100 + number, resource, NOW - timedelta(days=day)) for number, day in enumerate(days)
    ]


def test_an_archive_moves_when_it_is_old_enough_and_beyond_the_newest_of_its_resource() -> None:
    """feature 83: by age, by generations, or both; each resource for itself."""
    known = facts(40, 30, 10) + facts(50, resource=2)
    assert cold_points(known, ColdRule("GLACIER", after=timedelta(days=30)), NOW) == [200, 100, 101]
    assert cold_points(known, ColdRule("GLACIER", generations=2), NOW) == [100]
    assert cold_points(known, ColdRule("GLACIER", timedelta(days=35), 1), NOW) == [100]


def test_a_rule_is_read_from_the_policys_block_with_the_class_of_its_store() -> None:
    block = {"name": "cold", "archive": {"after": "30d", "class": "deep-archive", "keep": "7y"}}
    assert ColdRule.of(block) == ColdRule("DEEP_ARCHIVE", timedelta(days=30))
    assert ColdRule.of({"name": "cold"}) is None
    assert ColdRule.of({"archive": {"after": "30d", "class": "archive"}}) == ColdRule("ARCHIVE", timedelta(days=30))
    assert ColdRule.of({"archive": {"after": "30d", "class": "tepid"}}) is None


@given(st.lists(st.integers(0, 400), max_size=30), st.integers(0, 400), st.integers(1, 30), st.integers(0, 400))
def test_what_belongs_into_the_cold_class_never_leaves_it_again(
    days: list[int], after: int, generations: int, later: int
) -> None:
    """feature 83: time passes and newer archives come; nothing that moved is wanted warm."""
    rule = ColdRule("GLACIER", timedelta(days=after), generations)
    known = facts(*days)
    moved = set(cold_points(known, rule, NOW))
    newer = ArchiveFact(999, 1, NOW + timedelta(days=later))
    assert moved <= set(cold_points([*known, newer], rule, NOW + timedelta(days=later)))
