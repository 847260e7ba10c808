"""Key slots as operators change them, over the emulated AWS."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Job, Repository, session, transaction
from tasks.secrets import Secret, seal
from tasks.states import JobState
from tests.coordinator.house import MINUTE
from tests.deploy.estate import HOME, PROD, VAULT
from tests.integration.test_repository_pipeline import Archiving, asked, made, restored_hash
from tests.sandbox import Sandbox
from workers.repository.errors import WrongKey
from workers.repository.keys import KeyFile, Passphrase
from workers.repository.repository import open_repository
from workers.repository.s3 import S3Store

FILE = secrets.token_bytes(32)


@pytest.fixture
def archiving(archiving: Archiving) -> Archiving:
    """With its repository."""
    made(archiving)
    return archiving


def keys(house: Archiving, action: str, secret: str = "", **options: str) -> Job:
    """A wish about the keys to its end."""
    sealed = {"key_sealed": seal(house.context.keys, Secret(secret), "repository.slot.cold")} if secret else {}
    number = house.wished("keys", name="cold", action=action, **sealed, **options)["job"]
    house.work(MINUTE)
    with session():
        return Job.get_by_id(number)


def test_keys_are_added_removed_and_exchanged_and_no_other_object_is_written(archiving: Archiving) -> None:
    """feature 82: rotation writes nothing anew; the estate's own slot is only ever exchanged, and no key is told."""
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    store = S3Store(archiving.sandbox.client(VAULT, service="s3"), "cold", "main")
    before = {one.name: one.modified_at for one in store.list("") if not one.name.startswith("keys/")}
    (first,) = keys(archiving, "list").result["slots"]
    assert (first["kind"], first["estate"]) == ("passphrase", True)
    added = keys(archiving, "add", FILE.hex(), how="file")
    assert keys(archiving, "add", FILE.hex(), how="file").result["slot"] == added.result["slot"]
    open_repository(store, KeyFile(FILE))
    refused = keys(archiving, "remove", slot=first["slot"])
    assert (refused.state, "rotate-key" in refused.error_text) == (JobState.FAILED, True)
    rotated = keys(archiving, "rotate", "a newer passphrase", how="passphrase", reference="env:COLD_KEY_2")
    assert (rotated.state, rotated.result["removed"]) == (JobState.DONE, [first["slot"]])
    with session():
        assert Repository.get().spec["key"] == "env:COLD_KEY_2"
    with pytest.raises(WrongKey):
        open_repository(store, Passphrase("a long passphrase"))
    assert asked(archiving, "verify").result["problems"] == 0
    assert keys(archiving, "remove", slot=added.result["slot"]).state == JobState.DONE
    with pytest.raises(WrongKey):
        open_repository(store, KeyFile(FILE))
    assert "There is no key slot" in keys(archiving, "remove", slot="00").error_text
    assert {one.name: one.modified_at for one in store.list("") if not one.name.startswith("keys/")} == before
    with session():
        told = str([(job.spec, job.result, job.error_text) for job in Job.select()])
    assert not [word for word in (FILE.hex(), "a newer passphrase", "a long passphrase") if word in told]


def kms_of(house: Archiving) -> Any:
    """KMS of the repository's account, as its administrator."""
    return house.sandbox.client(VAULT, service="kms")


def create(house: Archiving, **wish: str) -> Job:
    """A wish for the repository to its end."""
    number = house.wished("repository", name="cold", verb="create", **wish)["job"]
    house.work(MINUTE)
    with session():
        return Job.get_by_id(number)


@pytest.fixture
def bare(entered: Sandbox, tmp_path: Path) -> Archiving:
    """A house whose repository was never created."""
    return Archiving(tmp_path, entered)


def test_a_repository_whose_key_never_leaves_kms_is_archived_to_restored_verified_and_pruned_by_workers(
    bare: Archiving,
) -> None:
    """feature 82: no passphrase exists anywhere; a denied key is refused with the reason, and works once allowed."""
    arn = kms_of(bare).create_key()["KeyMetadata"]["Arn"]
    made = create(bare, how="kms", kms_key=arn, reference=arn)
    assert (made.state, made.error_text, made.result["created"]) == (JobState.DONE, "", True)
    with session():
        row = Repository.get()
    assert (row.spec["kms_key"], row.key_sealed, "key" in row.spec) == (arn, "", False)
    bare.protect()
    bare.write(1)
    bare.write(1999)
    assert bare.back_up().state == JobState.DONE
    was = bare.sandbox.fingerprint(PROD, HOME, bare.disk)
    assert asked(bare, "verify", full=True).result["problems"] == 0
    assert asked(bare, "prune").state == JobState.DONE
    assert restored_hash(bare, bare.archives()[0]) == was
    (slot,) = keys(bare, "list").result["slots"]
    assert (slot["kind"], slot["estate"]) == ("service", True)
    kms_of(bare).disable_key(KeyId=arn)
    bare.sandbox.fault("error", operation="Decrypt", code="DisabledException", status=400)
    refused = asked(bare, "verify")
    assert (refused.state, refused.error_code) == (JobState.FAILED, "wrong-key")
    assert "KMS refuses (DisabledException)" in refused.error_text
    assert "kms:Decrypt" in refused.error_text
    bare.sandbox.clear_faults()
    kms_of(bare).enable_key(KeyId=arn)
    assert asked(bare, "verify").result["problems"] == 0


def test_the_key_that_workers_use_is_exchanged_for_one_of_another_kind_and_back(archiving: Archiving) -> None:
    """feature 82: passphrase to KMS, to another key of KMS, to a key file; nothing but slots is ever written."""
    store = S3Store(archiving.sandbox.client(VAULT, service="s3"), "cold", "main")
    archiving.protect()
    archiving.write(1)
    archiving.back_up()
    before = {one.name: one.modified_at for one in store.list("") if not one.name.startswith("keys/")}
    first, second = (kms_of(archiving).create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    for arn in (first, second):
        done = keys(archiving, "rotate", how="kms", kms_key=arn, reference=arn)
        assert (done.state, done.error_text, len(done.result["removed"])) == (JobState.DONE, "", 1)
        assert [slot["kind"] for slot in keys(archiving, "list").result["slots"]] == ["service"]
        assert asked(archiving, "verify").result["problems"] == 0
    again = keys(archiving, "rotate", how="kms", kms_key=second, reference=second)
    assert "the key which the repository has" in again.error_text
    gone = f"{second[:-12]}000000000000"
    denied = keys(archiving, "add", how="kms", kms_key=gone, reference=gone)
    assert (denied.state, denied.error_code) == (JobState.FAILED, "denied")
    assert "kms:Encrypt" in denied.error_text
    done = keys(archiving, "rotate", FILE.hex(), how="file", reference="/safe/cold.key")
    assert (done.state, done.error_text) == (JobState.DONE, "")
    open_repository(store, KeyFile(FILE))
    with session():
        assert Repository.get().spec["key_file"] == "/safe/cold.key"
    archiving.write(2)
    assert archiving.back_up().result["figures"]["blocks"] == 1
    left = {one.name: one.modified_at for one in store.list("") if one.name in before}
    assert left == before


def test_a_key_that_kms_does_not_give_out_creates_nothing(bare: Archiving) -> None:
    """No repository is left behind that nobody could open."""
    gone = f"arn:aws:kms:{HOME}:{VAULT}:key/00000000-0000-0000-0000-000000000000"
    refused = create(bare, how="kms", kms_key=gone, reference=gone)
    assert (refused.state, refused.error_code) == (JobState.FAILED, "denied")
    assert "KMS refuses" in refused.error_text
    store = S3Store(bare.sandbox.client(VAULT, service="s3"), "cold", "main")
    assert list(store.list("")) == []
    with session():
        assert "kms_key" not in Repository.get().spec


def test_s3_encrypts_once_more_under_the_key_that_the_estate_names(bare: Archiving) -> None:
    """feature 82: every object of the repository, and archives come back; without the key nothing is left behind."""
    arn = kms_of(bare).create_key()["KeyMetadata"]["Arn"]
    with transaction():
        row = Repository.get()
        Repository.update(spec={**row.spec, "sse_kms_key": f"{arn[:-12]}000000000000"}).execute()
    store = S3Store(bare.sandbox.client(VAULT, service="s3"), "cold", "main")
    assert asked(bare, "create").state == JobState.FAILED
    assert list(store.list("")) == []
    with transaction():
        Repository.update(spec={**row.spec, "sse_kms_key": arn}).execute()
    assert asked(bare, "create").state == JobState.DONE
    bare.protect()
    bare.write(1)
    assert bare.back_up().state == JobState.DONE
    s3: Any = bare.sandbox.client(VAULT, service="s3")
    heads = [s3.head_object(Bucket="cold", Key=f"main/{one.name}") for one in store.list("")]
    assert {(one["ServerSideEncryption"], one["SSEKMSKeyId"]) for one in heads} == {("aws:kms", arn)}
    assert restored_hash(bare, bare.archives()[0]) == bare.sandbox.fingerprint(PROD, HOME, bare.disk)
