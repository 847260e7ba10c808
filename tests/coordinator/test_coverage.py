"""Which clause of which target leaves a resource out: asked of the function that chooses targets, clause by clause."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.coverage import coverage
from coordinator.targets import ResourceFact, resolve

pytestmark = pytest.mark.unit

FACT = ResourceFact(1, "prod", "us-east-1", "instance", "i-1", tags={"backup": "gold", "env": "live"})
DISK = ResourceFact(2, "prod", "us-east-1", "volume", "vol-1", parent_id="i-1", tags={"env": "live"})
GOLD: dict[str, Any] = {"tag": {"backup": "gold"}}
NAMED: dict[str, Any] = {"account": "prod", "region": "us-east-1", "type": "instance", "id": "i-1"}


@pytest.mark.parametrize(
    ("targets", "code", "words"),
    [
        ([GOLD], "covered", "target 1 means it: tag backup=gold"),
        ([NAMED], "covered", "named by id in prod/us-east-1"),
        ([{**NAMED, "id": "i-2"}, GOLD], "covered", "target 2"),
        ([{**NAMED, "id": "i-2"}], "not-named", "1 of its targets name a resource by id"),
        ([], "not-named", "0 of its targets"),
        ([{**GOLD, "types": ["volume"]}], "type", "its type instance is not among volume"),
        ([{**GOLD, "accounts": ["dev"]}], "account", "it is in prod, not in dev"),
        ([{**GOLD, "regions": ["eu-west-1"]}], "region", "it is in us-east-1, not in eu-west-1"),
        ([{"tag": {"backup": "silver"}}], "tag", "it has backup=gold, and backup=silver is asked for"),
        ([{"tag": {"team": "*"}}], "tag", "it has no tag team, and team=* is asked for"),
        ([{**GOLD, "regions": ["r"], "types": ["rds"]}], "type", "; it is in us-east-1, not in r"),
    ],
)
def test_the_clause_that_decides_is_named(targets: list[dict[str, Any]], code: str, words: str) -> None:
    """feature C23: why covered, and why not."""
    found = coverage(targets, FACT)
    assert found.covered is (code == "covered")
    assert found.reasons[0].code == code
    assert words in found.reasons[0].text


def test_a_disk_is_covered_by_its_machine_unless_it_is_excluded() -> None:
    """feature C23"""
    with_machine = coverage([GOLD], DISK, FACT)
    assert (with_machine.covered, with_machine.reasons[0].code) == (True, "with-its-machine")
    without = coverage([{**GOLD, "volumes": {"exclude": ["vol-1"]}}], DISK, FACT)
    assert (without.covered, without.reasons[0].code) == (False, "excluded")
    assert coverage([GOLD], DISK).reasons[0].code == "tag"
    assert coverage([GOLD], replace(FACT, gone=True)).reasons[0].code == "gone"


_some = st.sampled_from
_targets = st.lists(
    st.fixed_dictionaries(
        {"tag": st.dictionaries(_some(["backup", "env"]), _some(["gold", "live", "*"]), max_size=2)},
        optional={
            "types": st.lists(_some(["instance", "volume"]), max_size=1),
            "accounts": st.lists(_some(["prod", "dev"]), max_size=1),
            "regions": st.lists(_some(["us-east-1", "r"]), max_size=1),
        },
    ),
    max_size=3,
)


@given(targets=_targets, fact=_some([FACT, DISK]))
def test_the_answer_is_what_is_backed_up_and_a_miss_always_has_its_clause(
    targets: list[dict[str, Any]], fact: ResourceFact
) -> None:
    """feature C23: never a second implementation."""
    found = coverage(targets, fact)
    assert found.covered is bool(resolve(targets, [fact]).targets)
    assert found.reasons
    assert all(reason.code and not reason.text.endswith(": ") for reason in found.reasons)
