"""A catalog that was lost without a backup is written again from the clouds' tags, over the emulated AWS."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Account, Job, Point, Policy, Resource, close_catalog, open_catalog, session, transaction
from tasks.catalog.era import take_over
from tasks.secrets import Secret, seal
from tasks.states import RequestState, RestoreState
from tests.contract.service_rig import DEFAULT_ROLE
from tests.coordinator.house import House
from tests.deploy.estate import PROD, VAULT, key
from tests.deploy.vaulting import cross_account, file_system
from tests.integration.test_repository_pipeline import AWAY, HOME, Archiving, instance_of, parts_of
from tests.sandbox import Sandbox
from workers.aws.ec2 import Ec2Driver
from workers.aws.efs import EfsDriver
from workers.aws.session import Sessions
from workers.pace import Pace
from workers.rebuilding import REST

MINUTE = timedelta(minutes=1)


class Protected(Archiving):
    """A house with a machine, a volume and a file system of production, copied to another region or account."""

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        super().__init__(home, sandbox)
        sealed = {"VolumeSize": 1, "VolumeType": "gp3", "Encrypted": True}
        mappings = [{"DeviceName": "/dev/sdf", "Ebs": sealed}, {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 2}}]
        self.machine = str(sandbox.machine(PROD, HOME, BlockDeviceMappings=mappings)["InstanceId"])
        self.vault_key, shared = key(sandbox, VAULT, HOME), key(sandbox, PROD, HOME, VAULT)
        self.disk = str(
            self.ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1, Encrypted=True, KmsKeyId=shared)["VolumeId"]
        )
        self.files = str(file_system(sandbox)["FileSystemId"])
        sandbox.role(f"arn:aws:iam::{PROD}:{DEFAULT_ROLE}")
        cross_account(sandbox)
        self.with_files()

    def with_files(self) -> None:
        driver = EfsDriver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace(self.context, drivers={**self.context.drivers, "efs": driver})

    def estate(self, *names: str) -> None:
        """As `apply` writes it."""
        there = {"account": "vault", "region": HOME, "kms_key": self.vault_key}
        disk = {"type": "volume", "region": HOME, "account": "prod", "id": self.disk}
        specs: dict[str, dict[str, Any]] = {
            "disks": {"targets": [disk], "generations": 2, "dr": [there]},
            "machines": {"targets": [instance_of(self.machine)], "generations": 1, "dr": [{"region": AWAY}]},
            "images": {"targets": [instance_of(self.machine)], "generations": 1, "mode": "image"},
            "files": {
                "targets": [{"type": "efs", "region": HOME, "account": "prod", "id": self.files}],
                "generations": 1,
                "dr": [{"region": AWAY}, {"account": "vault", "region": HOME}],
            },
        }
        for name in names:
            self.policy(name, **specs[name])

    def run(self, *names: str) -> None:
        for name in names:
            self.wished("run", policy=name)
            self.work(MINUTE)

    def rebuild(self, **wish: Any) -> dict[str, int]:
        """A rebuilding to its end: what was written, over all places."""
        jobs = self.wished("rebuild", **wish)["jobs"]
        self.work(MINUTE)
        with session():
            done = [row for row in Job.select().where(Job.id.in_(jobs)) if row.service in ("ec2", "efs")]
        assert [row.error_text for row in done] == [""] * 8
        return {name: sum(row.result[name] for row in done) for name in ("points", "failed", "running")}


class After(Protected):
    """A new house over the same clouds, with the same id and accounts, and nothing in its catalog."""

    def __init__(self, home: Path, old: Protected) -> None:
        House.__init__(self, home, clock=old.clock)
        self.sandbox, self.ec2, self.disk, self.machine = old.sandbox, old.ec2, old.disk, old.machine
        self.vault_key, self.files = old.vault_key, old.files
        driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace(self.context, drivers={"instance": driver, "volume": driver})
        self.with_files()
        with transaction():
            take_over(self.clock.now(), self.clock.timer())
        for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
            sealed = seal(self.context.keys, Secret(f"{name}-external-id"), f"account.external_id.{name}")
            arn = f"arn:aws:iam::{number}:role/{role}"
            self.account(name, regions=(HOME, AWAY), number=number, role_arn=arn, external_id_sealed=sealed)

    def look(self) -> None:
        self.wished("discover")
        self.work(MINUTE)


@pytest.fixture
def house(entered: Sandbox, tmp_path: Path) -> Protected:
    return Protected(tmp_path, entered)


@pytest.fixture
def lose(house: Protected, sqlite_template: Path, tmp_path: Path) -> Callable[[], After]:
    """Lose the catalog: a call gives a house with an empty one."""

    def call() -> After:
        close_catalog()
        shutil.copy(sqlite_template, tmp_path / "second.sqlite")
        open_catalog(f"sqlite://{tmp_path / 'second.sqlite'}")
        return After(tmp_path, house)

    return call


def told(points: list[Point]) -> list[dict[str, Any]]:
    """What must be the same in any catalog."""
    with session():
        return [
            {
                "resource": (row.type, row.external_id, row.account.name, row.region),
                "policy": Policy.get_by_id(point.policy_id).name,
                "place": (Account.get_by_id(point.account_id).name, point.region, point.destination),
                "kind": (point.kind, point.image_id, str(point.state), point.size_gib),
                "copy": point.copy_of_id is not None,
                "parts": sorted((parted(part) for part in parts_of(point)), key=str),
            }
            for point in points
            for row in [Resource.get_by_id(point.resource_id)]
        ]


def parted(part: Any) -> dict[str, Any]:
    fields = ("external_id", "source_id", "device", "size_gib", "kms_key_id", "encrypted", "state")
    kept = {name: value for name, value in part.attributes.items() if name != "run"}
    return {**{name: getattr(part, name) for name in fields}, "attributes": kept}


def test_a_lost_catalog_is_written_again_from_the_clouds_tags_without_a_difference(
    house: Protected, lose: Callable[[], After]
) -> None:
    """feature C11: drop the catalog, rebuild, diff = 0, also of vaults, whose tags are told one by one; twice is as
    once; what was rebuilt is restored, is backed up next to, and ages."""
    house.estate("disks", "machines", "images", "files")
    house.run("disks", "disks", "machines", "images", "files")
    before = told(house.points())
    assert len(before) == 10
    taken = {part.external_id: point.taken_at for point in house.points() for part in parts_of(point)}
    new = lose()
    new.estate("disks", "machines", "images", "files")
    refused = new.wish("rebuild")
    assert (refused.state, refused.error_code) == (RequestState.REFUSED, "not-looked")
    new.look()
    assert new.rebuild(dry_run=True) == {"points": 10, "failed": 0, "running": 0}
    assert (new.points(state=None), new.rebuild()) == ([], {"points": 10, "failed": 0, "running": 0})
    assert sorted(told(new.points()), key=str) == sorted(before, key=str)
    rebuilt = {point.id: point for point in new.points()}
    for point in rebuilt.values():
        assert abs(point.taken_at - taken[parts_of(point)[0].external_id]) < 10 * MINUTE
        assert point.copy_of_id is None or point.taken_at == rebuilt[point.copy_of_id].taken_at
    assert new.rebuild() == {"points": 0, "failed": 0, "running": 0}
    whole = next(one for one in rebuilt.values() if one.kind == "snapshots" and len(parts_of(one)) == 3)
    copy = next(one for one in rebuilt.values() if one.destination == f"vault/{HOME}" and one.policy_id == 1)
    new.ec2.terminate_instances(InstanceIds=[new.machine])
    for point, request in ((whole, {"kind": "instance"}), (copy, {"zone": f"{HOME}a"})):
        done = new.restored(point, **request)
        assert (done.state, done.error_text) == (RestoreState.DONE, "")
    new.run("disks")
    assert len(new.points()) == 12
    assert new.rebuild() == {"points": 0, "failed": 0, "running": 0}
    new.clock.advance(REST)
    new.clean()
    assert [point.id in rebuilt for point in new.points(Point.destination == "", Point.policy == 1)] == [True, False]
