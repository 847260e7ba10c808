"""Deleting a repository: what is refused, what stays, and that a killed deletion leaves nothing that looks whole."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.workers.repository.volumes import KEY, TUNING, Disk, Snapshot
from workers.repository.__main__ import Screen, main
from workers.repository.archive import archive
from workers.repository.delete import ORDER, DeletePlan, execute_deletion, plan_deletion
from workers.repository.errors import AccessRefused, Conflict, Missing, Unsuitable, WrongKey
from workers.repository.folder import FolderStore
from workers.repository.keys import KeyFile
from workers.repository.lease import OPEN, Lease
from workers.repository.memory import MemoryStore
from workers.repository.names import CONFIG, is_ours
from workers.repository.repository import Repository, create, open_repository
from workers.repository.store import Put

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
FOREIGN = ("packs/readme.txt", "notes", "keys/0123", "repository.json.bak", "other/repository.json")


class Watch:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


class Killed(BaseException):
    """Nothing after it runs."""


class Dying(MemoryStore):
    """Kills its process at the n-th object that is deleted."""

    left = 10**9

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        kept = {}
        for name in names:
            self.left -= 1
            if self.left < 0:
                raise Killed
            kept.update(super().delete([name]))
        return kept


def filled(watch: Watch, store: MemoryStore | None = None) -> tuple[MemoryStore, Repository]:
    """A repository with two generations, foreign objects beside them, written two days ago."""
    store = store or Dying(watch)
    repo = create(store, KEY, watch)
    disk = Disk(40, short=5)
    first = disk.bytes()
    base = archive(repo, "vol-1", Snapshot(first), watch(), tuning=TUNING)
    disk.change(3)
    archive(repo, "vol-1", Snapshot(disk.bytes(), first), watch(), base, tuning=TUNING)
    for name in FOREIGN:
        store.put(name, b"somebody's")
    watch.at += 2 * DAY
    return store, repo


def planned(store: Any, watch: Watch, key: KeyFile | None = KEY) -> DeletePlan:
    opener = None if key is None else (lambda: open_repository(store, key, clock=watch))
    return plan_deletion(store, watch, DAY, opener)


def names(store: Any) -> set[str]:
    return {stat.name for stat in store.list("")}


def test_all_of_a_repository_goes_and_what_is_foreign_survives() -> None:
    """feature 84: what would go is counted first, and the look itself changes nothing."""
    watch = Watch()
    store, _ = filled(watch)
    before = names(store)
    plan = planned(store, watch)
    assert (plan.blocked, plan.generations, sorted(plan.foreign)) == ("", 2, sorted(FOREIGN))
    assert names(store) == before == set(plan.objects) | set(FOREIGN)
    heard: list[int] = []
    done = execute_deletion(store, plan, watch, heard.append)
    assert (done.complete, done.objects, done.bytes, done.kept) == (True, len(plan.objects), plan.bytes, {})
    assert heard == sorted(heard)
    assert names(store) == set(FOREIGN)
    again = planned(store, watch)
    assert (again.id, "holds no repository" in again.blocked) == ("", True)
    with pytest.raises(Unsuitable, match="no repository"):
        execute_deletion(store, again, watch)


def test_killed_at_any_object_it_leaves_what_nobody_opens_or_creates_over_and_what_the_next_run_deletes() -> None:
    """feature 84: with whatever is there, what it names is there too."""
    first = filled(Watch())[0]
    count = sum(is_ours(name) for name in names(first)) + 1  # and the probe of the clock
    for left in range(1, count):
        watch = Watch()
        store = Dying(watch)
        filled(watch, store)
        store.left = left
        with pytest.raises(Killed):
            execute_deletion(store, planned(store, watch), watch)
        store.left = 10**9
        there = {name for name in names(store) if is_ours(name)}
        assert CONFIG in there
        folders = [folder for folder in ORDER if any(name.startswith(folder) for name in there)]
        whole = [folder for folder in ORDER if any(name.startswith(folder) for name in names(first))]
        assert folders == whole[len(whole) - len(folders) :]
        if left > 1:  # the probe and the one key slot are gone
            with pytest.raises(WrongKey):
                open_repository(store, KEY, clock=watch)
            with pytest.raises(Conflict):
                create(store, KEY, watch)
        assert execute_deletion(store, planned(store, watch), watch).complete
        assert names(store) == set(FOREIGN)


def test_a_job_that_is_alive_or_may_be_is_in_the_way_until_it_is_silent_for_long() -> None:
    """feature 84: with the key leases are read; without it, or with another, whatever was written counts."""
    watch = Watch()
    store, repo = filled(watch)
    lease = Lease("a" * 32, "full", "vol-2", OPEN, watch(), watch())
    repo.leases.open(lease)
    assert "is under way" in planned(store, watch).blocked
    watch.at += timedelta(hours=25)
    assert planned(store, watch).blocked == ""
    store.put("tombs/" + "0" * 64, b"")
    assert planned(store, watch).blocked == ""
    other = KeyFile(b"another key file, of 32 bytes too")
    assert "nobody here can read" in planned(store, watch, key=None).blocked
    assert "nobody here can read" in planned(store, watch, key=other).blocked
    store.put("leases/" + "b" * 32, b"not a lease")
    assert "nobody here can read" in planned(store, watch).blocked
    watch.at += timedelta(hours=25)
    plan = planned(store, watch, key=None)
    assert execute_deletion(store, plan, watch).complete


def test_a_lock_is_in_the_way_until_it_ends_and_nothing_goes_before() -> None:
    """feature 84: also one that came after the look: then it stops where the store kept something."""
    watch = Watch()
    store, _ = filled(watch)
    plan = planned(store, watch)
    pack = next(name for name in plan.objects if name.startswith("packs/"))
    until = watch() + 30 * DAY
    store.extend_lock(pack, until)
    assert f"{until:%Y-%m-%d %H:%M}" in planned(store, watch).blocked
    done = execute_deletion(store, plan, watch)
    assert (done.complete, list(done.kept)) == (False, [pack])
    assert {pack, CONFIG} <= names(store)
    assert execute_deletion(store, planned(store, watch), watch).kept
    watch.at += 31 * DAY
    assert execute_deletion(store, planned(store, watch), watch).complete


class Concealing(Dying):
    """Has locks that this identity may not read: AWS then leaves them out of a HEAD (HeadObject, S3 API reference)."""

    def locked_until(self, name: str) -> datetime | None:
        raise AccessRefused(f"Whether {name} is locked may not be read.", advice="Allow s3:GetObjectRetention there.")


def test_where_locks_may_not_be_read_nothing_goes_and_the_right_is_named() -> None:
    """feature 84: else keys would go first, and locked packs that nobody opens would stay behind."""
    watch = Watch()
    store, _ = filled(watch, Concealing(watch))
    before = names(store)
    plan = planned(store, watch)
    assert "Allow s3:GetObjectRetention there." in plan.blocked
    with pytest.raises(Unsuitable, match="Allow s3:GetObjectRetention"):
        execute_deletion(store, plan, watch)
    assert names(store) == before


def test_it_goes_on_slice_by_slice() -> None:
    """Each run deletes at least one batch."""
    watch = Watch()
    store, _ = filled(watch)
    runs = 0
    while not execute_deletion(store, planned(store, watch), watch, late=lambda: True).complete:
        runs += 1
    assert 1 < runs < 10
    assert names(store) == set(FOREIGN)


def test_another_programs_or_a_newer_place_is_left_alone() -> None:
    watch = Watch()
    store = MemoryStore(watch)
    for body, text in ((b'{"format": "restic"}', "another program"), (b"x", "description")):
        store.put(CONFIG, body, Put())
        with pytest.raises(Exception, match=text):
            planned(store, watch)
    store.delete([CONFIG])
    store.put("packs/" + "0" * 32 + "/" + "0" * 16 + "-00000000", b"x")
    assert planned(store, watch).objects == {}


def test_the_break_glass_program_deletes_by_address_typed_twice(tmp_path: Path) -> None:
    """feature 84: with the key at once; without one only what was silent for a day."""
    root, key = tmp_path / "repository", tmp_path / "key"
    create(FolderStore(root), KEY)
    key.write_bytes(KEY.content)
    (root / "notes").write_text("mine")
    url = f"file://{root}"

    def command(*arguments: str) -> tuple[int, str]:
        screen = Screen(io.StringIO(), io.StringIO())
        return main([url, *arguments], screen), screen.out.getvalue() + screen.err.getvalue()  # type: ignore[attr-defined]

    code, said = command("delete", "--confirm", url)
    assert (code, "nobody here can read" in said) == (1, True)
    code, said = command("--key-file", str(key), "delete")
    assert (code, f"--confirm {url}" in said, "stays: notes" in said) == (0, True, True)
    assert command("--key-file", str(key), "delete", "--confirm", url + "x")[0] == 1
    assert (root / CONFIG).exists()
    assert command("--key-file", str(key), "delete", "--confirm", url)[0] == 0
    assert names(FolderStore(root)) == {"notes"}
    with pytest.raises(Missing):
        open_repository(FolderStore(root), KEY)
