"""The aggregated model of a large estate tells what the simulator tells of a small one. Belongs to `make test`."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.estate import DAY, Plan, live, places_of
from tests.sim.story import EVERY, Options, run_seed
from tests.sim.world import Weather


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A story logs what it meets."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_the_model_counts_what_the_simulator_counts(tmp_path: Path) -> None:
    """Calibration: three slots of some targets, no faults: starts and copies are the same, questions nearly so."""
    slots, targets = 3, 6
    story = run_seed(1, tmp_path, Options(Weather(), slots=slots, targets=(targets, targets), wishes=False))
    plan = Plan(
        resources=2 * targets + 1,
        accounts=1,
        regions=1,
        days=1,
        step=5,
        cadence=int(EVERY.total_seconds()),
        spread=0,
        copied=(targets + 1) / (2 * targets + 1),
        workers=3,
        threads=1,
        snapshot_thread_s=2.0,
        copy_thread_s=2.0,
        snapshot_s=(5, 120),
        copy_s=(5, 120),
        poll_floor=20,
        poll_ceiling=30,
        until=slots * int(EVERY.total_seconds()),
    )
    week = live(plan)
    made = story.calls["start_backup"] + story.calls["start_copy"]
    parts = 1  # the instance has two volumes: its copy is two calls
    assert round(week.starts) == story.calls["start_backup"] == slots * (2 * targets + 1)
    assert week.starts + week.copies == pytest.approx(made - slots * parts, abs=1)  # part of a copy may be left over
    assert 0.5 <= week.calls["poll"] / story.calls["progress"] <= 2.0


def test_a_fleet_that_is_too_small_falls_behind_and_the_model_says_how_many_it_needs() -> None:
    small = Plan(resources=200_000, accounts=20, days=2, workers=1, threads=4, step=300)
    behind = live(small)
    needed = behind.figures(small)["workers_needed"]
    assert needed > small.workers
    assert behind.figures(small)["rpo_met"] < 0.9
    enough = Plan(resources=200_000, accounts=20, days=2, workers=needed, threads=4, step=300)
    assert live(enough).figures(enough)["rpo_met"] > behind.figures(small)["rpo_met"]


def test_every_resource_has_a_place() -> None:
    plan = Plan(resources=123_457, accounts=321, regions=3)
    places = places_of(plan)
    assert sum(place.size for place in places) == plan.resources
    assert max(place.size for place in places) > 50 * min(place.size for place in places)
    assert all(0 <= place.phase < DAY for place in places)
