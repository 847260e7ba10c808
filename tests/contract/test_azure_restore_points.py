"""Restore points of machines: one instant for all disks, adopted, restored from, deleted (feature 26)."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.sandbox.azure import seed
from tasks import errors
from tasks.resources import TYPES
from tasks.states import OperationState
from tests.azure import TAGS, AzureRig
from workers.driver import BackupRequest, CopyRequest, Destination, Part, Point, RestoreStep, Started


def taken(rig: AzureRig, key: str = "job-1", way: str = "crash", name: str = "az-db-1", **wish: Any) -> Started:
    options = {"consistency": way}
    return rig.driver.start_backup(rig.resource(name), BackupRequest(key, TAGS, options=options, **wish))


def whole(rig: AzureRig, started: Started) -> Point:
    """The point as the catalog would have it: its parts come with the last answer."""
    (answer,) = rig.ask(started.operations)
    assert answer.state is OperationState.DONE
    parts = tuple(Part(**one) for one in answer.detail["parts"])
    captured = replace(rig.resource("az-db-1"), attributes=started.captured)
    return Point(rig.account, seed.HOME, captured, parts, started.image_id)


@pytest.mark.parametrize(("way", "mode"), [("crash", "CrashConsistent"), ("application", "FileSystemConsistent")])
def test_all_disks_of_a_machine_are_taken_at_one_instant(azure: AzureRig, way: str, mode: str) -> None:
    point = whole(azure, taken(azure, way=way))
    assert [part.device for part in point.parts] == ["os", "lun-0", "lun-2"]
    assert {part.attributes["consistency"] for part in point.parts} == {mode}
    assert [part.size_gib for part in point.parts] == [2, 1, 2]
    assert azure.snapshots() == []


def test_without_the_wish_a_machine_is_a_set_of_snapshots(azure: AzureRig) -> None:
    started = azure.backup(azure.resource("az-db-1"))
    assert started.image_id == ""
    assert len(azure.snapshots()) == 3


def test_the_same_key_again_adopts_the_restore_point(azure: AzureRig) -> None:
    """Feature 31: also after its answer was lost."""
    azure.cloud.fault("drop_after", method="PUT", type="restorePoints")
    with pytest.raises(errors.Transient):
        taken(azure, fresh=True)
    again = taken(azure)
    assert again.adopted
    assert len(azure.cloud.things("restorePoints")) == 1
    assert whole(azure, again).image_id == again.image_id
    found = azure.driver.find(azure.account, seed.HOME, "job-1")
    assert [(one.kind, one.external_id) for one in found] == [("image", again.image_id)]
    assert azure.driver.find(azure.account, seed.HOME, "job-2") == []


def test_excluded_disks_are_left_out(azure: AzureRig) -> None:
    data = [one["id"] for one in azure.resource("az-db-1").attributes["disks"] if one["role"] == "data"]
    assert [part.device for part in whole(azure, taken(azure, exclude=frozenset(data))).parts] == ["os"]


def test_more_than_three_an_hour_are_waited_for(azure: AzureRig) -> None:
    for number in range(3):
        taken(azure, f"job-{number}")
    with pytest.raises(errors.QuotaReached) as caught:
        taken(azure, "job-4")
    assert caught.value.code == "object-limit"


def test_a_restore_point_that_azure_fails_is_failed_with_its_reason(azure: AzureRig) -> None:
    azure.cloud.ask("POST", "config", {"snapshot_seconds": 30})
    started = taken(azure)
    assert azure.states(started.operations) == {OperationState.RUNNING}
    azure.cloud.change(started.image_id, failure=["VMAgentStatusCommunicationError", "The agent does not answer."])
    azure.cloud.ask("POST", "advance", {"seconds": 60})
    (answer,) = azure.ask(started.operations)
    assert (answer.state, type(answer.error)) == (OperationState.FAILED, errors.CloudFailed)
    azure.cloud.ask("POST", "config", {"snapshot_seconds": 0.0})


def test_disks_are_made_from_a_restore_point_byte_for_byte(azure: AzureRig) -> None:
    point = whole(azure, taken(azure))
    part = point.parts[1]
    was = azure.cloud.sha256(part.source_id)
    azure.cloud.write(part.source_id, 0, b"written later" * 100)
    params = {"group": seed.GROUP, "name": "back", "snapshot_id": part.external_id, "size_gib": part.size_gib}
    step = azure.driver.start_restore(point, RestoreStep("azure-create-disk", params), "restore-1", TAGS)
    assert azure.states(step.operations) == {OperationState.DONE}
    assert azure.cloud.sha256(step.outputs["disk_id"]) == was


def test_a_copy_of_a_restore_point_is_refused_with_the_reason(azure: AzureRig) -> None:
    point = whole(azure, taken(azure))
    with pytest.raises(errors.Impossible, match="not copied"):
        azure.driver.start_copy(point, Destination(azure.account, seed.AWAY), CopyRequest("copy-1", TAGS))
    rule = TYPES["azure-vm"].broken(region=True, account=False, entry={}, found=point.resource.attributes)
    assert rule is not None
    assert rule.code == "restore-point"


def test_an_archive_of_a_restore_point_is_refused_with_the_reason(azure: AzureRig) -> None:
    blocks: Any = azure.driver.blocks  # type: ignore[attr-defined]
    point = whole(azure, taken(azure))
    with pytest.raises(errors.Impossible, match="not archived"):
        blocks.source(azure.account, seed.HOME, point.parts[0].external_id)


def test_a_deletion_takes_the_restore_point_and_the_last_one_its_collection(azure: AzureRig) -> None:
    point = whole(azure, taken(azure))
    outcomes = [{one.outcome for one in azure.driver.delete([point])} for _ in range(3)]
    assert outcomes == [{"kept"}, {"already-gone"}, {"already-gone"}]
    assert azure.cloud.things("restorePoints") == []
    assert azure.cloud.things("diskRestorePoints") == []
    assert azure.cloud.things("restorePointCollections") == []


def test_what_is_not_ours_or_may_not_be_deleted_is_kept(azure: AzureRig) -> None:
    point = whole(azure, taken(azure))
    kept = replace(point, account=replace(point.account, may_delete=False))
    assert {getattr(one.error, "code", "") for one in azure.driver.delete([kept])} == {"outdated"}
    azure.cloud.change(azure.cloud.things("restorePointCollections")[0]["id"], tags={})
    assert {getattr(one.error, "code", "") for one in azure.driver.delete([point])} == {"not-ours"}
    assert len(azure.cloud.things("restorePoints")) == 1
