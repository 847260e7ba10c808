"""Asking for work: what is recorded, what is waited for, and the exit code that says how it ended."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coordinator.requests import handle_requests
from tasks.catalog import (
    Account,
    Audit,
    DeadLetter,
    Job,
    Operation,
    Part,
    Point,
    Policy,
    Process,
    Request,
    Restore,
    RestoreStep,
    Run,
    session,
    transaction,
)
from tasks.clock import host_time
from tasks.states import JobState, PointState, RestoreState, RunState
from tests.admin.catalogue import AT, heartbeat, seed
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit

Background = Callable[[Callable[[], None]], None]
START = "Start `snapfleet up`, or a coordinator and workers.\n"


def requests() -> list[tuple[str, dict[str, Any]]]:
    with session():
        return [(row.kind, row.payload) for row in Request.select().order_by(Request.id)]


def coordinate() -> None:
    """One round of a coordinator that takes wishes up."""
    heartbeat()
    handle_requests(host_time(), host_time())


def finish(state: RunState) -> Callable[[], None]:
    """A coordinator whose runs end in a state, with a failed job among them."""

    def step() -> None:
        coordinate()
        with transaction():
            for run in list(Run.select().where(Run.state == RunState.RESOLVING)):
                job = Job.select().order_by(Job.id).first()
                why = {"error_code": "quota-reached"}
                failed = {"run": run.id, "state": JobState.FAILED, "error_text": "no room"}
                Job.update(**failed, **why).where(Job.id == job.id).execute()
                Run.update(state=state, finished_at=host_time(), **why).where(Run.id == run.id).execute()

    return step


def test_work_asked_for_while_nothing_runs_is_recorded_and_said(cli: Cli) -> None:
    """feature 12"""
    seed()
    said = cli("run", "web", "--resource", "i-00000000000000000")
    assert (said.code, said.out) == (0, f"Recorded as request 1; it is done as soon as something runs. {START}")
    assert requests() == [("run", {"policy": "web", "resources": ["i-00000000000000000"]})]
    assert cli("run", "web", "-o", "json").json == {"request": 2, "state": "recorded"}
    with session():
        assert [(row.action, row.subject) for row in Audit.select().where(Audit.action == "run")] == [
            ("run", "policy web")
        ] * 2


@pytest.mark.long
def test_waiting_for_work_while_nothing_runs_fails_and_names_up(cli: Cli) -> None:
    seed()
    said = cli("run", "web", "--wait")
    assert said.code == 1
    assert said.err == f"Request 1 is recorded, but nothing runs that would do it. {START}"


def test_a_coordinator_that_has_been_silent_does_not_count(cli: Cli) -> None:
    seed()
    with transaction():
        heartbeat()
        Process.update(seen_at=AT).execute()
    assert cli("run", "web", "-o", "json").json == {"request": 1, "state": "recorded"}


def test_waiting_gives_what_is_just_starting_a_moment(cli: Cli, background: Background) -> None:
    """`snapfleet up &` and the next line are pasted together."""
    seed()
    asked = []

    def step() -> None:
        asked.append(1)
        if len(asked) > 10:
            finish(RunState.DONE)()

    background(step)
    assert cli("run", "web", "--wait").code == 0


def test_an_unknown_policy_is_answered_with_close_ones_and_nothing_is_recorded(cli: Cli) -> None:
    seed()
    said = cli("run", "wbe")
    assert (said.code, said.err) == (2, "There is no policy 'wbe'. Did you mean web?\n")
    assert requests() == []


@pytest.mark.parametrize(
    ("state", "code"), [(RunState.DONE, 0), (RunState.PARTIAL, 3), (RunState.FAILED, 1), (RunState.CANCELLED, 1)]
)
def test_waiting_ends_with_the_run_and_exits_by_its_outcome(
    cli: Cli, background: Background, state: RunState, code: int
) -> None:
    seed()
    heartbeat()
    background(finish(state))
    said = cli("run", "web", "--wait")
    assert said.code == code, said.err
    assert said.out.splitlines()[-1] == f"run-2 of web: {state} (1 failed)."
    assert "no room" in said.out


def test_waiting_with_json_tells_lines_and_the_result_last(cli: Cli, background: Background) -> None:
    seed()
    heartbeat()
    background(finish(RunState.DONE))
    lines = [json.loads(line) for line in cli("run", "web", "--wait", "-o", "json").out.splitlines()]
    assert {line["type"] for line in lines[:-1]} <= {"progress"}
    assert (lines[-1]["type"], lines[-1]["id"], lines[-1]["state"]) == ("result", "run-2", "done")
    assert lines[-1]["jobs"][0]["reason"] == "no room"


def test_a_run_that_begins_is_named(cli: Cli, background: Background) -> None:
    seed()
    heartbeat()
    background(coordinate)
    assert cli("run", "web").out == "run-2 has begun.\n"


def test_control_c_stops_the_waiting_and_not_the_work(home: Path) -> None:
    seed()
    with transaction():
        Run.update(state=RunState.OPEN).execute()
        Request.create(kind="run", state="accepted", result={"run": 1}, requested_by="x", created_at=AT)
    heartbeat()
    # Whoever starts the tests in the background hands SIGINT down as ignored.
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys\nfrom admin.cli.context import Context\nfrom admin.cli.follow import follow_run\n"
        "from admin.cli.output import Output\nat = Context(Output())\nat.open()\nsys.exit(follow_run(at, 'run-1'))"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert waiting.stdout
    assert waiting.stdout.readline().startswith("run-1: open")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=20)
    assert (waiting.returncode, said) == (
        1,
        "Stopped waiting; run-1 goes on (see `snapfleet runs show run-1`).\n",
    )
    with session():
        assert Run.get_by_id(1).state == RunState.OPEN


def test_what_the_coordinator_refuses_is_said_with_its_reason(cli: Cli, background: Background) -> None:
    seed()
    with transaction():
        Point.update(state=PointState.EXPIRING, expire_code="outlived").execute()
        Part.update(state=PointState.EXPIRING).execute()
    heartbeat()
    background(coordinate)
    said = cli("hold", "rp-1", "--reason", "audit")
    assert (said.code, said.err) == (4, "Point rp-1 cannot be held: it is not there or on its way out.\n")


def test_points_are_held_and_released(cli: Cli, background: Background) -> None:
    seed()
    heartbeat()
    background(coordinate)
    assert cli("release", "rp-1").code == 4
    assert cli("hold", "1", "--reason", "audit 2026").out == "rp-1 is held.\n"
    assert cli("points", "-o", "json").json[0]["held"] == "audit 2026"
    assert "held: audit 2026 (held)" in cli("why", "rp-1").out
    assert cli("release", "rp-1").out == "rp-1 is no longer held.\n"
    assert cli("points", "-o", "json").json[0]["held"] == ""


@pytest.mark.parametrize("point", ["rp-77", "nonsense", "rp--1", "rp-" + "9" * 30, "²"])
def test_a_point_that_is_not_there_is_one_sentence(cli: Cli, point: str) -> None:
    for command in (["hold", point, "--reason", "x"], ["release", point], ["point", point]):
        said = cli(*command)
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert "See `snapfleet points`." in said.err


def test_a_run_is_cancelled_and_what_is_under_way_goes_on(cli: Cli, background: Background) -> None:
    seed(("a", "b"))
    with transaction():
        Job.update(state=JobState.PENDING).where(Job.id == 1).execute()
        Job.update(state=JobState.WAITING).where(Job.id == 2).execute()
        Run.update(state=RunState.OPEN).execute()
    heartbeat()
    background(coordinate)
    assert cli("cancel", "run-1").out == "run-1: 1 jobs cancelled, 1 go on to their end.\n"


def test_dead_letters_are_listed_requeued_and_dropped(cli: Cli, background: Background) -> None:
    seed()
    with transaction():
        for _ in range(3):
            DeadLetter.create(lane="snapshot", reason="bad-signature", received_at=AT)
    heartbeat()
    background(coordinate)
    assert len(cli("dead", "list", "-o", "json").json) == 3
    assert cli("dead", "drop", "2").out == "1 letters are closed.\n"
    assert cli("dead", "requeue", "all").out == "0 jobs go again.\n"
    assert cli("dead").out == "No dead letters.\n"
    assert cli("dead", "drop", "first").code == 2
    assert cli("dead", "drop", "2").code == 4


def test_a_run_is_shown_with_its_jobs_reasons_and_what_the_cloud_is_at(cli: Cli) -> None:
    seed(("a", "b"))
    with transaction():
        job = Job.get_by_id(1)
        Job.update(state=JobState.WAITING).where(Job.id == 1).execute()
        Operation.create(
            job=1, account=job.account_id, region="us-east-1", service="ec2", kind="snapshot", external_id="snap-1",
            percent=40, next_poll_at=AT, started_at=AT,
        )  # fmt: skip
    for command in (["runs", "show", "run-1"], ["run-show", "1"]):
        shown = cli(*command, "-o", "json").json
        assert [(job["state"], job["percent"]) for job in shown["jobs"]] == [("waiting", 40), ("failed", None)]
        assert shown["jobs"][1]["reason"] == "broken: b"
        assert shown["jobs_by_state"] == {"waiting": 1, "failed": 1}


def test_looks_are_asked_for_by_account(cli: Cli) -> None:
    seed()
    assert cli("discover", "--account", "prod").code == 0
    assert cli("discover", "--account", "prd").code == 2
    assert requests() == [("discover", {"account": "prod"})]


def look(error: str = "", code: str = "broken") -> Callable[[], None]:
    """A coordinator whose looks end at once, in one region with an error."""

    def step() -> None:
        coordinate()
        with transaction():
            for job in list(Job.select().where(Job.kind == "discover")):
                bad = bool(error) and job.region == "us-east-1"
                state, result = (JobState.FAILED, {}) if bad else (JobState.DONE, {"found": 3})
                columns = {"state": state, "result": result, "finished_at": host_time()}
                columns |= {"error_text": error, "error_code": code} if bad else {}
                Job.update(**columns).where(Job.id == job.id).execute()

    return step


@pytest.mark.parametrize(("regions", "error", "code"), [(1, "", 0), (2, "no right", 3), (1, "no right", 1)])
def test_a_look_is_waited_for_and_its_exit_code_says_how_it_ended(
    cli: Cli, background: Background, regions: int, error: str, code: int
) -> None:
    seed()
    with transaction():
        Account.update(regions=["us-east-1", "eu-west-1"][:regions]).execute()
    heartbeat()
    background(look(error))
    said = cli("discover", "--wait", "-o", "json")
    assert said.code == code, said.err
    assert {row["state"] for row in said.json if row["region"] == "us-east-1"} == {"failed" if error else "done"}
    assert {row["note"] for row in said.json} == ({"no right", ""} if regions == 2 else {error})


def test_a_look_that_is_not_granted_and_that_nothing_needs_is_no_failure(cli: Cli, background: Background) -> None:
    """Feature 10: what a policy or a recovery point needs fails all the same."""
    seed()
    with transaction():
        Account.update(regions=["us-east-1"]).execute()
    heartbeat()
    background(look("AWS refused it.", "denied"))
    said = cli("discover", "--wait", "-o", "json")
    # the seeded policy means every type that needs no option
    assert [row["service"] for row in said.json if row["state"] == "not-granted"] == ["s3"]
    assert said.code == 1, "nothing was seen"
    with transaction():
        Policy.update(spec={"targets": [{"tag": {"a": "b"}, "types": ["efs"], "accounts": ["prod"]}]}).execute()
        Point.update(state=PointState.DELETED, expire_code="outlived").execute()
    said = cli("discover", "--wait", "-o", "json")
    assert [row["service"] for row in said.json if row["state"] == "failed"] == ["efs"]
    with transaction():
        Policy.update(deleted_at=AT).execute()
        Account.update(regions=["us-east-1", "eu-west-1"]).execute()
    assert cli("discover", "--wait", "-o", "json").code == 0


def restores(state: RestoreState) -> Callable[[], None]:
    """A coordinator whose restores end in a state."""

    def step() -> None:
        coordinate()
        with transaction():
            Restore.update(state=state, finished_at=host_time(), error_code="invalid", error_text="no zone").execute()
            RestoreStep.update(state=JobState.DONE).execute()

    return step


@pytest.mark.parametrize(("state", "code"), [(RestoreState.DONE, 0), (RestoreState.FAILED, 1)])
def test_a_restore_is_followed_to_its_end(cli: Cli, background: Background, state: RestoreState, code: int) -> None:
    seed()
    heartbeat()
    background(restores(state))
    said = cli("restore", "rp-1", "--to", "volume", "--wait", "--keep-on-failure", "--tag", "team=web")
    assert said.code == code, said.err
    assert said.out.splitlines()[-1].startswith(f"restore-1: {state}.")
    ((_, payload),) = requests()
    assert payload == {"point": 1, "request": {"kind": "volume", "tags": {"team": "web"}}, "keep_on_failure": True}
    shown = cli("restores", "show", "restore-1", "-o", "json").json
    assert [step["kind"] for step in shown["steps"]] == ["create-volume"]


def test_a_dry_run_prints_the_exact_plan_and_records_nothing(cli: Cli) -> None:
    seed()
    said = cli("restore", "rp-1", "--as", "volume", "--dry-run")
    assert said.code == 0
    assert "create-volume" in said.out
    assert "1 volumes, 8 GiB, interrupts nothing" in said.out
    assert cli("restore", "rp-1", "--to", "volume", "--dry-run", "-o", "json").json["kind"] == "volume"
    assert requests() == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--to", "volume", "--subnet", "subnet-1"], 2, "--subnet goes with --to instance only."),
        (["--to", "volume", "--tag", "novalue"], 2, "--tag takes KEY=VALUE."),
        (["--to", "volume", "--region", "eu-west-1"], 2, "This point is restored where it lies"),
        (["--to", "instance", "--account", "other"], 2, "This point is restored where it lies"),
        ([], 2, "Missing option '--to'"),
    ],
)
def test_a_restore_that_cannot_be_planned_is_refused_before_it_is_recorded(
    cli: Cli, options: list[str], code: int, words: str
) -> None:
    seed()
    said = cli("restore", "rp-1", *options)
    assert said.code == code
    assert words in said.err
    assert requests() == []


def test_a_point_that_is_gone_cannot_be_restored_from(cli: Cli) -> None:
    seed()
    with transaction():
        Point.update(state=PointState.DELETED, expire_code="outlived").execute()
    assert cli("restore", "rp-1", "--to", "volume").err == (
        "Point rp-1 is deleted, so nothing can be restored from it.\n"
    )
