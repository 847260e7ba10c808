"""Whole restores in the emulated AWS: what comes back has the bytes and the attributes of what was backed up."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from coordinator.restore import PointFacts, RestoreRequest, plan_restore
from tasks.errors import Impossible, Invalid
from tests.restoring import HOME, PROD, VAULT, Restoring, restoring, vault_account
from tests.sandbox import Sandbox, sandbox, sandbox_process  # noqa: F401
from workers.driver import Point, Resource

KEPT = (
    "instance_type", "zone", "subnet_id", "security_group_ids", "private_ip", "profile_arn", "key_name",
    "metadata_options", "ebs_optimized", "architecture", "boot_mode", "platform_details", "root_device",
)  # fmt: skip


@pytest.fixture
def rig(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Restoring:  # noqa: F811
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return restoring(sandbox)


def volumes_of(instance: Resource) -> dict[str, dict[str, Any]]:
    return {volume["device"]: volume for volume in instance.attributes["volumes"]}


def shape(volume: dict[str, Any]) -> dict[str, Any]:
    names = ("size_gib", "type", "iops", "throughput", "encrypted", "kms_key_id", "delete_on_termination")
    own = {name: value for name, value in volume["tags"].items() if not name.startswith("snapfleet:")}
    return {**{name: volume[name] for name in names}, "tags": own}


def users(tags: Any) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("snapfleet:")}


@pytest.mark.parametrize("name", ["web-1", "db-1", "[/red]app-1[bold]", "legacy-1"])
def test_a_whole_instance_comes_back_as_it_was(rig: Restoring, name: str) -> None:
    """Bytes, type, network, address, profile, key, user data, tags and volume types; nothing temporary is left."""
    was = rig.instance(name)
    point = rig.back_up(was)
    ec2 = rig.sandbox.client(PROD)
    ec2.terminate_instances(InstanceIds=[was.external_id])
    before = rig.state()
    rig.carry_out(rig.plan(point, kind="instance"), point)
    made = rig.instance(rig.outputs["run-instance"]["instance_id"])
    assert {key: made.attributes[key] for key in KEPT} == {key: was.attributes[key] for key in KEPT}
    assert users(made.tags) == dict(was.tags)
    old, new = volumes_of(was), volumes_of(made)
    assert {device: shape(one) for device, one in new.items()} == {device: shape(one) for device, one in old.items()}
    assert rig.hashes(*(new[device]["id"] for device in sorted(new))) == rig.hashes(
        *(part.external_id for part in sorted(point.parts, key=lambda part: part.device))
    )
    data = ec2.describe_instance_attribute(InstanceId=made.external_id, Attribute="userData")["UserData"]["Value"]
    assert data == point.resource.attributes["user_data"]
    assert base64.b64decode(data).startswith(b"#!/bin/sh")
    assert rig.state()["images"] == before["images"]
    assert rig.state()["snapshots"] == before["snapshots"]


def test_a_windows_instance_comes_back_from_its_image_only(rig: Restoring) -> None:
    was = rig.instance("win-1")
    with pytest.raises(Impossible, match="mode image"):
        rig.plan(rig.back_up(was), kind="instance")
    point = rig.back_up(was, mode="image", key="backup-2")
    rig.carry_out(rig.plan(point, was, kind="instance", volume_type="gp2"), point)
    made = rig.instance(rig.outputs["run-instance"]["instance_id"])
    assert made.attributes["platform_details"] == "Windows"
    assert {one["type"] for one in made.attributes["volumes"]} == {"gp2"}
    assert {one["tags"]["Name"] for one in made.attributes["volumes"]} == {"win-1"}
    assert made.attributes["private_ip"] != was.attributes["private_ip"]


def windows_snapshots(rig: Restoring) -> tuple[Resource, Point, PointFacts]:
    """A point of snapshots, taken after an image of the same Windows machine, and the facts of both."""
    was = rig.instance("win-1")
    image = rig.back_up(was, mode="image", key="backup-1")
    for volume in was.attributes["volumes"]:
        rig.sandbox.write(PROD, HOME, volume["id"], 8192, b"written after the image")
    point = rig.back_up(was, key="backup-2")
    devices = tuple(part.device for part in image.parts)
    return was, point, replace(rig.facts(point, was), base_image_id=image.image_id, base_image_devices=devices)


def test_newer_snapshots_of_a_windows_instance_come_back_through_its_older_image(rig: Restoring) -> None:
    """What mode image-once is for."""
    was, point, facts = windows_snapshots(rig)
    before = rig.state()
    rig.carry_out(plan_restore(facts, RestoreRequest.from_json({"kind": "instance"})), point, times=2)
    made = rig.instance(rig.outputs["run-instance"]["instance_id"])
    new = volumes_of(made)
    assert (made.attributes["platform_details"], made.attributes["state"]) == ("Windows", "running")
    assert rig.hashes(*(new[part.device]["id"] for part in point.parts)) == rig.hashes(
        *(part.external_id for part in point.parts)
    )
    assert {device: shape(one) for device, one in new.items()} == {
        device: shape(one) for device, one in volumes_of(was).items()
    }
    assert len(rig.state()["volumes"]) - len(before["volumes"]) == len(point.parts)


def test_a_launch_through_an_image_is_undone_after_any_step(rig: Restoring) -> None:
    _, point, facts = windows_snapshots(rig)
    before = rig.state()
    plan = plan_restore(facts, RestoreRequest.from_json({"kind": "instance"}))
    for reached in range(1, len(plan.steps) + 1):
        once = restored_again(rig, f"restore-{reached}")
        once.carry_out(plan, point, stop_after=reached)
        assert set(once.undo().values()) <= {"deleted", "already-gone"}
        assert rig.state() == before


def test_a_volume_comes_back_with_its_bytes_and_is_attached(rig: Restoring) -> None:
    was = rig.instance("db-1")
    point = rig.back_up(was)
    target = rig.instance("sealed-1")
    plan = rig.plan(point, target, kind="volume", volumes=["/dev/sdg"], attach_to=target.external_id)
    rig.carry_out(plan, point)
    made = rig.volume(rig.outputs["create-sdg"]["volume_id"])
    assert (made.attributes["type"], made.attributes["iops"]) == ("io2", 200)
    assert made.attributes["kms_key_id"] == volumes_of(was)["/dev/sdg"]["kms_key_id"]
    assert [(one["instance_id"], one["device"]) for one in made.attributes["attachments"]] == [
        (target.external_id, "/dev/sdg")
    ]
    assert rig.hashes(made.external_id) == rig.hashes(volumes_of(was)["/dev/sdg"]["id"])


def test_an_independent_volume_comes_back(rig: Restoring) -> None:
    loose = rig.volume(rig.estate["volumes"][0])
    point = rig.back_up(loose)
    rig.carry_out(rig.plan(point, kind="volume", tags={"for": "drill"}), point)
    made = rig.volume(next(iter(rig.outputs.values()))["volume_id"])
    assert rig.hashes(made.external_id) == rig.hashes(loose.external_id)
    assert users(made.tags) == {**loose.tags, "for": "drill"}
    assert made.attributes["zone"] == loose.attributes["zone"]


def test_everything_goes_back_in_place_in_one_stop_and_the_old_volumes_stay(rig: Restoring) -> None:
    was = rig.instance("web-1")
    point = rig.back_up(was)
    old = volumes_of(was)
    for volume in old.values():
        rig.sandbox.write(PROD, HOME, volume["id"], 4096, b"ruined")
    boots = len(rig.sandbox.boots(PROD, HOME, was.external_id))
    rig.carry_out(rig.plan(point, was, kind="in-place"), point)
    now = rig.instance("web-1")
    new = volumes_of(now)
    assert now.attributes["state"] == "running"
    assert set(new) == set(old)
    assert {one["id"] for one in new.values()}.isdisjoint(one["id"] for one in old.values())
    assert rig.hashes(*(new[part.device]["id"] for part in point.parts)) == rig.hashes(
        *(part.external_id for part in point.parts)
    )
    assert {device: shape(one) for device, one in new.items()} == {device: shape(one) for device, one in old.items()}
    assert {one["id"] for one in old.values()} <= set(rig.state()["volumes"])
    assert len(rig.sandbox.boots(PROD, HOME, was.external_id)) == boots + 1


def test_a_second_restore_in_place_from_an_older_look_leaves_the_machine_running_as_it_is(rig: Restoring) -> None:
    """And from a new look it takes off what the first one brought."""
    was = rig.instance("web-1")
    point = rig.back_up(was)
    rig.carry_out(rig.plan(point, was, kind="in-place"), point)
    before = rig.state()
    held = {device: one["id"] for device, one in volumes_of(rig.instance("web-1")).items()}
    again = restored_again(rig)
    with pytest.raises(Invalid, match=r"has vol-.* at /dev/.*, where vol-.* was expected") as refusal:
        again.carry_out(again.plan(point, was, kind="in-place"), point)
    assert refusal.value.code == "plan-outdated"
    assert {one.kind for one in again.created} == {"volume"}
    again.undo()
    now = rig.instance("web-1")
    assert (now.attributes["state"], {device: one["id"] for device, one in volumes_of(now).items()}) == (
        "running",
        held,
    )
    assert rig.state() == before
    third = restored_again(rig, "restore-3")
    third.carry_out(third.plan(point, now, kind="in-place"), point)
    assert set(held.values()).isdisjoint(one["id"] for one in volumes_of(rig.instance("web-1")).values())


def test_a_root_is_replaced_while_the_data_stays(rig: Restoring) -> None:
    was = rig.instance("web-1")
    point = rig.back_up(was)
    old = volumes_of(was)
    rig.sandbox.write(PROD, HOME, old["/dev/xvda"]["id"], 4096, b"ruined")
    rig.carry_out(rig.plan(point, was, kind="in-place", volumes=["/dev/xvda"]), point)
    new = volumes_of(rig.instance("web-1"))
    assert list(rig.outputs) == ["replace-root", "tag-root"]
    root = next(part for part in point.parts if part.device == "/dev/xvda")
    assert rig.hashes(new["/dev/xvda"]["id"]) == rig.hashes(root.external_id)
    assert new["/dev/sdf"]["id"] == old["/dev/sdf"]["id"]
    assert old["/dev/xvda"]["id"] in rig.state()["volumes"]
    assert users(new["/dev/xvda"]["tags"]) == old["/dev/xvda"]["tags"]


def test_a_replaced_root_is_swapped_the_next_time(rig: Restoring) -> None:
    was = rig.instance("web-1")
    point = rig.back_up(was)
    rig.carry_out(rig.plan(point, was, kind="in-place", volumes=["/dev/xvda"]), point)
    again = restored_again(rig)
    again.carry_out(again.plan(point, again.instance("web-1"), kind="in-place", volumes=["/dev/xvda"]), point)
    assert "stop" in again.outputs
    root = next(part for part in point.parts if part.device == "/dev/xvda")
    now = again.instance("web-1")
    assert again.hashes(volumes_of(now)["/dev/xvda"]["id"]) == again.hashes(root.external_id)
    assert now.attributes["state"] == "running"


def restored_again(rig: Restoring, name: str = "restore-2") -> Restoring:
    """The same world for another restore."""
    return Restoring(rig.sandbox, rig.estate, rig.driver, rig.account, name)


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "instance", "address": "auto"},
        {"kind": "instance", "address": "auto", "start": False},
        {"kind": "volume"},
        {"kind": "in-place"},
        {"kind": "in-place", "volumes": ["/dev/xvda"]},
    ],
)
def test_a_worker_that_dies_between_call_and_commit_makes_nothing_twice(rig: Restoring, wish: dict[str, Any]) -> None:
    was = rig.instance("db-1")
    point = rig.back_up(was)
    before = rig.state()
    plan = rig.plan(point, was, **wish)
    rig.carry_out(plan, point, times=2)
    after = rig.state()
    assert len(after["volumes"]) - len(before["volumes"]) == plan.estimate["volumes"]
    assert after["images"] == before["images"]
    assert rig.sandbox.count("DeregisterImage", "ok") <= 1


@pytest.mark.parametrize("wish", [{"kind": "instance", "address": "auto"}, {"kind": "volume"}, {"kind": "in-place"}])
def test_an_undo_after_any_step_leaves_the_world_as_it_was(rig: Restoring, wish: dict[str, Any]) -> None:
    was = rig.instance("db-1")
    point = rig.back_up(was)
    before = rig.state()
    steps = len(rig.plan(point, was, **wish).steps)
    for reached in range(1, steps + 1):
        once = restored_again(rig, f"restore-{reached}")
        once.carry_out(once.plan(point, was, **wish), point, stop_after=reached)
        once.undo()
        rig.sandbox.advance(5)
        assert rig.state() == before
        now = rig.instance("db-1")
        assert {d: v["id"] for d, v in volumes_of(now).items()} == {d: v["id"] for d, v in volumes_of(was).items()}
        assert now.attributes["state"] == "running"
        assert set(once.undo().values()) == {"already-gone"}


def test_another_key_and_type_are_taken_for_every_volume(rig: Restoring) -> None:
    point = rig.back_up(rig.instance("web-1"))
    key = rig.estate["keys"][PROD][HOME]
    plan = rig.plan(point, kind="instance", address="auto", kms_key="alias/estate", volume_type="gp2")
    rig.carry_out(plan, point)
    made = volumes_of(rig.instance(rig.outputs["run-instance"]["instance_id"]))
    assert {(one["type"], one["encrypted"], one["kms_key_id"]) for one in made.values()} == {("gp2", True, key)}


def test_a_copy_comes_back_in_the_other_account_and_region(rig: Restoring) -> None:
    was = rig.instance("web-2")
    point = rig.copy(rig.back_up(was), vault_account(), "eu-central-1")
    with pytest.raises(Invalid, match="--subnet and --security-group"):
        rig.plan(point, kind="instance")
    ec2 = rig.sandbox.client(VAULT, "eu-central-1")
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="dr", Description="dr", VpcId=vpc)["GroupId"]
    rig.carry_out(rig.plan(point, kind="instance", subnet=subnet, security_groups=[group]), point)
    found = ec2.describe_instances(InstanceIds=[rig.outputs["run-instance"]["instance_id"]])
    made = found["Reservations"][0]["Instances"][0]
    volumes = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in made["BlockDeviceMappings"]}
    assert rig.hashes(
        *(volumes[part.device] for part in point.parts), region="eu-central-1", account=VAULT
    ) == rig.hashes(*(volumes_of(was)[part.device]["id"] for part in point.parts))
    assert (made["SubnetId"], "KeyName" in made, "IamInstanceProfile" in made) == (subnet, False, False)
