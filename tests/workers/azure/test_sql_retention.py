"""Azure's long-term retention as a policy's `keep` asks for it, and what of it is otherwise (feature 27)."""

from typing import Any

import pytest

from tasks.errors import Invalid
from workers.azure.sql_retention import drift, wished

pytestmark = pytest.mark.unit


def test_counts_become_spans_and_what_is_not_counted_is_not_kept() -> None:
    assert wished("daily=7,weekly=4,monthly=12") == {
        "weeklyRetention": "P4W", "monthlyRetention": "P12M", "yearlyRetention": "PT0S", "weekOfYear": 0,
    }  # fmt: skip
    assert wished("yearly=5")["weekOfYear"] == 1


@pytest.mark.parametrize("keep", ["", "daily=7", "weekly=0,hourly=3"])
def test_a_keep_without_weeks_months_or_years_is_refused(keep: str) -> None:
    with pytest.raises(Invalid):
        wished(keep)


@pytest.mark.parametrize(
    ("now", "differs"),
    [
        ({"weeklyRetention": "P28D", "monthlyRetention": "P1Y", "yearlyRetention": "PT0S"}, 0),
        ({"weeklyRetention": "P4W", "monthlyRetention": "P12M"}, 0),
        ({"weeklyRetention": "P5W", "monthlyRetention": "P12M"}, 1),
        ({"weeklyRetention": "P4W", "monthlyRetention": "P12M", "yearlyRetention": "P1Y", "weekOfYear": 9}, 1),
        ({}, 2),
    ],
)
def test_the_same_span_in_other_words_is_no_drift(now: dict[str, Any], differs: int) -> None:
    assert len(drift(now, wished("weekly=4,monthly=12"))) == differs
