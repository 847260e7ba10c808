"""Retention by hand: what would go is shown with reasons, and nothing goes unasked."""

import pytest

from tasks.catalog import Meta, Point, Request, session, transaction
from tasks.states import PointState
from tests.admin.catalogue import AT, aged, seed
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit


def test_a_dry_run_shows_each_point_with_its_reason_and_marks_nothing(cli: Cli) -> None:
    """feature 10"""
    seed()
    aged(2)
    said = cli("cleanup", "--dry-run")
    assert said.code == 0
    assert "web: 1 of 3 points would go, 2 stay" in said.out
    assert "nothing of the rule wants it any more (generations 2)" in said.out
    found = cli("cleanup", "--dry-run", "-o", "json").json
    assert found["expire"] == 1
    assert [(row["id"], row["code"]) for row in found["policies"][0]["to_expire"]] == [("rp-1", "outlived")]
    with session():
        assert {row.state for row in Point.select()} == {PointState.GOOD}
        assert Request.select().count() == 0


def test_without_yes_nothing_is_asked_for_where_nobody_can_answer(cli: Cli) -> None:
    seed()
    aged(2)
    said = cli("cleanup")
    assert (said.code, said.err) == (
        4,
        "1 points would go, and nobody was asked. Add --yes, or see --dry-run.\n",
    )
    assert cli("cleanup", "--yes").code == 0
    with session():
        assert [row.kind for row in Request.select()] == ["cleanup"]


def test_the_brake_is_shown_with_the_command_that_lets_it_go_on(cli: Cli) -> None:
    found = seed()
    aged(20)
    said = cli("cleanup", "--dry-run")
    assert "stopped: 19 of 21 good points would go beyond what new ones replace" in said.out
    (line,) = [line for line in said.out.splitlines() if "to let it go on" in line]
    plan_hash = line.split()[-1]
    wrong = cli("confirm", "web", "0" * 16)
    assert wrong.code == 4
    assert "cleanup --dry-run" in wrong.err
    assert cli("confirm", "web", plan_hash).code == 0
    with session():
        (wish,) = list(Request.select())
    assert (wish.kind, wish.payload) == ("confirm", {"policy": "web", "hash": plan_hash})
    with transaction():  # as the coordinator writes it down
        Meta.create(key=f"confirm:{found['policy'].id}", value=plan_hash)
    assert "stopped" not in cli("cleanup", "--dry-run").out


def test_a_point_that_is_gone_says_why_it_went(cli: Cli) -> None:
    seed()
    with transaction():
        Point.update(
            state=PointState.DELETED, deleted_at=AT, expire_code="outlived", expire_text="nothing wanted it"
        ).execute()
    assert cli("why", "rp-1").out == "rp-1 goes:\n  deleted at 2026-11-10 12:00 UTC: nothing wanted it (outlived)\n"
