"""Wishes: one row and one audit row each, refused at once when they can be seen to be wrong."""

from datetime import timedelta

import pytest

from admin import requests
from coordinator.requests import HANDLERS
from coordinator.restore_facts import RestoreRequest
from tasks.catalog import Audit, Point, Repository, Request, session, transaction
from tasks.clock import FixedClock, host_time
from tasks.errors import Invalid, Refused
from tasks.states import RequestState
from tests.admin.catalogue import AT, heartbeat, seed

CLOCK = FixedClock(AT)


def rows() -> list[Request]:
    with session():
        return list(Request.select().order_by(Request.id))


def test_every_wish_is_one_row_with_an_audit_row_and_a_coordinator_knows_its_kind(catalog: str) -> None:
    seed()
    with transaction():
        Point.update(held="x").execute()
        Repository.create(name="cold", spec={"account": "prod", "url": "s3://b/p", "region": "r"}, created_at=AT)
    by = {"who": "me", "clock": CLOCK}
    requests.request_run("web", ["i-1"], **by)
    requests.request_restore("rp-1", RestoreRequest("volume"), True, **by)
    requests.request_hold("rp-1", " audit ", **by)
    requests.request_release("rp-1", **by)
    requests.request_cancel("run-1", **by)
    requests.request_cleanup(**by)
    requests.request_confirm("web", "abc", **by)
    requests.request_look("discover", None, **by)
    requests.request_look("check", "prod", **by)
    requests.request_repository("cold", "verify", {"full": True}, **by)
    requests.request_letters("requeue", "all", **by)
    requests.request_letters("drop", "3", **by)
    assert [(row.kind, row.payload) for row in rows()] == [
        ("run", {"policy": "web", "resources": ["i-1"]}),
        ("restore", {"point": 1, "request": {"kind": "volume"}, "keep_on_failure": True}),
        ("hold", {"point": 1, "reason": "audit"}),
        ("release", {"point": 1}),
        ("cancel", {"run": 1}),
        ("cleanup", {}),
        ("confirm", {"policy": "web", "hash": "abc"}),
        ("discover", {"account": None}),
        ("check", {"account": "prod"}),
        ("repository", {"name": "cold", "verb": "verify", "full": True}),
        ("requeue", {"letter": "all"}),
        ("drop", {"letter": 3}),
    ]
    # Written by admin/requests_repository.py and admin/rebuilding.py, and by the commands there.
    elsewhere = {"archive", "adopt", "delete", "import", "keys", "rebuild", "orphans"}
    assert {row.kind for row in rows()} == set(HANDLERS) - elsewhere
    with session():
        assert [row.action for row in Audit.select().order_by(Audit.id)] == [row.kind for row in rows()]
        assert {row.who for row in Audit.select()} == {"me"}


def test_what_can_be_seen_to_be_wrong_is_not_recorded(catalog: str) -> None:
    seed()
    by = {"who": "me", "clock": CLOCK}
    with pytest.raises(Invalid, match="Did you mean web"):
        requests.request_run("wbe", **by)
    with pytest.raises(Invalid, match="There is no point"):
        requests.request_hold("rp-9", "x", **by)
    with pytest.raises(Invalid, match="needs a reason"):
        requests.request_hold("rp-1", "  ", **by)
    with pytest.raises(Refused, match="is not held"):
        requests.request_release("rp-1", **by)
    with pytest.raises(Invalid, match="There is no run"):
        requests.request_cancel("run-9", **by)
    with pytest.raises(Invalid, match="There is no account"):
        requests.request_look("check", "nobody", **by)
    assert rows() == []


def test_somebody_runs_only_while_a_coordinator_reports_itself(catalog: str) -> None:
    assert not requests.somebody_runs(FixedClock(host_time()))
    heartbeat("worker")
    assert not requests.somebody_runs(FixedClock(host_time()))
    heartbeat("coordinator")
    assert requests.somebody_runs(FixedClock(host_time()))
    assert not requests.somebody_runs(FixedClock(host_time() + requests.FRESH + timedelta(seconds=1)))


def test_an_answer_is_the_result_or_the_reason_why_not(catalog: str) -> None:
    number = requests.request("run", {}, subject="x", who="me", clock=CLOCK)
    assert requests.answer(number) is None
    with transaction():
        Request.update(state=RequestState.ACCEPTED, result={"run": 7}).execute()
    assert requests.answer(number) == {"run": 7}
    with transaction():
        Request.update(state=RequestState.REFUSED, error_code="busy", error_text="Not now.").execute()
    with pytest.raises(Refused, match="Not now") as refused:
        requests.answer(number)
    assert refused.value.code == "busy"
