"""A policy's archives over the emulated AWS: coordinator rounds and real handlers, snapshots, a bucket and volumes."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from admin.forecast import why_point
from tasks.catalog import (
    Job,
    Part,
    Point,
    Repository,
    Restore,
    RestoreStep,
    Transfer,
    session,
    transaction,
)
from tasks.clock import FixedClock
from tasks.secrets import Secret, seal
from tasks.states import JobState, PointState, RestoreState
from tests.coordinator.house import HOME, House
from tests.deploy.estate import PROD, VAULT
from tests.sandbox import Sandbox
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.pace import Pace

BLOCK = 512 << 10
AWAY = "eu-west-1"
VOLUMES = {"type": "volume", "region": HOME, "account": "prod"}


class Archiving(House):
    """A house over the sandbox, with one volume of a production account and a bucket of another."""

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        super().__init__(home, clock=FixedClock(datetime.now(UTC).replace(microsecond=0)))
        self.sandbox = sandbox
        driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace(self.context, drivers={"instance": driver, "volume": driver})
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
        self.clean()

    def clean(self) -> None:
        """A retention pass and what it leads to."""
        self.wished("cleanup")
        self.work(timedelta(minutes=1))

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


def test_a_destroyed_volume_comes_back_from_its_archives_byte_for_byte(archiving: Archiving) -> None:
    """feature 82: a policy's archives are incremental, and what EC2 lost is restored from them alone."""
    made(archiving)
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
    return str(outputs(restore, "create-volume")["volume_id"])


class Killed(BaseException):
    """What a worker sees of its own SIGKILL: nothing after it runs, nothing is recorded."""


class Dying:
    """Blocks that take a tenth of a second each, and kill the worker at the n-th read."""

    def __init__(self, blocks: Any, clock: FixedClock, reads: int) -> None:
        self._blocks, self.clock, self.left = blocks, clock, reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)

    def source(self, *where: Any) -> Any:
        source, alive = self._blocks.source(*where), self
        read = source.read

        def dying(ref: Any, into: Any) -> Any:
            alive.left -= 1
            alive.clock.advance(timedelta(milliseconds=100))
            if alive.left < 0:
                raise Killed
            return read(ref, into)

        source.read, source.readers = dying, 1
        return source


def test_an_archive_that_is_cut_into_slices_and_whose_worker_dies_goes_on_where_it_was(archiving: Archiving) -> None:
    """feature 82: another worker reads nothing again that an earlier slice has stored, and all bytes come back."""
    made(archiving)
    archiving.protect()
    for index in range(0, 480, 2):
        archiving.write(index)
    was = archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    archiving.context = replace(archiving.context, slice=timedelta(seconds=5))
    driver = archiving.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Dying(driver.blocks, archiving.clock, reads=150)
    archiving.wished("run", policy="gold")
    with pytest.raises(Killed):
        archiving.work(timedelta(minutes=1))
    driver.blocks = sound
    archiving.sandbox.clear_calls()
    (job,) = archiving.jobs("archive")
    stored = transfer(job).next_block
    assert 200 < stored < 300
    archiving.work(timedelta(minutes=10))
    (job,) = archiving.jobs("archive")
    assert (job.state, job.error_text) == (JobState.DONE, "")
    assert archiving.sandbox.count("GetSnapshotBlock", "ok") == 240 - stored // 2
    (point,) = archiving.archives()
    assert restored_hash(archiving, point) == was


def test_the_snapshot_that_the_next_archive_builds_on_stays_until_that_archive_is_good(archiving: Archiving) -> None:
    """feature 82: retention holds it whatever `generations` says, and `why` names the reason."""
    made(archiving)
    archiving.protect(every=3, keep="90d")
    archiving.write(1)
    archiving.back_up()
    base = archiving.points(Point.kind == "snapshots")[0]
    for _ in range(2):
        archiving.wished("run", policy="gold")
        archiving.work(timedelta(minutes=1))
    archiving.clean()
    (archive,) = archiving.archives()
    assert [job.state for job in archiving.jobs("archive")] == [JobState.DONE]
    kept = archiving.points(Point.kind == "snapshots")
    assert kept[0].id == base.id
    assert len(kept) == 2
    why = why_point(f"rp-{base.id}", archiving.clock.now())
    assert f"the archive after rp-{archive.id}" in why["reasons"][0]["text"]
    archiving.back_up()
    archiving.clean()
    assert base.id not in {point.id for point in archiving.points(Point.kind == "snapshots")}
    assert len(archiving.archives()) == 2


def test_archives_that_outlived_their_own_rule_are_hidden_and_the_last_one_stays(archiving: Archiving) -> None:
    """Archives age by `keep` of the repository block; what is let go is no generation any more."""
    made(archiving)
    archiving.protect(keep="1d")
    archiving.write(1)
    archiving.back_up()
    archiving.write(2)
    archiving.back_up()
    first, second = archiving.archives()
    with transaction():
        for point in (first, second):
            Point.update(taken_at=point.taken_at - timedelta(days=3)).where(Point.id == point.id).execute()
    archiving.clean()
    with session():
        states = {row.id: row.state for row in Point.select().where(Point.kind == "archive")}
    assert states == {first.id: PointState.DELETED, second.id: PointState.GOOD}
    found = asked(archiving, "stats")
    assert found.result["generations"] == 1
    assert restored_hash(archiving, second) == archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)


def test_a_verification_names_what_is_missing_and_passes_a_sound_repository(archiving: Archiving) -> None:
    """feature C13: a repository says by itself what is damaged, and which object."""
    made(archiving)
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    assert asked(archiving, "verify", full=True).result["problems"] == 0
    s3 = archiving.sandbox.client(VAULT, service="s3")
    packs = s3.list_objects_v2(Bucket="cold", Prefix="main/packs/")["Contents"]
    s3.delete_object(Bucket="cold", Key=packs[0]["Key"])
    found = asked(archiving, "verify").result
    assert found["problems"] >= 1
    assert any("missing" in line for line in found["told"])


def test_a_long_verification_goes_on_message_by_message_and_reads_every_pack_once(archiving: Archiving) -> None:
    """feature C13: a full one of many terabytes is cut into turns; each message does at least one."""
    made(archiving)
    archiving.protect()
    for _ in range(3):
        archiving.write(1)
        archiving.back_up()
    archiving.context = replace(archiving.context, slice=timedelta(0))
    number = archiving.wished("repository", name="cold", verb="verify", full=True)["job"]
    with transaction():
        job = Job.get_by_id(number)
        Job.update(spec={**job.spec, "going": {"next": 0, "turns": 4, "sums": {}}}).where(Job.id == number).execute()
    archiving.work(timedelta(minutes=1))
    with session():
        job = Job.get_by_id(number)
    assert (job.state, job.spec["going"]["next"], job.fence) == (JobState.DONE, 3, 4)
    assert job.result["read_packs"] == job.result["packs"] > 0


def test_what_cannot_be_opened_is_refused_in_words(archiving: Archiving) -> None:
    """feature 79: a newer version, a wrong key, a place that is empty or another program's: nothing is written."""
    made(archiving)
    s3 = archiving.sandbox.client(VAULT, service="s3")
    archiving.repository("cold", "another passphrase")
    assert asked(archiving, "stats").error_code == "wrong-key"
    assert asked(archiving, "create").error_code == "wrong-key"
    archiving.repository("cold", "a long passphrase", "s3://cold/elsewhere")
    empty = asked(archiving, "stats")
    assert (empty.error_code, "snapfleet repository create cold" in empty.error_text) == ("object-missing", True)
    s3.put_object(Bucket="cold", Key="elsewhere/repository.json", Body=b'{"format": "restic"}')
    assert "another program" in asked(archiving, "create").error_text
    body = s3.get_object(Bucket="cold", Key="main/repository.json")["Body"].read().decode()
    newer = body.replace('"version": 1', '"version": 99')
    assert newer != body
    s3.put_object(Bucket="cold", Key="main/repository.json", Body=newer.encode())
    archiving.repository("cold", "a long passphrase")
    assert asked(archiving, "stats").error_code == "newer-version"
    archiving.repository("cold", "a long passphrase", "s3://nobody/has/this")
    assert asked(archiving, "create").state == JobState.FAILED


def test_a_whole_instance_comes_back_from_the_repository_and_a_volume_of_it_in_another_account(
    archiving: Archiving,
) -> None:
    """feature 82: nothing temporary is left where it was restored, and the other account needs no copy of its own."""
    made(archiving)
    sandbox = archiving.sandbox
    machine = sandbox.machine(PROD)["InstanceId"]
    disks = sandbox.instance(PROD, HOME, machine)["volumes"]
    for number, disk in enumerate(disks.values()):
        sandbox.write(PROD, HOME, disk, (number + 3) * BLOCK, os.urandom(BLOCK))
    archiving.policy("gold", targets=[instance_of(machine)], generations=3, repository={"name": "cold"})
    archiving.back_up()
    was = sorted(sandbox.fingerprint(PROD, HOME, disk) for disk in disks.values())
    (point,) = archiving.archives()
    snapshots = [part.external_id for one in archiving.points(Point.kind == "snapshots") for part in parts_of(one)]
    sandbox.destroy(PROD, HOME, *disks.values(), machine, *snapshots)
    done = archiving.restored(point, kind="instance")
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    new = outputs(done, "run-instance")["volumes"]
    assert sorted(sandbox.fingerprint(PROD, HOME, disk) for disk in new.values()) == was
    far = archiving.restored(point, account="vault", region=AWAY, zone=f"{AWAY}a", volumes=["/dev/sdf"])
    assert (far.state, far.error_text) == (RestoreState.DONE, "")
    assert sandbox.fingerprint(VAULT, AWAY, volume_of(far)) == sandbox.fingerprint(PROD, HOME, new["/dev/sdf"])
    assert sandbox.state(VAULT, AWAY)["snapshots"] == []


def test_a_restore_whose_worker_dies_among_its_blocks_goes_on_in_the_same_snapshot(archiving: Archiving) -> None:
    """What was written before is written again, counted once, and nothing is left over."""
    made(archiving)
    archiving.protect()
    for index in range(8):
        archiving.write(index)
    archiving.back_up()
    driver = archiving.context.drivers["volume"]
    sound, driver.blocks = driver.blocks, Stopping(driver.blocks, writes=5)
    number = archiving.wished("restore", point=archiving.archives()[0].id, request={"kind": "volume"})["restore"]
    with pytest.raises(Killed):
        archiving.work(timedelta(minutes=1))
    driver.blocks = sound
    archiving.work(timedelta(minutes=6))
    with session():
        done = Restore.get_by_id(number)
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    assert archiving.sandbox.count("StartSnapshot", "ok") == 1
    was = archiving.sandbox.fingerprint(PROD, HOME, archiving.disk)
    assert archiving.sandbox.fingerprint(PROD, HOME, volume_of(done)) == was


class Stopping:
    """Blocks that kill the worker at the n-th write."""

    def __init__(self, blocks: Any, writes: int) -> None:
        self._blocks, self.left = blocks, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blocks, name)

    def sink(self, *where: Any) -> Any:
        sink, alive = self._blocks.sink(*where), self
        write = sink.write

        def stopping(*block: Any) -> None:
            alive.left -= 1
            if alive.left < 0:
                raise Killed
            write(*block)

        sink.write = stopping
        return sink


def test_a_restore_from_a_repository_that_fails_leaves_nothing(archiving: Archiving) -> None:
    """The snapshot that was half written is taken back."""
    made(archiving)
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    s3 = archiving.sandbox.client(VAULT, service="s3")
    for pack in s3.list_objects_v2(Bucket="cold", Prefix="main/packs/")["Contents"]:
        s3.delete_object(Bucket="cold", Key=pack["Key"])
    before = archiving.sandbox.state(PROD, HOME)["snapshots"]
    done = archiving.restored(archiving.archives()[0])
    assert (done.state, done.error_code) == (RestoreState.FAILED, "object-missing")
    assert archiving.sandbox.state(PROD, HOME)["snapshots"] == before


def instance_of(machine: str) -> dict[str, str]:
    return {"type": "instance", "id": machine, "region": HOME, "account": "prod"}


def outputs(restore: Restore, kind: str) -> dict[str, Any]:
    """What a step of a restore made known."""
    with session():
        step = RestoreStep.get(RestoreStep.restore == restore.id, RestoreStep.kind == kind)
        return dict(step.outputs)


def made(archiving: Archiving) -> None:
    """Create the repository as an operator would."""
    assert asked(archiving, "create").state == JobState.DONE


def asked(archiving: Archiving, verb: str, **options: Any) -> Job:
    """What became of a wish about the repository."""
    number = archiving.wished("repository", name="cold", verb=verb, **options)["job"]
    archiving.work(timedelta(seconds=40))
    with session():
        return Job.get_by_id(number)


def test_restores_and_verifications_count_the_bytes_that_they_move(archiving: Archiving) -> None:
    """feature 82: how far each is, in bytes of the whole task and in bytes that had to be moved."""
    made(archiving)
    archiving.protect()
    for index in (0, 2047):
        archiving.write(index)
    archiving.back_up()
    restored_hash(archiving, archiving.archives()[0])
    at = archiving.clock.timer()
    with session():
        job = next(row for row in Job.select().where(Job.kind == "restore-step") if "repository" in row.spec["params"])
    far = archiving.context.meters.told(job, at)["progress"]
    assert (far["done"], far["total"], far["moved"]) == (1 << 30, 1 << 30, 2 * BLOCK)
    done = asked(archiving, "verify", full=True)
    far = archiving.context.meters.told(done, at)["progress"]
    assert far["done"] == far["total"] == far["moved"] == done.result["read_bytes"] > 2 * BLOCK


def transfer(job: Job) -> Transfer:
    with session():
        return Transfer.get(Transfer.job == job.id)


def restored_hash(archiving: Archiving, point: Point) -> str:
    """What a volume that was restored from this point alone holds."""
    done = archiving.restored(point)
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    return archiving.sandbox.fingerprint(PROD, HOME, volume_of(done))
