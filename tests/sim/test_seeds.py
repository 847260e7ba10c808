"""The first 150 of 300 seeds of a simulated fleet in storms: nothing is lost, doubled, dangling or below its floor;
feature C4.

Belongs to `make test`; the other half is in test_seeds_on, so that each of its two processes may take one. `make sim`
runs a thousand larger ones.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.story import SMALL, run_seed

SEEDS, GROUP = range(1, 151), 25


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What dies and is lost on purpose says so in thousands of lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_a_fleet_heals_from_storms_without_loss(first: int, tmp_path: Path) -> None:
    assert wrong_in(range(first, first + GROUP), tmp_path) == []


def wrong_in(seeds: range, folder: Path) -> list[str]:
    """What was wrong in these seeds; `python -m tests.sim --seed N --small` replays one."""
    return [f"seed {seed}: {story}" for seed in seeds for story in run_seed(seed, folder, SMALL).verdict.stories]
