"""A policy's archives over the emulated AWS: coordinator rounds and real handlers, snapshots, a bucket and volumes."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import (
    Job,
    Part,
    Point,
    Repository,
    Restore,
    close_catalog,
    open_catalog,
    session,
    transaction,
)
from tasks.clock import FixedClock
from tasks.secrets import Secret, seal
from tasks.states import JobState, RestoreState
from tests.coordinator.house import HOME, House
from tests.deploy.estate import PROD, VAULT
from tests.sandbox import Sandbox
from workers.aws.ec2 import Ec2Driver
from workers.aws.pace import Pace
from workers.aws.session import Sessions

BLOCK = 512 << 10
AWAY = "eu-west-1"
VOLUMES = {"type": "volume", "region": HOME, "account": "prod"}


class Archiving(House):
    """A house over the sandbox, with one volume of a production account and a bucket of another."""

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        super().__init__(home, clock=FixedClock(datetime.now(UTC).replace(microsecond=0)))
        self.sandbox = sandbox
        driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace_drivers(self.context, driver)
        for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
            arn = f"arn:aws:iam::{number}:role/{role}"
            sandbox.role(arn, external_id=f"{name}-external-id")
            sealed = seal(self.context.keys, Secret(f"{name}-external-id"), f"account.external_id.{name}")
            self.account(name, regions=(HOME, AWAY), number=number, role_arn=arn, external_id_sealed=sealed)
        sandbox.client(VAULT, service="s3").create_bucket(Bucket="cold")
        self.ec2 = sandbox.client(PROD, HOME)
        self.disk = self.ec2.create_volume(AvailabilityZone=f"{HOME}a", Size=1, VolumeType="gp3")["VolumeId"]
        self.repository("cold", "a long passphrase")

    def repository(self, name: str, key: str, url: str = "s3://cold/main") -> None:
        """As `apply` writes it."""
        sealed = seal(self.context.keys, Secret(key), f"repository.key.{name}")
        spec = {"account": "vault", "region": HOME, "url": url}
        with transaction():
            Repository.delete().where(Repository.name == name).execute()
            Repository.create(name=name, spec=spec, key_sealed=sealed, created_at=self.clock.now())

    def protect(self, **archive: Any) -> None:
        """A policy for the volume that archives."""
        targets = [{**VOLUMES, "id": self.disk}]
        self.policy("gold", targets=targets, generations=1, repository={"name": "cold", **archive})

    def write(self, index: int, content: bytes | None = None) -> None:
        """Write one block of the volume."""
        self.sandbox.write(PROD, HOME, self.disk, index * BLOCK, content or os.urandom(BLOCK))

    def back_up(self) -> Job:
        """One run of the policy to its end; its archive job."""
        self.wished("run", policy="gold")
        self.work(timedelta(minutes=1))
        return self.jobs("archive")[-1]

    def archives(self) -> list[Point]:
        """The good archives, oldest first."""
        return self.points(Point.kind == "archive")

    def restored(self, point: Point, **request: Any) -> Restore:
        """A restore of a point to its end."""
        number = self.wished("restore", point=point.id, request={"kind": "volume", **request})["restore"]
        self.work(timedelta(minutes=2))
        with session():
            return Restore.get_by_id(number)


def replace_drivers(context: Any, driver: Ec2Driver, **more: Any) -> Any:
    from dataclasses import replace

    return replace(context, drivers={"instance": driver, "volume": driver}, **more)


@pytest.fixture
def archiving(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archiving]:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(sqlite_url)
    yield Archiving(tmp_path, sandbox)
    close_catalog()


def test_a_destroyed_volume_comes_back_from_its_archives_byte_for_byte(archiving: Archiving) -> None:
    """features 7, 82: a policy's archives are incremental, and what EC2 lost is restored from them alone."""
    archiving.wished("repository", name="cold", verb="create")
    archiving.work(timedelta(minutes=1))
    archiving.protect()
    for index in (0, 1, 700, 2047):
        archiving.write(index)
    first = archiving.back_up()
    assert (first.state, first.error_text) == (JobState.DONE, "")
    was = archiving.sandbox.sha256(PROD, HOME, archiving.disk)
    archiving.write(5)
    second = archiving.back_up()
    assert second.result["figures"]["blocks"] == 1
    assert second.result["full"] == []
    now = archiving.sandbox.sha256(PROD, HOME, archiving.disk)
    snapshots = [part.external_id for point in archiving.points(Point.kind == "snapshots") for part in parts_of(point)]
    archiving.sandbox.destroy(PROD, HOME, archiving.disk, *snapshots)
    older, newer = archiving.archives()
    for point, expected in ((older, was), (newer, now)):
        done = archiving.restored(point)
        assert (done.state, done.error_text) == (RestoreState.DONE, "")
        assert archiving.sandbox.sha256(PROD, HOME, volume_of(done)) == expected
    left = archiving.sandbox.state(PROD, HOME)["snapshots"]
    assert not [one for one in left if one not in snapshots]


def parts_of(point: Point) -> list[Part]:
    with session():
        return list(Part.select().where(Part.point == point.id))


def volume_of(restore: Restore) -> str:
    from tasks.catalog import RestoreStep

    with session():
        step = RestoreStep.get(RestoreStep.restore == restore.id, RestoreStep.kind == "create-volume")
        return str(step.outputs["volume_id"])
