"""Lists, filters, pages and tags. "Listing and filtering your resources", "Tag your resources": EC2 user guide."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sandbox.wildcards import matcher
from tests.deploy.estate import PROD, refused, snapshot, tags, volume

HOSTILE = ["[/red]", "<script>alert(1)</script>", "a&b \"c\" 'd'", "\u009b31m\u202eevil", "; rm -rf / #", "ü 漢字 🙂"]


@pytest.mark.unit
@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=5))
def test_a_value_with_its_wildcards_escaped_matches_itself_alone(text, more):
    """Filter values: `*` and `?` are wildcards, a backslash makes them literal."""
    escaped = "".join("\\" + c if c in "*?\\" else c for c in text)
    fits = matcher([escaped])
    assert fits(text)
    assert fits(text + more) == (more == "")
    assert matcher([escaped + "*"])(text + more)


def test_pages_cover_everything_once_and_need_their_tokens(sandbox):
    """MaxResults is 5 to 1000; NextToken continues; a token of another make is refused."""
    ec2 = sandbox.client(PROD)
    made = [volume(ec2) for _ in range(12)]
    seen = [
        v["VolumeId"]
        for p in ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5})
        for v in p["Volumes"]
    ]
    assert seen == made
    first = ec2.describe_volumes(MaxResults=5)
    ec2.delete_volume(VolumeId=made[4])
    second = ec2.describe_volumes(MaxResults=5, NextToken=first["NextToken"])
    assert [v["VolumeId"] for v in second["Volumes"]] == made[5:10]
    refused("InvalidParameterValue", ec2.describe_volumes, MaxResults=4)
    refused("InvalidParameterCombination", ec2.describe_volumes, MaxResults=5, VolumeIds=made[:1])
    refused("InvalidNextToken.Malformed", ec2.describe_volumes, NextToken="bm9uc2Vuc2U=")


def test_filters_are_anded_and_values_ored(sandbox):
    """Filters: several filters are joined with AND, the values of one with OR; an unknown filter is an error."""
    ec2 = sandbox.client(PROD)
    a = volume(ec2, TagSpecifications=tags("volume", env="prod", tier="gold"))
    b = volume(ec2, TagSpecifications=tags("volume", env="test", tier="gold"))
    volume(ec2)

    def found(**filters):
        asked = [{"Name": n.replace("_", ":", 1), "Values": v} for n, v in filters.items()]
        return [v["VolumeId"] for v in ec2.describe_volumes(Filters=asked)["Volumes"]]

    assert found(tag_env=["prod", "test"]) == [a, b]
    assert found(tag_env=["prod"], tag_tier=["gold"]) == [a]
    assert found(tag_env=["pro?", "x*"]) == [a]
    assert found(tag_env=["prod"], size=["2"]) == []
    assert [
        v["VolumeId"] for v in ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["tier"]}])["Volumes"]
    ] == [a, b]
    refused("InvalidParameterValue", ec2.describe_volumes, Filters=[{"Name": "no-such-filter", "Values": ["x"]}])
    ec2.delete_tags(Resources=[b], Tags=[{"Key": "tier"}])
    ec2.create_tags(Resources=[a], Tags=[{"Key": "tier", "Value": "silver"}])
    assert found(tag_tier=["gold"]) == []


def test_start_times_are_filtered_with_wildcards(sandbox):
    """DescribeSnapshots, start-time: "2024-*" style values are matched as text."""
    ec2 = sandbox.client(PROD)
    snap = snapshot(ec2, volume(ec2))
    day = ec2.describe_snapshots(SnapshotIds=[snap])["Snapshots"][0]["StartTime"].astimezone().strftime("%Y-")
    for pattern, count in ((f"{day}*", 1), ("1999-*", 0)):
        asked = [{"Name": "start-time", "Values": [pattern]}]
        assert len(ec2.describe_snapshots(OwnerIds=["self"], Filters=asked)["Snapshots"]) == count


def test_more_than_two_hundred_values_are_too_many(sandbox):
    """AWS, "Listing and filtering your resources": at most 200 filter values in a request."""
    ids = [f"snap-{n:017x}" for n in range(201)]
    asked = {"Filters": [{"Name": "snapshot-id", "Values": ids}], "OwnerIds": ["self"]}
    refused("FilterLimitExceeded", sandbox.client(PROD).describe_snapshots, **asked)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_tags_travel_unharmed_and_are_found(sandbox, text):
    """Tag values may hold any character that XML can carry; brackets are not wildcards."""
    ec2 = sandbox.client(PROD)
    made = volume(ec2, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "note", "Value": text}]}])
    found = ec2.describe_volumes(Filters=[{"Name": "tag:note", "Values": [text]}])["Volumes"]
    assert [v["VolumeId"] for v in found] == [made]
    assert found[0]["Tags"] == [{"Key": "note", "Value": text}]


def test_tags_have_limits_and_reserved_names(sandbox):
    """AWS, "Tag restrictions": keys to 128, values to 256 characters, 50 tags, `aws:` is reserved."""
    ec2 = sandbox.client(PROD)
    target = volume(ec2)

    def tag(**pairs):
        return {"Resources": [target], "Tags": [{"Key": k, "Value": v} for k, v in pairs.items()]}

    refused("InvalidParameterValue", ec2.create_tags, **tag(**{"aws:mine": "x"}))
    refused("InvalidParameterValue", ec2.create_tags, **tag(**{"k" * 129: "x"}))
    refused("InvalidParameterValue", ec2.create_tags, **tag(k="v" * 257))
    refused("TagLimitExceeded", ec2.create_tags, **tag(**{f"k{n}": "x" for n in range(51)}))
    refused(
        "InvalidVolume.NotFound",
        ec2.create_tags,
        Resources=["vol-00000000000000000"],
        Tags=[{"Key": "k", "Value": "v"}],
    )
    refused(
        "InvalidParameterValue",
        ec2.create_volume,
        AvailabilityZone="us-east-1a",
        Size=1,
        TagSpecifications=tags("snapshot", a="b"),
    )
    ec2.create_tags(**tag(a="1"))
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "net", "Value": "1"}])
    listed = {(t["ResourceId"], t["Key"]) for t in ec2.describe_tags()["Tags"]}
    assert {(target, "a"), (vpc, "net")} <= listed


def test_an_operation_that_is_not_there_says_so_loudly(sandbox):
    """A gap of the emulator must not look like a passing trouble: InvalidAction, 501, not retried."""
    ec2 = sandbox.client(PROD)
    message = refused("InvalidAction", ec2.describe_volumes_modifications)
    assert "DescribeVolumesModifications" in message


def test_a_service_that_is_not_there_says_so_loudly(sandbox):
    """A whole service that is missing is an InvalidAction, 501, in the service's own envelope."""
    refused("InvalidAction", sandbox.client(PROD, service="sqs").list_queues)
    refused("InvalidAction", sandbox.client(PROD, service="glue").get_databases)
