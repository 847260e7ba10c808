"""The simulator itself: it drives production code, the same seed tells the same story, and it reaches what it should.

Belongs to `make test`; the long run with a thousand seeds and every mutant is `make sim`.
"""

import ast
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from peewee import Field

from coordinator import main, tick
from coordinator.planner import Planned
from tasks.catalog import Job, Point, Run
from tasks.crash import POINTS
from tests.sim.catalog import quick_column
from tests.sim.fleet import SimCoordinator
from tests.sim.story import SMALL, Options, run_seed, weather_of
from tests.sim.world import Weather
from workers import app

HERE = Path(__file__).parent
PRODUCTION = ("coordinator", "tasks", "workers")
# Named points that a small fleet of snapshots, copies and restores cannot come by.
ELSEWHERE = ("archive.", "part.", "fetch.", "forget.", "undo.", "sync.", "rebuild.")


def test_the_simulator_imports_the_product_and_copies_nothing_of_it() -> None:
    """No function or class of the coordinator, the workers or the transitions is defined again in the simulator."""
    defined: dict[str, str] = {}
    for package in PRODUCTION:
        for path in (HERE.parent.parent / package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef) and len(node.body) > 3:
                    body = ast.dump(ast.Module(node.body[1:], []))
                    defined[body] = f"{path.name}:{node.name}"
    copies, imported = [], set()
    for path in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 3:
                copies += [defined[body] for body in (ast.dump(ast.Module(node.body[1:], [])),) if body in defined]
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
    assert copies == []
    assert len(defined) > 200
    assert {"coordinator.main", "tasks.catalog.transitions", "workers.app", "workers.heartbeat"} <= imported
    assert issubclass(SimCoordinator, main.Coordinator)
    assert "step" not in vars(SimCoordinator)
    assert app.work.__module__ == "workers.app"


def test_seeds_plan_named_volumes_where_their_slot_is_decided(tmp_path: Path) -> None:
    planned = []
    real = tick._plan

    def watched(*facts: Any) -> list[Planned]:
        found = real(*facts)
        planned.extend(found)
        return found

    calm = replace(SMALL, weather=Weather(), targets=(1, 1))
    for seed in (4, 7):  # both name their volumes
        run_seed(seed, tmp_path, calm, lambda _: mock.patch.object(tick, "_plan", watched))
    assert planned


def test_the_same_seed_tells_the_same_story(tmp_path: Path) -> None:
    """Also after another one, and in a process whose sets and dictionaries have another order."""
    first = run_seed(5, tmp_path)
    run_seed(6, tmp_path)
    assert run_seed(5, tmp_path).trace == first.trace
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seed", "5"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"trace {first.digest}" in done.stdout


def test_another_seed_tells_another_story(tmp_path: Path) -> None:
    assert run_seed(1, tmp_path).digest != run_seed(2, tmp_path).digest
    assert weather_of(1) != weather_of(2)


def test_in_calm_weather_everything_is_done_once(tmp_path: Path) -> None:
    outcome = run_seed(1, tmp_path, Options(weather=Weather()))
    assert outcome.verdict.stories == []
    assert outcome.deaths == 0
    assert outcome.jobs > 10


def test_the_points_at_which_processes_die_are_reached(tmp_path: Path) -> None:
    """feature C4: a story comes by nearly every named crash point that it can."""
    weather = Weather(error_state=0.2, lost_answer=0.1, crash_point=0.01)
    reached = set().union(*(run_seed(seed, tmp_path, Options(weather, slots=3)).points for seed in (1, 2, 3)))
    missing = {name for name in POINTS if not name.startswith(ELSEWHERE)} - reached
    assert len(missing) <= 2, sorted(missing)


def test_statements_are_written_as_peewee_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    alias = Job.alias()
    queries = [
        Job.select().join(Run).where(Job.id == 1, Job.state.in_(["done"])),
        Job.select(Job.id).join(alias, on=(alias.chain == Job.chain)).where(alias.id > Job.id),
        Job.update(fence=Job.fence + 1).where(Job.run.in_(Run.select(Run.id))),
        Point.insert(region="x", taken_at=None),
    ]
    before = [query.sql() for query in queries]
    monkeypatch.setattr(Field, "__sql__", quick_column)
    assert [query.sql() for query in queries] == before
