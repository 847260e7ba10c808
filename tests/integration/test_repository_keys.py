"""Key slots as operators change them, over the emulated AWS."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog import Job, Repository, close_catalog, open_catalog, session
from tasks.secrets import Secret, seal
from tasks.states import JobState
from tests.coordinator.house import MINUTE
from tests.deploy.estate import VAULT
from tests.integration.test_repository_pipeline import Archiving, asked, made
from tests.sandbox import Sandbox
from workers.repository.errors import WrongKey
from workers.repository.keys import KeyFile, Passphrase
from workers.repository.repository import open_repository
from workers.repository.s3 import S3Store

FILE = secrets.token_bytes(32)


@pytest.fixture
def archiving(
    sandbox: Sandbox, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archiving]:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_catalog(sqlite_url)
    house = Archiving(tmp_path, sandbox)
    made(house)
    yield house
    close_catalog()


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
    rotated = keys(archiving, "rotate", "a newer passphrase", reference="env:COLD_KEY_2")
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
