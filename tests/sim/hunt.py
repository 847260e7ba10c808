"""Looking for a seed that notices a mutant."""

from dataclasses import dataclass, replace
from pathlib import Path

from tests.sim.mutants import MUTANTS
from tests.sim.story import run_seed

MOST_SEEDS = 40


@dataclass(frozen=True)
class Hunted:
    """The first seed that noticed a mutant, if one did, and what it saw."""

    mutant: str
    seed: int | None
    story: str


def hunt(name: str, folder: Path, seeds: int = MOST_SEEDS) -> Hunted:
    """Run a mutant's seeds until one of them ends badly."""
    mutant = next(one for one in MUTANTS if one.name == name)
    options = replace(mutant.options, weather=mutant.weather)
    for seed in range(1, seeds + 1):
        stories = run_seed(seed, folder, options, mutant.applied).verdict.stories
        if stories:
            return Hunted(name, seed, f"without {mutant.layer}: {stories[0]}")
    return Hunted(name, None, f"{seeds} seeds without {mutant.layer} saw nothing")


def control(name: str, folder: Path, seeds: int) -> list[str]:
    """What goes wrong with the mutant's layer in place and only the layers off that would hide it: nothing."""
    mutant = next(one for one in MUTANTS if one.name == name)
    options = replace(mutant.options, weather=mutant.weather)
    return [
        story
        for seed in range(1, seeds + 1)
        for story in run_seed(
            seed, folder, options, lambda world: mutant.applied(world, layer_in_place=True)
        ).verdict.stories
    ]
