"""Doctor: a line a check, what to do, and exit 1 when something fails."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.requests import handle_requests
from tasks.catalog import Account, DeadLetter, Job, Meta, transaction
from tasks.clock import host_time
from tasks.lanes import Lane
from tasks.secrets import MasterKey
from tasks.states import JobState
from tests.admin.catalogue import AT, heartbeat, seed
from tests.admin.cli.conftest import Cli
from tests.services import free_port

pytestmark = pytest.mark.unit


def outcomes(cli: Cli, *options: str) -> dict[str, list[str]]:
    """Outcomes by what was looked at."""
    found: dict[str, list[str]] = {}
    for row in cli("doctor", *options, "-o", "json").json:
        found.setdefault(row["name"], []).append(row["outcome"])
    return found


def test_a_fresh_installation_is_fit_and_told_what_is_missing(cli: Cli) -> None:
    said = cli("doctor")
    assert said.code == 0, said.out
    assert outcomes(cli) == {
        "settings": ["OK"],
        "home": ["OK"],
        "key": ["OK"],
        "broker": ["OK"],
        "catalog": ["OK"],
        "installation": ["OK"],
        "clock": ["OK"],
        "processes": ["WARN"],
        "users": ["WARN"],
        "dead letters": ["OK"],
        "accounts": ["WARN"],
    }
    assert "snapfleet users add NAME --role admin" in said.out


def test_every_warning_and_failure_says_what_to_do(cli: Cli, home: Path) -> None:
    (home / "keys" / "master.key").chmod(0o644)
    home.chmod(0o755)
    with transaction():
        DeadLetter.create(lane="poll", reason="x", received_at=AT)
        Account.create(name="prod", regions=[], role_arn="arn:aws:iam::1:role/x")
    rows = cli("doctor", "-o", "json").json
    wrong = [row for row in rows if row["outcome"] != "OK"]
    assert {row["name"] for row in wrong} == {"home", "key", "dead letters", "processes", "users", "accounts"}
    assert all(row["advice"] for row in wrong)
    assert cli("doctor").code == 1  # a key that others read is a failure


def test_a_key_of_another_catalog_fails(cli: Cli, home: Path) -> None:
    key = home / "keys" / "master.key"
    key.unlink()
    assert outcomes(cli)["key"] == ["FAIL"]
    MasterKey.create(key)
    assert outcomes(cli)["installation"] == ["FAIL"]


def test_a_catalog_without_an_installation_or_with_another_schema_fails(cli: Cli) -> None:
    with transaction():
        Meta.delete().execute()
    assert outcomes(cli)["installation"] == ["FAIL"]


def test_a_broker_that_does_not_answer_fails_within_moments(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPFLEET_BROKER_URL", f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    said = cli("doctor", "--wait", "0")
    assert said.code == 1
    assert "RabbitMQ cannot be reached" in said.out
    assert "a fleet cannot share a SQLite catalog" in said.out


def test_settings_that_cannot_be_read_are_a_failure_and_not_a_crash(cli: Cli, home: Path) -> None:
    (home / "snapfleet.toml").write_text("colour = 'red'\n")
    said = cli("doctor")
    assert said.code == 1
    assert "unknown settings: colour" in said.out


def test_accounts_are_entered_by_a_worker_and_what_a_role_lacks_is_named(
    cli: Cli, background: Callable[[Callable[[], None]], None]
) -> None:
    """feature 94 is not enough: a role must also be allowed what it is for."""
    seed()
    with transaction():
        Account.update(regions=["us-east-1", "eu-west-1"]).execute()
    heartbeat(lanes=[str(lane) for lane in Lane])
    checks = [
        {"name": "contact", "outcome": "ok", "text": "entered"},
        {"name": "ec2:CopySnapshot", "outcome": "missing", "text": "nothing is copied here"},
    ]

    def work() -> None:
        heartbeat()
        handle_requests(host_time(), host_time())
        with transaction():
            asked = Job.kind == "check", Job.state == JobState.PENDING
            Job.update(state=JobState.DONE, finished_at=host_time(), result={"checks": checks}).where(
                *asked, Job.region == "us-east-1"
            ).execute()
            Job.update(
                state=JobState.FAILED,
                error_code="cloud-failed",
                finished_at=host_time(),
                error_text="The role is wrong.",
            ).where(*asked, Job.region == "eu-west-1").execute()

    background(work)
    said = cli("doctor", "--wait", "20", "-o", "json")
    found = {row["name"]: (row["outcome"], row["text"]) for row in said.json}
    assert found["account prod us-east-1"] == ("WARN", "ec2:CopySnapshot: nothing is copied here")
    assert found["account prod eu-west-1"] == ("FAIL", "The role is wrong.")
    assert said.code == 1


def test_accounts_that_do_not_answer_in_time_are_a_warning(
    cli: Cli, background: Callable[[Callable[[], None]], None]
) -> None:
    seed()
    heartbeat()

    def idle() -> None:
        heartbeat()
        handle_requests(host_time(), host_time())

    background(idle)
    assert "have not answered within 1 s" in cli("doctor", "--wait", "1").out
