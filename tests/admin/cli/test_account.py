"""`snapfleet account check`: what roles may do, with what stops working, for programs and for people."""

import pytest

from tasks.catalog import Account, Job, Policy, transaction
from tasks.clock import host_time
from tasks.states import JobState
from tests.admin.catalogue import AT
from tests.admin.cli.conftest import Cli

pytestmark = pytest.mark.unit
LOST = "Without ec2:DeleteSnapshot this does not work: delete what has aged (volume)."


@pytest.fixture
def checked(cli: Cli) -> Cli:
    """An account whose roles were checked in one region, for two services."""
    rows = [
        {"name": "contact", "outcome": "ok", "text": "account 111111111111", "role": ""},
        {"name": "ec2:CreateSnapshot", "outcome": "ok", "text": "", "role": "snapshot"},
        {"name": "ec2:CreateVolume", "outcome": "unknown", "text": "there is no volume here", "role": "restore"},
        {"name": "ec2:DeleteSnapshot", "outcome": "missing", "text": LOST, "role": "cleanup"},
    ]
    with transaction():
        account = Account.create(name="prod", regions=["us-east-1"])
        common = {
            "kind": "check", "lane": "discover", "account": account, "region": "us-east-1", "created_at": AT,
            "not_before_at": AT, "state": JobState.DONE, "finished_at": host_time(),
        }  # fmt: skip
        Job.create(**common, key="check:1", service="ec2", result={"checks": rows})
        lost = {"outcome": "missing", "text": "Without it.", "role": "snapshot"}
        fsx = [{"name": name, **lost} for name in ("fsx:CreateBackup", "ec2:DeleteSnapshot")]
        Job.create(**common, key="check:2", service="fsx", result={"checks": fsx})
        targets = [{"type": "volume", "id": "vol-1", "account": "prod", "region": "us-east-1"}]
        Policy.create(name="disks", spec={"targets": targets}, created_at=AT, changed_at=AT)
    return cli


def test_what_is_missing_comes_first_and_fails_the_command(checked: Cli) -> None:
    """Feature 93."""
    said = checked("account", "check", "prod", "--last")
    assert said.code == 1
    lines = said.out.splitlines()
    assert ("MISSING" in lines[1], LOST in lines[1], "UNKNOWN" in lines[2]) == (True, True, True)
    assert "1 MISSING, 2 OK, 1 UNKNOWN" in said.out
    assert "fsx" not in said.out


def test_a_program_gets_every_answer_with_its_role(checked: Cli) -> None:
    rows = checked("account", "check", "prod", "--last", "-o", "json").json
    assert [(row["action"], row["outcome"], row["role"]) for row in rows] == [
        ("ec2:DeleteSnapshot", "MISSING", "cleanup"),
        ("ec2:CreateVolume", "UNKNOWN", "restore"),
        ("contact", "OK", ""),
        ("ec2:CreateSnapshot", "OK", "snapshot"),
    ]


def test_without_a_policy_that_uses_the_account_everything_is_told(checked: Cli) -> None:
    with transaction():
        Policy.update(deleted_at=AT).execute()
    rows = checked("account", "check", "prod", "--last", "-o", "json").json
    assert "fsx:CreateBackup" in {row["action"] for row in rows}


def test_a_place_that_could_not_be_entered_is_one_row(checked: Cli) -> None:
    with transaction():
        Job.update(error_text="The role may not be assumed.", result={}).where(Job.service == "ec2").execute()
    rows = checked("account", "check", "prod", "--last", "-o", "json").json
    assert [(row["action"], row["outcome"], row["text"]) for row in rows] == [
        ("contact", "MISSING", "The role may not be assumed.")
    ]


@pytest.mark.long
def test_where_nothing_runs_the_command_says_so(checked: Cli) -> None:
    said = checked("account", "check", "prod", "-o", "json")
    assert said.code == 1
    assert "nothing runs" in said.error["text"]


def test_account_alone_says_what_it_can(cli: Cli) -> None:
    assert "snapfleet account check NAME" in cli("account").out
