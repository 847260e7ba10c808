"""EBS snapshots of the sandbox. "CreateSnapshot", "CreateSnapshots", "DeleteSnapshot": EC2 API reference."""

import threading

from tests.deploy.estate import HOME, PROD, eventually, refused, share, shown, snapshot, tags, volume


def test_a_snapshot_is_pending_with_progress_and_then_completed(sandbox):
    """DescribeSnapshots: State pending, completed; Progress is a string with a percent sign."""
    sandbox.configure(snapshot_seconds=100)
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    sandbox.advance(50)
    early = shown(ec2, snap)
    assert early["State"] == "pending"
    assert 0 < int(early["Progress"].removesuffix("%")) < 100
    refused("IncorrectState", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=snap)
    sandbox.advance(51)
    late = shown(ec2, snap)
    assert (late["State"], late["Progress"], late["StorageTier"]) == ("completed", "100%", "standard")


def test_a_snapshot_keeps_its_instant_while_the_volume_changes(sandbox):
    """AWS, "Amazon EBS snapshots": a point-in-time copy; later writes are not in it."""
    sandbox.configure(snapshot_seconds=60)
    ec2 = sandbox.client(PROD)
    source = volume(ec2)
    sandbox.write(PROD, HOME, source, 0, b"before")
    snap = snapshot(ec2, source)
    sandbox.write(PROD, HOME, source, 0, b"after!")
    assert sandbox.read(PROD, HOME, snap, 0, 6) == b"before"
    assert sandbox.fingerprint(PROD, HOME, snap) != sandbox.fingerprint(PROD, HOME, source)


def test_the_volumes_of_an_instance_are_frozen_at_one_instant(sandbox):
    """CreateSnapshots: "crash-consistent snapshots of multiple EBS volumes": no write falls between two volumes."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=2)
    one, two = (m["Ebs"]["VolumeId"] for m in machine["BlockDeviceMappings"][1:])
    stop = threading.Event()

    def write_in_step():
        number = 0
        while not stop.is_set():
            number += 1
            for target in (one, two):
                sandbox.write(PROD, HOME, target, 0, number.to_bytes(8, "big"))

    writer = threading.Thread(target=write_in_step)
    writer.start()
    try:
        for _ in range(15):
            made = ec2.create_snapshots(InstanceSpecification={"InstanceId": machine["InstanceId"]})["Snapshots"]
            held = {s["VolumeId"]: s["SnapshotId"] for s in made}
            first, second = (int.from_bytes(sandbox.read(PROD, HOME, held[v], 0, 8), "big") for v in (one, two))
            assert first - second in (0, 1)
    finally:
        stop.set()
        writer.join()


def test_volumes_can_be_left_out_but_the_root_only_by_its_own_switch(sandbox):
    """InstanceSpecification: ExcludeDataVolumeIds holds up to 40 and fails with the root volume's id in it."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=2)
    root, first, second = (m["Ebs"]["VolumeId"] for m in machine["BlockDeviceMappings"])
    wanted = {"InstanceId": machine["InstanceId"]}
    refused(
        "InvalidParameterValue", ec2.create_snapshots, InstanceSpecification={**wanted, "ExcludeDataVolumeIds": [root]}
    )
    many = {**wanted, "ExcludeDataVolumeIds": [f"vol-{n:017x}" for n in range(41)]}
    refused("InvalidParameterValue", ec2.create_snapshots, InstanceSpecification=many)
    chosen = {**wanted, "ExcludeDataVolumeIds": [first], "ExcludeBootVolume": True}
    made = ec2.create_snapshots(InstanceSpecification=chosen)["Snapshots"]
    assert [s["VolumeId"] for s in made] == [second]


def test_tags_of_the_volume_come_along_when_asked_and_fifty_is_the_limit(sandbox):
    """CreateSnapshots, CopyTagsFromSource; "Tag restrictions": 50 tags a resource, copied ones included."""
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=0)
    root = machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ec2.create_tags(Resources=[root], Tags=[{"Key": f"k{n}", "Value": "x"} for n in range(49)])
    asked = {"InstanceSpecification": {"InstanceId": machine["InstanceId"]}, "CopyTagsFromSource": "volume"}
    made = ec2.create_snapshots(**asked, TagSpecifications=tags("snapshot", ours="1"))["Snapshots"][0]
    assert len(made["Tags"]) == 50
    refused("TagLimitExceeded", ec2.create_snapshots, **asked, TagSpecifications=tags("snapshot", ours="1", too="many"))
    plain = ec2.create_snapshots(InstanceSpecification={"InstanceId": machine["InstanceId"]})["Snapshots"][0]
    assert plain["Tags"] == []


def test_one_failing_member_puts_the_whole_set_in_error(sandbox):
    """AWS, "Create multi-volume EBS snapshots": if one fails, all the others of the set show error."""
    sandbox.configure(snapshot_seconds=30)
    ec2, machine = sandbox.client(PROD), sandbox.machine(PROD, data=2)
    victim = machine["BlockDeviceMappings"][1]["Ebs"]["VolumeId"]
    sandbox.fault("snapshot_error", resource=victim, message="Client.InternalError", count=1)
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": machine["InstanceId"]})["Snapshots"]
    ids = [s["SnapshotId"] for s in made]
    assert {s["State"] for s in ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]} == {"pending"}
    sandbox.advance(31)
    after = {s["VolumeId"]: s for s in ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]}
    assert {s["State"] for s in after.values()} == {"error"}
    assert after[victim]["StateMessage"] == "Client.InternalError"


def test_a_volume_has_a_rate_and_a_number_of_pending_snapshots(sandbox):
    """AWS, "Error codes": SnapshotCreationPerVolumeRateExceeded (15 s), ConcurrentSnapshotLimitExceeded (5 pending)."""
    sandbox.configure(snapshot_seconds=3600, snapshot_interval_seconds=15)
    ec2 = sandbox.client(PROD)
    target = volume(ec2)
    snapshot(ec2, target)
    refused("SnapshotCreationPerVolumeRateExceeded", ec2.create_snapshot, VolumeId=target)
    for _ in range(4):
        sandbox.advance(16)
        snapshot(ec2, target)
    sandbox.advance(16)
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshot, VolumeId=target)
    snapshot(ec2, volume(ec2))


def test_a_pending_snapshot_goes_when_it_completes_and_holds_its_slot_until_then(sandbox):
    """DeleteSnapshot: deleting a pending snapshot takes effect at completion; it counts for the volume meanwhile."""
    sandbox.configure(snapshot_seconds=60, pending_per_volume=1)
    ec2 = sandbox.client(PROD)
    target = volume(ec2)
    snap = snapshot(ec2, target)
    ec2.delete_snapshot(SnapshotId=snap)
    assert shown(ec2, snap)["State"] == "pending"
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshot, VolumeId=target)
    sandbox.advance(61)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snap])
    snapshot(ec2, target)


def test_a_missing_id_fails_the_call_but_a_filter_leaves_it_out(sandbox):
    """DescribeSnapshots: an invalid id in SnapshotIds is an error; the filter snapshot-id just does not match."""
    ec2 = sandbox.client(PROD)
    snap, ghost = snapshot(ec2, volume(ec2)), "snap-00000000000000000"
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snap, ghost])
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "snapshot-id", "Values": [snap, ghost]}])
    assert [s["SnapshotId"] for s in found["Snapshots"]] == [snap]
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=ghost)


def test_without_owners_public_snapshots_of_strangers_show_too(sandbox):
    """DescribeSnapshots: "The snapshots available to you include public snapshots" unless OwnerIds says self."""
    ec2 = sandbox.client(PROD)
    mine = snapshot(ec2, volume(ec2))
    every = ec2.describe_snapshots()["Snapshots"]
    assert {s["OwnerId"] for s in every} > {PROD}
    assert [s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]] == [mine]
    assert [s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=[PROD])["Snapshots"]] == [mine]


def test_a_snapshot_destroyed_behind_our_back_is_gone(sandbox):
    """Life cycle: anyone with the right may delete a snapshot at any time (DeleteSnapshot)."""
    ec2 = sandbox.client(PROD)
    sandbox.fault("vanish", operation="CreateSnapshot", seconds=0.05, count=1)
    snap = snapshot(ec2, volume(ec2))
    found = [{"Name": "snapshot-id", "Values": [snap]}]
    assert eventually(lambda: not ec2.describe_snapshots(OwnerIds=["self"], Filters=found)["Snapshots"])
    other = snapshot(ec2, volume(ec2))
    share(ec2, other, "222222222222")
    sandbox.destroy(PROD, HOME, other)
    refused("InvalidSnapshot.NotFound", sandbox.client("222222222222").describe_snapshots, SnapshotIds=[other])
