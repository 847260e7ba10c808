"""Looking for a seed that notices a mutant."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.story import run_seed

MOST_SEEDS = 40
HEALING = 3600.0  # virtual seconds: a mutant that never comes to rest need not do so for long


@dataclass(frozen=True)
class Hunted:
    """The first seed that noticed a mutant, if one did, and what it saw."""

    mutant: str
    seed: int | None
    story: str


def hunt(name: str, folder: Path, seeds: int = MOST_SEEDS) -> Hunted:
    """Run a mutant's seeds until one of them ends badly."""
    mutant = next(one for one in MUTANTS if one.name == name)
    for seed in range(1, seeds + 1):
        stories = _stories(mutant, seed, folder, layer_in_place=False)
        if stories:
            return Hunted(name, seed, f"without {mutant.layer}: {stories[0]}")
    return Hunted(name, None, f"{seeds} seeds without {mutant.layer} saw nothing")


def control(name: str, folder: Path, seeds: int) -> list[str]:
    """What goes wrong with the mutant's layer in place and only the layers off that would hide it: nothing."""
    mutant = next(one for one in MUTANTS if one.name == name)
    return [story for seed in range(1, seeds + 1) for story in _stories(mutant, seed, folder, layer_in_place=True)]


def _stories(mutant: Mutant, seed: int, folder: Path, *, layer_in_place: bool) -> list[str]:
    options = replace(mutant.options, weather=mutant.weather, healing=HEALING)
    changed = partial(mutant.applied, layer_in_place=layer_in_place)
    stories = run_seed(seed, folder, options, changed).verdict.stories
    if not layer_in_place:
        stories = [story for story in stories if not story.startswith("defects")]  # a mutant that breaks shows nothing
    return [story for story in stories if story.startswith(mutant.sees)]
