"""A recovery point's rows as the restore planner reads them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.facts import restore_point_facts
from coordinator.restore import PointFacts, plan_restore
from coordinator.restore_facts import RestoreRequest
from tasks.catalog import Account, Part, Point, Policy, Resource, session, transaction
from tasks.states import PointState

AT = datetime(2026, 3, 1, tzinfo=UTC)
VOLUMES = [
    {"id": "vol-root", "device": "/dev/sda1", "type": "gp3", "tags": {"Name": "root"}},
    {"id": "vol-data", "device": "/dev/sdf", "type": "io2", "iops": 5000, "delete_on_termination": True},
]
CAPTURED: dict[str, Any] = {
    "zone": "us-east-1a",
    "state": "running",
    "instance_type": "m5.large",
    "platform_details": "Windows",
    "root_device": "/dev/sda1",
    "subnet_id": "subnet-1",
    "volumes": VOLUMES,
    "tags": {"Name": "as it was"},
}


class Rows:
    """An instance with points in two places."""

    def __init__(self) -> None:
        with transaction():
            self.home, self.vault = Account.create(name="prod"), Account.create(name="vault")
            self.policy = Policy.create(name="gold", spec={}, created_at=AT, changed_at=AT)
            self.instance = Resource.create(
                account=self.home, region="us-east-1", type="instance", external_id="i-1", name="win",
                tags={"Name": "now"}, attributes=CAPTURED, found_at=AT, seen_at=AT,
            )  # fmt: skip

    def point(self, account: Account, region: str, image_id: str = "", days: int = 0, **more: Any) -> Point:
        with transaction():
            made = Point.create(
                resource=self.instance, policy=self.policy, account=account, region=region, image_id=image_id,
                attributes=CAPTURED, taken_at=AT + timedelta(days=days), **{"state": PointState.GOOD, **more},
            )  # fmt: skip
            for volume in VOLUMES:
                Part.create(
                    point=made, external_id=f"snap-{made.id}-{volume['id']}", source_id=volume["id"], size_gib=8,
                    device=volume["device"], state=PointState.GOOD,
                )  # fmt: skip
        return made


@pytest.fixture
def rows(embedded_catalog: str) -> Rows:
    return Rows()


def facts(point: Point, **wish: Any) -> PointFacts:
    with session():
        return restore_point_facts(point, RestoreRequest.from_json({"kind": "instance", **wish}))


def test_parts_are_completed_from_what_was_captured_with_the_point(rows: Rows) -> None:
    read = facts(rows.point(rows.home, "us-east-1"))
    assert [(part.device, part.type, part.iops, part.delete_on_termination) for part in read.parts] == [
        ("/dev/sda1", "gp3", 0, False),
        ("/dev/sdf", "io2", 5000, True),
    ]
    assert read.parts[0].tags == {"Name": "root"}
    assert read.tags == {"Name": "as it was"}
    assert read.here
    assert read.host is not None
    assert read.host.volumes == {"/dev/sda1": "vol-root", "/dev/sdf": "vol-data"}


def test_a_copy_is_elsewhere_and_has_no_host_there(rows: Rows) -> None:
    read = facts(rows.point(rows.vault, "eu-central-1", destination="vault/eu-central-1"))
    assert not read.here
    assert (read.account, read.home_account, read.home_region) == ("vault", "prod", "us-east-1")
    assert read.host is None


def test_snapshots_of_windows_find_the_newest_good_image_in_the_same_place(rows: Rows) -> None:
    """What mode image-once keeps its first image for."""
    rows.point(rows.home, "us-east-1", "ami-older", days=1)
    image = rows.point(rows.home, "us-east-1", "ami-newer", days=2)
    rows.point(rows.home, "us-east-1", "ami-gone", days=3, state=PointState.DELETED, expire_code="outlived")
    rows.point(rows.vault, "us-east-1", "ami-elsewhere", days=4)
    read = facts(rows.point(rows.home, "us-east-1", days=5))
    assert (read.base_image_id, read.base_image_devices) == ("ami-newer", ("/dev/sda1", "/dev/sdf"))
    plan = plan_restore(read, RestoreRequest.from_json({"kind": "instance"}))
    assert plan.steps[0].params["image_id"] == "ami-newer"
    assert facts(image).base_image_id == ""
