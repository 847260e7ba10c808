"""What the processes of `make sim` do; a module of its own, because a spawned process cannot import `__main__`."""

import logging
import multiprocessing
from pathlib import Path

from tests.sim.hunt import Hunted, hunt
from tests.sim.story import Outcome, run_seed


def quiet() -> None:
    """What the product would log in a thousand storms is no news."""
    logging.disable(logging.CRITICAL)


def one(seed: int, folder: Path) -> Outcome:
    """One seed, without its trace: `--seed N` tells that again."""
    outcome = run_seed(seed, folder / multiprocessing.current_process().name)
    outcome.trace.clear()
    return outcome


def mutant(name: str, folder: Path) -> Hunted:
    """The hunt for one mutant."""
    return hunt(name, folder / multiprocessing.current_process().name)
