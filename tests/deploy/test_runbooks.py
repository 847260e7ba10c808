"""Every alert has a runbook, every runbook an alert, and what runbooks tell people to type exists."""

import re
from pathlib import Path

import click
import pytest
import yaml

from admin.cli.reference import walk
from coordinator.alert_rules import FAMILIES, SLOW_FAMILIES
from coordinator.detectors import DETECTOR_FAMILIES
from coordinator.repository_alerts import REPOSITORY_FAMILIES

pytestmark = pytest.mark.unit
DEPLOY = Path(__file__).parents[2] / "deploy"
RUNBOOKS = {path.stem: path.read_text() for path in sorted((DEPLOY / "runbooks").glob("*.md"))}
# Raised by retention itself, in the pass that it stops.
RAISED_ELSEWHERE = {"brake"}


def rules() -> set[str]:
    groups = yaml.safe_load((DEPLOY / "monitoring" / "rules.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def test_every_alert_and_rule_has_one_runbook_and_every_runbook_one_of_them() -> None:
    families = {*FAMILIES, *SLOW_FAMILIES, *DETECTOR_FAMILIES, *REPOSITORY_FAMILIES, *RAISED_ELSEWHERE}
    named = [word for text in RUNBOOKS.values() for word in re.findall(r"(?:alert|rule) `([\w-]+)`", text)]
    assert len(named) > 30
    assert sorted(named) == sorted(families | rules())
    assert families <= set(RUNBOOKS)
    assert [name for name, text in RUNBOOKS.items() if not re.search(r"^Raised as (alert|rule) `", text, re.M)] == []


def test_alerts_raised_in_the_code_are_those_families() -> None:
    found = set()
    for path in (DEPLOY.parent / "coordinator").glob("*.py"):
        found |= set(
            re.findall(r"f\"([a-z]+(?:-[a-z]+)*):\{[^\"]*\",\n\s+\"(?:critical|warning|info)\"", path.read_text())
        )
    assert found - {"targets-failing"} <= {*FAMILIES, *DETECTOR_FAMILIES, *REPOSITORY_FAMILIES, *RAISED_ELSEWHERE}
    assert "brake" in found


@pytest.mark.parametrize("name", sorted(RUNBOOKS))
def test_a_runbook_says_what_it_means_where_to_look_and_what_to_do(name: str) -> None:
    text = RUNBOOKS[name]
    assert re.findall(r"^#+ .+$", text, re.M) == [f"# {name}", "## What it means", "## Look at", "## Do"]
    assert [link for link in re.findall(r"\]\(([\w-]+)\.md\)", text) if link not in RUNBOOKS] == []
    commands = dict(walk())
    for typed in re.findall(r"`snapfleet ([^`]+)`", text):
        words = typed.split()
        known = max((name for name in commands if words[: len(name.split())] == name.split()), key=len, default="")
        assert known, typed
        options = {option for item in commands[known].params if isinstance(item, click.Option) for option in item.opts}
        assert {word for word in words if word.startswith("-")} <= options, typed
