"""The steps of a restore in the emulated AWS: once for a key, lost answers, refusals, and an undo of what is ours."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tasks.errors import Gone, InUse, Invalid, NotReady, Refused, Transient
from tasks.states import OperationState
from tests.restoring import HOME, OURS, PROD
from tests.sandbox import Sandbox, sandbox, sandbox_process  # noqa: F401
from workers.aws.ec2_restore import restore_progress, start_step, undo
from workers.aws.session import Clients, Sessions
from workers.driver import Account, Created, Operation, Point, Resource, RestoreStep, StepStarted
from workers.pace import Pace

ACCOUNT = Account("prod", number=PROD, role_arn=f"arn:aws:iam::{PROD}:role/snapfleet")
PACE = Pace(floor=timedelta(0), guard=timedelta(0))


class World:
    """A machine with a root and one data volume, their snapshots, and clients as a driver gets them."""

    def __init__(self, sandbox: Sandbox) -> None:  # noqa: F811
        sandbox.role(ACCOUNT.role_arn)
        self.sandbox = sandbox
        self.ec2 = sandbox.client(PROD)
        self.clients: Clients = Sessions().at(ACCOUNT, HOME)
        self.machine = sandbox.machine(PROD)
        self.volumes = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in self.machine["BlockDeviceMappings"]}
        self.snapshots = {
            device: self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for device, volume in self.volumes.items()
        }
        self.zone = self.machine["Placement"]["AvailabilityZone"]
        self.id = self.machine["InstanceId"]
        resource = Resource("instance", self.id, ACCOUNT, HOME, attributes={"user_data": "!"})
        self.point = Point(ACCOUNT, HOME, resource, ())

    def begin(self, kind: str, params: Mapping[str, Any], key: str = "restore/1") -> StepStarted:
        return start_step(self.clients, self.point, RestoreStep(kind, params), key, OURS, pace=PACE)

    def make(self, device: str = "/dev/sdf", key: str = "restore/1", **more: Any) -> str:
        """The id of a restored volume."""
        params = {"snapshot_id": self.snapshots[device], "zone": self.zone, "volume_type": "gp3", **more}
        return str(self.begin("create-volume", params, key).outputs["volume_id"])

    def image_params(self, **more: Any) -> dict[str, Any]:
        root = self.machine["RootDeviceName"]
        mappings = [
            {"device": device, "snapshot_id": snapshot, "volume_type": "gp3", "delete_on_termination": False}
            for device, snapshot in self.snapshots.items()
        ]
        return {"root_device": root, "architecture": "x86_64", "ena_support": True, "volumes": mappings, **more}

    def run_params(self, image_id: str, **more: Any) -> dict[str, Any]:
        volumes = [{"device": one, "volume_type": "gp3", "delete_on_termination": False} for one in self.snapshots]
        return {"image_id": image_id, "instance_type": "t3.small", "volumes": volumes, **more}

    def exists(self, volume_id: str) -> bool:
        return volume_id in self.sandbox.state(PROD, HOME)["volumes"]

    def tags(self, volume_id: str) -> dict[str, str]:
        found = self.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
        return {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}


@pytest.fixture
def world(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> World:  # noqa: F811
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return World(sandbox)


def test_a_volume_is_made_with_its_type_one_zone_and_our_tags_in_the_same_call(world: World) -> None:
    made = world.make(size_gib=3, iops=4000, tags={"Name": "x", "snapfleet:job": "forged", "aws:x": "y"})
    sent = world.sandbox.calls("CreateVolume")[-1]["parameters"]
    assert (sent["VolumeType"], sent["AvailabilityZone"], sent["Size"], sent["Iops"]) == ("gp3", world.zone, 3, 4000)
    assert "AvailabilityZoneId" not in sent
    assert "Encrypted" not in sent
    assert len(sent["ClientToken"]) <= 64
    assert sent["ClientToken"].isascii()
    assert world.tags(made) == {**OURS, "snapfleet:job": "restore/1", "Name": "x"}
    emulated, snapshot = world.sandbox, world.snapshots["/dev/sdf"]
    whole = range(0, 1 << 30, 64 << 20)  # of the snapshot; the volume is larger
    assert all(
        emulated.read(PROD, HOME, made, at, 64 << 20) == emulated.read(PROD, HOME, snapshot, at, 64 << 20)
        for at in whole
    )
    alike = world.make(key="restore/2")
    assert emulated.fingerprint(PROD, HOME, alike) == emulated.fingerprint(PROD, HOME, snapshot)


def test_one_key_makes_one_volume_for_each_step_and_another_for_another(world: World) -> None:
    assert world.make() == world.make()
    assert world.make() != world.make(device="/dev/xvda")
    assert world.make() != world.make(key="restore/2")


@pytest.mark.parametrize("kind", ["create-volume", "run-instance", "replace-root"])
def test_an_answer_lost_on_the_way_makes_nothing_twice(world: World, kind: str) -> None:
    operation = {
        "create-volume": "CreateVolume",
        "run-instance": "RunInstances",
        "replace-root": "CreateReplaceRootVolumeTask",
    }[kind]
    params = {
        "create-volume": {"snapshot_id": world.snapshots["/dev/sdf"], "zone": world.zone, "volume_type": "gp3"},
        "run-instance": world.run_params(world.machine["ImageId"], volumes=[]),
        "replace-root": {"instance_id": world.id, "snapshot_id": world.snapshots["/dev/xvda"]},
    }[kind]
    before = len(world.sandbox.state(PROD, HOME)["volumes"])
    world.sandbox.fault("drop_after", operation=operation, count=1)
    first = world.begin(kind, params)
    assert world.begin(kind, params).outputs == first.outputs
    assert len(world.sandbox.state(PROD, HOME)["volumes"]) == before + 1


def test_a_registered_image_is_found_again_by_its_name_when_the_answer_was_lost(world: World) -> None:
    world.sandbox.fault("drop_after", operation="RegisterImage", count=1)
    with pytest.raises(Transient) as lost:
        world.begin("register-image", world.image_params())
    assert lost.value.code == "unknown-effect"
    made = world.begin("register-image", world.image_params())
    again = world.begin("register-image", world.image_params())
    assert made.outputs == again.outputs
    images = world.ec2.describe_images(Owners=["self"])["Images"]
    assert [image["ImageId"] for image in images] == [made.outputs["image_id"]]
    assert images[0]["VirtualizationType"] == "hvm"


def test_an_image_without_its_licence_fails_and_is_left_to_the_undo(world: World) -> None:
    """A role that restores deletes nothing: what was made is told, so that the undo's role takes it away."""
    begun = world.begin("register-image", world.image_params(platform_details="Red Hat Enterprise Linux"))
    answer = restore_progress(world.clients, begun.operations)[0]
    assert answer.error is not None
    assert "'Linux/UNIX', and the instance was 'Red Hat Enterprise Linux'" in answer.error.text
    assert answer.error.code == "needs-image"
    assert [one.kind for one in begun.created] == ["image"]
    undo(world.clients, begun.created)
    assert world.ec2.describe_images(Owners=["self"])["Images"] == []


def test_only_our_own_image_is_deregistered_and_its_snapshots_stay(world: World) -> None:
    image = world.begin("register-image", world.image_params()).outputs["image_id"]
    theirs = world.ec2.create_image(InstanceId=world.id, Name="theirs", NoReboot=True)["ImageId"]
    with pytest.raises(Refused):
        world.begin("deregister-image", {"image_id": theirs})
    for _ in range(2):
        world.begin("deregister-image", {"image_id": image})
    assert [one["ImageId"] for one in world.ec2.describe_images(Owners=["self"])["Images"]] == [theirs]
    assert set(world.snapshots.values()) <= set(world.sandbox.state(PROD, HOME)["snapshots"])


def test_a_launch_names_a_subnet_and_no_interfaces(world: World) -> None:
    options = {"HttpTokens": "required", "State": "applied"}
    where = {"subnet_id": world.machine["SubnetId"], "volumes": [], "metadata_options": options}
    world.begin("run-instance", world.run_params(world.machine["ImageId"], **where))
    sent = world.sandbox.calls("RunInstances")[-1]["parameters"]
    assert sent["SubnetId"] == world.machine["SubnetId"]
    assert "NetworkInterfaces" not in sent
    assert sent["MetadataOptions"] == {"HttpTokens": "required"}
    assert (sent["MinCount"], sent["MaxCount"]) == (1, 1)


def test_a_taken_address_is_refused_with_the_option_that_helps(world: World) -> None:
    taken = {"subnet_id": world.machine["SubnetId"], "private_ip": world.machine["PrivateIpAddress"], "volumes": []}
    with pytest.raises(Invalid) as refusal:
        world.begin("run-instance", world.run_params(world.machine["ImageId"], **taken))
    assert refusal.value.code == "address-taken"
    assert "--address auto" in str(refusal.value)
    assert world.machine["PrivateIpAddress"] in str(refusal.value)


def test_no_capacity_waits_and_says_what_else_to_try(world: World) -> None:
    world.sandbox.fault("error", operation="RunInstances", code="InsufficientInstanceCapacity", status=400)
    with pytest.raises(NotReady, match="--subnet"):
        world.begin("run-instance", world.run_params(world.machine["ImageId"]))


def test_broken_user_data_is_refused_before_anything_is_made(world: World) -> None:
    with pytest.raises(Invalid, match="--user-data none"):
        world.begin("run-instance", world.run_params(world.machine["ImageId"], user_data="captured"))
    assert world.sandbox.count("RunInstances") == 1


def test_a_snapshot_that_is_gone_is_gone(world: World) -> None:
    world.sandbox.destroy(PROD, HOME, world.snapshots["/dev/sdf"])
    with pytest.raises(Gone):
        world.make()


@pytest.mark.parametrize(
    ("kind", "params", "says"),
    [
        ("explode", {}, "no restore step 'explode'"),
        ("create-volume", {"snapshot_id": "snap-1", "volume_type": "gp3"}, "lacks 'zone'"),
        ("create-volume", {"snapshot_id": "snap-1", "zone": "us-east-1a"}, "lacks 'volume_type'"),
        ("attach-volume", {"volume_id": {"$ref": "x.y"}}, "lacks 'volume_id'"),
    ],
)
def test_a_step_that_is_no_step_is_refused(world: World, kind: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says) as refusal:
        world.begin(kind, params)
    assert refusal.value.code == "bad-step"


def test_only_a_free_volume_of_ours_is_deleted(world: World) -> None:
    theirs = world.ec2.create_volume(AvailabilityZone=world.zone, Size=1, VolumeType="gp3")["VolumeId"]
    ours = world.make()
    with pytest.raises(Refused):
        world.begin("delete-volume", {"volume_id": theirs})
    world.ec2.attach_volume(VolumeId=ours, InstanceId=world.id, Device="/dev/sdh")
    with pytest.raises(InUse):
        world.begin("delete-volume", {"volume_id": ours})
    world.ec2.detach_volume(VolumeId=ours)
    for _ in range(2):
        world.begin("delete-volume", {"volume_id": ours})
    assert (world.exists(theirs), world.exists(ours)) == (True, False)


def test_attaching_and_detaching_twice_is_doing_it_once(world: World) -> None:
    params = {"volume_id": world.make(), "instance_id": world.id, "device": "/dev/sdh"}
    assert world.begin("attach-volume", params).created == world.begin("attach-volume", params).created
    assert world.sandbox.count("AttachVolume") == 1
    for _ in range(2):
        began = world.begin("detach-volume", params)
        assert restore_progress(world.clients, began.operations)[0].state is OperationState.DONE
    assert world.sandbox.count("DetachVolume") == 1


def test_a_volume_that_is_attached_elsewhere_is_not_taken_away(world: World) -> None:
    other = world.sandbox.machine(PROD)["InstanceId"]
    data = world.volumes["/dev/sdf"]
    for instance, device in ((other, "/dev/sdf"), (world.id, "/dev/sdk")):
        with pytest.raises(Invalid) as refusal:
            world.begin("attach-volume", {"volume_id": data, "instance_id": instance, "device": device})
        assert refusal.value.code == "attached-elsewhere"


def test_a_snapshot_of_another_root_is_refused_for_a_replacement(world: World) -> None:
    params = {"instance_id": world.id, "snapshot_id": world.snapshots["/dev/sdf"]}
    with pytest.raises(Invalid):
        world.begin("replace-root", params)


def test_volumes_of_a_launch_are_found_and_tagged(world: World) -> None:
    image = world.begin("register-image", world.image_params()).outputs["image_id"]
    made = world.begin("run-instance", world.run_params(image)).outputs["instance_id"]
    wanted = {"instance_id": made, "volumes": {"/dev/sdf": {"Name": "data", "snapfleet:job": "forged"}}}
    for _ in range(2):
        found = world.begin("tag-resources", wanted, key="restore/3").outputs["volumes"]
    assert world.tags(found["/dev/sdf"]) == {**OURS, "snapfleet:job": "restore/1", "Name": "data"}
    assert world.tags(found["/dev/xvda"])["snapfleet:job"] == "restore/1"
    with pytest.raises(NotReady, match="/dev/sdz"):
        world.begin("tag-resources", {"instance_id": made, "volumes": {"/dev/sdz": {"a": "b"}}})


def test_an_undone_launch_leaves_a_volume_of_another_installation_that_carries_its_key(world: World) -> None:
    """feature 66: two installations may have counted the same job."""
    mine: Any = Sessions().at(replace(ACCOUNT, installation="i-1"), HOME)
    made = world.begin(
        "run-instance", world.run_params(world.begin("register-image", world.image_params()).outputs["image_id"])
    )
    world.ec2.create_tags(
        Resources=[made.outputs["instance_id"]], Tags=[{"Key": "snapfleet:installation", "Value": "i-1"}]
    )
    tags = [{"Key": "snapfleet:installation", "Value": "i-2"}, {"Key": "snapfleet:job", "Value": "restore/1"}]
    specified = [{"ResourceType": "volume", "Tags": tags}]
    placed = {"AvailabilityZone": world.zone, "Size": 1, "VolumeType": "gp3"}
    theirs = world.ec2.create_volume(**placed, TagSpecifications=specified)["VolumeId"]
    assert [one.outcome for one in undo(mine, made.created)] == ["deleted"]
    assert world.exists(theirs)


def test_an_undone_launch_leaves_no_volume_even_where_they_should_outlive_the_instance(world: World) -> None:
    before = world.sandbox.state(PROD, HOME)["volumes"]
    image = world.begin("register-image", world.image_params())
    run = world.begin("run-instance", world.run_params(image.outputs["image_id"]))
    made = (*image.created, *run.created)
    assert [one.outcome for one in undo(world.clients, made)] == ["deleted", "deleted"]
    assert world.sandbox.state(PROD, HOME)["volumes"] == before
    assert [one.outcome for one in undo(world.clients, made)] == ["already-gone", "already-gone"]


def test_an_undo_keeps_what_does_not_carry_our_tag(world: World) -> None:
    image = world.ec2.create_image(InstanceId=world.id, Name="theirs", NoReboot=True)["ImageId"]
    free = world.ec2.create_volume(AvailabilityZone=world.zone, Size=1, VolumeType="gp3")["VolumeId"]
    theirs = (Created("instance", world.id), Created("image", image), Created("volume", free), Created("vpc", "vpc-1"))
    answers = undo(world.clients, theirs)
    assert [answer.outcome for answer in answers] == ["kept"] * 4
    assert {type(answer.error) for answer in answers} == {Refused}
    assert world.exists(free)
    assert world.ec2.describe_instances(InstanceIds=[world.id])["Reservations"][0]["Instances"][0]["State"]["Name"] == (
        "running"
    )


def test_an_undo_without_the_right_says_so_and_goes_on(world: World) -> None:
    first, second = world.make(), world.make(key="restore/2")
    world.sandbox.fault("denied", operation="DeleteVolume", resource=second)
    answers = undo(world.clients, (Created("volume", first), Created("volume", second)))
    assert [(one.external_id, one.outcome) for one in answers] == [(second, "kept"), (first, "deleted")]
    assert answers[0].error is not None
    assert answers[0].error.code == "denied"


def test_a_machine_in_use_gets_its_own_volume_back_before_it_starts_again(world: World) -> None:
    world.sandbox.configure(instance_seconds=60)
    data = world.volumes["/dev/sdf"]
    made: list[Created] = []
    fresh = world.make()
    made.append(Created("volume", fresh))
    made += world.begin("stop-instance", {"instance_id": world.id}).created
    world.sandbox.advance(61)
    for kind, volume in (("detach-volume", data), ("attach-volume", fresh)):
        made += world.begin(kind, {"volume_id": volume, "instance_id": world.id, "device": "/dev/sdf"}).created
    world.begin("start-instance", {"instance_id": world.id})
    world.sandbox.advance(61)
    outcomes = [{one.external_id: one.outcome for one in undo(world.clients, made)}]
    assert set(outcomes[0].values()) == {"kept"}
    world.sandbox.advance(61)
    assert set({one.external_id: one.outcome for one in undo(world.clients, made)}.values()) == {"deleted"}
    world.sandbox.advance(61)
    now = world.ec2.describe_instances(InstanceIds=[world.id])["Reservations"][0]["Instances"][0]
    assert now["State"]["Name"] == "running"
    assert {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in now["BlockDeviceMappings"]} == world.volumes
    assert not world.exists(fresh)


def test_many_operations_are_asked_about_in_one_call_a_kind(world: World) -> None:
    world.sandbox.configure(volume_seconds=60)
    began = [
        world.begin(
            "create-volume",
            {"snapshot_id": world.snapshots["/dev/sdf"], "zone": world.zone, "volume_type": "gp3"},
            f"restore/{n}",
        )
        for n in range(5)
    ]
    operations = [began_.operations[0] for began_ in began]
    attached = {"instance_id": world.id, "want": "attached"}
    operations += [Operation("attachment", world.volumes["/dev/sdf"], ACCOUNT, HOME, attached)]
    operations += [Operation("instance", world.id, ACCOUNT, HOME, {"want": "running"})]
    world.sandbox.clear_calls()
    answers = restore_progress(world.clients, operations, PACE)
    assert [answer.state.value for answer in answers] == ["running"] * 5 + ["done"] * 2
    assert [answer.external_id for answer in answers] == [one.external_id for one in operations]
    assert answers[-1].detail["volumes"] == world.volumes
    assert (world.sandbox.count("DescribeVolumes"), world.sandbox.count("DescribeInstances")) == (1, 1)
    world.sandbox.advance(61)
    assert {answer.state.value for answer in restore_progress(world.clients, operations, PACE)} == {"done"}


def test_a_volume_that_vanishes_is_gone_after_a_grace(world: World) -> None:
    began = world.begin(
        "create-volume", {"snapshot_id": world.snapshots["/dev/sdf"], "zone": world.zone, "volume_type": "gp3"}
    )
    world.sandbox.destroy(PROD, HOME, began.outputs["volume_id"])
    young = restore_progress(world.clients, began.operations, PACE)[0]
    old = restore_progress(world.clients, began.operations, replace(PACE, grace=timedelta(0)))[0]
    assert (young.state.value, old.state.value) == ("running", "gone")


class Scripted:
    """Clients whose descriptions are given: for states that the sandbox does not show."""

    def __init__(self, **answers: list[dict[str, Any]]) -> None:
        self._answers = answers

    def read(self) -> "Scripted":
        return self

    def get_paginator(self, name: str) -> "Scripted":
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [json.loads(json.dumps(self._answers))]

    def describe_images(self, **_: Any) -> dict[str, Any]:
        return self.paginate()[0]


def judged(kind: str, answers: dict[str, list[dict[str, Any]]], **detail: Any) -> tuple[str, str]:
    operation = Operation(kind, "x-1", ACCOUNT, HOME, {"instance_id": "i-1", **detail})
    answer = restore_progress(Scripted(**answers), [operation], PACE)[0]  # type: ignore[arg-type]
    return answer.state.value, answer.error.code if answer.error else ""


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("pending", ("running", "")),
        ("in-progress", ("running", "")),
        ("failing", ("running", "")),
        ("succeeded", ("done", "")),
        ("failed", ("failed", "cloud-failed")),
        ("failed-detached", ("failed", "root-detached")),
    ],
)
def test_every_state_of_a_root_replacement_has_a_verdict(state: str, verdict: tuple[str, str]) -> None:
    task = {"ReplaceRootVolumeTaskId": "x-1", "TaskState": state}
    assert judged("replace-root", {"ReplaceRootVolumeTasks": [task]}) == verdict


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("creating", "running"),
        ("available", "done"),
        ("in-use", "done"),
        ("error", "failed"),
        ("deleting", "gone"),
        ("deleted", "gone"),
    ],
)
def test_every_state_of_a_volume_has_a_verdict(state: str, verdict: str) -> None:
    assert judged("volume", {"Volumes": [{"VolumeId": "x-1", "State": state}]})[0] == verdict


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "want", "verdict"),
    [
        ("pending", "running", "running"),
        ("running", "running", "done"),
        ("running", "stopped", "running"),
        ("stopping", "stopped", "running"),
        ("stopped", "stopped", "done"),
        ("stopped", "running", "failed"),
        ("terminated", "running", "failed"),
        ("shutting-down", "stopped", "failed"),
    ],
)
def test_every_state_of_an_instance_has_a_verdict(state: str, want: str, verdict: str) -> None:
    instance = {"InstanceId": "x-1", "State": {"Name": state}, "StateReason": {"Message": "Client.Why"}}
    answers = {"Reservations": [{"Instances": [instance]}]}
    assert judged("instance", answers, want=want)[0] == verdict  # type: ignore[arg-type]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "platform", "verdict"),
    [
        ("pending", "Linux/UNIX", ("running", "")),
        ("available", "Linux/UNIX", ("done", "")),
        ("available", "Windows", ("failed", "needs-image")),
        ("failed", "Linux/UNIX", ("failed", "cloud-failed")),
    ],
)
def test_every_state_of_a_registered_image_has_a_verdict(state: str, platform: str, verdict: tuple[str, str]) -> None:
    image = {"ImageId": "x-1", "State": state, "PlatformDetails": "Linux/UNIX"}
    assert judged("registered-image", {"Images": [image]}, platform_details=platform) == verdict


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "want", "verdict"),
    [
        ("attaching", "attached", "running"),
        ("busy", "attached", "running"),
        ("attached", "attached", "done"),
        ("detaching", "detached", "running"),
        ("busy", "detached", "running"),
        ("detached", "detached", "done"),
        ("detached", "attached", "failed"),
    ],
)
def test_every_state_of_an_attachment_has_a_verdict(state: str, want: str, verdict: str) -> None:
    volume = {"VolumeId": "x-1", "State": "in-use", "Attachments": [{"InstanceId": "i-1", "State": state}]}
    assert judged("attachment", {"Volumes": [volume]}, want=want)[0] == verdict
