"""As whom an account is entered for what: no role both creates and deletes."""

from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Account, Repository, transaction
from tasks.errors import Denied
from tasks.lanes import Lane
from tests.workers.world import World
from workers import driver
from workers.duties import duty_of_step, entered, identities

ROLE = "arn:aws:iam::111111111111:role/snapfleet"


@pytest.fixture
def world(catalog: str, tmp_path: Path) -> World:
    return World(tmp_path)


def with_roles(**settings: str) -> Any:
    with transaction():
        Account.update(role_arn=ROLE, settings=settings).execute()
        return Account.get()


def test_each_duty_has_the_role_that_the_account_names_for_it(world: World) -> None:
    row = with_roles(cleanup_role_arn=f"{ROLE}-cleanup", restore_role_arn=f"{ROLE}-restore")
    account = driver.Account("prod", role_arn=ROLE)
    assert [entered(account, row, duty).role_arn for duty in ("snapshot", "cleanup", "restore")] == [
        ROLE, f"{ROLE}-cleanup", f"{ROLE}-restore"
    ]  # fmt: skip
    assert [one.duties for one in identities(account, row)] == [("snapshot",), ("cleanup",), ("restore",)]


def test_an_account_with_one_role_does_everything_by_it(world: World) -> None:
    row = with_roles(cleanup_role_arn=f"{ROLE}-cleanup")
    account = driver.Account("prod", role_arn=ROLE)
    assert entered(account, row, "restore") == account
    assert [one.duties for one in identities(account, row)] == [("snapshot", "restore"), ("cleanup",)]


@pytest.mark.parametrize(("step", "duty"), [
    ("create-volume", "restore"),
    ("run-instance", "restore"),
    ("configure-table", "restore"),
    ("delete-snapshot", "cleanup"),
    ("delete-volume", "cleanup"),
    ("deregister-image", "cleanup"),
])  # fmt: skip
def test_what_a_restore_takes_away_again_is_taken_away_by_the_cleanup_role(step: str, duty: str) -> None:
    assert duty_of_step(step) == duty


def test_a_check_is_made_as_each_role_and_says_whose_answer_it_is(world: World) -> None:
    """Feature 93."""
    with_roles(cleanup_role_arn=f"{ROLE}-cleanup")
    job = world.job("check", Lane.DISCOVER, run=None)
    assert world.work(job) == "done"
    rows = world.row(job).result["checks"]
    assert {row["role"] for row in rows} == {"snapshot, restore", "cleanup"}


class Keeper:
    """Access to repositories, and who asked as whom."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    def check(self, account: driver.Account, region: str, name: str, spec: Any) -> list[driver.Check]:
        self.asked.append((account.role_arn, region, name))
        if spec["url"].endswith("shut"):
            raise Denied("IAM does not answer.", advice="")
        return [driver.Check("s3:GetObjectRetention", "missing", f"Without it, of {name}.")]


def test_the_repositories_of_an_account_are_asked_about_once_as_the_role_that_keeps_them(world: World) -> None:
    """Feature 93: where one lies in a region that nothing else is done in, too; an account stays reachable."""
    keeper: Any = Keeper()
    vars(world.context.drivers["volume"])["blocks"] = keeper
    with_roles(cleanup_role_arn=f"{ROLE}-cleanup")
    at = world.clock.now()
    with transaction():
        for name, region, account in (
            ("cold", "us-east-1", "prod"),
            ("shut", "mars", "prod"),
            ("other", "us-east-1", "x"),
        ):
            where = {"account": account, "region": region, "url": f"s3://b/{name}"}
            Repository.create(name=name, spec=where, created_at=at)
    job = world.job("check", Lane.DISCOVER, run=None, service="ec2")
    assert world.work(job) == "done"
    found = {(row["name"], row["outcome"], row["role"]) for row in world.row(job).result["checks"]}
    assert ("s3:GetObjectRetention", "missing", "snapshot, restore") in found
    assert ("iam:SimulatePrincipalPolicy", "unknown", "snapshot, restore") in found
    assert sorted(keeper.asked) == [(ROLE, "mars", "shut"), (ROLE, "us-east-1", "cold")]
    with transaction():
        assert Account.get().state == "reachable"
