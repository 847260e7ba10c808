"""The contract, kept by instances; and what only instances have: sets, exclusions, images."""

import base64
import json
from datetime import timedelta

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.driver_suite import DriverContract
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT, Rig
from tests.sandbox import Sandbox
from workers.driver import (
    TAG_INSTALLATION,
    TAG_JOB,
    TAG_SOURCE,
    BackupRequest,
    CopyRequest,
    Destination,
    FindsTagged,
    RebuildsParts,
    Resource,
    Scope,
)


def make_instance(cloud: Sandbox) -> str:
    """A machine in production with a root and two data volumes."""
    return str(cloud.machine(PROD, HOME, data=2)["InstanceId"])


@pytest.fixture
def rig(cloud: Sandbox) -> Rig:
    return Rig(cloud, "instance", make_instance)


def volume(resource: Resource, device: str) -> str:
    return str(next(one["id"] for one in resource.attributes["volumes"] if one["device"] == device))


class TestInstance(DriverContract):
    """Feature 13: instances with all of their volumes."""


def test_the_volumes_of_an_instance_are_taken_at_one_instant(rig: Rig) -> None:
    """Feature 13: one CreateSnapshots call is consistent across volumes."""
    rig.backup(rig.resource())
    made = rig.snapshots().values()
    assert len(made) == 3
    assert len({one["StartTime"] for one in made}) == 1


def tag_volume(rig: Rig, volume_id: str, **tags: str) -> None:
    ec2 = rig.sandbox.client(PROD)
    ec2.create_tags(Resources=[volume_id], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


def test_each_snapshot_of_a_set_carries_the_tags_of_its_own_volume(rig: Rig) -> None:
    """CreateSnapshots, CopyTagsFromSource: in the one call, beside ours."""
    machine = rig.make(rig.sandbox)
    first, second = (volume(rig.found(machine), device) for device in ("/dev/sdf", "/dev/sdg"))
    tag_volume(rig, first, Name="data", tier="gold")
    tag_volume(rig, second, Name="logs")
    rig.backup(rig.found(machine), fresh=True)
    made = {one["VolumeId"]: rig.tags_of(one) for one in rig.snapshots().values()}
    assert (made[first]["Name"], made[first]["tier"], made[second]["Name"]) == ("data", "gold", "logs")
    assert all(tags.items() >= {**TAGS, TAG_JOB: "job-1"}.items() for tags in made.values())
    assert rig.sandbox.count("CreateSnapshots") == 1


@pytest.mark.parametrize("seen", [True, False])
def test_a_volume_with_fifty_tags_costs_its_snapshot_those_tags_and_no_backup(rig: Rig, seen: bool) -> None:
    """Tag restrictions: 50 on a resource, copied ones included; AWS refuses the whole set for one more. Also where the
    volume was tagged after it was last seen."""
    resource = rig.resource()
    full = volume(resource, "/dev/sdf")
    tag_volume(rig, full, **{f"user-{n:02}": "v" for n in range(50)})
    started = rig.backup(rig.found(resource.external_id) if seen else resource, fresh=True)
    assert len(started.parts) == 3
    assert any("tags" in warning for warning in started.warnings)
    assert rig.sandbox.count("CreateSnapshots") == (1 if seen else 2)
    assert all(rig.tags_of(one)[TAG_JOB] == "job-1" for one in rig.snapshots().values())
    assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}


def test_excluded_data_volumes_are_left_out_in_the_one_call(rig: Rig) -> None:
    """Feature 13: some volumes."""
    resource = rig.resource()
    out = volume(resource, "/dev/sdf")
    started = rig.backup(resource, exclude=frozenset({out, "vol-0000000000000gone"}))
    asked = rig.sandbox.calls("CreateSnapshots")[0]["parameters"]["InstanceSpecification"]
    assert asked == {"InstanceId": resource.external_id, "ExcludeDataVolumeIds": [out]}
    assert out not in {part.source_id for part in started.parts}
    assert len(started.parts) == 2


def test_an_excluded_root_is_left_out_by_its_own_flag(rig: Rig) -> None:
    """AWS refuses the root among the data exclusions."""
    resource = rig.resource()
    root = volume(resource, resource.attributes["root_device"])
    started = rig.backup(resource, exclude=frozenset({root}))
    asked = rig.sandbox.calls("CreateSnapshots")[0]["parameters"]["InstanceSpecification"]
    assert asked["ExcludeBootVolume"] in (True, "true")
    assert "ExcludeDataVolumeIds" not in asked
    assert root not in {part.source_id for part in started.parts}


def test_a_set_of_which_one_member_failed_is_adopted_whole_and_never_as_good(rig: Rig) -> None:
    """AWS fails the other members too, perhaps a moment later: no half of it is ever a backup."""
    resource = rig.resource()
    first = rig.backup(resource)
    rig.sandbox.fail(PROD, HOME, first.parts[1].external_id)
    again = rig.backup(resource)
    assert again.adopted
    assert {part.external_id for part in again.parts} == {part.external_id for part in first.parts}
    assert OperationState.FAILED in {one.state for one in rig.driver.progress(again.operations)}


def test_a_set_that_is_only_half_visible_is_waited_for_and_never_adopted_in_half(rig: Rig) -> None:
    resource = rig.resource()
    first = rig.backup(resource)
    rig.sandbox.destroy(PROD, HOME, first.parts[1].external_id)  # as good as unseen
    with pytest.raises(errors.NotReady) as caught:
        rig.backup(resource)
    assert caught.value.code == "set-unseen"
    rig.clock.advance(timedelta(days=3650))
    late = rig.backup(resource)
    assert (len(late.parts), rig.sandbox.count("CreateSnapshots")) == (2, 1)
    assert any(first.parts[1].source_id in warning for warning in late.warnings)


def test_more_than_forty_exclusions_fall_back_to_one_call_a_volume_with_a_warning(rig: Rig) -> None:
    devices = [f"/dev/sd{first}{second}" for first in "bc" for second in "abcdefghijklmnopqrstu"]
    mappings = [{"DeviceName": one, "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}} for one in devices]
    machine = rig.sandbox.machine(PROD, HOME, data=0, BlockDeviceMappings=mappings)
    resource = rig.found(machine["InstanceId"])
    out = frozenset(volume(resource, device) for device in devices[:41])
    rig.sandbox.fault("drop_after", operation="CreateSnapshot", count=1)
    with pytest.raises(errors.Transient):
        rig.backup(resource, exclude=out)
    started = rig.backup(resource, exclude=out)
    assert {part.device for part in started.parts} == {resource.attributes["root_device"], devices[41]}
    assert rig.sandbox.count("CreateSnapshots") == 0
    assert len(rig.snapshots()) == 2
    assert any("not taken at one instant" in warning for warning in started.warnings)
    assert len(rig.driver.find(rig.production, HOME, "job-1")) == 2


def test_excluding_everything_is_refused(rig: Rig) -> None:
    resource = rig.resource()
    with pytest.raises(errors.Invalid) as caught:
        rig.backup(resource, exclude=frozenset(one["id"] for one in resource.attributes["volumes"]))
    assert caught.value.code == "nothing-left"


def test_what_discovery_leaves_out_is_captured_with_the_backup(rig: Rig) -> None:
    """User data may hold secrets: it is kept with a point and not with what is seen every hour."""
    script = base64.b64encode(b"#!/bin/sh\necho hi\n").decode()
    machine = rig.sandbox.machine(PROD, HOME, data=0, UserData=script, DisableApiTermination=True)
    resource = rig.found(machine["InstanceId"])
    assert "user_data" not in resource.attributes
    captured = rig.backup(resource).captured
    assert base64.b64decode(captured["user_data"]) in (b"#!/bin/sh\necho hi\n", script.encode())
    assert captured["termination_protection"] is True
    assert captured["private_ip"] == machine["PrivateIpAddress"]


def test_without_the_right_to_read_user_data_the_backup_is_taken_with_a_warning(rig: Rig) -> None:
    resource = rig.resource()
    rig.sandbox.fault("denied", operation="DescribeInstanceAttribute")
    started = rig.backup(resource)
    assert len(started.parts) == 3
    assert any("User data" in warning for warning in started.warnings)


def test_an_instance_is_discovered_with_what_a_restore_needs(rig: Rig) -> None:
    resource = rig.resource()
    facts = resource.attributes
    for name in ("zone", "instance_type", "architecture", "root_device", "subnet_id", "private_ip", "platform_details"):
        assert facts[name], name
    assert [one["device"] for one in facts["volumes"]] == sorted(one["device"] for one in facts["volumes"])
    assert {one["size_gib"] for one in facts["volumes"]} == {1}
    assert facts["interfaces"][0]["private_ip"] == facts["private_ip"]


def test_discovery_walks_all_pages_and_both_types(rig: Rig) -> None:
    ids = {rig.sandbox.machine(PROD, HOME, data=0)["InstanceId"] for _ in range(3)}
    rig.sandbox.client(PROD).terminate_instances(InstanceIds=[gone := ids.pop()])
    scope, page, seen = Scope(rig.production, HOME, ("instance", "volume")), None, []
    while True:
        answer = rig.driver.discover(scope, page)
        seen += answer.resources
        page = answer.next_page
        if page is None:
            break
    assert {one.external_id for one in seen if one.type == "instance"} == ids
    assert {one.parent_id for one in seen if one.type == "volume"} == ids
    assert gone not in {one.external_id for one in seen}


def test_an_image_is_made_without_a_reboot_unless_one_is_wanted(rig: Rig) -> None:
    """AWS reboots by default."""
    resource = rig.resource()
    boots = len(rig.sandbox.boots(PROD, HOME, resource.external_id))
    rig.backup(resource, mode="image")
    assert len(rig.sandbox.boots(PROD, HOME, resource.external_id)) == boots
    rig.backup(resource, "job-2", mode="image", reboot=True)
    assert len(rig.sandbox.boots(PROD, HOME, resource.external_id)) == boots + 1


def test_an_image_tells_its_parts_when_it_is_available(rig: Rig) -> None:
    resource = rig.resource()
    started = rig.backup(resource, mode="image")
    done = rig.driver.progress(started.operations)[0]
    assert (done.state, started.parts, started.image_id) == (OperationState.DONE, (), done.external_id)
    volumes = {one["device"]: one["id"] for one in resource.attributes["volumes"]}
    assert {one["device"]: one["source_id"] for one in done.detail["parts"]} == volumes
    for snapshot in rig.snapshots().values():
        assert rig.tags_of(snapshot)[TAG_INSTALLATION] == "inst-1"


@pytest.mark.parametrize("fault", ["drop_after", None])
def test_an_image_is_made_once_for_a_key(rig: Rig, fault: str | None) -> None:
    resource = rig.resource()
    if fault:
        rig.sandbox.fault(fault, operation="CreateImage", count=1)
        with pytest.raises(errors.Transient):
            rig.backup(resource, mode="image")
    else:
        rig.backup(resource, mode="image")
    again = rig.backup(resource, mode="image")
    assert again.adopted
    assert rig.sandbox.count("CreateImage") == 1
    assert [one.external_id for one in rig.driver.find(rig.production, HOME, "job-1") if one.kind == "image"] == [
        again.image_id
    ]


def test_an_image_that_failed_is_adopted_as_failed_and_does_not_block_the_next_key(rig: Rig) -> None:
    """Its name stays taken, but each attempt has a key and so a name of its own."""
    resource = rig.resource()
    first = rig.backup(resource, mode="image")
    rig.sandbox.fail(PROD, HOME, *rig.snapshots())
    again = rig.backup(resource, mode="image")
    assert (again.adopted, again.image_id) == (True, first.image_id)
    assert rig.driver.progress(again.operations)[0].state is OperationState.FAILED
    second = rig.backup(resource, "job-2", mode="image")
    assert second.image_id != first.image_id
    assert rig.driver.progress(second.operations)[0].state is OperationState.DONE


def test_an_image_without_its_root_is_refused_and_data_volumes_can_be_left_out(rig: Rig) -> None:
    resource = rig.resource()
    with pytest.raises(errors.Impossible):
        rig.backup(resource, mode="image", exclude=frozenset({volume(resource, resource.attributes["root_device"])}))
    started = rig.backup(resource, mode="image", exclude=frozenset({volume(resource, "/dev/sdf")}))
    parts = rig.driver.progress(started.operations)[0].detail["parts"]
    assert {one["device"] for one in parts} == {resource.attributes["root_device"], "/dev/sdg"}


def test_an_image_goes_before_its_snapshots_and_takes_them_along(rig: Rig) -> None:
    resource = rig.resource()
    started = rig.backup(resource, mode="image")
    rig.driver.progress(started.operations)
    answers = rig.driver.delete([rig.point(resource, started)])
    assert [(one.external_id, one.outcome) for one in answers] == [(started.image_id, "deleted")]
    assert rig.sandbox.calls("DeregisterImage")[0]["parameters"]["DeleteAssociatedSnapshots"] in (True, "true")
    assert not rig.snapshots()


def test_an_image_is_copied_as_an_image_inside_an_account(rig: Rig) -> None:
    """What an image licenses does not travel with its snapshots."""
    resource = rig.resource()
    point = rig.point(resource, rig.backup(resource, mode="image"))
    started = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    again = rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    assert (started.image_id, again.adopted) == (again.image_id, True)
    assert rig.sandbox.count("CopyImage") == 1
    done = rig.driver.progress(started.operations)[0]
    assert (done.state, len(done.detail["parts"])) == (OperationState.DONE, 3)
    assert len(rig.snapshots(region=AWAY)) == 3


def test_a_broken_off_copy_of_many_parts_goes_on_where_it_stopped(rig: Rig) -> None:
    """Feature 31: killed between two parts, nothing is copied twice."""
    point = rig.taken()
    second = point.parts[1].external_id
    rig.sandbox.fault("drop_before", operation="CopySnapshot", resource=second, count=1)
    with pytest.raises(errors.Transient):
        rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    assert len(rig.snapshots(region=AWAY)) == 1
    rig.driver.start_copy(point, rig.away(), CopyRequest("copy-1", TAGS))
    sources = [one["parameters"]["SourceSnapshotId"] for one in rig.sandbox.calls("CopySnapshot")]
    assert sorted(sources) == sorted([part.external_id for part in point.parts] + [second])
    assert len(rig.snapshots(region=AWAY)) == 3


def customer_key(rig: Rig, number: str, region: str) -> str:
    """A key of an account that production and the vault may use."""
    who = [f"arn:aws:iam::{one}:root" for one in (PROD, VAULT)]
    allow = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    kms = rig.sandbox.client(number, region, "kms")
    return str(kms.create_key(Policy=policy)["KeyMetadata"]["Arn"])


def encrypted(rig: Rig, key: str | None) -> Resource:
    ebs = {"VolumeSize": 1, "VolumeType": "gp3", "Encrypted": True, **({"KmsKeyId": key} if key else {})}
    mappings = [{"DeviceName": "/dev/sdf", "Ebs": ebs}]
    return rig.found(rig.sandbox.machine(PROD, HOME, data=0, BlockDeviceMappings=mappings)["InstanceId"])


def test_a_volume_under_the_default_key_cannot_go_to_another_account_and_says_so_before_any_call(rig: Rig) -> None:
    """Feature 44: refused with the reason, beforehand."""
    resource = encrypted(rig, None)
    started = rig.backup(resource)
    point = rig.point(resource, started)
    assert [part.attributes.get("default_key") for part in started.parts if part.encrypted] == [True]
    elsewhere = Destination(rig.vault, HOME)
    assert "aws/ebs" in rig.driver.plan_copy_problem(point, elsewhere)
    with pytest.raises(errors.Impossible):
        rig.driver.start_copy(point, elsewhere, CopyRequest("copy-1", TAGS))
    assert rig.sandbox.count("ModifySnapshotAttribute") == 0
    assert rig.driver.plan_copy_problem(point, rig.away()) == ""
    assert rig.driver.start_copy(point, rig.away(), CopyRequest("copy-2", TAGS)).parts


def test_what_is_ours_tells_what_a_points_parts_record_of_it(rig: Rig) -> None:
    """feature C11: a catalog that was lost is written again from it."""
    resource, tags = encrypted(rig, None), {**TAGS, TAG_SOURCE: "i-1"}
    started = rig.driver.start_backup(resource, BackupRequest("job-1", tags))
    parts = {part.external_id: part for part in started.parts}
    assert isinstance(rig.driver, FindsTagged)
    found = rig.driver.tagged(rig.production, HOME, TAGS[TAG_INSTALLATION])
    assert {(one.external_id, one.complete, one.type) for one in found} == {(one, True, "instance") for one in parts}
    for one in found:
        part = parts[one.external_id]
        assert (one.source_id, one.encrypted, one.kms_key_id) == (part.source_id, part.encrypted, part.kms_key_id)
        assert one.attributes.get("default_key") == part.attributes.get("default_key")
        assert isinstance(rig.driver, RebuildsParts)
        assert rig.driver.part_again(one, resource) == part
    copied = rig.driver.start_copy(rig.point(resource, started), rig.away(), CopyRequest("copy-1", tags))
    sources = {part.external_id: part.attributes["source_snapshot"] for part in copied.parts}
    there = rig.driver.tagged(rig.production, AWAY, TAGS[TAG_INSTALLATION])
    assert {one.external_id: dict(one.attributes) for one in there} == {
        copy: {"source_snapshot": source} for copy, source in sources.items()
    }
    assert {one.source_id for one in there} == {""}, "a copy's own volume is arbitrary"


def test_what_is_ours_and_not_complete_says_so_and_an_images_snapshots_know_their_devices(rig: Rig) -> None:
    """feature C11: only what the cloud has completed may become a good point."""
    rig.sandbox.configure(snapshot_seconds=60.0)
    started = rig.backup(rig.resource(), mode="image")
    assert isinstance(rig.driver, FindsTagged)
    found = rig.driver.tagged(rig.production, HOME, TAGS[TAG_INSTALLATION])
    assert {one.complete for one in found} == {False}
    assert [one.external_id for one in found if one.kind == "image"] == [started.image_id]
    assert {one.device for one in found if one.kind == "snapshot"} == {"/dev/xvda", "/dev/sdf", "/dev/sdg"}


def test_where_the_key_is_unknown_awss_own_refusal_is_the_answer(rig: Rig) -> None:
    """Feature 44: without the right to ask for keys, the share is what fails."""
    resource = encrypted(rig, None)
    rig.sandbox.fault("denied", operation="DescribeKey")
    point = rig.point(resource, rig.backup(resource))
    assert rig.driver.plan_copy_problem(point, Destination(rig.vault, HOME)) == ""
    with pytest.raises(errors.Impossible):
        rig.driver.start_copy(point, Destination(rig.vault, HOME), CopyRequest("copy-1", TAGS))


def test_a_volume_under_a_customers_key_goes_to_another_account(rig: Rig) -> None:
    """Feature 44: with a customer-managed key that both may use."""
    ours, there = customer_key(rig, PROD, HOME), customer_key(rig, VAULT, AWAY)
    resource = encrypted(rig, ours)
    point = rig.point(resource, rig.backup(resource))
    started = rig.driver.start_copy(point, Destination(rig.vault, AWAY, there), CopyRequest("copy-1", TAGS))
    assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}
    assert {one["KmsKeyId"] for one in rig.snapshots(rig.vault, AWAY).values()} == {there}


def test_checks_try_everything_that_backup_copy_and_restore_need_and_change_nothing(rig: Rig) -> None:
    """Feature 93: what a role lacks shows up before the disaster, and trying it out does nothing."""
    rig.taken()
    before = rig.sandbox.state(PROD, HOME)
    checks = rig.driver.check(rig.production, HOME)
    assert {one.outcome for one in checks} == {"ok"}, [one for one in checks if one.outcome != "ok"]
    assert {"ec2:RunInstances", "ec2:RegisterImage", "ec2:CreateVolume"} <= {one.name for one in checks}
    assert rig.sandbox.state(PROD, HOME) == before
