"""Archives that are restored into files of a worker's folder, over the emulated AWS."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import Creation, Job, Point, Process, Restore, RestoreStep, session, transaction
from tasks.crash import listen
from tasks.states import RestoreState
from tests.deploy.estate import PROD, VAULT
from tests.integration.test_repository_pipeline import (
    BLOCK,
    HOME,
    Archiving,
    Killed,
    instance_of,
    made,
    outputs,
)
from tests.scenario.archiving import Fingerprint
from workers.handlers import fetch, filing
from workers.repository.source import FileSource

MINUTE = timedelta(minutes=1)


class Dying:
    """Kills whoever comes by a crash point for the nth time."""

    def __init__(self, point: str, nth: int) -> None:
        self._point, self._left = point, nth

    def __call__(self, name: str) -> None:
        self._left -= name == self._point
        if name == self._point and self._left == 0:
            raise Killed


@pytest.fixture
def folder(archiving: Archiving, tmp_path: Path) -> Path:
    """The folder of the first host's workers, beside a repository."""
    made(archiving)
    own = tmp_path / "restored"
    own.mkdir()
    stand_at(archiving, "host", own)
    return own


@pytest.fixture
def archived(archiving: Archiving, folder: Path) -> Archiving:
    """The same with an archive of one volume."""
    archiving.protect()
    for index in (0, 1, 700, 2047):
        archiving.write(index)
    archiving.back_up()
    return archiving


def stand_at(house: Archiving, host: str, folder: Path | None) -> None:
    """The next messages are for a worker of this host."""
    setting = replace(house.context.settings, restore_folder=str(folder or ""))
    house.context = replace(house.context, settings=setting, owner=f"{host}:1:worker")


def wished(house: Archiving, **request: Any) -> int:
    point = house.archives()[-1].id
    return int(house.wished("restore", point=point, request={"kind": "file", **request})["restore"])


def ended(number: int) -> Restore:
    with session():
        return Restore.get_by_id(number)


def image(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def content(path: Path) -> str:
    """What a file holds, as the sandbox fingerprints a volume; holes are zeros, and are not read."""
    source, found = FileSource(path), Fingerprint(path.stat().st_size)
    into = memoryview(bytearray(BLOCK))
    for ref in source.blocks(0, source.size // BLOCK):
        source.read(ref, into)
        if any(into):
            found.write(ref.index, into, b"")
    source.close()
    return found.text()


def content_of_volume(house: Archiving, volume: str = "") -> str:
    return house.sandbox.fingerprint(PROD, HOME, volume or house.disk)


def test_an_archive_comes_back_as_sparse_files_byte_for_byte(archiving: Archiving, folder: Path) -> None:
    """feature 82: one file for each volume, private, named by ids; the result says on which host and where."""
    machine = archiving.sandbox.machine(PROD)["InstanceId"]
    disks = archiving.sandbox.instance(PROD, HOME, machine)["volumes"]
    for number, disk in enumerate(disks.values()):
        archiving.sandbox.write(PROD, HOME, disk, (number + 3) * BLOCK, os.urandom(BLOCK))
    archiving.policy("gold", targets=[instance_of(machine)], generations=1, repository={"name": "cold"})
    archiving.back_up()
    before = archiving.sandbox.state(PROD, HOME)
    number = wished(archiving)
    archiving.work(2 * MINUTE)
    assert (ended(number).state, ended(number).error_text) == (RestoreState.DONE, "")
    files = sorted(folder.iterdir())
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in files)
    assert archiving.sandbox.state(PROD, HOME) == before
    with session():
        steps = list(RestoreStep.select().where(RestoreStep.restore == number).order_by(RestoreStep.number))
    volumes = [step.params["volume"] for step in steps]
    assert sorted(volumes) == sorted(disks.values())
    assert [content(one) for one in files] == [content_of_volume(archiving, volume) for volume in volumes]
    assert [step.outputs["file"] for step in steps] == [f"host:{one}" for one in files]
    sizes = [one.stat().st_size for one in files]
    assert [step.outputs["bytes"] for step in steps] == sizes == [step.params["size_gib"] << 30 for step in steps]


def test_a_worker_without_a_folder_or_without_room_refuses_with_what_to_do(
    archived: Archiving, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for and nothing is left."""
    stand_at(archived, "host", None)
    number = wished(archived)
    archived.work(MINUTE)
    assert (ended(number).state, ended(number).error_code) == (RestoreState.FAILED, "no-restore-folder")
    assert "SNAPFLEET_RESTORE_FOLDER" in ended(number).error_text
    stand_at(archived, "host", folder)
    room = os.statvfs(folder)
    full = os.statvfs_result((*room[:4], 3 * BLOCK // room.f_frsize, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    number = wished(archived)
    archived.work(MINUTE)
    assert (ended(number).error_code, "0.00 GiB are free" in ended(number).error_text) == ("no-space", True)
    assert not list(folder.iterdir())
    enough = os.statvfs_result((*room[:4], 4 * BLOCK // room.f_frsize, *room[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: enough)
    number = wished(archived)
    archived.work(2 * MINUTE)
    assert (ended(number).state, ended(number).error_text) == (RestoreState.DONE, "")


def test_workers_that_die_leave_no_file_that_looks_whole_and_the_next_one_goes_on(
    archived: Archiving, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """feature 82: at the beginning, among the blocks, before the name is noted: what was noted is not read again."""
    monkeypatch.setattr(fetch, "RANGE", 512)
    number = wished(archived)
    for point, passes, whole in (("fetch.begun", 1, False), ("fetch.written", 2, False), ("fetch.completed", 1, True)):
        listen(Dying(point, passes))
        with pytest.raises(Killed):
            archived.work(6 * MINUTE, MINUTE)
        listen(None)
        assert image(folder).name.endswith(".img" if whole else ".img.partial")
    archived.work(6 * MINUTE, MINUTE)
    assert (ended(number).state, ended(number).error_text) == (RestoreState.DONE, "")
    assert content(image(folder)) == content_of_volume(archived)
    with session():
        assert Creation.select().where(Creation.restore == number).count() == 1


def test_another_hosts_worker_leaves_a_file_to_the_host_that_has_it_while_that_lives(
    archived: Archiving, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it begins anew in its own folder; and a host that comes back never goes on with what it had itself."""
    monkeypatch.setattr(fetch, "RANGE", 512)
    archived.context = replace(archived.context, slice=timedelta(0))
    number = wished(archived)
    archived.deliver()
    old, away = image(folder), tmp_path / "away"
    away.mkdir()
    stand_at(archived, "other", away)
    archived.work(MINUTE)
    with session():
        job = Job.get(Job.restore_id == number)
    assert (job.error_code, job.attempt, list(away.iterdir())) == ("elsewhere", 0, [])
    with transaction():
        Process.delete().execute()
    for _ in range(2):
        archived.clock.advance(filing.TURN)
        archived.step()
        archived.deliver()
    assert image(away).name.endswith(".partial")
    stand_at(archived, "host", folder)
    for _ in range(8):
        archived.step()
        archived.deliver()
    assert (ended(number).state, ended(number).error_text) == (RestoreState.DONE, "")
    assert content(image(folder)) == content_of_volume(archived)
    assert outputs(ended(number), filing.STEP)["file"] == f"host:{image(folder)}"
    assert not old.exists()


def test_a_restore_to_files_that_fails_removes_what_it_had_written(archived: Archiving, folder: Path) -> None:
    """Wherever it stands: a worker elsewhere leaves the removing to the host that has the file."""
    with session():
        point = Point.get_by_id(archived.archives()[-1].id)
    s3 = archived.sandbox.client(VAULT, service="s3")
    packs = s3.list_objects_v2(Bucket="cold", Prefix="main/packs/")["Contents"]
    for pack in packs:
        s3.delete_object(Bucket="cold", Key=pack["Key"])
    number = wished(archived)
    archived.step()
    archived.deliver()
    assert [one.name.endswith(".partial") for one in folder.iterdir()] == [True]
    stand_at(archived, "other", None)
    archived.work(MINUTE)
    assert (ended(number).state, len(list(folder.iterdir()))) == (RestoreState.UNDOING, 1)
    stand_at(archived, "host", folder)
    archived.work(MINUTE)
    assert (ended(number).state, ended(number).error_code) == (RestoreState.FAILED, "object-missing")
    assert not list(folder.iterdir())
    with session():
        assert Creation.get(Creation.restore == number).removed_at is not None
        assert Point.get_by_id(point.id).state == point.state
