"""`python -m workers.repository`: list, verify, restore with nothing else running."""

import errno
import fcntl
import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.workers.repository.volumes import BLOCK, KEY, TUNING, Disk, Snapshot
from workers.repository.__main__ import Screen, main
from workers.repository.archive import archive
from workers.repository.folder import FolderStore
from workers.repository.generations import manifest_name, read_index
from workers.repository.keys import Passphrase
from workers.repository.repository import create, open_repository
from workers.repository.tofile import restore_to_file

pytestmark = pytest.mark.unit


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, list[str], Disk]:
    """A repository in a folder with two generations, the arguments that open it, and the disk."""
    root = tmp_path / "repository"
    repo = create(FolderStore(root), KEY)
    repo.add_key(Passphrase("horse"))
    disk = Disk(90, short=5)
    first = disk.bytes()
    base = archive(repo, "vol-1\x1b[31m", Snapshot(first), datetime(2026, 1, 1, tzinfo=UTC), tuning=TUNING)
    disk.change(9)
    archive(repo, "vol-1\x1b[31m", Snapshot(disk.bytes(), first), datetime(2026, 1, 2, tzinfo=UTC), base, tuning=TUNING)
    key = tmp_path / "key"
    key.write_bytes(KEY.content)
    return root, [f"file://{root}", "--key-file", str(key)], disk


def command(*arguments: str) -> tuple[int, str, str]:
    screen = Screen(io.StringIO(), io.StringIO())
    code = main(arguments, screen)
    return code, screen.out.getvalue(), screen.err.getvalue()  # type: ignore[attr-defined]


def test_generations_are_listed_harmlessly_for_a_terminal(place: tuple[Path, list[str], Disk]) -> None:
    code, out, _ = command(*place[1], "list")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "2026-01-02" in out
    assert "\x1b" not in out


def test_a_generation_is_restored_to_a_file_that_did_not_exist(
    place: tuple[Path, list[str], Disk], tmp_path: Path
) -> None:
    target = tmp_path / "disk"
    newest = command(*place[1], "list")[1].splitlines()[-1].split()[0]
    assert command(*place[1], "restore", newest[:9], str(target))[0] == 0
    assert target.read_bytes() == place[2].bytes()
    code, _, err = command(*place[1], "restore", newest, str(target))
    assert (code, "exists" in err) == (1, True)


def test_a_restore_that_was_cut_off_goes_on_where_it_was(place: tuple[Path, list[str], Disk], tmp_path: Path) -> None:
    """Killed after a range, or in the middle of one; a file in part of another generation is left as it is."""
    root, arguments, disk = place
    repo, target = open_repository(FolderStore(root), KEY), tmp_path / "disk"
    older, newest = read_index(repo).generations
    heard: list[int] = []

    def cut(blocks: int) -> None:
        heard.append(blocks)
        if blocks == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_to_file(repo, newest, target, cut, TUNING, step=30)
    with (tmp_path / "disk.partial").open("r+b") as partial:
        partial.seek(70 * BLOCK)
        partial.write(disk.bytes()[70 * BLOCK :][: BLOCK // 2])
    code, _, err = command(*arguments, "restore", older.id, str(target))
    assert (code, "part of another generation" in err, target.exists()) == (1, True, False)
    figures = restore_to_file(repo, newest, target, heard.append, TUNING, step=30)
    assert (heard, figures.blocks <= 30) == ([0, 30, 60, 60, 90], True)
    assert target.read_bytes() == disk.bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["disk", "key", "repository"]


def test_a_file_that_another_process_writes_is_left_alone(place: tuple[Path, list[str], Disk], tmp_path: Path) -> None:
    newest = command(*place[1], "list")[1].splitlines()[-1].split()[0]
    with (tmp_path / "disk.partial").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("theirs")
        other.flush()
        code, _, err = command(*place[1], "restore", newest, str(tmp_path / "disk"))
        assert (code, "Another process" in err) == (1, True)
    assert (tmp_path / "disk.partial").read_text() == "theirs"


@pytest.mark.parametrize("folder", ["generations", "leases"])
@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_the_latest_is_never_an_older_one_in_the_place_of_one_that_cannot_be_read(
    place: tuple[Path, list[str], Disk], tmp_path: Path, folder: str, harm: str
) -> None:
    root, arguments, disk = place
    older, newest = (line.split()[0] for line in command(*arguments, "list")[1].splitlines())
    repo = open_repository(FolderStore(root), KEY)
    name = manifest_name(repo, read_index(repo).of(newest)) if folder == "generations" else f"leases/{newest}"
    (root / name).unlink() if harm == "missing" else (root / name).write_bytes(b"noise")
    code, out, err = command(*arguments, "list")
    assert (code, newest in out, name.rpartition("/")[2] in err or newest in err) == (3, False, True)
    code, _, err = command(*arguments, "restore", newest, str(tmp_path / "disk"))
    assert (code, "may be one that cannot be read" in err) == (1, True)
    latest = ["restore", "latest:vol-1\x1b[31m", str(tmp_path / "disk")]
    code, _, err = command(*arguments, *latest)
    assert (code, "latest may be one" in err, (tmp_path / "disk").exists()) == (1, True, False)
    command(*arguments, "repair")
    assert command(*arguments, *latest)[0] == 0
    assert ((tmp_path / "disk").read_bytes() == disk.bytes()) == (folder == "leases")
    assert command(*arguments, "restore", older, str(tmp_path / "older"))[0] == 0


def test_what_the_file_system_refuses_is_one_sentence_and_nothing_looks_whole(
    place: tuple[Path, list[str], Disk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = command(*place[1], "list")[1].splitlines()[-1].split()[0]

    def refused(target: Path, *words: str) -> None:
        code, _, err = command(*place[1], "restore", newest, str(target))
        assert (code, len(err.splitlines()), target.exists()) == (1, 1, False)
        assert all(word in err for word in words)

    refused(tmp_path / "nowhere" / "disk", "cannot be written", "No such file")
    real = os.statvfs(tmp_path)
    with monkeypatch.context() as small:
        small.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 1, *real[5:])))
        refused(tmp_path / "disk", "do not fit")
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as small:
        small.setattr(os, "pwrite", Mock(side_effect=full))
        refused(tmp_path / "disk", "No space left on device", "disk.partial")


def test_settings_of_the_sdk_that_cannot_be_used_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for arguments in (["s3://acme/cold", "--passphrase-env", "PATH", "list"], ["file:///nowhere", "--kms", "list"]):
        code, _, err = command(*arguments)
        assert (code, len(err.splitlines()), "nobody" in err, "AWS_PROFILE" in err) == (1, 1, True, True)


def test_damage_is_told_with_an_exit_code_of_its_own(place: tuple[Path, list[str], Disk]) -> None:
    assert command(*place[1], "verify", "--full")[0] == 0
    pack = next((place[0] / "packs").rglob("*-*"))
    body = bytearray(pack.read_bytes())
    body[BLOCK // 2] ^= 1
    pack.write_bytes(body)
    code, out, _ = command(*place[1], "verify", "--full")
    assert code == 3
    assert pack.name in out
    assert "blocks cannot be restored" in out


def test_a_damaged_generation_is_refused_until_it_is_repaired_and_then_restored_with_its_loss_told(
    place: tuple[Path, list[str], Disk], tmp_path: Path
) -> None:
    """Never wrong bytes: what is lost is zeros, and the exit code says so; everything else comes back."""
    root, arguments, disk = place
    newest = command(*arguments, "list")[1].splitlines()[-1].split()[0]
    for pack in sorted(root.glob("packs/*/*")):
        body = bytearray(pack.read_bytes())
        body[60] ^= 1
        pack.write_bytes(bytes(body))
    assert command(*arguments, "restore", newest, str(tmp_path / "no"))[0] == 1
    code, out, _ = command(*arguments, "repair")
    assert (code, f"generation {newest}:" in out) == (3, True)
    code, out, _ = command(*arguments, "verify", "--full")
    assert (code, f"generation {newest}:" in out, "lost before" in out) == (0, True, True)
    code, _, err = command(*arguments, "restore", newest, str(tmp_path / "disk"))
    assert (code, "lost" in err) == (3, True)
    restored, wanted = (tmp_path / "disk").read_bytes(), disk.bytes()
    pieces = [(restored[at : at + BLOCK], wanted[at : at + BLOCK]) for at in range(0, len(wanted), BLOCK)]
    assert all(got in (want, bytes(len(want))) for got, want in pieces)
    assert sum(got == want for got, want in pieces) > len(pieces) // 2


def test_a_wrong_key_or_place_is_one_sentence_with_the_next_step(
    place: tuple[Path, list[str], Disk], tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bytes(40))
    for arguments, text in (
        ([place[1][0], "--key-file", str(wrong), "list"], "slots for a key file and a passphrase"),
        ([place[1][0], "list"], "--key-file"),
        ([f"file://{tmp_path}/nothing", *place[1][1:], "list"], "prefix"),
        ([*place[1], "restore", "latest:vol-9", "x"], "List the generations"),
    ):
        code, out, err = command(*arguments)
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 1
        assert text in err


def test_a_file_with_the_passphrase_opens_it_also_when_an_editor_has_ended_its_line(
    place: tuple[Path, list[str], Disk], tmp_path: Path
) -> None:
    """What `snapfleet repository export-key` wrote is a key file or a passphrase: at night nobody remembers which."""
    file = tmp_path / "exported"
    for content, code in ((b"horse", 0), (b"horse\n", 0), (b"house", 1), (b"\xff\xfe", 1)):
        file.write_bytes(content)
        assert command(place[1][0], "--key-file", str(file), "list")[0] == code
    assert "cannot be read" in command(place[1][0], "--key-file", str(tmp_path / "none"), "list")[2]


def test_it_runs_as_a_program_with_a_passphrase_and_writes_a_disk_to_standard_output(
    place: tuple[Path, list[str], Disk],
) -> None:
    """Nothing but the folder and the passphrase is needed, not even the other packages' folders."""
    newest = command(*place[1], "list")[1].splitlines()[-1].split()[0]
    program = [sys.executable, "-m", "workers.repository", place[1][0], "--passphrase-env", "WORD"]
    done = subprocess.run(
        [*program, "restore", newest, "-"], env={**os.environ, "WORD": "horse"}, capture_output=True, check=True
    )
    assert done.stdout == place[2].bytes()
