"""Commands about the fleet: who works, a drain, a standstill."""

from datetime import UTC, datetime

import pytest

from coordinator.publish import publish
from coordinator.requests import handle_requests
from tasks.broker import build_broker
from tasks.catalog import Account, Job, Process, Request, session, transaction
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane
from tasks.localbroker import LocalPublisher
from tasks.states import JobState, RequestState
from tasks.telemetry import Counters
from tests.admin.cli.conftest import Cli
from tests.tasks.poison import KEYS

pytestmark = pytest.mark.unit


def at() -> datetime:
    return datetime.now(UTC)


def test_workers_are_listed_with_what_they_have_in_hand(cli: Cli) -> None:
    """Feature C21: an older worker, which does not say what it works on, is listed all the same."""
    since = at()
    jobs = {"jobs": [{"job": 5, "kind": "copy", "lane": "copy", "since": since.isoformat()}]}
    with transaction():
        for name, detail in (("a:1:worker", jobs), ("b:1:worker", {})):
            Process.create(
                name=name,
                role="worker",
                lanes=["copy"],
                threads=4,
                busy=1,
                detail=detail,
                started_at=since,
                seen_at=since,
            )
    rows = cli("worker", "list", "-o", "json").json
    assert [(row["name"], row["state"], [item["job"] for item in row["working"]]) for row in rows] == [
        ("a:1:worker", "working", [5]),
        ("b:1:worker", "working", []),
    ]
    assert "copy 5 (" in cli("workers").out
    assert cli("worker", "drain", "a:1:worker").out == "Asked to drain: a:1:worker.\n"
    assert cli("worker", "drain", "a:2:worker").code == 2


def test_a_standstill_lets_nothing_begin_and_follows_what_was_begun(cli: Cli) -> None:
    """Feature 53: nothing but questions about running operations is published, wishes are refused with the reason, and
    after `resume` what waited goes."""
    with transaction():
        account = Account.create(name="prod", regions=["us-east-1"])
        for lane in (Lane.SNAPSHOT, Lane.POLL):
            add_job(lane=lane, at=at(), kind=str(lane), account=account, region="us-east-1", key=f"k-{lane}")
        Job.create(
            kind="snapshot", lane="snapshot", key="begun", account=account, region="us-east-1",
            state=JobState.WAITING, not_before_at=at(), created_at=at(),
        )  # fmt: skip
    publisher = LocalPublisher(build_broker("", KEYS))  # type: ignore[arg-type]
    assert "1 jobs are still on their way" in cli("drain").out
    assert cli("drain").code == 4
    (line,) = [row for row in cli("doctor", "--wait", "0", "-o", "json").json if row["name"] == "standstill"]
    assert "stands still since" in line["text"]
    assert "snapfleet resume" in line["advice"]
    assert cli("status", "-o", "json").json["standstill_since"] is not None
    with session():
        assert publish(publisher, Counters(), at()) == 1
        Request.create(kind="run", payload={"policy": "web"}, requested_by="ada", created_at=at())
        handle_requests(at(), at())
        refused = Request.select().order_by(Request.id.desc()).first()
        assert (refused.state, refused.error_code) == (RequestState.REFUSED, "standstill")
        assert [job.lane for job in Job.select().where(Job.state == JobState.QUEUED)] == ["poll"]
    assert cli("resume").code == 0
    assert cli("status", "-o", "json").json["standstill_since"] is None
    with session():
        assert publish(publisher, Counters(), at()) == 1
    assert cli("resume").code == 4
