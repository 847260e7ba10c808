"""EBS volumes of the sandbox. "CreateVolume", "AttachVolume", "DetachVolume": EC2 API reference."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sandbox.blocks import BLOCK, BlockMap, BlockStore
from tests.deploy.estate import AWAY, HOME, PROD, refused, snapshot, volume


@pytest.mark.unit
@settings(deadline=timedelta(seconds=20), max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3 * BLOCK), st.binary(min_size=1, max_size=2 * BLOCK)), max_size=5))
def test_a_block_map_reads_back_what_was_written_and_a_frozen_copy_does_not_change(writes):
    """Copy-on-write: "Amazon EBS snapshots" (EBS user guide), a snapshot is a point in time."""
    live = BlockMap(BlockStore(), 1)
    expected, frozen, before = bytearray(8 * BLOCK), live.frozen(), bytes(8 * BLOCK)
    for offset, data in writes:
        frozen, before = live.frozen(), bytes(expected)
        live.write(offset, data)
        expected[offset : offset + len(data)] = data
    assert b"".join(live.read(0, 8 * BLOCK)) == bytes(expected)
    assert b"".join(frozen.read(0, 8 * BLOCK)) == before


@pytest.mark.unit
def test_equal_blocks_are_kept_once_and_unused_ones_are_freed():
    """Memory stays bounded: the store holds what some volume or snapshot names."""
    store = BlockStore()
    one, two = BlockMap(store, 1), BlockMap(store, 1)
    one.write(0, b"a" * BLOCK)
    two.write(BLOCK, b"a" * BLOCK)
    two.write(0, b"b" * BLOCK)
    assert len(store) == 2
    assert store.sweep([one]) == 1
    assert b"".join(one.read(0, 4)) == b"aaaa"


def test_the_type_is_gp2_unless_it_is_named(sandbox):
    """CreateVolume, VolumeType: "Default: gp2"."""
    ec2 = sandbox.client(PROD)
    made = ec2.create_volume(AvailabilityZone="us-east-1a", Size=10)
    assert (made["VolumeType"], made["Iops"]) == ("gp2", 100)


def test_io_volumes_need_iops_and_other_types_refuse_them(sandbox):
    """CreateVolume, Iops: "required for io1 and io2 volumes"; "not supported for gp2, st1, sc1, or standard"."""
    ec2 = sandbox.client(PROD)
    place = {"AvailabilityZone": "us-east-1a", "Size": 10}
    refused("MissingParameter", ec2.create_volume, VolumeType="io2", **place)
    refused("InvalidParameterCombination", ec2.create_volume, VolumeType="gp2", Iops=300, **place)
    assert ec2.create_volume(VolumeType="io1", Iops=200, **place)["Iops"] == 200


def test_a_volume_from_a_snapshot_is_not_smaller_and_holds_its_data(sandbox):
    """CreateVolume, Size: "equal to or larger than the snapshot size"."""
    ec2 = sandbox.client(PROD)
    source = volume(ec2, 2)
    sandbox.write(PROD, HOME, source, 5000, b"precious")
    snap = snapshot(ec2, source)
    place = {"AvailabilityZone": "us-east-1b", "SnapshotId": snap}
    refused("InvalidParameterValue", ec2.create_volume, Size=1, **place)
    bigger = ec2.create_volume(Size=3, **place)["VolumeId"]
    same = ec2.create_volume(**place)
    assert sandbox.read(PROD, HOME, bigger, 5000, 8) == b"precious"
    assert same["Size"] == 2
    assert sandbox.sha256(PROD, HOME, same["VolumeId"]) == sandbox.sha256(PROD, HOME, source)


def test_exactly_one_way_of_naming_the_zone(sandbox):
    """CreateVolume: "Either AvailabilityZone or AvailabilityZoneId must be specified, but not both"."""
    ec2 = sandbox.client(PROD)
    refused(
        "InvalidParameterCombination",
        ec2.create_volume,
        Size=1,
        AvailabilityZone="us-east-1a",
        AvailabilityZoneId="use1-az1",
    )
    refused("InvalidZone.NotFound", ec2.create_volume, Size=1, AvailabilityZone="eu-west-1a")
    refused("MissingParameter", ec2.create_volume, Size=1)


def test_a_client_token_makes_one_volume_and_refuses_other_parameters(sandbox):
    """AWS, "Ensuring idempotency in Amazon EC2 API requests": IdempotentParameterMismatch."""
    ec2 = sandbox.client(PROD)
    one, two = volume(ec2, ClientToken="t-1"), volume(ec2, ClientToken="t-1")
    assert one == two
    refused("IdempotentParameterMismatch", ec2.create_volume, AvailabilityZone="us-east-1a", Size=2, ClientToken="t-1")
    refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone="us-east-1a", Size=2, ClientToken="t" * 65)
    assert volume(sandbox.client(PROD, AWAY), ClientToken="t-1") != one


def test_attaching_checks_zone_device_and_use(sandbox):
    """AttachVolume and "Error codes": VolumeInUse, InvalidVolume.ZoneMismatch, attachment point in use."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    here, place = machine["InstanceId"], machine["Placement"]["AvailabilityZone"]
    free = volume(ec2, AvailabilityZone=place)
    other = volume(ec2, AvailabilityZone="us-east-1e" if place != "us-east-1e" else "us-east-1a")
    taken = machine["BlockDeviceMappings"][1]["Ebs"]["VolumeId"]
    refused("InvalidParameterValue", ec2.attach_volume, VolumeId=free, InstanceId=here, Device="/dev/sdf")
    refused("InvalidVolume.ZoneMismatch", ec2.attach_volume, VolumeId=other, InstanceId=here, Device="/dev/sdx")
    refused("VolumeInUse", ec2.attach_volume, VolumeId=taken, InstanceId=here, Device="/dev/sdx")
    ec2.attach_volume(VolumeId=free, InstanceId=here, Device="/dev/sdx")
    refused("VolumeInUse", ec2.delete_volume, VolumeId=free)
    ec2.detach_volume(VolumeId=free)
    ec2.delete_volume(VolumeId=free)
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[free])


def test_the_root_of_a_running_instance_cannot_be_detached(sandbox):
    """DetachVolume: stop the instance before detaching its root volume (OperationNotPermitted)."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    root = machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    refused("OperationNotPermitted", ec2.detach_volume, VolumeId=root)
    ec2.stop_instances(InstanceIds=[machine["InstanceId"]])
    ec2.detach_volume(VolumeId=root)
    refused("IncorrectInstanceState", ec2.start_instances, InstanceIds=[machine["InstanceId"]])
    ec2.attach_volume(VolumeId=root, InstanceId=machine["InstanceId"], Device="/dev/xvda")
    ec2.start_instances(InstanceIds=[machine["InstanceId"]])


def test_a_volume_being_created_is_not_yet_available(sandbox):
    """Volume states: creating comes before available ("Amazon EBS volume lifecycle")."""
    sandbox.configure(volume_seconds=60)
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD)
    young = volume(ec2, AvailabilityZone=machine["Placement"]["AvailabilityZone"])
    refused("IncorrectState", ec2.create_snapshot, VolumeId=young)
    refused("IncorrectState", ec2.attach_volume, VolumeId=young, InstanceId=machine["InstanceId"], Device="/dev/sdx")
    sandbox.advance(61)
    ec2.get_waiter("volume_available").wait(VolumeIds=[young], WaiterConfig={"Delay": 0, "MaxAttempts": 1})


def test_a_bad_key_lets_the_call_succeed_and_the_volume_fail(sandbox):
    """CreateVolume, KmsKeyId: the key is authenticated asynchronously: "the action can appear to complete"."""
    ec2 = sandbox.client(PROD)
    asked = {"AvailabilityZone": "us-east-1a", "Size": 1, "Encrypted": True, "KmsKeyId": "alias/no-such-key"}
    made = ec2.create_volume(**asked)["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]["State"] == "error"
    refused("InvalidParameterDependency", ec2.create_volume, **{**asked, "Encrypted": False})
