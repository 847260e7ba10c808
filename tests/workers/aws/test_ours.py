"""What carries this installation's tag, and that nothing of another one is ever deleted (feature C11)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.sandbox import Sandbox
from tests.workers.aws.conftest import HOME, PROD
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.driver import Part, Point, Resource


def snapshots(cloud: Sandbox, *installations: str) -> list[str]:
    """One completed snapshot for each installation's tag ('' for none)."""
    ec2: Any = cloud.client("111111111111", HOME)
    volume = ec2.create_volume(AvailabilityZone=HOME + "a", Size=2)["VolumeId"]
    made = []
    for installation in installations:
        tags = {"snapfleet:installation": installation, "snapfleet:job": "k-0"} if installation else {"a": "b"}
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        specified = [{"ResourceType": "snapshot", "Tags": listed}]
        made.append(ec2.create_snapshot(VolumeId=volume, TagSpecifications=specified)["SnapshotId"])
    return made


def test_only_what_carries_this_installations_tag_is_listed_as_its_own(cloud: Sandbox) -> None:
    mine, _, _ = snapshots(cloud, "i-1", "i-2", "")
    (found,) = Ec2Driver(Sessions()).tagged(PROD, HOME, "i-1")
    assert (found.kind, found.external_id, found.size_gib) == ("snapshot", mine, 2)
    assert found.tags["snapfleet:job"] == "k-0"
    assert abs(datetime.now(UTC) - found.began_at) < timedelta(minutes=1)


def test_an_image_is_listed_with_its_time(cloud: Sandbox) -> None:
    ec2: Any = cloud.client("111111111111", HOME)
    machine = cloud.machine("111111111111")["InstanceId"]
    tags = [{"Key": "snapfleet:installation", "Value": "i-1"}]
    image = ec2.create_image(
        InstanceId=machine, Name="one", NoReboot=True, TagSpecifications=[{"ResourceType": "image", "Tags": tags}]
    )["ImageId"]
    (found,) = Ec2Driver(Sessions()).tagged(PROD, HOME, "i-1")
    assert (found.kind, found.external_id, found.began_at.tzinfo is not None) == ("image", image, True)


def there(*ids: str) -> set[str]:
    return set(Ec2Driver(Sessions()).present(PROD, HOME, [Part(one) for one in ids]))


def test_what_is_there_is_told_by_id_whatever_its_tags_and_what_was_deleted_is_not(cloud: Sandbox) -> None:
    ec2: Any = cloud.client("111111111111", HOME)
    tagged, bare, gone = snapshots(cloud, "i-1", "", "i-1")
    image = ec2.create_image(InstanceId=cloud.machine("111111111111")["InstanceId"], Name="one", NoReboot=True)[
        "ImageId"
    ]
    ec2.delete_snapshot(SnapshotId=gone)
    asked = [tagged, bare, gone, image, "ami-00000000000000000", "snap-00000000000000000"]
    assert there(*asked) == {tagged, bare, image}
    ec2.deregister_image(ImageId=image)
    assert there(image) == set()


def test_an_image_that_somebody_disabled_is_there_and_can_be_deleted(cloud: Sandbox) -> None:
    """DescribeImages, IncludeDisabled: without it disabled images are left out, also for their owner."""
    ec2: Any = cloud.client("111111111111", HOME)
    tags = [{"ResourceType": "image", "Tags": [{"Key": "snapfleet:installation", "Value": "i-1"}]}]
    machine = cloud.machine("111111111111")["InstanceId"]
    image = ec2.create_image(InstanceId=machine, Name="one", NoReboot=True, TagSpecifications=tags)["ImageId"]
    ec2.disable_image(ImageId=image)
    assert there(image) == {image}
    account = replace(PROD, installation="i-1")
    point = Point(account, HOME, Resource("instance", machine, account, HOME), (), image_id=image)
    assert [one.outcome for one in Ec2Driver(Sessions()).delete([point])] == ["deleted"]
    assert there(image) == set()


def test_a_deletion_leaves_what_another_installation_made_in_the_same_account(cloud: Sandbox) -> None:
    """feature 66: also when a catalog of ours names it, for whatever reason."""
    mine, theirs, nobodys = snapshots(cloud, "i-1", "i-2", "")
    account = replace(PROD, installation="i-1")
    resource = Resource("volume", "vol-1", account, HOME)
    point = Point(account, HOME, resource, tuple(Part(one) for one in (mine, theirs, nobodys)))
    answers = {one.external_id: one for one in Ec2Driver(Sessions()).delete([point])}
    assert {name: one.outcome for name, one in answers.items()} == {mine: "deleted", theirs: "kept", nobodys: "kept"}
    assert {answers[name].error.code for name in (theirs, nobodys)} == {"not-ours"}  # type: ignore[union-attr]
    left = {
        one["SnapshotId"]
        for one in cloud.client("111111111111", HOME).describe_snapshots(OwnerIds=["self"])["Snapshots"]
    }
    assert left == {theirs, nobodys}
