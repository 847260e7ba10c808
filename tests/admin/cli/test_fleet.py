"""Commands about the fleet: who works, a drain, a standstill."""

import socket
from datetime import UTC, datetime, timedelta

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


def test_processes_that_died_are_not_shown_as_running_and_a_host_can_ask_for_its_own(cli: Cli) -> None:
    """A row of a killed process stays for a day. A health check of a container asks whether its own process lives."""
    here, long_ago = socket.gethostname(), at() - timedelta(hours=1)
    with transaction():
        for name, role, seen in (("a:1:worker", "worker", at()), (f"{here}:1:worker", "worker", long_ago)):
            Process.create(name=name, role=role, started_at=long_ago, seen_at=seen)
    said = cli("processes", "-o", "json").json
    assert {row["name"]: row["state"] for row in said} == {"a:1:worker": "alive", f"{here}:1:worker": "silent"}
    assert "silent" in cli("processes").out
    asked = cli("processes", "--here")
    assert asked.code == 1
    assert "a:1:worker" not in asked.out
    with transaction():
        Process.create(name=f"{here}:2:worker", role="worker", started_at=at(), seen_at=at())
    asked = cli("processes", "--here", "-o", "json")
    assert (asked.code, len(asked.json)) == (0, 2)


def test_a_drain_that_takes_too_long_says_what_it_waits_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    since = at() - timedelta(seconds=90)
    jobs = {"jobs": [{"job": 5, "kind": "discover", "lane": "discover", "since": since.isoformat()}]}
    with transaction():
        Process.create(name="a:1:worker", role="worker", busy=1, detail=jobs, started_at=at(), seen_at=at())
    monkeypatch.setattr("admin.cli.fleet.DRAINED_WITHIN", timedelta(0))
    said = cli("worker", "drain", "a:1:worker", "--wait")
    assert said.code == 1
    assert "a:1:worker still works on discover 5 (1m" in said.out
    (left,) = cli("worker", "drain", "a:1:worker", "--wait", "-o", "json").json["left"]
    assert (left["name"], left["working"][0]["kind"]) == ("a:1:worker", "discover")


def test_a_drain_of_a_worker_that_is_gone_says_so(cli: Cli) -> None:
    """Its row stays for a day, and the wish with it: nobody should wait for it."""
    with transaction():
        long_ago = at() - timedelta(minutes=5)
        Process.create(name="a:1:worker", role="worker", started_at=long_ago, seen_at=long_ago)
        Process.create(name="a:2:worker", role="worker", started_at=at(), seen_at=at())
    said = cli("worker", "drain", "a")
    assert said.out.endswith("a:1:worker has reported nothing lately: gone, or without the catalog.\n")
    assert cli("worker", "drain", "a", "-o", "json").json["silent"] == ["a:1:worker"]


def test_a_pool_without_workers_is_not_said_to_clear_its_backlog(cli: Cli) -> None:
    with transaction():
        account = Account.create(name="prod", regions=["us-east-1"])
        add_job(lane=Lane.SNAPSHOT, at=at(), kind="snapshot", account=account, region="us-east-1", key="k")
    assert cli("workers", "needed").out.splitlines()[1].split() == ["common", "0", "1", "0", "2s", "never", "snapshot"]


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
