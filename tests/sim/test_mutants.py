"""Each mutant is noticed, and its layer alone holds where the layers that would hide it are off.

Belongs to `make test`; `make sim` does the same with more seeds and counts.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.hunt import control, hunt
from tests.sim.mutants import MUTANTS

SEEDS = 8


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What dies and is lost on purpose says so in thousands of lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_there_are_mutants_of_a_dozen_layers() -> None:
    assert len(MUTANTS) >= 12
    assert len({one.layer for one in MUTANTS}) == len({one.name for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", [one.name for one in MUTANTS])
def test_a_product_without_one_layer_is_noticed(name: str, tmp_path: Path) -> None:
    hunted = hunt(name, tmp_path, SEEDS)
    assert hunted.seed is not None, hunted.story


@pytest.mark.parametrize("name", [one.name for one in MUTANTS if one.hidden])
def test_a_layer_holds_alone_where_those_that_hide_it_are_off(name: str, tmp_path: Path) -> None:
    """The other half of it: with the layer in place the same seeds end well."""
    assert control(name, tmp_path, 2) == []
