"""The drivers' contract, kept by Azure SQL databases (feature 27, feature 47)."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from deploy.sandbox.azure import seed, seed_sql
from tasks import errors
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from tests.contract.azure_sql_rig import IDENTITY, SqlRig
from workers.azure.ids import name_for
from workers.driver import TAG_JOB, TAG_OUTDATED, Destination, Part

DONE, FAILED, GONE, RUNNING = (
    OperationState.DONE,
    OperationState.FAILED,
    OperationState.GONE,
    OperationState.RUNNING,
)


@pytest.fixture
def rig(azure: AzureRig) -> SqlRig:
    return SqlRig(azure)


# --- looking ---


def test_databases_of_a_region_are_found_with_their_servers_tags(rig: SqlRig) -> None:
    """Feature 27: tagging a server is enough; a database's own tags go before it. The system's database is none."""
    found = {one.name: one for one in rig.everything()}
    assert sorted(found) == ["ledger", "orders"]
    assert found["orders"].tags == {"backup": "sql", "team": "shop", "owner": "orders"}
    assert found["orders"].attributes["own_tags"] == {"owner": "orders"}
    assert found["orders"].parent_id == rig.servers[seed_sql.HOME_SERVER]
    assert rig.everything(seed.AWAY) == []


def test_copies_that_backups_made_are_never_found_as_databases_of_their_own(rig: SqlRig) -> None:
    rig.backup()
    assert sorted(one.name for one in rig.everything()) == ["ledger", "orders"]


def test_a_check_says_whether_servers_can_be_listed(rig: SqlRig) -> None:
    assert [one.outcome for one in rig.driver.check(rig.account, seed.HOME)] == ["ok"]
    rig.cloud.fault("denied", method="LIST", type="servers")
    assert [one.outcome for one in rig.driver.check(rig.account, seed.HOME)] == ["missing"]


# --- copies ---


def test_a_backup_is_a_copy_with_the_rows_of_its_moment(rig: SqlRig) -> None:
    started = rig.backup()
    rig.write(later="written after the backup")
    assert rig.follow(started.operations).state is DONE
    assert rig.rows(started.parts[0].external_id) == {"first": "rows of orders"}
    (call,) = rig.cloud.calls("PUT", "databases")
    assert call["body"]["properties"]["createMode"] == "Copy"
    assert call["body"]["tags"].items() >= {**TAGS, "owner": "orders"}.items()


def test_the_servers_settings_are_captured_and_no_secret_with_them(rig: SqlRig) -> None:
    captured = rig.backup().captured
    assert captured["server"]["firewall"] == {"office": "10.0.0.1-10.0.0.1", "vpn": "10.0.0.2-10.0.0.2"}
    assert captured["server"]["administratorLogin"] == "dba"
    assert captured["retention"]["short_term"]["retentionDays"] == 7
    assert "password" not in json.dumps(captured).lower()


def test_rules_that_may_not_be_read_are_told_and_keep_nothing_from_being_backed_up(rig: SqlRig) -> None:
    rig.cloud.fault("denied", method="GET", type="firewallRules")
    started = rig.backup()
    assert [text for text in started.warnings if "firewall rules were not captured" in text]
    assert rig.follow(started.operations).state is DONE


def test_the_same_key_again_adopts_what_is_there(rig: SqlRig) -> None:
    first, second = rig.backup(), rig.backup()
    assert (first.adopted, second.adopted) == (False, True)
    assert first.parts == second.parts
    assert rig.cloud.count("PUT databases") == 1


def test_a_worker_killed_after_the_put_leaves_one_copy(rig: SqlRig) -> None:
    rig.cloud.fault("drop_after", method="PUT", type="databases")
    with pytest.raises(errors.Transient) as caught:
        rig.backup(fresh=True)
    assert caught.value.code == "unknown-effect"
    again = rig.backup()
    assert again.adopted
    assert rig.names() == [name_for("job-1")]
    assert rig.follow(again.operations).state is DONE


def test_a_name_that_carries_another_jobs_tag_is_not_written_to(rig: SqlRig) -> None:
    (part,) = rig.backup().parts
    rig.cloud.change(part.external_id, tags={TAG_JOB: "somebody-else"})
    with pytest.raises(errors.NotReady) as caught:
        rig.backup()
    assert caught.value.code == "name-taken"


def test_a_worker_that_was_overtaken_makes_nothing(rig: SqlRig) -> None:
    with pytest.raises(errors.FenceLost):
        rig.backup(proceed=_overtaken)
    assert rig.names() == []


def test_only_online_is_done_and_a_database_asleep_is_whole(rig: SqlRig) -> None:
    rig.cloud.ask("POST", "config", {"sql_copy_seconds": 60})
    started = rig.backup()
    assert [one.state for one in rig.driver.progress(started.operations)] == [RUNNING]
    rig.cloud.ask("POST", "advance", {"seconds": 61})
    rig.cloud.change(started.parts[0].external_id, status="Paused")
    assert [one.state for one in rig.driver.progress(started.operations)] == [DONE]


def test_a_copy_that_failed_with_status_200_tells_azures_reason(rig: SqlRig) -> None:
    rig.cloud.fault("fail_operation", method="PUT", type="databases", code="CopyBroken", message="It broke.")
    answer = rig.follow(rig.backup().operations)
    assert (answer.state, type(answer.error)) == (FAILED, errors.CloudFailed)
    assert "CopyBroken" in str(answer.error)


def test_a_copy_that_somebody_deleted_is_gone_and_a_young_one_may_only_be_late(rig: SqlRig) -> None:
    started = rig.backup()
    rig.cloud.destroy(started.parts[0].external_id)
    rig.cloud.ask("POST", "forget-operations", {})
    assert [one.state for one in rig.driver.progress(started.operations)] == [RUNNING]
    rig.clock.advance(timedelta(minutes=10))
    assert [one.state for one in rig.driver.progress(started.operations)] == [GONE]


def test_many_copies_on_one_server_are_asked_about_by_one_list(rig: SqlRig) -> None:
    operations = [rig.backup(key=f"job-{number}").operations[0] for number in range(5)]
    before = rig.cloud.count("GET databases")
    assert {one.state for one in rig.driver.progress(operations)} == {DONE}
    assert rig.cloud.count("GET databases") == before


def test_a_database_that_vanished_is_gone_unless_its_copy_was_begun_before(rig: SqlRig) -> None:
    resource = rig.resource()
    rig.backup(resource)
    rig.cloud.destroy(rig.ids["orders"])
    with pytest.raises(errors.Gone):
        rig.backup(resource, "job-2")
    assert rig.backup(resource).adopted


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "throttle", "retry_after": 300}, errors.Throttled),
        ({"kind": "error", "status": 429, "code": "SubscriptionTooManyCreateUpdateRequests"}, errors.Throttled),
        ({"kind": "denied"}, errors.Denied),
        ({"kind": "internal"}, errors.Transient),
    ],
)
def test_azures_refusals_become_the_family(rig: SqlRig, fault: dict, kind: type[errors.SnapfleetError]) -> None:
    rig.cloud.fault(fault.pop("kind"), method="PUT", type="databases", **fault)
    with pytest.raises(kind):
        rig.backup()
    assert rig.names() == []


def test_a_dedicated_sql_pool_is_refused_with_the_reason(rig: SqlRig) -> None:
    resource = rig.resource()
    pool = replace(resource, attributes={**resource.attributes, "sku": {"name": "DW100c", "tier": "DataWarehouse"}})
    with pytest.raises(errors.Impossible):
        rig.backup(pool, fresh=True)


# --- other regions ---


def test_a_copy_goes_to_the_server_in_the_other_region_that_the_entry_names(rig: SqlRig) -> None:
    """Feature 47: SQL goes across regions only."""
    started = rig.backup()
    copied = rig.copy(rig.point(started))
    assert rig.follow(copied.operations).state is DONE
    assert rig.names(seed_sql.AWAY_SERVER) == [name_for("copy-1")]
    assert rig.rows(copied.parts[0].external_id) == {"first": "rows of orders"}
    assert copied.operations[0].region == seed.AWAY


def test_what_azure_can_never_copy_is_refused_without_a_call(rig: SqlRig) -> None:
    """Feature 47: across subscriptions, inside a region, and of what is no database."""
    point = rig.point(rig.backup())
    other = replace(rig.account, name="other", number="99999999-0000-4000-8000-000000000000")
    problem = rig.driver.plan_copy_problem
    assert "one subscription" in problem(point, Destination(other, seed.AWAY))
    assert "another region" in problem(point, Destination(rig.account, seed.HOME))
    file = replace(point, parts=(replace(point.parts[0], external_id=rig.file()),))
    assert "an export" in problem(file, Destination(rig.account, seed.AWAY))
    assert problem(point, Destination(rig.account, seed.AWAY)) == ""


def test_a_server_of_another_region_than_the_destination_is_refused(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    with pytest.raises(errors.Invalid, match="westeurope, not in northeurope"):
        rig.copy(point, server=rig.servers[seed_sql.HOME_SERVER])


def test_what_lies_in_an_elastic_pool_needs_a_size_elsewhere(rig: SqlRig) -> None:
    resource = rig.resource()
    pooled = replace(resource, attributes={**resource.attributes, "pool_id": "/pools/one"})
    point = rig.point(rig.backup(pooled, fresh=True))
    with pytest.raises(errors.Impossible, match="elastic pool"):
        rig.copy(point)
    assert rig.follow(rig.copy(point, sku="S1").operations).state is DONE


# --- exports ---


def test_an_export_leaves_a_file_and_no_staging_copy(rig: SqlRig) -> None:
    """Feature 27: the file is of one moment, because it is written from a copy; nothing but an identity is sent."""
    started = rig.exported()
    assert rig.follow(started.operations).state is DONE
    assert rig.cloud.ask("GET", "bacpacs") == {rig.file(): {"first": "rows of orders"}}
    assert rig.names() == []
    (call,) = rig.cloud.calls("POST", "export")
    assert call["body"]["authenticationType"] == call["body"]["storageKeyType"] == "ManagedIdentity"
    assert "administratorLoginPassword" not in call["body"]


@pytest.mark.parametrize(
    ("kind", "method", "what"),
    [
        ("fail_operation", "PUT", "databases"),
        ("fail_operation", "POST", "export"),
        ("denied", "POST", "export"),
    ],
)
def test_the_staging_copy_is_removed_on_every_failure_and_the_reason_is_kept(
    rig: SqlRig, kind: str, method: str, what: str
) -> None:
    rig.cloud.fault(kind, method=method, type=what, message="It broke.")
    answer = rig.follow(rig.exported().operations)
    assert answer.state is FAILED
    assert "broke" in str(answer.error) or "authorization" in str(answer.error)
    assert rig.names() == []


def test_an_export_that_is_throttled_waits_and_goes_on(rig: SqlRig) -> None:
    rig.cloud.fault("throttle", method="POST", type="export", retry_after=60)
    assert rig.follow(rig.exported().operations).state is DONE
    assert rig.names() == []


def test_an_export_whose_answer_was_lost_is_found_and_not_begun_twice(rig: SqlRig) -> None:
    rig.cloud.ask("POST", "config", {"export_seconds": 60})
    rig.cloud.fault("drop_after", method="POST", type="export")
    started = rig.exported()
    assert [one.state for one in rig.driver.progress(started.operations)] == [RUNNING]
    rig.cloud.ask("POST", "advance", {"seconds": 61})
    assert rig.follow(started.operations).state is DONE
    assert len(rig.cloud.calls("POST", "export")) == 1
    assert rig.names() == []


def test_a_staging_copy_under_a_lock_is_told_and_removed_with_its_point_later(rig: SqlRig) -> None:
    started = rig.exported()
    staging = started.parts[0].attributes["staging"]
    rig.cloud.change(staging, locked=True)
    answer = rig.follow(started.operations)
    assert (answer.state, answer.error and answer.error.code) == (FAILED, "locked")
    assert "left behind" in str(answer.error)
    rig.cloud.change(staging, locked=False)
    rig.driver.delete([rig.point(started)])
    assert [one.outcome for one in rig.driver.delete([rig.point(started)])] == ["deleted"]
    assert rig.names() == []


def test_what_a_dead_attempt_staged_is_found_by_its_key(rig: SqlRig) -> None:
    rig.cloud.fault("drop_after", method="PUT", type="databases")
    with pytest.raises(errors.Transient):
        rig.exported(fresh=True)
    assert [one.external_id.rsplit("/", 1)[1] for one in rig.driver.find(rig.account, seed.HOME, "job-1")] == [
        name_for("job-1")
    ]
    assert rig.driver.find(rig.account, seed.AWAY, "job-1") == []


def test_copies_and_staging_copies_are_found_by_the_installations_tag_and_restored_databases_are_not(
    rig: SqlRig,
) -> None:
    """A staging copy that no record was left of is found by the daily look for orphans, and goes with its point."""
    point = rig.point(rig.backup())
    rig.restore(point)
    with pytest.raises(errors.FenceLost):
        rig.exported("job-2", proceed=_overtaken)
    rig.exported("job-3")
    found = rig.driver.tagged(rig.account, seed.HOME, "it")
    assert {one.external_id.rsplit("/", 1)[1] for one in found} == {name_for("job-1"), name_for("job-3")}
    assert rig.driver.tagged(rig.account, seed.HOME, "another") == []
    assert rig.driver.tagged(rig.account, seed.AWAY, "it") == []


def test_copies_that_are_there_are_told_with_their_tags_and_of_other_backups_nothing_is_told(rig: SqlRig) -> None:
    """feature C11: a file and Azure's own long-term backup are never called gone; a dropped server's copies are."""
    kept, bare, gone = (rig.backup(key=f"job-{number}").parts[0] for number in (1, 2, 3))
    rig.cloud.destroy(gone.external_id)
    rig.cloud.change(bare.external_id, tags={"owner": "somebody"})
    long_term = Part(
        "/subscriptions/s/resourcegroups/g/providers/microsoft.sql/locations/l/longtermretentionservers/v"
        "/longtermretentiondatabases/n/longtermretentionbackups/b"
    )
    file = rig.exported("job-4").parts[0]
    there = [rig.copy(rig.point(rig.backup()), key=f"copy-{number}").parts[0] for number in range(4)]
    for one in (*there, Part(rig.servers[seed_sql.AWAY_SERVER])):
        rig.cloud.destroy(one.external_id)
    found = rig.driver.present(rig.account, seed.HOME, [kept, bare, gone, long_term, file, *there])
    assert found.keys() == {one.external_id for one in (kept, bare, long_term, file)}
    told = {one.external_id: found[one.external_id] for one in (kept, bare, long_term, file)}
    assert (told[kept.external_id] or {})[TAG_JOB] == "job-1"
    assert (told[bare.external_id], told[long_term.external_id], told[file.external_id]) == (
        {"owner": "somebody"},
        None,
        None,
    )
    listed = {one.external_id: one for one in rig.driver.tagged(rig.account, seed.HOME, "it")}
    assert bare.external_id not in listed
    one = listed[kept.external_id]
    assert (one.complete, one.type, one.size_gib) == (True, "azure-sql", kept.size_gib)
    assert one.attributes["tags"] == kept.attributes["tags"]


def _overtaken() -> None:
    raise errors.FenceLost("Job 1 was taken over by another worker.")


@pytest.mark.parametrize("container", ["http://a.example/c", "https://a.example/c?sig=secret", "https://a.example", ""])
def test_a_container_that_is_no_plain_address_is_refused_and_not_repeated(rig: SqlRig, container: str) -> None:
    options = {"way": "export", "container": container, "identity": IDENTITY}
    with pytest.raises(errors.Invalid) as caught:
        rig.backup(options=options)
    assert "secret" not in str(caught.value)
    assert rig.names() == []


# --- long-term retention ---


def test_a_database_without_long_term_retention_is_refused_with_what_is_missing(rig: SqlRig) -> None:
    with pytest.raises(errors.Impossible) as caught:
        rig.backup(options={"way": "long-term"})
    assert caught.value.code == "no-long-term-policy"


def test_long_term_retention_is_set_from_the_policys_keep_and_held_to_it(rig: SqlRig) -> None:
    """Feature 27: read back, drift told and mended; nothing is written while it is as asked."""
    options = {"way": "long-term", "retention": "daily=7,weekly=4,monthly=12,yearly=5"}
    rig.cloud.ask("POST", "long-term", {"id": rig.ids["orders"]})
    first = rig.backup(options=options)
    (call,) = rig.cloud.calls("PUT", "backupLongTermRetentionPolicies")
    assert call["body"]["properties"] == {
        "weeklyRetention": "P4W", "monthlyRetention": "P12M", "yearlyRetention": "P5Y", "weekOfYear": 1,
    }  # fmt: skip
    assert any("weeklyRetention PT0S instead of P4W" in text for text in first.warnings)
    quiet = rig.backup(key="job-2", options=options)
    assert not any("retention" in text and "instead" in text for text in quiet.warnings)
    assert len(rig.cloud.calls("PUT", "backupLongTermRetentionPolicies")) == 1
    place = f"{rig.ids['orders']}/backupLongTermRetentionPolicies/default"
    rig.cloud.change(place, properties={"weeklyRetention": "P1W"})
    mended = rig.backup(key="job-3", options=options)
    assert any("weeklyRetention P1W instead of P4W" in text for text in mended.warnings)
    assert len(rig.cloud.calls("PUT", "backupLongTermRetentionPolicies")) == 2


@pytest.mark.parametrize(
    "options", [{"way": "long-term", "retention": "daily=7"}, {"way": "copy", "retention": "weekly=4"}]
)
def test_long_term_retention_that_azure_cannot_keep_is_refused_and_nothing_is_set(
    rig: SqlRig, options: dict[str, str]
) -> None:
    with pytest.raises(errors.Invalid):
        rig.backup(options=options)
    assert rig.cloud.calls("PUT") == []


def test_azures_newest_long_term_backup_becomes_a_point_that_is_never_deleted_here(rig: SqlRig) -> None:
    place = f"{rig.ids['orders']}/backupLongTermRetentionPolicies/default"
    rig.backup()  # reads the policy, and so makes it
    rig.cloud.change(place, properties={"weeklyRetention": "P12W"})
    with pytest.raises(errors.Impossible) as caught:
        rig.backup(options={"way": "long-term"})
    assert caught.value.code == "no-long-term-backup"
    rig.cloud.ask("POST", "long-term", {"id": rig.ids["orders"]})
    started = rig.backup(options={"way": "long-term"})
    assert rig.follow(started.operations).state is DONE
    (answer,) = rig.driver.delete([rig.point(started)])
    assert (answer.outcome, answer.error and answer.error.code) == ("kept", "outdated")
    assert started.taken_at is not None
    assert abs(started.taken_at - rig.clock.timer()) < timedelta(minutes=5)
    made = rig.restore(rig.point(started), **{"from": "long-term"})
    assert rig.follow(made.operations).state is DONE
    assert rig.rows(made.outputs["database_id"]) == {"first": "rows of orders"}


# --- deleting ---


def test_a_deletion_is_told_only_when_nothing_is_left(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    (first,) = rig.driver.delete([point])
    assert (first.outcome, first.error and first.error.code) == ("kept", "deleting")
    assert [one.outcome for one in rig.driver.delete([point])] == ["already-gone"]


def test_foreign_and_locked_databases_are_kept(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    place = point.parts[0].external_id
    rig.cloud.change(place, locked=True)
    assert [one.error and one.error.code for one in rig.driver.delete([point])] == ["locked"]
    rig.cloud.change(place, locked=False, tags={"owner": "somebody"})
    assert [one.error and one.error.code for one in rig.driver.delete([point])] == ["not-ours"]


def test_what_another_installation_made_is_kept(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    other = replace(point, account=replace(rig.account, installation="another"))
    assert [one.error and one.error.code for one in rig.driver.delete([other])] == ["not-ours"]
    mine = replace(point, account=replace(rig.account, installation="it"))
    assert [one.error and one.error.code for one in rig.driver.delete([mine])] == ["deleting"]


def test_an_account_that_may_not_delete_marks_instead(rig: SqlRig) -> None:
    point = rig.point(rig.backup())
    kept = replace(point, account=replace(rig.account, may_delete=False))
    assert [one.error and one.error.code for one in rig.driver.delete([kept])] == ["outdated"]
    tags = {one["id"].lower(): one["tags"] for one in rig.cloud.things("databases")}
    assert tags[point.parts[0].external_id][TAG_OUTDATED] == "true"


def test_a_file_is_deleted_with_its_point_and_one_of_another_name_is_not(rig: SqlRig) -> None:
    started = rig.exported()
    rig.follow(started.operations)
    point = rig.point(started)
    other = replace(point, parts=(replace(point.parts[0], external_id=f"{rig.container}/payroll.bacpac"),))
    assert [one.error and one.error.code for one in rig.driver.delete([other])] == ["not-ours"]
    assert [one.outcome for one in rig.driver.delete([point])] == ["deleted"]
    assert [one.outcome for one in rig.driver.delete([point])] == ["already-gone"]
