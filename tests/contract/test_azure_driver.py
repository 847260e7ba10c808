"""The drivers' contract, kept by Azure's disks and machines (feature 3, feature 26, feature 28)."""

import base64
import contextlib
import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from deploy.sandbox.azure import seed
from tasks import errors
from tasks.secrets import Secret
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from workers.driver import TAG_JOB, TAG_OUTDATED, TAKEN_AT, Destination, OutOfTurn, Part, RestoreStep, Scope

DONE, FAILED, GONE, RUNNING = (
    OperationState.DONE,
    OperationState.FAILED,
    OperationState.GONE,
    OperationState.RUNNING,
)


# --- looking ---


def test_discovery_pages_through_disks_and_machines_of_one_region(azure: AzureRig) -> None:
    azure.cloud.ask("POST", "config", {"page": 2})
    found = azure.everything()
    assert sorted(one.name for one in found if one.type == "azure-vm") == ["az-db-1", "az-web-1"]
    assert len([one for one in found if one.type == "azure-disk"]) == 5
    assert all(one.external_id == one.external_id.lower() for one in found)
    assert azure.everything("northeurope") == []


def test_a_machine_tells_its_disks_with_their_places(azure: AzureRig) -> None:
    disks = azure.resource("az-db-1").attributes["disks"]
    assert [(one["role"], one.get("lun"), one["caching"]) for one in disks] == [
        ("os", None, "ReadWrite"),
        ("data", 0, "ReadOnly"),
        ("data", 2, "ReadOnly"),
    ]


def test_a_check_says_that_the_subscription_can_be_entered(azure: AzureRig) -> None:
    assert {one.outcome for one in azure.driver.check(azure.account, seed.HOME)} == {"ok"}


def test_a_wrong_secret_refuses_this_account_alone_and_shows_nothing_of_it(azure: AzureRig) -> None:
    wrong = replace(azure.account, name="wrong", client_secret=Secret("not-the-secret"))
    with pytest.raises(errors.CredentialsRefused) as caught:
        azure.driver.discover(Scope(wrong, seed.HOME, ("azure-disk",)), None)
    assert "not-the-secret" not in str(caught.value)
    assert azure.everything()


def test_another_tenants_subscription_is_refused(azure: AzureRig) -> None:
    other = replace(azure.account, number="99999999-0000-4000-8000-000000000000")
    with pytest.raises(errors.CredentialsRefused):
        azure.driver.discover(Scope(other, seed.HOME, ("azure-disk",)), None)


# --- backups ---


@pytest.mark.parametrize(("name", "parts"), [("az-db-1", 3), ("az-web-1-0", 1)])
def test_a_backup_is_an_incremental_snapshot_of_each_disk(azure: AzureRig, name: str, parts: int) -> None:
    started = azure.backup(azure.resource(name))
    assert len(started.parts) == parts == len(azure.snapshots())
    assert azure.states(started.operations) == {DONE}
    for call in azure.cloud.calls("PUT", "snapshots"):
        assert call["body"]["properties"]["incremental"] is True
        assert call["body"]["properties"]["creationData"]["createOption"] == "Copy"
        assert call["body"]["tags"].items() >= {**TAGS, "backup": "gold"}.items()


def test_the_same_key_again_adopts_what_is_there(azure: AzureRig) -> None:
    """A PUT on a name in use would succeed and take nothing: the name is looked up first."""
    machine = azure.resource("az-db-1")
    first, second = azure.backup(machine), azure.backup(machine)
    assert (first.adopted, second.adopted) == (False, True)
    assert first.parts == second.parts
    assert len(azure.cloud.calls("PUT", "snapshots")) == 3


def test_a_worker_killed_between_the_put_and_the_first_poll_leaves_one_snapshot(azure: AzureRig) -> None:
    """Feature 31: what it had put is found by another process by its name."""
    disk = azure.resource("az-web-1-0")
    azure.cloud.fault("drop_after", method="PUT", type="snapshots")
    with pytest.raises(errors.Transient) as caught:
        azure.backup(disk, fresh=True)
    assert caught.value.code == "unknown-effect"
    again = azure.backup(disk, driver=azure.another())
    assert again.adopted
    assert len(azure.snapshots()) == 1
    assert azure.states(again.operations) == {DONE}


def test_a_fresh_wish_looks_nothing_up_by_name(azure: AzureRig) -> None:
    azure.backup(azure.resource("az-db-1"), fresh=True)
    assert azure.cloud.calls("GET", "snapshots") == []


def test_a_worker_that_was_overtaken_makes_nothing(azure: AzureRig) -> None:
    def overtaken() -> None:
        raise errors.FenceLost("Job 1 was taken over by another worker.")

    with pytest.raises(errors.FenceLost):
        azure.backup(azure.resource("az-db-1"), proceed=overtaken)
    assert azure.snapshots() == []


def test_a_stale_snapshot_of_the_same_name_never_counts_as_a_new_one(azure: AzureRig) -> None:
    """azure-cli 28879: the PUT succeeds, changes the tags and takes no new snapshot."""
    disk = azure.resource("az-web-1-0")
    (part,) = azure.backup(disk).parts
    azure.cloud.change(part.external_id, properties={"timeCreated": "2026-01-01T00:00:00Z"})
    started = azure.backup(disk, fresh=True)
    (answer,) = azure.ask(started.operations)
    assert (answer.state, type(answer.error)) == (FAILED, errors.CloudFailed)
    assert "older than the wish" in str(answer.error)


def test_a_name_that_carries_another_jobs_tag_is_not_written_to(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    (part,) = azure.backup(disk).parts
    azure.cloud.change(part.external_id, tags={TAG_JOB: "somebody-else"})
    with pytest.raises(errors.NotReady) as caught:
        azure.backup(disk)
    assert caught.value.code == "name-taken"


def test_excluded_disks_are_left_out_and_excluding_all_is_refused(azure: AzureRig) -> None:
    machine = azure.resource("az-db-1")
    data = [one["id"] for one in machine.attributes["disks"] if one["role"] == "data"]
    assert [part.device for part in azure.backup(machine, exclude=frozenset(data)).parts] == ["os"]
    with pytest.raises(errors.Invalid):
        azure.backup(machine, "job-2", exclude=frozenset(one["id"] for one in machine.attributes["disks"]))


def test_what_a_restore_needs_of_the_network_is_captured_with_the_backup(azure: AzureRig) -> None:
    captured = azure.backup(azure.resource("az-db-1")).captured
    assert captured["subnet_id"].lower().endswith("/subnets/app")
    assert captured["security_group_id"].lower().endswith("/networksecuritygroups/westeurope")
    assert captured["interfaces"][0]["private_ip"].startswith("10.40.0.")


def test_a_disk_that_vanished_is_gone_unless_its_snapshot_was_taken_before(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-1")
    azure.backup(disk)
    azure.cloud.destroy(disk.external_id)
    with pytest.raises(errors.Gone):
        azure.backup(disk, "job-2")
    assert azure.backup(disk).adopted


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "throttle", "retry_after": 300}, errors.Throttled),
        ({"kind": "denied"}, errors.Denied),
        ({"kind": "internal"}, errors.Transient),
        ({"kind": "error", "code": "SnapshotsLimitReached"}, errors.QuotaReached),
        ({"kind": "error", "code": "OperationNotAllowed"}, errors.NotReady),
    ],
)
def test_azures_refusals_become_the_family(azure: AzureRig, fault: dict, kind: type[errors.SnapfleetError]) -> None:
    """By their code: the SDK calls every 409 the same. Nothing is repeated inside the call, and nobody sleeps."""
    azure.cloud.fault(fault.pop("kind"), method="PUT", type="snapshots", **fault)
    with pytest.raises(kind) as caught:
        azure.backup(azure.resource("az-web-1-0"))
    assert azure.cloud.count("PUT snapshots") == 0
    if kind is errors.Throttled:
        assert caught.value.wait == timedelta(seconds=300)


def test_seven_snapshots_of_a_disk_in_five_minutes_and_no_eighth(azure: AzureRig) -> None:
    """Managed disks documentation, incremental snapshots: the driver meets the limit as a wait."""
    disk = azure.resource("az-web-1-0")
    for number in range(7):
        azure.backup(disk, f"job-{number}")
    with pytest.raises(errors.QuotaReached) as caught:
        azure.backup(disk, "job-7")
    assert caught.value.code == "object-limit"
    assert azure.cloud.count("PUT snapshots") == 7
    with pytest.raises(errors.NotReady):
        azure.backup(disk, "job-8", driver=azure.another())  # another process learns it from the cloud
    assert len(azure.snapshots()) == 7


# --- following ---


def test_only_succeeded_is_done(azure: AzureRig) -> None:
    azure.cloud.ask("POST", "config", {"snapshot_seconds": 60})
    started = azure.backup(azure.resource("az-web-1-0"))
    assert azure.states(started.operations) == {RUNNING}
    azure.cloud.ask("POST", "advance", {"seconds": 61})
    (answer,) = azure.ask(started.operations, azure.another())
    assert (answer.state, answer.detail["token"], answer.detail["size_gib"]) == (DONE, "", 2)
    kept = answer.detail["attributes"]
    assert kept["source_unique_id"] == started.captured["unique_id"], "the disk, not another of its name"
    assert kept["family_id"] != kept["snapshot_unique_id"]
    assert datetime.fromisoformat(kept[TAKEN_AT]).tzinfo is not None, "by it the copies of a disk have their order"


def test_an_operation_that_failed_with_status_200_is_a_failure_with_azures_reason(azure: AzureRig) -> None:
    azure.cloud.fault(
        "fail_operation", method="PUT", type="snapshots", code="DiskBroken", message="The disk is broken."
    )
    started = azure.backup(azure.resource("az-web-1-0"))
    (answer,) = azure.ask(started.operations, azure.another())
    assert (answer.state, type(answer.error)) == (FAILED, errors.CloudFailed)
    assert "DiskBroken" in str(answer.error)
    assert "The disk is broken." in str(answer.error)


def test_when_the_operations_address_is_gone_the_resource_still_says_how_it_ended(azure: AzureRig) -> None:
    started = azure.backup(azure.resource("az-web-1-0"))
    azure.cloud.ask("POST", "forget-operations", {})
    assert azure.states(started.operations) == {DONE}
    azure.cloud.change(started.parts[0].external_id, failure=["X", "y"])
    assert azure.states(started.operations) == {FAILED}


@pytest.mark.parametrize("fault", ["throttle", "internal", "drop_before"])
def test_an_operation_that_cannot_be_asked_about_now_is_no_failed_one(azure: AzureRig, fault: str) -> None:
    """feature 28: its snapshot is not to be seen yet, and why is asked again later."""
    started = azure.backup(azure.resource("az-web-1-0"))
    azure.cloud.destroy(started.parts[0].external_id)
    azure.cloud.fault(fault, method="POLL", type="operations", count=1)
    with contextlib.suppress(errors.Transient):
        assert azure.states(started.operations) == {RUNNING}
    assert azure.states(started.operations) == {RUNNING}


@pytest.mark.parametrize("fault", [{"kind": "throttle", "retry_after": 300}, {"kind": "internal"}])
def test_why_a_snapshot_failed_is_asked_again_while_azure_is_too_busy_to_say(azure: AzureRig, fault: dict) -> None:
    """feature 28: a throttled question is no answer, keeps none from the others, and after an hour nobody waits."""
    azure.cloud.fault("fail_operation", method="PUT", type="snapshots", code="DiskBroken", message="It is broken.")
    broken, whole = (azure.backup(azure.resource(name), name).operations[0] for name in ("az-web-1-0", "az-web-1-1"))
    azure.cloud.fault(fault.pop("kind"), method="POLL", type="operations", count=2, **fault)
    answers = azure.ask((broken, whole))
    assert [one.state for one in answers] == [RUNNING, DONE]
    assert answers[0].ask_again > timedelta(0)
    later = replace(broken, detail={**broken.detail, **answers[0].detail})
    azure.clock.advance(timedelta(minutes=61))
    (given_up,) = azure.ask((later,))
    assert (given_up.state, "not say why" in str(given_up.error)) == (FAILED, True)
    azure.cloud.ask("DELETE", "faults")
    (told,) = azure.ask((later,))
    assert (told.state, "It is broken." in str(told.error)) == (FAILED, True)


def test_a_snapshot_that_somebody_deleted_is_gone_and_a_young_one_may_only_be_late(azure: AzureRig) -> None:
    started = azure.backup(azure.resource("az-web-1-0"))
    azure.cloud.destroy(started.parts[0].external_id)
    azure.cloud.ask("POST", "forget-operations", {})
    assert azure.states(started.operations) == {RUNNING}
    azure.clock.advance(timedelta(minutes=10))
    assert azure.states(started.operations) == {GONE}


def test_many_snapshots_are_asked_about_by_one_list(azure: AzureRig) -> None:
    disks = [one for one in azure.everything() if one.type == "azure-disk"]
    operations = tuple(
        one for key in ("a", "b") for disk in disks for one in azure.backup(disk, f"{key}-{disk.name}").operations
    )
    azure.cloud.ask("POST", "config", {"page": 50})
    before = len(azure.calls)
    assert azure.states(operations) == {DONE}
    assert [call[1] for call in azure.calls[before:]] == ["list-snapshots"]


def test_no_thread_is_left_that_polls(azure: AzureRig) -> None:
    """The SDK's own pollers start one each, for ever."""
    azure.backup(azure.resource("az-db-1"))
    before = threading.active_count()
    for number in range(3):
        azure.backup(azure.resource("az-db-1"), f"more-{number}")
    assert threading.active_count() <= before


def test_a_token_holds_no_secret_and_no_access_to_data(azure: AzureRig) -> None:
    (operation,) = azure.backup(azure.resource("az-web-1-0")).operations
    text = json.dumps(json.loads(base64.b64decode(operation.detail["token"])))
    assert azure.account.client_secret.reveal() not in text
    assert "Bearer" not in text


# --- copies ---


def test_a_copy_is_begun_in_the_other_region_and_done_at_a_hundred_percent(azure: AzureRig) -> None:
    """Feature 47"""
    machine = azure.resource("az-db-1")
    point = azure.point(machine, azure.backup(machine))
    azure.cloud.ask("POST", "config", {"copy_seconds": 100})
    copied = azure.copy(point)
    assert {one.region for one in copied.operations} == {seed.AWAY}
    assert azure.states(copied.operations) == {RUNNING}
    azure.cloud.ask("POST", "advance", {"seconds": 50})
    assert all(0 < one.percent < 100 for one in azure.ask(copied.operations))
    azure.cloud.ask("POST", "advance", {"seconds": 51})
    assert azure.states(copied.operations) == {DONE}
    assert not any(TAKEN_AT in one.detail["attributes"] for one in azure.ask(copied.operations)), "the source's stays"
    bodies = [one["body"] for one in azure.cloud.calls("PUT", "snapshots")[-3:]]
    assert {one["properties"]["creationData"]["createOption"] for one in bodies} == {"CopyStart"}
    assert {one["location"] for one in bodies} == {seed.AWAY}


def test_a_copy_whose_source_is_deleted_meanwhile_fails_with_the_reason(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    azure.cloud.ask("POST", "config", {"copy_seconds": 100})
    copied = azure.copy(point)
    azure.driver.delete([point])
    (answer,) = azure.ask(copied.operations)
    assert answer.state is FAILED
    assert "CopySourceNotFound" in str(answer.error)


def test_a_second_copy_of_a_disk_is_out_of_turn_until_the_first_is_done(azure: AzureRig) -> None:
    """Feature 47: also when the disk is protected by its machine too, and that one's other disks go meanwhile."""
    disk, machine = azure.resource("az-db-1-2"), azure.resource("az-db-1")
    alone, whole = (azure.point(one, azure.backup(one, one.name)) for one in (disk, machine))
    azure.cloud.ask("POST", "config", {"copy_seconds": 100})
    first = azure.copy(alone, "copy-1")
    with pytest.raises(OutOfTurn) as caught:
        azure.copy(whole, "copy-2")
    assert (caught.value.code, caught.value.too_late) == ("copy-in-turn", False)
    azure.cloud.ask("POST", "advance", {"seconds": 101})
    assert azure.states(first.operations) == {DONE}
    second = azure.copy(whole, "copy-2")
    assert len(second.operations) == 3
    azure.cloud.ask("POST", "advance", {"seconds": 101})
    assert azure.states(second.operations) == {DONE}


def test_the_emulated_cloud_copies_snapshots_of_a_disk_in_their_order_only(azure: AzureRig) -> None:
    """Managed disks documentation, Copy an incremental snapshot to a new region: restrictions."""
    disk = azure.resource("az-web-1-0")
    old, young = (azure.point(disk, azure.backup(disk, key)) for key in ("job-1", "job-2"))
    azure.copy(young, "copy-2")
    with pytest.raises(OutOfTurn, match="in the order of their creation") as caught:
        azure.copy(old, "copy-1")
    assert caught.value.too_late


def test_what_azure_can_never_copy_is_refused_without_a_call(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    other = replace(azure.account, name="other", number="99999999-0000-4000-8000-000000000000")
    assert "one subscription" in azure.driver.plan_copy_problem(point, Destination(other, seed.AWAY))
    assert "another region" in azure.driver.plan_copy_problem(point, Destination(azure.account, seed.HOME))
    assert azure.driver.plan_copy_problem(point, Destination(azure.account, seed.AWAY)) == ""


# --- deleting ---


def test_a_deletion_is_told_only_when_nothing_is_left(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    (first,) = azure.driver.delete([point])
    assert (first.outcome, first.error and first.error.code) == ("kept", "deleting")
    assert [one.outcome for one in azure.driver.delete([point])] == ["already-gone"]
    assert azure.snapshots() == []


def test_foreign_and_locked_snapshots_are_kept(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    azure.cloud.change(point.parts[0].external_id, locked=True)
    assert [one.error and one.error.code for one in azure.driver.delete([point])] == ["locked"]
    azure.cloud.change(point.parts[0].external_id, locked=False, tags={"owner": "somebody"})
    assert [one.error and one.error.code for one in azure.driver.delete([point])] == ["not-ours"]


def test_an_account_that_may_not_delete_marks_instead(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    kept = replace(point, account=replace(azure.account, may_delete=False))
    assert [one.error and one.error.code for one in azure.driver.delete([kept])] == ["outdated"]
    assert azure.cloud.things("snapshots")[0]["tags"][TAG_OUTDATED] == "true"


def test_find_tells_everything_under_a_key(azure: AzureRig) -> None:
    azure.backup(azure.resource("az-db-1"))
    assert len(azure.driver.find(azure.account, seed.HOME, "job-1")) == 3
    assert azure.driver.find(azure.account, seed.AWAY, "job-1") == []
    assert azure.driver.find(azure.account, seed.HOME, "job-2") == []


def test_what_an_installation_made_is_found_by_its_tag(azure: AzureRig) -> None:
    started = azure.backup(azure.resource("az-db-1"))
    found = azure.driver.tagged(azure.account, seed.HOME, "it")
    assert {one.external_id for one in found} == {part.external_id for part in started.parts}
    assert all(one.began_at.tzinfo and one.size_gib and "/disks/" in one.source_id for one in found)
    assert azure.driver.tagged(azure.account, seed.AWAY, "it") == []
    assert azure.driver.tagged(azure.account, seed.HOME, "another") == []


def test_what_is_ours_tells_what_a_points_parts_record_of_it(azure: AzureRig) -> None:
    """feature C11: a catalog that was lost is written again from it, copies with what they have from their source."""
    machine = azure.resource("az-db-1")
    point = azure.point(machine, azure.backup(machine))
    started = azure.copy(point)
    answers = {one.external_id: one for one in azure.ask(started.operations)}
    found = {one.external_id: one for one in azure.driver.tagged(azure.account, seed.AWAY, "it")}
    assert set(found) == set(answers)
    homes = {one.external_id: one for one in azure.driver.tagged(azure.account, seed.HOME, "it")}
    for part in started.parts:
        one = found[part.external_id]
        again = azure.driver.part_again(one, machine)
        assert (again.device, again.source_id, again.size_gib) == (part.device, part.source_id, part.size_gib)
        assert (one.complete, one.source_id, one.encrypted) == (True, part.source_id, part.encrypted)
        assert one.attributes["source_snapshot"] == part.attributes["source_snapshot"]
        assert one.attributes["family_id"] == answers[one.external_id].detail["attributes"]["family_id"]
        assert one.attributes["taken_at"] == homes[part.attributes["source_snapshot"]].attributes["taken_at"]


def test_snapshots_that_are_there_are_told_by_id_and_of_other_kinds_nothing_is_told(azure: AzureRig) -> None:
    disk = azure.resource("az-db-1")
    kept, gone = azure.backup(disk), azure.backup(disk, key="job-2")
    azure.driver.delete([azure.point(disk, gone)])
    instant = Part(
        "/subscriptions/s/resourcegroups/g/providers/microsoft.compute/restorepointcollections/c/restorepoints/p"
    )
    found = azure.driver.present(azure.account, seed.HOME, [*kept.parts, *gone.parts, instant])
    assert set(found) == {one.external_id for one in (*kept.parts, instant)}
    assert {(found[one.external_id] or {}).get(TAG_JOB, "")[:5] for one in kept.parts} == {"job-1"}
    azure.cloud.fault("denied", method="GET", type="snapshots", name=gone.parts[0].external_id.rsplit("/", 1)[1])
    with pytest.raises(errors.Denied):  # it may be there: a role sees the groups only in which it has rights
        azure.driver.present(azure.account, seed.HOME, [*kept.parts, *gone.parts])


# --- restoring ---


def create(name: str, part: str) -> RestoreStep:
    params = {
        "group": "app",
        "name": name,
        "snapshot_id": part,
        "size_gib": 2,
        "sku": "Premium_LRS",
        "os_type": "Linux",
    }
    return RestoreStep("azure-create-disk", params)


def test_a_restored_disk_has_every_byte_and_a_repeated_step_makes_it_once(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    before = azure.cloud.sha256(disk.external_id)
    azure.cloud.write(disk.external_id, 4096, b"written after the backup")
    step = create("restored", point.parts[0].external_id)
    made = azure.driver.start_restore(point, step, "step-1", TAGS)
    again = azure.driver.start_restore(point, step, "step-1", TAGS)
    assert made.created == again.created
    assert len(azure.cloud.calls("PUT", "disks")) == 1
    assert azure.states(made.operations) == {DONE}
    assert azure.cloud.sha256(made.outputs["disk_id"]) == before != azure.cloud.sha256(disk.external_id)


def test_a_name_in_use_is_refused_and_left_alone(azure: AzureRig) -> None:
    disk = azure.resource("az-web-1-0")
    point = azure.point(disk, azure.backup(disk))
    with pytest.raises(errors.Invalid) as caught:
        azure.driver.start_restore(point, create("az-db-1-0", point.parts[0].external_id), "step-1", TAGS)
    assert caught.value.code == "name-taken"
    assert azure.cloud.calls("PUT", "disks") == []


def test_a_disk_is_attached_once_and_an_undo_takes_it_off_and_away(azure: AzureRig) -> None:
    disk, host = azure.resource("az-web-1-1"), azure.resource("az-db-1")
    point = azure.point(disk, azure.backup(disk))
    made = azure.driver.start_restore(point, create("extra", point.parts[0].external_id), "step-1", TAGS)
    params = {"vm_id": host.external_id, "disk_id": made.outputs["disk_id"], "lun": 7}
    for _ in range(2):
        attached = azure.driver.start_restore(point, RestoreStep("azure-attach-disk", params), "step-2", TAGS)
        assert azure.states(attached.operations) == {DONE}
    assert 7 in {one.get("lun") for one in azure.resource("az-db-1").attributes["disks"]}
    created = (*made.created, *attached.created)
    for _ in range(3):
        answers = azure.driver.undo_restore(azure.account, seed.HOME, created)
    assert {one.outcome for one in answers} == {"already-gone"}
    assert 7 not in {one.get("lun") for one in azure.resource("az-db-1").attributes["disks"]}
