"""Deleting a repository as operators ask for it, over the emulated AWS."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tasks.catalog import Job, Point, Policy, Repository, Request, session, transaction
from tasks.states import JobState, PointState, RequestState
from tests.deploy.estate import VAULT
from tests.integration.test_repository_pipeline import HOME, Archiving, Killed, asked, made
from workers.aws.ec2 import Ec2Driver
from workers.aws.session import Sessions
from workers.pace import Pace
from workers.repository.s3 import S3Store

URL = "s3://cold/main"
PLACE = {"url": URL, "account": "vault", "region": HOME}


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository, and objects of somebody else in the bucket."""
    made(archiving)
    s3(archiving).put_object(Bucket="cold", Key="main/notes.txt", Body=b"somebody's")
    s3(archiving).put_object(Bucket="cold", Key="mainly/packs", Body=b"beside it")
    return archiving


def s3(house: Archiving) -> Any:
    return house.sandbox.client(VAULT, service="s3")


def objects(house: Archiving) -> set[str]:
    return {one["Key"] for one in s3(house).list_objects_v2(Bucket="cold").get("Contents", ())}


def deletion(house: Archiving, **wish: Any) -> Job:
    """What became of a wish."""
    number = house.wished("delete", **wish)["job"]
    house.work(timedelta(seconds=40))
    with session():
        return Job.get_by_id(number)


def refused(house: Archiving, **wish: Any) -> str:
    row: Request = house.wish("delete", **wish)
    assert row.state == RequestState.REFUSED
    return str(row.error_text)


def archived(house: Archiving) -> None:
    """One archive."""
    house.protect(keep="90d")
    house.write(1)
    house.back_up()


def let_go(house: Archiving) -> None:
    """As `apply` and retention leave it."""
    with transaction():
        Policy.update(deleted_at=house.clock.now()).execute()
        Point.update(state=PointState.DELETED, expire_code="outlived").where(Point.kind == "archive").execute()
        Job.update(state=JobState.DONE, finished_at=house.clock.timer()).where(Job.state != JobState.DONE).execute()


def test_a_repository_that_is_needed_is_not_even_looked_at(archiving: Archiving) -> None:
    """feature 84: by its name or its address, however that is written."""
    archived(archiving)
    held = "holds 1 recovery points"
    for wish in ({"name": "cold"}, PLACE, {**PLACE, "url": "s3://cold//main/"}):
        assert held in refused(archiving, **wish, confirm=URL)
    with transaction():
        Point.update(state=PointState.DELETED, expire_code="outlived").where(Point.kind == "archive").execute()
    assert "The policy gold archives into cold" in refused(archiving, name="cold")
    let_go(archiving)
    with transaction():
        Job.update(state=JobState.RUNNING).where(Job.kind == "archive").execute()
    assert "Work is under way" in refused(archiving, name="cold")
    let_go(archiving)
    before = objects(archiving)
    assert "is not its address" in refused(archiving, name="cold", confirm="s3://cold/mai")
    assert "--account is needed" in refused(archiving, url="s3://cold/legacy")
    assert "named by --path" in refused(archiving, name="warm")
    assert objects(archiving) == before


def test_a_repository_of_the_estate_is_shown_then_deleted_and_can_be_created_again(archiving: Archiving) -> None:
    """feature 84: a foreign object survives and is named."""
    archived(archiving)
    let_go(archiving)
    arn = archiving.sandbox.client(VAULT, service="kms").create_key()["KeyMetadata"]["Arn"]
    with transaction():
        row = Repository.get()
        Repository.update(spec={**row.spec, "sse_kms_key": arn}).execute()
    before = objects(archiving)
    seen = deletion(archiving, name="cold").result
    assert (seen["deleted"], seen["generations"], seen["blocked"], seen["told"]) == (False, 1, "", ["notes.txt"])
    assert objects(archiving) == before
    done = deletion(archiving, name="cold", confirm=URL)
    assert (done.state, done.error_text) == (JobState.DONE, "")
    assert (done.result["deleted"], done.result["problems"]) == (True, 0)
    assert (done.result["objects"], done.result["bytes"]) == (seen["objects"], seen["bytes"])
    assert objects(archiving) == {"main/notes.txt", "mainly/packs"}
    probe = archiving.sandbox.calls("PutObject")[-1]["parameters"]  # buckets may demand the key of every write
    assert (probe["Key"].startswith("main/probe/"), probe["SSEKMSKeyId"]) == (True, arn)
    with session():
        assert list(Repository.get(Repository.name == "cold").facts) == ["delete"]
    assert deletion(archiving, name="cold", confirm=URL).error_code == "no-repository"
    assert asked(archiving, "create").result["created"] is True


class Dying:
    """A store that kills its worker at the n-th deletion."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
        sound = S3Store.delete

        def delete(store: S3Store, names: Iterable[str]) -> dict[str, str]:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return sound(store, names)

        self.left = left
        monkeypatch.setattr(S3Store, "delete", delete)


def test_one_that_the_catalog_does_not_know_goes_without_its_key_and_after_a_kill_in_the_middle(
    archiving: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """feature 84: only when nothing was written for the grace, as nobody can read its leases."""
    archived(archiving)
    let_go(archiving)
    with transaction():
        Repository.delete().execute()
    fresh = deletion(archiving, **PLACE)
    assert "nobody here can read" in fresh.result["blocked"]
    assert deletion(archiving, **PLACE, confirm=URL).error_text.startswith("It was written to")
    archiving.context = replace(archiving.context, settings=replace(archiving.settings, grace_seconds=0))
    death = Dying(monkeypatch, left=4)  # the clock's probe, the keys, the leases, the manifests
    number = archiving.wished("delete", **PLACE, confirm=URL)["job"]
    with pytest.raises(Killed):
        archiving.work(timedelta(minutes=1))
    left = objects(archiving)
    assert "main/repository.json" in left
    assert not [name for name in left if name.startswith(("main/keys/", "main/leases/", "main/generations/"))]
    assert [name for name in left if name.startswith("main/packs/")]
    death.left = 10**9
    archiving.work(timedelta(minutes=20))
    with session():
        job = Job.get_by_id(number)
    assert (job.state, job.error_text, job.result["deleted"]) == (JobState.DONE, "", True)
    assert objects(archiving) == {"main/notes.txt", "mainly/packs"}


def locked_keys(house: Archiving) -> set[str]:
    """What lies in the bucket with Object Lock."""
    return {one["Key"] for one in s3(house).list_objects_v2(Bucket="locked")["Contents"]}


def lacking(house: Archiving, *denied: str) -> None:
    """The repository's role may not do these, from its next session on."""
    arn = f"arn:aws:iam::{VAULT}:role/snapfleet-dr"
    house.sandbox.role(arn, external_id="vault-external-id", denied=list(denied))
    driver = Ec2Driver(Sessions(), Pace(floor=timedelta(0), guard=timedelta(0), clock=house.clock))
    house.context = replace(house.context, drivers={"instance": driver, "volume": driver})


def test_object_lock_is_told_with_its_end(archiving: Archiving) -> None:
    """feature 84: nothing goes while the last lock holds, nor where the role may not read locks (feature C20)."""
    s3(archiving).create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    archiving.repository("cold", "a long passphrase", "s3://locked/main")
    assert asked(archiving, "create").state == JobState.DONE
    until = archiving.clock.now() + timedelta(days=9)
    key = s3(archiving).list_objects_v2(Bucket="locked", Prefix="main/keys/")["Contents"][0]["Key"]
    lock = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    s3(archiving).put_object_retention(Bucket="locked", Key=key, Retention=lock)
    wish = {"name": "cold", "confirm": "s3://locked/main"}
    before = locked_keys(archiving)
    lacking(archiving, "s3:GetObjectRetention")
    blind = deletion(archiving, **wish)
    assert (blind.state, "Allow s3:GetObjectRetention" in blind.error_text) == (JobState.FAILED, True)
    assert locked_keys(archiving) == before
    lacking(archiving)
    held = deletion(archiving, **wish)
    assert (held.state, f"until {until:%Y-%m-%d %H:%M}" in held.error_text) == (JobState.FAILED, True)
    archiving.clock.advance(timedelta(days=10))
    assert "clock is 10 days" in deletion(archiving, **wish).error_text  # the emulation's did not go on
