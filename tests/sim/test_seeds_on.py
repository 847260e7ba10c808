"""The other 150 of 300 seeds in storms; see test_seeds. Belongs to `make test`."""

from pathlib import Path

import pytest

from tests.sim.test_seeds import GROUP, quiet, wrong_in

SEEDS = range(151, 301)
__all__ = ["quiet"]


@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_a_fleet_heals_from_storms_without_loss(first: int, tmp_path: Path) -> None:
    """feature C4"""
    assert wrong_in(range(first, first + GROUP), tmp_path) == []
