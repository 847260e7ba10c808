"""A catalog that was lost is written anew from a repository's bucket and key, over the emulated AWS."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import (
    Account,
    Job,
    Meta,
    Point,
    Repository,
    Resource,
    Restore,
    close_catalog,
    open_catalog,
    session,
    transaction,
)
from tasks.secrets import Secret, seal
from tasks.states import JobState, RequestState, RestoreState
from tests.coordinator.house import House
from tests.deploy.estate import PROD, VAULT
from tests.integration.test_repository_pipeline import (
    BLOCK,
    HOME,
    VOLUMES,
    Archiving,
    instance_of,
    made,
    outputs,
    parts_of,
    volume_of,
)
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.pace import Pace
from workers.repositories import open_place, place_of
from workers.repository.generations import manifest_name, read_index
from workers.repository.prune import hide

URL = "s3://cold/main"
KEY = "a long passphrase"


class Adopting(Archiving):
    """A new house over the same cloud, with the same accounts and no repository, as after the catalog was lost."""

    def __init__(self, home: Path, old: Archiving) -> None:
        House.__init__(self, home, clock=old.clock)
        self.sandbox, self.ec2, self.disk = old.sandbox, old.ec2, old.disk
        driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=self.clock))
        self.context = replace(self.context, drivers={"instance": driver, "volume": driver}, installation="inst-2")
        with transaction():
            Meta.update(value="inst-2").where(Meta.key == "installation").execute()
        for name, number, role in (("prod", PROD, "snapfleet"), ("vault", VAULT, "snapfleet-dr")):
            sealed = seal(self.context.keys, Secret(f"{name}-external-id"), f"account.external_id.{name}")
            arn = f"arn:aws:iam::{number}:role/{role}"
            self.account(name, regions=(HOME,), number=number, role_arn=arn, external_id_sealed=sealed)

    def adopt(self, key: str = KEY, name: str = "found", how: str = "passphrase", **wish: Any) -> Job:
        """A wish with a key (or none: '') to its end; its job."""
        sealed = seal(self.context.keys, Secret(key), f"repository.slot.{name}")
        brings = {"how": how, "key_sealed": sealed, "reference": "env:K"} if key else {}
        given = {"name": name, "account": "vault", "region": HOME, **brings}
        number = self.wished("adopt", **{"url": URL, **given, **wish})["job"]
        self.work(timedelta(minutes=1))
        with session():
            return Job.get_by_id(number)


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository."""
    made(archiving)
    return archiving


@pytest.fixture
def after_the_loss(archiving: Archiving, sqlite_template: Path, tmp_path: Path) -> Callable[[], Adopting]:
    """Lose the catalog: a call gives a house with an empty one."""

    def lose() -> Adopting:
        close_catalog()
        shutil.copy(sqlite_template, tmp_path / "second.sqlite")
        open_catalog(f"sqlite://{tmp_path / 'second.sqlite'}")
        return Adopting(tmp_path, archiving)

    return lose


Lose = Callable[[], Adopting]


def test_a_lost_catalog_is_written_anew_from_the_bucket_and_what_ec2_lost_is_restored(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature 82: a machine and a volume come back byte for byte; a dry run writes nothing, and twice is as once."""
    sandbox = archiving.sandbox
    machine = sandbox.machine(PROD)["InstanceId"]
    disks = list(sandbox.instance(PROD, HOME, machine)["volumes"].values())
    archiving.protect(keep="90d")
    hashes = []
    for index in (0, 2047):
        archiving.write(index)
        archiving.back_up()
        hashes.append(sandbox.fingerprint(PROD, HOME, archiving.disk))
    for number, disk in enumerate(disks):
        sandbox.write(PROD, HOME, disk, (number + 3) * BLOCK, os.urandom(BLOCK))
    was = sorted(sandbox.fingerprint(PROD, HOME, disk) for disk in disks)
    archiving.policy("silver", targets=[instance_of(machine)], generations=3, repository={"name": "cold"})
    archiving.wished("run", policy="silver")
    archiving.work(timedelta(minutes=1))
    before = [_told(point) for point in archiving.archives()]
    sandbox.destroy(PROD, HOME, archiving.disk, *disks, machine, *sandbox.state(PROD, HOME)["snapshots"])
    house = after_the_loss()
    seen = house.adopt(dry_run=True)
    assert (seen.state, seen.error_text, seen.result["points"]) == (JobState.DONE, "", 3)
    assert (house.archives(), _repositories()) == ([], [])
    done = house.adopt()
    assert (done.result["points"], done.result["skipped"], done.result["resources"]) == (3, 0, 2)
    assert _repositories() == ["found"]
    assert [_told(point) for point in house.archives()] == before
    again = house.adopt()
    assert (again.result["points"], again.result["already"], len(house.archives())) == (0, 4, 3)
    older, newer, whole = house.archives()
    for point, expected in ((older, hashes[0]), (newer, hashes[1])):
        assert sandbox.fingerprint(PROD, HOME, volume_of(_good(house, point))) == expected
    new = outputs(_good(house, whole, kind="instance"), "run-instance")["volumes"]
    assert sorted(sandbox.fingerprint(PROD, HOME, disk) for disk in new.values()) == was
    house.clock.advance(timedelta(days=2000))
    house.clean()
    assert len(house.archives()) == 3


def _told(point: Point) -> tuple[Any, ...]:
    """What must be the same in any catalog."""
    parts = sorted((part.external_id, part.source_id, part.device, part.size_gib) for part in parts_of(point))
    with session():
        resource = Resource.get_by_id(point.resource_id)
    return point.taken_at, point.size_gib, point.consistency, resource.external_id, resource.type, parts


def _repositories() -> list[str]:
    with session():
        return [row.name for row in Repository.select()]


def _good(house: Adopting, point: Point, **request: Any) -> Restore:
    done = house.restored(point, **request)
    assert (done.state, done.error_text) == (RestoreState.DONE, "")
    return done


def test_points_of_a_policy_that_the_estate_still_has_age_by_it_and_the_next_archive_builds_on_them(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature 82: where the snapshot is still there, what changed since is enough."""
    archiving.protect()
    for index in (1, 2):
        archiving.write(index)
    archiving.back_up()
    house = after_the_loss()
    policy = house.policy("gold", targets=[{**VOLUMES, "id": house.disk}], generations=1, repository={"name": "found"})
    house.adopt()
    assert [point.policy_id for point in house.archives()] == [policy.id]
    house.write(5)
    job = house.back_up()
    assert (job.state, job.result["full"], job.result["figures"]["blocks"]) == (JobState.DONE, [], 1)


def test_what_cannot_be_taken_over_is_told_and_taken_over_once_it_can(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """An account that is not in the estate, a point of which a volume is missing. A policy that names another
    repository lets nothing go here."""
    machine = archiving.sandbox.machine(PROD)["InstanceId"]
    archiving.policy("gold", targets=[instance_of(machine)], generations=3, repository={"name": "cold"})
    archiving.back_up()
    archiving.wished("run", policy="gold")
    archiving.work(timedelta(minutes=1))
    repository = open_place(archiving.context, _place(archiving))
    first, *_ = read_index(repository).generations
    hide(repository, manifest_name(repository, first), "expired")
    house = after_the_loss()
    with transaction():
        Account.update(name="production").where(Account.name == "prod").execute()
    found = house.adopt().result
    assert (found["points"], found["skipped"]) == (0, 2)
    assert any("no account 'prod'" in line for line in found["told"])
    assert any("1 of 2 volumes are not there" in line for line in found["told"])
    with transaction():
        Account.update(name="prod").where(Account.name == "production").execute()
    policy = house.policy("gold", targets=[instance_of(machine)], generations=3, repository={"name": "other"})
    assert house.adopt().result["points"] == 1
    assert [point.policy_id for point in house.archives()] != [policy.id]


def test_a_generation_whose_lease_is_gone_is_told_and_adopted_after_a_repair(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature C13: with the bucket alone nobody else would know that there was another one."""
    archiving.protect(keep="90d")
    for index in (1, 2):
        archiving.write(index)
        archiving.back_up()
    lost = parts_of(archiving.archives()[-1])[0].external_id
    archiving.sandbox.client(VAULT, service="s3").delete_object(Bucket="cold", Key=f"main/leases/{lost}")
    house = after_the_loss()
    found = house.adopt().result
    assert (found["points"], found["skipped"]) == (1, 1)
    assert "Repair the repository, and adopt it again" in found["told"][0]
    house.wished("repository", name="found", verb="repair")
    house.work(timedelta(minutes=1))
    again = house.adopt().result
    assert (again["points"], again["skipped"], again["already"]) == (1, 0, 1)
    assert [parts_of(point)[0].external_id for point in house.archives()][-1] == lost


def _place(house: Archiving) -> Any:
    with session():
        return place_of(house.context, "cold")


def test_a_wrong_key_a_foreign_place_a_newer_version_and_a_place_without_a_name_are_refused(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature 79: with the reason, and nothing is written."""
    house = after_the_loss()
    assert house.adopt("another passphrase").error_code == "wrong-key"
    assert house.adopt(url="s3://cold/elsewhere").error_code == "object-missing"
    s3 = house.sandbox.client(VAULT, service="s3")
    s3.put_object(Bucket="cold", Key="elsewhere/repository.json", Body=b'{"format": "restic"}')
    assert "another program" in house.adopt(url="s3://cold/elsewhere").error_text
    body = s3.get_object(Bucket="cold", Key="main/repository.json")["Body"].read().decode()
    s3.put_object(
        Bucket="cold", Key="main/repository.json", Body=body.replace('"version": 1', '"version": 99').encode()
    )
    assert house.adopt().error_code == "newer-version"
    row = house.wish("adopt", url=URL)
    assert (row.state, "--name is needed" in row.error_text) == (RequestState.REFUSED, True)
    assert (house.archives(), _repositories()) == ([], [])


def keys(house: Archiving, secret: str = "", **wish: str) -> Job:
    """Exchange the key of the repository; the job."""
    sealed = {"key_sealed": seal(house.context.keys, Secret(secret), "repository.slot.cold")} if secret else {}
    number = house.wished("keys", name="cold", **sealed, **wish)["job"]
    house.work(timedelta(minutes=1))
    with session():
        return Job.get_by_id(number)


def test_an_operator_who_lost_the_catalog_adopts_with_a_key_file_or_by_kms_and_is_told_which_it_takes(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature 82: the bucket's own slots say what opens it; where KMS does, nothing has to be known."""
    archiving.protect(keep="90d")
    archiving.write(1)
    archiving.back_up()
    file = os.urandom(32).hex()
    assert keys(archiving, file, action="rotate", how="file", reference="/safe/cold.key").state == JobState.DONE
    house = after_the_loss()
    for refused in (house.adopt(""), house.adopt(KEY)):
        assert (refused.state, refused.error_code) == (JobState.FAILED, "wrong-key")
        assert "It opens by a key file (--key-file PATH)." in refused.error_text
    assert _repositories() == []
    done = house.adopt(file, how="file", reference="/safe/cold.key")
    assert (done.error_text, done.result["points"], done.result["opened_by"]) == ("", 1, "file")
    with session():
        row = Repository.get()
    assert (row.spec["key_file"], "key" in row.spec, file in str(row.spec)) == ("/safe/cold.key", False, False)
    assert _sound(house, "found")


def _sound(house: Adopting, name: str) -> bool:
    """Whether workers open the repository by what the catalog has now, and find every byte."""
    number = house.wished("repository", name=name, verb="verify", full=True)["job"]
    house.work(timedelta(minutes=1))
    with session():
        job = Job.get_by_id(number)
    return bool(job.state == JobState.DONE and job.result["problems"] == 0)


def test_a_repository_that_kms_opens_is_adopted_without_any_key_and_a_refusal_of_kms_names_the_other_ways(
    archiving: Archiving, after_the_loss: Lose
) -> None:
    """feature 82: what KMS encrypted names its key; workers use that from then on."""
    archiving.protect(keep="90d")
    archiving.write(1)
    archiving.back_up()
    arn = archiving.sandbox.client(VAULT, service="kms").create_key()["KeyMetadata"]["Arn"]
    assert keys(archiving, action="add", how="kms", kms_key=arn, reference=arn).state == JobState.DONE
    house = after_the_loss()
    house.sandbox.fault("error", operation="Decrypt", code="DisabledException", status=400)
    refused = house.adopt("")
    assert "KMS refuses (DisabledException)" in refused.error_text
    assert "It opens by a passphrase (--key env:NAME) or a key of AWS KMS" in refused.error_text
    house.sandbox.clear_faults()
    house.sandbox.client(VAULT, service="s3").delete_object(Bucket="cold", Key="main/repository.json")
    done = house.adopt("")
    assert (done.error_text, done.result["points"], done.result["opened_by"]) == ("", 1, "service")
    with session():
        row = Repository.get()
    assert (row.spec["kms_key"], row.key_sealed) == (arn, "")
    assert not _sound(house, "found")
    house.wished("repository", name="found", verb="repair")
    house.work(timedelta(minutes=1))
    assert _sound(house, "found")
    assert house.adopt("").result["already"] == 1
    assert house.adopt(KEY).result["opened_by"] == "passphrase"
    with session():
        assert "kms_key" not in Repository.get().spec
    row = house.wish("adopt", url=URL, name="another", how="kms", kms_key=arn, reference=arn)
    assert (row.state, "--name found" in row.error_text) == (RequestState.REFUSED, True)
