"""Restores into a machine that exists: what it really holds is asked before anything of it is touched."""

import pytest

from tasks.errors import Gone, Invalid, NotReady
from tests.restoring import PROD
from tests.sandbox import sandbox, sandbox_process  # noqa: F401
from tests.workers.aws.test_ec2_restore import World, world  # noqa: F401
from workers.aws.ec2_restore import undo
from workers.driver import Created


def test_a_machine_that_holds_other_volumes_than_planned_is_told_of_before_it_is_touched(world: World) -> None:  # noqa: F811
    """The error names the machine, the place, what is there and what to do next."""
    held = world.volumes
    begun = world.begin("check-volumes", {"instance_id": world.id, "volumes": {**held, "/dev/sdk": ""}})
    assert (begun.operations, begun.created, begun.outputs) == ((), (), {"volumes": held})
    for expected, says in (
        ({"/dev/sdf": "vol-older"}, f"{world.id} has {held['/dev/sdf']} at /dev/sdf, where vol-older was expected"),
        ({"/dev/sdk": "vol-older"}, f"{world.id} has nothing at /dev/sdk, where vol-older was expected"),
        ({"/dev/sdf": ""}, f"{world.id} has {held['/dev/sdf']} at /dev/sdf, where nothing was expected"),
    ):
        with pytest.raises(Invalid, match="snapfleet discover") as refusal:
            world.begin("check-volumes", {"instance_id": world.id, "volumes": expected})
        assert refusal.value.text == f"{says}."
        assert refusal.value.code == "plan-outdated"
    with pytest.raises(Gone):
        world.begin("check-volumes", {"instance_id": "i-0123456789abcdef0", "volumes": held})


def test_a_volume_that_is_off_counts_as_taken_off_only_while_nobody_elses_has_its_place(world: World) -> None:  # noqa: F811
    """An attempt that died after its call is followed by one that finds the place empty, and records it."""
    data, other = world.volumes["/dev/sdf"], world.make()
    params = {"volume_id": data, "instance_id": world.id, "device": "/dev/sdf"}
    world.sandbox.fault("drop_after", operation="DetachVolume", count=1)
    with pytest.raises(NotReady):
        world.begin("detach-volume", params)
    assert world.begin("detach-volume", params).created == (Created("detachment", f"{data}:{world.id}:/dev/sdf"),)
    world.ec2.attach_volume(VolumeId=other, InstanceId=world.id, Device="/dev/sdf")
    with pytest.raises(Invalid, match=f"has {other} at /dev/sdf, where {data} was expected"):
        world.begin("detach-volume", params)
    world.ec2.detach_volume(VolumeId=other)
    elsewhere = world.sandbox.machine(PROD)["InstanceId"]
    for machine, device, says in ((elsewhere, "/dev/sdk", elsewhere), (world.id, "/dev/sdk", "and not at /dev/sdf")):
        world.ec2.attach_volume(VolumeId=data, InstanceId=machine, Device=device)
        with pytest.raises(Invalid, match=says):
            world.begin("detach-volume", params)
        world.ec2.detach_volume(VolumeId=data)


@pytest.mark.parametrize("stranger", [True, False])
def test_a_machine_starts_again_when_somebody_elses_volume_has_the_place_of_its_own(
    world: World,  # noqa: F811
    stranger: bool,
) -> None:
    """But not while the place is empty: then a part of it is missing."""
    data, other = world.volumes["/dev/sdf"], world.make()
    made = list(world.begin("stop-instance", {"instance_id": world.id}).created)
    params = {"volume_id": data, "instance_id": world.id, "device": "/dev/sdf"}
    made += world.begin("detach-volume", params).created
    if stranger:
        world.ec2.attach_volume(VolumeId=other, InstanceId=world.id, Device="/dev/sdf")
    else:
        world.sandbox.fault("denied", operation="AttachVolume", resource=data)
    answers = {one.external_id: one.outcome for one in undo(world.clients, made)}
    assert answers == {made[1].external_id: "kept", world.id: "deleted" if stranger else "kept"}
    world.sandbox.advance(5)
    now = world.ec2.describe_instances(InstanceIds=[world.id])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert now == ("running" if stranger else "stopped")
