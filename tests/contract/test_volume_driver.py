"""The contract, kept by volumes; and what only volumes have."""

from typing import Any

import pytest

from tasks import errors
from tasks.states import OperationState
from tests.contract.driver_suite import DriverContract
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT, Rig
from tests.deploy.estate import key
from tests.sandbox import Sandbox
from workers.driver import CopyRequest, Destination, Point


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


def sealed(rig: Rig, *readers: str) -> Point:
    """A point of a volume under a customer's key that `readers` may use too."""
    resource = rig.found(make_volume(rig.sandbox, Encrypted=True, KmsKeyId=key(rig.sandbox, PROD, HOME, *readers)))
    return rig.point(resource, rig.backup(resource))


def copied(rig: Rig, point: Point, to: Destination, name: str) -> Point:
    started = rig.driver.start_copy(point, to, CopyRequest(name, TAGS))
    assert {one.state for one in rig.driver.progress(started.operations)} == {OperationState.DONE}
    return Point(to.account, to.region, point.resource, started.parts)


def test_what_is_encrypted_asks_for_two_hops_where_aws_refuses_account_and_region_in_one(rig: Rig) -> None:
    """Feature 42: "Copy an Amazon EBS snapshot": what is shared and encrypted is copied in its region first."""
    rig.sandbox.configure(ebs_two_hops=True)
    point, there = sealed(rig, VAULT), Destination(rig.vault, AWAY, key(rig.sandbox, VAULT, AWAY))
    with pytest.raises(errors.Impossible) as caught:
        rig.driver.start_copy(point, there, CopyRequest("copy-1", TAGS))
    assert caught.value.code == "two-hops"
    middle = copied(rig, point, rig.away(key(rig.sandbox, PROD, AWAY, VAULT)), "copy-2")
    made = copied(rig, middle, there, "copy-3")
    assert set(rig.snapshots(rig.vault, AWAY)) == {part.external_id for part in made.parts}
    copied(rig, rig.taken("job-2"), Destination(rig.vault, AWAY), "copy-4")  # what is plain goes in one step


def test_a_key_that_the_other_account_may_not_use_asks_for_two_hops_when_the_copy_fails(rig: Rig) -> None:
    """CopySnapshot is accepted and fails later; under the key of the first hop the other account can read it."""
    point, there = sealed(rig), Destination(rig.vault, AWAY, key(rig.sandbox, VAULT, AWAY))
    (answer,) = rig.driver.progress(rig.driver.start_copy(point, there, CopyRequest("copy-1", TAGS)).operations)
    assert (answer.state, answer.error and answer.error.code) == (OperationState.FAILED, "two-hops")
    assert answer.error is not None
    assert answer.error.retry is errors.Retry.NEVER
    copied(rig, copied(rig, point, rig.away(key(rig.sandbox, PROD, AWAY, VAULT)), "copy-2"), there, "copy-3")
