"""300 seeds of a simulated fleet in storms: nothing is lost, doubled, dangling or below its floor; feature C4.

Belongs to `make test`, in groups so that both of its processes take some; `make sim` runs a thousand.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.story import Options, run_seed

SEEDS, GROUP = 300, 25
# The smallest estate in which everything meets: volumes, an instance of two, copies, retention, wishes.
SMALL = Options(slots=1, targets=(1, 2))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What dies and is lost on purpose says so in thousands of lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(1, SEEDS + 1, GROUP))
def test_a_fleet_heals_from_storms_without_loss(first: int, tmp_path: Path) -> None:
    wrong = [
        f"seed {seed}: {story}"
        for seed in range(first, first + GROUP)
        for story in run_seed(seed, tmp_path, SMALL).verdict.stories
    ]
    assert wrong == []
