"""Throttling and planted faults: how requests go wrong, and what was done all the same."""

import time

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from tests.deploy.estate import AWAY, HOME, PROD, VAULT, refused, snapshot, tags, volume


def test_buckets_empty_by_account_region_and_api(sandbox):
    """AWS, "Request throttling for the Amazon EC2 API": RequestLimitExceeded (503), per account, Region and API."""
    sandbox.configure(metering=True, limits={"CreateSnapshot": [3, 0.001]})
    ec2 = sandbox.client(PROD)
    target = volume(ec2)
    for _ in range(3):
        snapshot(ec2, target)
    refused("RequestLimitExceeded", ec2.create_snapshot, VolumeId=target)
    ec2.describe_volumes()
    for other in (sandbox.client(PROD, AWAY), sandbox.client(VAULT)):
        snapshot(other, volume(other))
    sandbox.configure(metering=False)
    snapshot(ec2, target)


def test_a_bucket_refills_and_botocore_waits_for_it(sandbox):
    """Token buckets refill with time; RequestLimitExceeded is retried by the SDK's standard mode."""
    sandbox.configure(metering=True, limits={"DescribeVolumes": [1, 4]})
    patient = sandbox.client(PROD, retries={"mode": "standard", "total_max_attempts": 5})
    for _ in range(3):
        patient.describe_volumes()
    assert sandbox.count("DescribeVolumes", "RequestLimitExceeded") >= 1
    assert sandbox.count("DescribeVolumes", "ok") == 3


def test_unpaginated_describes_have_a_smaller_bucket(sandbox):
    """AWS, "Request throttling": unfiltered and unpaginated non-mutating actions have a lower limit."""
    sandbox.configure(metering=True, meter_scale=0.1)
    ec2 = sandbox.client(PROD)

    def accepted(**parameters):
        for number in range(30):
            try:
                ec2.describe_snapshots(OwnerIds=["self"], **parameters)
            except ec2.exceptions.ClientError:
                return number
        return 30

    small = accepted()
    sandbox.configure()
    assert small < accepted(MaxResults=1000)


def test_an_answer_lost_after_the_work_leads_the_sdk_to_do_it_twice(sandbox):
    """CreateSnapshot has no client token: with the SDK's retries a lost answer makes a second snapshot."""
    patient = sandbox.client(PROD, retries={"mode": "standard", "total_max_attempts": 3})
    target = volume(patient)
    sandbox.fault("drop_after", operation="CreateSnapshot", count=1)
    snapshot(patient, target)
    assert len(sandbox.state(PROD, HOME)["snapshots"]) == 2
    sandbox.fault("drop_after", operation="CreateSnapshot", count=1)
    careful = sandbox.client(PROD)
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        snapshot(careful, target)
    assert len(sandbox.state(PROD, HOME)["snapshots"]) == 3
    assert sandbox.count("CreateSnapshot", "drop_after") == 2


@pytest.mark.parametrize(("kind", "made"), [("timeout_before", 0), ("timeout_after", 1), ("drop_before", 0)])
def test_no_answer_tells_nothing_about_whether_it_was_done(sandbox, kind, made):
    """A time-out may come before or after the work: the caller cannot tell which."""
    ec2 = sandbox.client(PROD, read_timeout=0.3)
    target = volume(ec2)
    sandbox.fault(kind, operation="CreateSnapshot", seconds=0.0 if kind.startswith("drop") else 1.0)
    with pytest.raises((ReadTimeoutError, ConnectionClosedError)):
        snapshot(ec2, target)
    assert len(sandbox.state(PROD, HOME)["snapshots"]) == made


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("throttle", "RequestLimitExceeded"),
        ("internal", "InternalError"),
        ("denied", "UnauthorizedOperation"),
        ("expired", "RequestExpired"),
    ],
)
def test_a_fault_strikes_the_calls_it_names_and_is_spent(sandbox, kind, code):
    """AWS, "Error codes": each in the EC2 envelope, for one account, region, operation, resource."""
    ec2 = sandbox.client(PROD)
    victim, other = volume(ec2), volume(ec2)
    sandbox.fault(kind, operation="CreateSnapshot", account=PROD, region=HOME, resource=victim, count=1)
    snapshot(ec2, other)
    refused(code, ec2.create_snapshot, VolumeId=victim)
    snapshot(ec2, victim)
    assert sandbox.faults()[0]["hits"] == 1


def test_any_code_can_be_returned_and_faults_can_be_taken_away(sandbox):
    """A named error stands for whatever AWS may answer; its probability is honoured."""
    ec2 = sandbox.client(PROD)
    sandbox.fault("error", operation="CreateVolume", code="InsufficientVolumeCapacity", status=400, message="full")
    place = {"AvailabilityZone": "us-east-1a", "Size": 1}
    assert refused("InsufficientVolumeCapacity", ec2.create_volume, **place) == "full"
    sandbox.clear_faults()
    sandbox.fault("internal", operation="CreateVolume", probability=0.5)
    outcomes = set()
    for _ in range(40):
        try:
            outcomes.add(bool(volume(ec2)))
        except ec2.exceptions.ClientError:
            outcomes.add(False)
    assert outcomes == {True, False}


def test_tag_filters_lag_behind_and_ids_do_not(sandbox):
    """AWS, "Eventual consistency in the Amazon EC2 API": a new resource may be missing from a list for a while."""
    sandbox.configure(list_lag_seconds=60)
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2), TagSpecifications=tags("snapshot", job="7"))
    by_tag = {"OwnerIds": ["self"], "Filters": [{"Name": "tag:job", "Values": ["7"]}]}
    assert ec2.describe_snapshots(**by_tag)["Snapshots"] == []
    assert ec2.describe_snapshots(SnapshotIds=[snap])["Snapshots"]
    sandbox.advance(61)
    assert len(ec2.describe_snapshots(**by_tag)["Snapshots"]) == 1


def test_a_stale_describe_can_hide_everything_young(sandbox):
    """AWS, "Eventual consistency": InvalidSnapshot.NotFound seconds after the snapshot was created."""
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    sandbox.fault("stale", operation="DescribeSnapshots", seconds=60, hide="all", count=2)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snap])
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_a_call_can_be_slow(sandbox):
    """Latency is part of life; the answer comes all the same."""
    sandbox.fault("slow", operation="DescribeVolumes", seconds=0.3, count=1)
    began = time.monotonic()
    sandbox.client(PROD).describe_volumes()
    assert time.monotonic() - began >= 0.3


def test_a_snapshot_can_be_made_to_fail_afterwards(sandbox):
    """State error with a StateMessage: creation, and copies likewise."""
    ec2, away = sandbox.client(PROD), sandbox.client(PROD, AWAY)
    snap = snapshot(ec2, volume(ec2))
    sandbox.fault("snapshot_error", operation="CopySnapshot", resource=snap, message="lost on the way", count=1)
    copy = away.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=snap)["SnapshotId"]
    assert away.describe_snapshots(SnapshotIds=[copy])["Snapshots"][0]["StateMessage"] == "lost on the way"
    sandbox.fail(PROD, HOME, snap, message="disk broke")
    assert ec2.describe_snapshots(SnapshotIds=[snap])["Snapshots"][0]["State"] == "error"
