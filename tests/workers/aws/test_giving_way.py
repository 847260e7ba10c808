"""Calls and the fleet's paces at the edge of the SDK: over HTTP, against the emulated AWS with its request limits."""

import time

import pytest

from tasks.errors import Throttled
from tests.sandbox import Sandbox
from tests.workers.aws.conftest import AWAY, HOME, PROD
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions


def test_a_throttled_look_is_taken_once_more_and_then_given_up_before_the_sdk_sleeps(cloud: Sandbox) -> None:
    """feature C2: five attempts of the SDK would hold a thread for up to 15 s."""
    codes: list[str] = []
    driver = Ec2Driver(Sessions(on_call=lambda *call: codes.append(call[4])))
    cloud.fault("throttle", operation="DescribeSnapshots")
    began = time.monotonic()
    with pytest.raises(Throttled):
        driver.copies_of_others(PROD, HOME, "i-1")
    assert time.monotonic() - began < 4
    assert codes[-1] == "RequestLimitExceeded"
    assert cloud.count("DescribeSnapshots") == 2


def test_a_look_is_slowed_down_by_throttles_and_comes_to_its_end(cloud: Sandbox) -> None:
    """feature C2: hundreds of calls that began anew at each throttle would never end."""
    cloud.fault("throttle", operation="DescribeSnapshots", count=3)
    assert Ec2Driver(Sessions(patient=lambda: True)).copies_of_others(PROD, HOME, "i-1") == 0
    assert cloud.count("DescribeSnapshots") == 4


def test_a_call_for_which_the_fleet_has_nothing_left_is_not_sent(cloud: Sandbox) -> None:
    """feature C2"""
    asked: list[tuple[str, ...]] = []

    def refuse(*call: str) -> None:
        asked.append(call)
        if call[0] == "ec2":
            raise Throttled("Nothing is left.", code="budget-spent")

    with pytest.raises(Throttled, match="Nothing is left"):
        Ec2Driver(Sessions(before_call=refuse)).copies_of_others(PROD, HOME, "i-1")
    assert asked[0][:4] == ("ec2", "DescribeSnapshots", "prod", HOME)
    assert cloud.count("DescribeSnapshots") == 0


def test_copies_that_somebody_else_started_are_seen(cloud: Sandbox) -> None:
    """feature C3: ours are not among them, nor snapshots that run there."""
    cloud.configure(copy_seconds=60.0)
    ec2, away = cloud.client("111111111111", HOME), cloud.client("111111111111", AWAY)
    volume = ec2.create_volume(AvailabilityZone=HOME + "a", Size=1)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
    for installation in ("i-1", "i-2", None):
        tags = [{"Key": "snapfleet:installation", "Value": installation}] if installation else []
        given = {"TagSpecifications": [{"ResourceType": "snapshot", "Tags": tags}]} if tags else {}
        away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snapshot, **given)
    driver = Ec2Driver(Sessions())
    assert driver.copies_of_others(PROD, AWAY, "i-1") == 2
    assert driver.copies_of_others(PROD, AWAY, "i-3") == 3
    assert driver.copies_of_others(PROD, HOME, "i-1") == 0
