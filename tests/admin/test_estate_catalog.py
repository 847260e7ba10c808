"""Applying estates to a catalog: nothing twice, nothing half, nothing of the past, and two at once in turn."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from admin.estate import Estate, write_estate
from admin.estate_catalog import apply_estate, current_estate, held_secrets
from admin.estate_plan import EstatePlan
from admin.estate_yaml import EstateRefused
from coordinator.due import Grid, start_of
from tasks.catalog import (
    MODELS,
    Account,
    Audit,
    Point,
    Policy,
    PolicySchedule,
    Repository,
    Request,
    Resource,
    Schedule,
    session,
    transaction,
)
from tasks.clock import FixedClock
from tasks.errors import Refused
from tasks.secrets import MasterKey, unseal
from tasks.states import PointState
from tests.admin.estates import ENVIRONMENT, SECRET, SMALL, estates

START = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> MasterKey:
    return MasterKey.create(tmp_path_factory.mktemp("keys") / "master.key")


class Applier:
    """Applies texts at the time of its clock."""

    def __init__(self, key: MasterKey) -> None:
        self.key, self.clock = key, FixedClock(START)

    def __call__(self, text: str, environment: dict[str, str] | None = None, **options: Any) -> EstatePlan:
        env = ENVIRONMENT if environment is None else environment
        return apply_estate(text, name="e.yaml", key=self.key, clock=self.clock, who="test", environment=env, **options)


@pytest.fixture
def apply(key: MasterKey) -> Applier:
    return Applier(key)


def everything() -> dict[str, list[dict[str, Any]]]:
    """Every row of the catalog."""
    with session():
        return {model.__name__: list(model.select().dicts()) for model in MODELS}


def rows_of(policy: str) -> dict[str, PolicySchedule]:
    """The policy's rows by schedule name."""
    query: Any = PolicySchedule.select(PolicySchedule, Schedule).join(Schedule).switch(PolicySchedule).join(Policy)
    with session():
        return {row.schedule.name: row for row in query.where(Policy.name == policy)}


def test_applying_twice_changes_nothing(catalog: str, apply: Applier) -> None:
    """feature 5"""
    assert len(apply(SMALL).changes) == 4
    before = everything()
    apply.clock.advance(timedelta(days=3))
    assert apply(SMALL).changes == ()
    assert everything() == before


def test_each_change_is_audited_and_a_new_account_is_looked_at(catalog: str, apply: Applier) -> None:
    apply(SMALL)
    with session():
        assert [(row.who, row.action, row.subject) for row in Audit.select().order_by(Audit.id)] == [
            ("test", "estate.add", "account prod"),
            ("test", "estate.add", "account vault"),
            ("test", "estate.add", "schedule nightly"),
            ("test", "estate.add", "policy web"),
        ]
        wishes = [(row.kind, row.payload) for row in Request.select().order_by(Request.id)]
    assert wishes == [("discover", {"account": "prod"}), ("discover", {"account": "vault"})]


def test_a_dry_run_says_the_same_and_writes_nothing(catalog: str, apply: Applier) -> None:
    before = everything()
    planned = apply(SMALL, dry_run=True)
    assert everything() == before
    assert planned == apply(SMALL)


def test_a_wrong_file_changes_nothing(catalog: str, apply: Applier) -> None:
    before = everything()
    with pytest.raises(EstateRefused):
        apply(SMALL.replace("daily: 7", "daily: many"))
    assert everything() == before


def test_the_slots_of_a_new_policy_begin_now(catalog: str, apply: Applier) -> None:
    """feature 37: what lies before the policy is neither run nor missed."""
    apply(SMALL)
    row = rows_of("web")["nightly"]
    grid = Grid.from_spec(row.schedule.spec)
    assert row.last_slot_at == START
    assert row.next_slot_at == datetime(2026, 11, 11, 6, 30, tzinfo=UTC)  # 01:30 in New York
    assert row.next_start_at == start_of(grid, row.next_slot_at, "web")
    assert row.next_slot_at <= row.next_start_at < row.next_slot_at + timedelta(minutes=45)


def test_a_changed_grid_begins_again_and_others_keep_what_they_have_dealt_with(catalog: str, apply: Applier) -> None:
    """feature 36"""
    two = SMALL.replace(
        "policies:", "  - name: hourly\n    every: 1h\n    starts_at: 2026-11-01T00:00\n\npolicies:"
    ).replace("[nightly]", "[nightly, hourly]")
    apply(two)
    apply.clock.advance(timedelta(days=2))
    apply(two.replace("every: 1h", "every: 2h"))
    rows = rows_of("web")
    assert rows["nightly"].last_slot_at == START
    assert rows["hourly"].last_slot_at == START + timedelta(days=2)
    assert rows["hourly"].next_slot_at == START + timedelta(days=2, hours=2)


def test_a_schedule_that_a_policy_leaves_no_longer_starts_it(catalog: str, apply: Applier) -> None:
    apply(SMALL)
    apply(SMALL.replace("    schedules: [nightly]\n", ""))
    assert rows_of("web") == {}
    with session():
        assert Policy.get(Policy.name == "web").version == 2
        assert Schedule.select().count() == 1


def test_pruning_marks_policies_and_switches_accounts_off_because_points_outlive_both(
    catalog: str, apply: Applier
) -> None:
    apply(SMALL)
    apply("version: 1", prune=True)
    assert current_estate() == Estate()
    with session():
        assert Policy.get().deleted_at == START
        assert [row.enabled for row in Account.select()] == [False, False]
    apply(SMALL)
    with session():
        assert Policy.select().count() == 1
        assert Policy.get().deleted_at is None
    assert set(rows_of("web")) == {"nightly"}


def test_secrets_are_sealed_at_their_place_and_nowhere_in_the_clear(
    catalog: str, apply: Applier, key: MasterKey
) -> None:
    """feature 94"""
    apply(SMALL)
    sealed = held_secrets()["accounts", "prod", "external_id"]
    assert unseal(key, sealed, "account.external_id.prod").reveal() == SECRET
    assert SECRET not in repr(everything())
    exported = write_estate(current_estate())
    assert SECRET not in exported
    assert "env:PROD_EXTERNAL_ID" in exported


def test_a_secret_of_another_value_is_sealed_again_and_an_unreadable_one_is_kept(
    catalog: str, apply: Applier, key: MasterKey
) -> None:
    apply(SMALL)
    assert apply(SMALL, environment={}).changes == ()
    (change,) = apply(SMALL, environment={"PROD_EXTERNAL_ID": "rotated"}).changes
    assert [(item.field, item.after) for item in change.fields] == [("external_id", "(another value)")]
    sealed = held_secrets()["accounts", "prod", "external_id"]
    assert unseal(key, sealed, "account.external_id.prod").reveal() == "rotated"


def test_a_secret_that_cannot_be_read_is_named_with_its_line(catalog: str, apply: Applier) -> None:
    with pytest.raises(EstateRefused) as refused:
        apply(SMALL, environment={})
    assert refused.value.lines() == [
        "e.yaml:6: accounts.prod.external_id: The secret env:PROD_EXTERNAL_ID is not set. "
        "Set the environment variable PROD_EXTERNAL_ID."
    ]


def test_an_external_id_that_aws_would_not_take_is_refused_without_being_shown(catalog: str, apply: Applier) -> None:
    with pytest.raises(EstateRefused) as refused:
        apply(SMALL, environment={"PROD_EXTERNAL_ID": "§"})
    assert refused.value.lines() == ["e.yaml:6: accounts.prod.external_id: An external id has 2 to 1224 characters."]


def test_azure_accounts_keep_their_own_fields(catalog: str, apply: Applier) -> None:
    uuid = "00000000-0000-0000-0000-00000000000"
    text = f"""version: 1
accounts:
  - name: az
    cloud: azure
    subscription_id: {uuid}1
    tenant_id: {uuid}2
    client_id: {uuid}3
    client_secret: env:AZURE
    regions: [westeurope]
"""
    apply(text, environment={"AZURE": SECRET})
    assert apply(text, environment={"AZURE": SECRET}).changes == ()
    assert SECRET not in repr(everything())
    assert current_estate().accounts["az"]["client_secret"] == "env:AZURE"


def test_what_is_exported_applies_and_changes_nothing(catalog: str, apply: Applier) -> None:
    """feature 5"""
    apply(SMALL)
    exported = write_estate(current_estate())
    assert apply(exported, prune=True).changes == ()


@pytest.mark.unit
@given(estates())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_estate_comes_out_of_the_catalog_as_it_went_in(
    embedded_catalog: str, apply: Applier, estate: Estate
) -> None:
    with transaction():
        for model in reversed(MODELS):
            model.delete().execute()
    env = {"SOME_NAME": "any-value"}
    if any("file:" in spec.get("external_id", "") for spec in estate.accounts.values()):
        with pytest.raises(EstateRefused, match="problem"):
            apply(write_estate(estate), environment=env)
        return
    apply(write_estate(estate), environment=env)
    assert current_estate() == estate


def test_two_at_once_do_one_after_the_other(catalog: str, apply: Applier, key: MasterKey) -> None:
    """Threads with a connection each, on one catalog: the second finds nothing to do."""
    plans: list[EstatePlan] = []
    gate = threading.Barrier(2)

    def go() -> None:
        gate.wait()
        plans.append(Applier(key)(SMALL))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(plan.changes) for plan in plans) == [0, 4]


@pytest.mark.unit
def test_two_processes_at_once_do_one_after_the_other(sqlite_url: str, tmp_path: Path) -> None:
    MasterKey.create(tmp_path / "keys" / "master.key")
    file = tmp_path / "estate.yaml"
    file.write_text(SMALL)
    env = {**os.environ, **ENVIRONMENT, "SNAPFLEET_HOME": str(tmp_path), "SNAPFLEET_CATALOG_URL": sqlite_url}
    call = [sys.executable, "-m", "admin.cli", "apply", "-f", str(file)]
    both = [subprocess.Popen(call, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].splitlines()[-1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == ["Applied: 4 added.", "Nothing to change."]


def test_a_repository_that_holds_archives_is_neither_removed_nor_moved(catalog: str, apply: Applier) -> None:
    """Its archives would be out of reach; once there are none any more, both go."""
    cold = "repositories:\n  - {name: cold, account: prod, url: 's3://b/%s', region: us-east-1}\n"
    apply(SMALL + cold % "p")
    with transaction():
        account, policy = Account.get(Account.name == "prod"), Policy.get()
        seen = {"found_at": START, "seen_at": START}
        volume = Resource.create(account=account, region="us-east-1", type="volume", external_id="vol-1", **seen)
        where = {"account": account, "region": "us-east-1", "destination": "repository:cold", "kind": "archive"}
        Point.create(resource=volume, policy=policy, state=PointState.GOOD, taken_at=START, **where)
    for text, options in ((SMALL + cold % "q", {}), (SMALL, {"prune": True})):
        with pytest.raises(Refused, match="holds 1 recovery points"):
            apply(text, **options)
    assert current_estate().repositories["cold"]["url"] == "s3://b/p"
    with transaction():
        Point.update(state=PointState.DELETED, expire_code="outlived").execute()
    assert apply(SMALL + cold % "q").changes
    apply(SMALL, prune=True)
    assert current_estate().repositories == {}


def test_a_repositorys_key_file_is_read_when_it_is_applied_and_kept_sealed(
    catalog: str, apply: Applier, tmp_path: Path
) -> None:
    """feature 82: its content is in no row in clear; a short one is refused at its line; going to KMS forgets it."""
    file = tmp_path / "cold.key"
    text = SMALL + "repositories:\n  - {name: cold, account: prod, url: 's3://b/p', region: us-east-1, %s}\n"
    file.write_bytes(b"short")
    with pytest.raises(EstateRefused) as refused:
        apply(text % f"key_file: '{file}'")
    assert "repositories.cold.key_file: A key file holds at least 32 random bytes." in refused.value.lines()[0]
    file.write_bytes(bytes(range(32)))
    apply(text % f"key_file: '{file}'")
    with session():
        row = Repository.get()
    assert row.key_sealed
    assert bytes(range(32)).hex() not in row.key_sealed
    file.unlink()
    assert not apply(text % f"key_file: '{file}'").changes
    apply(text % "kms_key: 'arn:aws:kms:us-east-1:111111111111:key/11111111-2222-3333-4444-555555555555'")
    with session():
        assert Repository.get().key_sealed == ""
