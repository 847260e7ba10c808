"""What the command line and the page ask the catalog, on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin import queries, queries_estate
from admin.forecast import forecast_cleanup, why_point
from tasks.catalog import Operation, Point, Scan, Schedule, transaction
from tasks.errors import Invalid
from tasks.states import PointState
from tests.admin.catalogue import AT, add_point, aged, heartbeat, seed, seed_rest

QUESTIONS: dict[str, Callable[[], Any]] = {
    "points": queries.list_points,
    "point": lambda: queries.show_point("rp-1"),
    "runs": queries.list_runs,
    "run": lambda: queries.show_run("run-1"),
    "restores": queries.list_restores,
    "restore": lambda: queries.show_restore("restore-1"),
    "accounts": queries_estate.list_accounts,
    "resources": lambda: queries_estate.list_resources(AT),
    "policies": queries_estate.list_policies,
    "schedules": queries_estate.list_schedules,
    "alerts": queries_estate.list_alerts,
    "letters": queries_estate.list_letters,
    "processes": queries_estate.list_processes,
    "audit": queries_estate.list_audit,
    "users": queries_estate.list_users,
    "tokens": queries_estate.list_tokens,
    "cleanup": lambda: forecast_cleanup(AT),
    "why": lambda: why_point("rp-1", AT),
}


def plain(value: Any) -> bool:
    """Whether a value is what rows may hold: JSON values and aware datetimes."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(plain(item) for item in value)
    if isinstance(value, datetime):
        return value.tzinfo is not None
    return value is None or type(value) in {str, int, float, bool}


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_an_answer_holds_only_json_values_and_aware_times(catalog: str, name: str) -> None:
    seed(("a", "b"))
    seed_rest("x")
    assert plain(QUESTIONS[name]())


@pytest.mark.parametrize("name", sorted(set(QUESTIONS) - {"point", "run", "restore", "why"}))
def test_an_empty_catalog_has_empty_answers(catalog: str, name: str) -> None:
    assert QUESTIONS[name]() == []


def test_accounts_say_how_much_was_found_and_when_it_was_looked_at(catalog: str) -> None:
    found = seed(("a", "b", "c"))
    with transaction():
        for service, at in (("ec2", AT), ("rds", AT - timedelta(hours=1))):
            Scan.create(account=found["account"].id, region="us-east-1", service=service, finished_at=at)
    (account,) = queries_estate.list_accounts()
    assert (account["resources"], account["looked_at"]) == (3, AT - timedelta(hours=1))


def test_resources_say_when_they_were_last_backed_up_well(catalog: str) -> None:
    found = seed(("a",))
    resource, _ = found["rows"][0]
    with transaction():
        add_point(resource, found["policy"], AT + timedelta(days=1), state=PointState.FAILED, error_code="cloud-failed")
        add_point(resource, found["policy"], AT + timedelta(days=2), destination="vault/eu-central-1")
    (row,) = queries_estate.list_resources(AT)
    assert row["last_good_at"] == AT


def test_the_least_advanced_operation_is_how_far_a_job_is(catalog: str) -> None:
    found = seed(("a",))
    with transaction():
        for number, percent in enumerate((90, 20)):
            Operation.create(
                job=1,
                account=found["account"].id,
                region="us-east-1",
                service="ec2",
                kind="snapshot",
                external_id=f"snap-{number}",
                percent=percent,
                next_poll_at=AT,
                started_at=AT,
            )
    assert queries.show_run("1")["jobs"][0]["percent"] == 20


def test_policies_say_what_is_next_and_what_was_last(catalog: str) -> None:
    seed()
    (policy,) = queries_estate.list_policies()
    assert (policy["next_start_at"], policy["last_run"], policy["last_state"]) == (AT, "run-1", "partial")


def test_a_copy_is_shown_beside_what_it_was_copied_from(catalog: str) -> None:
    found = seed()
    resource, point = found["rows"][0]
    with transaction():
        add_point(resource, found["policy"], AT, destination="vault/eu-central-1", copy_of=point.id)
    assert queries.show_point("rp-1")["copies"] == [
        {"id": "rp-2", "destination": "vault/eu-central-1", "state": "good"}
    ]
    assert queries.show_point("rp-2")["copy_of"] == "rp-1"


@pytest.mark.parametrize("state", list(PointState))
def test_every_point_has_a_reason_whatever_its_state(catalog: str, state: PointState) -> None:
    """feature 10"""
    seed()
    aged(1)
    with transaction():
        why = {"expire_code": "outlived", "expire_text": "too old", "error_code": "cloud-failed"}
        Point.update(state=state, deleted_at=AT, **why).where(Point.id == 1).execute()
    verdict = why_point("rp-1", AT)
    assert verdict["reasons"]
    assert all(reason["code"] and reason["text"] for reason in verdict["reasons"])


def test_a_point_that_the_brake_keeps_says_how_to_let_it_go(catalog: str) -> None:
    """feature C23"""
    seed()
    aged(20)
    verdict = why_point("rp-1", AT)
    assert [reason["code"] for reason in verdict["reasons"]] == ["outlived", "brake"]
    assert "`snapfleet confirm web " in verdict["reasons"][1]["text"]


def test_a_process_that_beats_is_shown_once(catalog: str) -> None:
    heartbeat()
    heartbeat()
    assert [row["role"] for row in queries_estate.list_processes()] == ["coordinator"]


@pytest.mark.unit
@given(st.integers(0, 2**63 - 1))
def test_a_number_is_read_with_and_without_its_prefix(number: int) -> None:
    assert queries.number_of(f"rp-{number}", "rp") == queries.number_of(str(number), "rp") == number


@pytest.mark.unit
@given(st.text(max_size=12))
def test_any_other_text_is_refused_or_read_as_the_number_it_is(text: str) -> None:
    digits = text.removeprefix("run-")
    if digits and set(digits) <= set("0123456789"):
        assert queries.number_of(text, "run") == int(digits)
    else:
        with pytest.raises(Invalid, match="run-12"):
            queries.number_of(text, "run")


@pytest.mark.unit
def test_a_preview_ends_where_the_schedule_does(embedded_catalog: str) -> None:
    spec = {"every": "1d", "starts_at": "2026-11-01T00:00", "ends_at": "2026-11-12T00:00"}
    with transaction():
        Schedule.create(name="short", spec=spec, created_at=AT, changed_at=AT)
    slots = [row["slot_at"] for row in queries_estate.preview_schedule("short", 10, AT)]
    assert slots == [datetime(2026, 11, 11, tzinfo=UTC)]
