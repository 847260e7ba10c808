"""Restores of Azure SQL databases: from a copy, a file, a geo-replicated backup; what is taken back (feature 27)."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.sandbox.azure import seed, seed_sql
from tasks import errors
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from tests.contract.azure_sql_rig import IDENTITY, SqlRig
from workers.azure.ids import name_for
from workers.azure.sql_ids import read_sql
from workers.driver import RestoreStep

DONE, FAILED = OperationState.DONE, OperationState.FAILED


@pytest.fixture
def rig(azure: AzureRig) -> SqlRig:
    return SqlRig(azure)


def test_a_restored_database_has_its_rows_and_a_repeated_step_makes_it_once(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    rig.write(later="lost")
    made, again = rig.restore(point), rig.restore(point)
    assert made.created == again.created
    assert rig.follow(made.operations).state is DONE
    assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}
    assert [one for one in rig.names() if not one.startswith("snapfleet-")] == ["orders-back"]


def test_a_copy_in_another_region_is_restored_there(rig: SqlRig) -> None:
    point = rig.point(rig.copy(rig.point(rig.backup())), seed.AWAY)
    made = rig.restore(point, server_id=rig.servers[seed_sql.AWAY_SERVER])
    assert rig.follow(made.operations).state is DONE
    assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}


def test_a_name_in_use_is_refused_and_left_alone(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    with pytest.raises(errors.Invalid) as caught:
        rig.restore(point, name="ledger")
    assert caught.value.code == "name-taken"
    assert rig.rows(rig.ids["ledger"]) == {"first": "rows of ledger"}


def test_a_file_is_imported_into_a_new_database(rig: SqlRig) -> None:
    started = rig.exported()
    rig.follow(started.operations)
    made = rig.restore(rig.point(started), **{"from": "export", "identity": IDENTITY})
    assert rig.follow(made.operations).state is DONE
    assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}
    assert len(rig.cloud.calls("POST", "import")) == 1


def test_an_import_that_fails_is_a_failure_with_azures_reason(rig: SqlRig) -> None:
    started = rig.exported()
    rig.follow(started.operations)
    rig.cloud.fault("fail_operation", method="POST", type="import", message="The file is broken.")
    answer = rig.follow(rig.restore(rig.point(started), **{"from": "export", "identity": IDENTITY}).operations)
    assert answer.state is FAILED
    assert "The file is broken." in str(answer.error)


def test_a_geo_replicated_backup_brings_back_a_database_whose_server_is_lost(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    source = rig.ids["orders"].replace("/databases/", "/recoverableDatabases/")
    params = {"from": "geo", "source_id": source, "server_id": rig.servers[seed_sql.AWAY_SERVER]}
    made = rig.restore(point, **params)
    assert rig.follow(made.operations).state is DONE
    assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}


def _now() -> datetime:
    return datetime.now(UTC)  # as Azure's own clock


def test_a_database_comes_back_as_of_any_moment_that_azure_keeps(rig: SqlRig) -> None:
    """Feature 27"""
    point, before = rig.point(rig.backup()), _now()
    rig.write(second="written later")
    between = _now()
    rig.write(first="overwritten")
    rig.clock.advance(_now() - rig.clock.timer())
    wish = {"from": "moment", "source_id": rig.ids["orders"]}
    for number, (at, rows) in enumerate(
        [(before, {"first": "rows of orders"}), (between, {"first": "rows of orders", "second": "written later"})]
    ):
        made = rig.restore(point, f"step-{number}", **wish, at=at.isoformat(), name=f"back-{number}")
        assert rig.follow(made.operations).state is DONE
        assert rig.rows(made.outputs["database_id"]) == rows


def test_a_dropped_database_comes_back_as_of_a_moment_before_its_end_though_its_name_was_used_again(
    rig: SqlRig,
) -> None:
    """Feature 27"""
    point, before = rig.point(rig.backup()), _now()
    rig.write(second="written later")
    clients = rig.driver._at(rig.account)  # type: ignore[attr-defined]
    clients.sql.databases.begin_delete(*read_sql(rig.ids["orders"]).place).result()
    for name in ("gone", "new"):
        rig.clock.advance(_now() - rig.clock.timer())
        wish = {"from": "moment", "source_id": rig.ids["orders"], "at": before.isoformat(), "name": f"back-{name}"}
        made = rig.restore(point, f"step-{name}", **wish)
        assert rig.follow(made.operations).state is DONE
        assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}
        rig.restore(point, "again", name="orders")


@pytest.mark.parametrize("away", [timedelta(days=-30), timedelta(hours=1)])
def test_a_moment_that_azure_does_not_keep_is_refused_with_what_it_keeps(rig: SqlRig, away: timedelta) -> None:
    """Feature 27: nothing is made."""
    point = rig.point(rig.backup())
    with pytest.raises(errors.Invalid) as caught:
        rig.restore(point, **{"from": "moment", "source_id": rig.ids["orders"], "at": (_now() + away).isoformat()})
    assert caught.value.code == "moment-outside"
    assert "from 20" in caught.value.text
    assert rig.names() == [name_for("job-1")]


def test_a_database_without_any_automatic_backup_is_told_so(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    rig.cloud.destroy(rig.ids["orders"])
    with pytest.raises(errors.Gone):
        rig.restore(point, **{"from": "moment", "source_id": rig.ids["orders"], "at": _now().isoformat()})


def test_the_last_step_gives_retention_back_and_tells_what_of_the_server_differs(rig: SqlRig) -> None:
    started = rig.backup()
    point = rig.point(started)
    made = rig.restore(point)
    rig.cloud.change(f"{rig.servers[seed_sql.HOME_SERVER]}/firewallRules/vpn", properties={"endIpAddress": "10.9.9.9"})
    rig.cloud.change(rig.servers[seed_sql.HOME_SERVER], properties={"minimalTlsVersion": "1.0"})
    wished = {"short_term": {"retentionDays": 14, "diffBackupIntervalInHours": 12}}
    params = {"database_id": made.outputs["database_id"], "server": started.captured["server"], "retention": wished}
    told = rig.driver.start_restore(point, RestoreStep("azure-sql-settle", params), "step-2", TAGS).outputs
    assert told["differences"] == [
        "firewall 'vpn' was '10.0.0.2-10.0.0.2' and is '10.0.0.2-10.9.9.9'.",
        "minimalTlsVersion was '1.2' and is '1.0'.",
    ]
    (call,) = rig.cloud.calls("PUT", "backupShortTermRetentionPolicies")
    assert call["body"]["properties"]["retentionDays"] == 14


def test_an_undo_removes_what_a_restore_made_and_nothing_else(rig: SqlRig) -> None:
    made = rig.restore(rig.point(rig.backup()))
    for _ in range(2):
        answers = rig.driver.undo_restore(rig.account, seed.HOME, made.created)
    assert [one.outcome for one in answers] == ["already-gone"]
    assert rig.names() == [name_for("job-1")]
