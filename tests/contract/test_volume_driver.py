"""The contract, kept by volumes; and what only volumes have."""

from typing import Any

import pytest

from tasks import errors
from tests.contract.driver_suite import DriverContract
from tests.contract.rig import HOME, PROD, Rig
from tests.sandbox import Sandbox


def make_volume(cloud: Sandbox, **more: Any) -> str:
    """A loose volume in production."""
    asked = {"AvailabilityZone": f"{HOME}a", "Size": 2, "VolumeType": "gp3", **more}
    return str(cloud.client(PROD).create_volume(**asked)["VolumeId"])


@pytest.fixture
def rig(cloud: Sandbox) -> Rig:
    return Rig(cloud, "volume", make_volume)


class TestVolume(DriverContract):
    """Feature 14: independent volumes."""


def test_a_volume_is_discovered_with_what_is_needed_to_make_it_again(rig: Rig) -> None:
    made = make_volume(rig.sandbox, Iops=3500, Throughput=200)
    resource = rig.found(made)
    facts = {
        name: resource.attributes[name] for name in ("zone", "type", "size_gib", "iops", "throughput", "encrypted")
    }
    assert facts == {
        "zone": f"{HOME}a", "type": "gp3", "size_gib": 2, "iops": 3500, "throughput": 200, "encrypted": False
    }  # fmt: skip
    assert resource.parent_id == ""


def test_an_attached_volume_knows_its_instance_and_is_backed_up_alone(rig: Rig) -> None:
    """Feature 14: a volume follows itself, attached or not."""
    machine = rig.sandbox.machine(PROD, HOME, data=1)
    data = next(one for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdf")
    resource = rig.found(data["Ebs"]["VolumeId"])
    assert (resource.parent_id, resource.attributes["device"]) == (machine["InstanceId"], "/dev/sdf")
    started = rig.backup(resource)
    assert [(part.source_id, part.device) for part in started.parts] == [(resource.external_id, "/dev/sdf")]


def test_a_create_that_times_out_is_not_sent_again_by_the_sdk(rig: Rig) -> None:
    """Feature 31: botocore's own retries would make a second snapshot."""
    resource = rig.resource()
    rig.sandbox.fault("timeout_after", operation="CreateSnapshot", count=1)
    with pytest.raises(errors.Transient) as caught:
        rig.backup(resource)
    assert caught.value.code == "unknown-effect"
    assert (rig.sandbox.count("CreateSnapshot"), len(rig.snapshots())) == (1, 1)
