"""An image stays while snapshots of its machine become an instance only through it."""

from typing import Any

import pytest

from coordinator.judge import judge
from tasks.catalog import Account, Part, Point, Policy, Resource, Restore, session, transaction
from tasks.states import PointState, RestoreState
from tests.coordinator.house import AWAY, DAY, HOME, House

CAPTURED: dict[str, Any] = {
    "platform_details": "Windows",
    "instance_type": "t3.small",
    "zone": f"{HOME}a",
    "root_device": "/dev/sda1",
    "subnet_id": "subnet-1",
    "volumes": [],
}


class Machine:
    """A Windows machine in a policy of one generation."""

    def __init__(self, house: House) -> None:
        self.house, self.account, self.policy = house, house.account(), house.policy(generations=1)
        at = house.clock.now()
        with transaction():
            self.row = Resource.create(
                account=self.account, region=HOME, type="instance", external_id="i-1", found_at=at, seen_at=at
            )

    def point(self, days: int, image: str = "", **columns: Any) -> Point:
        at = self.house.clock.now() - 10 * DAY + days * DAY
        known = {"account": self.account.id, "region": HOME, "state": PointState.GOOD, "policy": self.policy.id}
        known |= {"attributes": CAPTURED, "taken_at": at, "completed_at": at, "image_id": image}
        with transaction():
            point = Point.create(resource=self.row, **{**known, **columns})
            Part.create(
                point=point, external_id=f"snap-{point.id}", source_id="vol-1", device="/dev/sda1", size_gib=1,
                state=PointState.GOOD, attributes={"type": "gp3"},
            )  # fmt: skip
        return point

    def reasons(self, point: Point) -> list[str]:
        with session():
            verdict = judge(Policy.get_by_id(self.policy.id), self.house.clock.now()).plan.verdicts[point.id]
        return [reason.text for reason in verdict.reasons if reason.code == "in_use"]

    def restore(self, point: Point) -> int:
        request = {"kind": "instance", "address": "auto"}
        return int(self.house.wished("restore", point=point.id, request=request)["restore"])


@pytest.fixture
def machine(house: House) -> Machine:
    return Machine(house)


def test_the_newest_image_stays_while_a_point_without_one_stands_and_then_goes(machine: Machine) -> None:
    """What mode image-once keeps its first image for: without it no later point would start as an instance."""
    older, image, snapshots = machine.point(0, "ami-0"), machine.point(1, "ami-1"), machine.point(2)
    newest = machine.point(3)
    with session():
        plan = judge(machine.policy, machine.house.clock.now()).plan
    assert plan.expire == (older.id, snapshots.id)
    assert machine.reasons(image) == [f"in use by restores of rp-{newest.id} as an instance"]
    machine.point(4, "ami-4")
    assert machine.reasons(image) == []


def test_a_marked_point_counts_until_it_is_gone_and_one_elsewhere_does_not(machine: Machine) -> None:
    with transaction():
        vault = Account.create(name="vault")
    image, marked = machine.point(1, "ami-1"), machine.point(2, state=PointState.EXPIRING, expire_code="outlived")
    machine.point(3, region=AWAY)
    machine.point(3, account=vault.id)
    machine.point(3, "ami-3", state=PointState.FAILED, error_code="cloud-failed")
    assert machine.reasons(image)
    with transaction():
        Point.update(state=PointState.DELETED).where(Point.id == marked.id).execute()
    assert machine.reasons(image) == []


def test_the_image_that_a_restore_launches_from_stays_until_that_ends_also_when_a_newer_one_came(
    machine: Machine,
) -> None:
    image, point = machine.point(1, "ami-1"), machine.point(2, state=PointState.OUTDATED, expire_code="outlived")
    restore = machine.restore(point)
    machine.point(3, "ami-3")
    assert machine.reasons(image) == [f"in use by restore:{restore}"]
    with transaction():
        Restore.update(state=RestoreState.DONE).execute()
    assert machine.reasons(image) == []
