"""The folder for restored files: nothing leads out of it, and nothing in it looks whole that is not."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import Impossible, Transient
from workers.files import FileTarget, folder_of, is_there, name_of, partial_of, path_in, remove
from workers.repository.manifest import Generation

pytestmark = pytest.mark.unit

AT = datetime(2026, 1, 1, tzinfo=UTC)
BLOCK = 512 << 10
GENERATION = Generation("a" * 32, "vol-1", 3 * BLOCK + 512, BLOCK, AT, AT, "job", ())
KEY = "0123456789abcdef" * 2
NAME = name_of(7, 0, KEY, 3)


def begun(folder: Path, fence: int = 3) -> tuple[Path, FileTarget]:
    path = path_in(folder, name_of(7, 0, KEY, fence))
    target = FileTarget(path, "host", GENERATION)
    assert target.begin() == f"host:{path}"
    return path, target


@pytest.mark.parametrize(
    "name",
    [
        "../restore-1-1-0123456789ab-1.img",
        "/etc/passwd",
        "restore-1-1-0123456789ab-1.img/..",
        "restore-1-1-0123456789ab-1.img\n",
        "restore-1-1-0123456789ab-1.img.partial",
        "restore-1-../-0123456789ab-1.img",
        "restore-\u0661-1-0123456789ab-1.img",
        "",
        "..",
    ],
)
def test_no_name_but_one_of_ours_leads_to_a_file(tmp_path: Path, name: str) -> None:
    """feature 82: no path of a message or a catalog leaves the operator's folder."""
    with pytest.raises(Impossible):
        path_in(tmp_path, name)


@settings(deadline=None)
@given(st.one_of(st.integers(), st.none()), st.integers(), st.text(max_size=40))
def test_whatever_a_job_says_its_file_lies_in_the_folder_or_nowhere(restore: int | None, step: int, key: str) -> None:
    folder = Path("/srv/restored")
    try:
        path = path_in(folder, name_of(restore, step, key, 1))
    except Impossible:
        return
    assert Path(os.path.normpath(path)).parent == folder


def test_a_folder_that_is_not_set_not_there_or_not_writable_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for setting in ("", "relative", str(tmp_path / "none"), str(tmp_path / "file")):
        with pytest.raises(Impossible, match="SNAPFLEET_RESTORE_FOLDER") as caught:
            folder_of(setting, "host")
        assert caught.value.code == "no-restore-folder"
    assert folder_of(str(tmp_path), "host") == tmp_path


def test_a_file_is_private_sparse_and_partial_until_it_is_complete(tmp_path: Path) -> None:
    path, target = begun(tmp_path)
    sink = target.sink()
    sink.write(1, b"x" * BLOCK, b"")
    sink.finish()
    assert (path.exists(), is_there(path, whole=False), sink.written) == (False, True, 1)
    target.complete()
    target.close()
    found = path.stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode)) == (GENERATION.size, 0o600)
    assert found.st_blocks * 512 < 2 * BLOCK
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    target.complete()
    assert (is_there(path, whole=True), is_there(path, whole=False)) == (True, False)
    remove(path)
    remove(path)
    assert not list(tmp_path.iterdir())


def test_a_new_beginning_removes_what_earlier_ones_left_and_takes_nothing_from_a_later_one(tmp_path: Path) -> None:
    """A worker that was frozen while it began wakes up among the blocks of the next one."""
    stranger = tmp_path / "restore-7-1-0123456789ab-1.img.partial.txt"
    stranger.touch()
    begun(tmp_path, fence=9)
    begun(tmp_path, fence=10)
    begun(tmp_path, fence=2)
    left = sorted(one.name.rpartition("-")[2] for one in tmp_path.iterdir() if one != stranger)
    assert (left, stranger.exists()) == (["10.img.partial", "2.img.partial"], True)
    with pytest.raises(Transient):
        begun(tmp_path, fence=10)


def test_a_link_is_not_followed_and_what_was_begun_must_be_there(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = path_in(folder, NAME)
    with pytest.raises(Transient):
        FileTarget(path, "host", GENERATION).sink()
    partial_of(path).symlink_to(other)
    for way in ("begin", "sink"):
        with pytest.raises(Transient):
            getattr(FileTarget(path, "host", GENERATION), way)()
    assert other.read_text() == "precious"
    remove(path)
    assert other.read_text() == "precious"


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    _, target = begun(tmp_path)
    sink = target.sink()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, sink._handle)
    os.close(full)
    with pytest.raises(Impossible, match="is full") as caught:
        sink.write(0, b"x", b"")
    target.close()
    assert caught.value.code == "no-space"
