"""The folder that restored files go to, and the one way into it.

Only the setting `restore_folder` of a worker names it; names of files are made of ids and nothing else, no link is
followed, and everything is private (0600). A file is NAME.partial until all of it is written, proved and on the disk;
so that a name without that ending is a whole file, whatever died when.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from threading import Lock
from typing import Any

from tasks.errors import Impossible, Transient
from workers.repository.manifest import Generation
from workers.repository.repository import Repository
from workers.repository.restore import data_bytes
from workers.repository.source import Content, FileSink

KIND = "file"  # what such a restore makes, as undo knows it
# Restore, step, twelve digits of the job's key and the fence under which it was begun. No two installations that share
# a folder write the same file; and what is noted of one beginning is never gone on with in the file of another.
_NAME = re.compile(r"restore-[0-9]{1,18}-[0-9]{1,4}-[0-9a-f]{12}-[0-9]{1,9}\.img")
_ADVICE = (
    "Set SNAPFLEET_RESTORE_FOLDER for the workers that restore to a folder in which they may write, start them again, "
    "and ask again."
)


def folder_of(setting: str, host: str) -> Path:
    """The folder for restored files. Raises Impossible, with what to do, when none is set or it cannot be used.

    It is not made: a disk that is not mounted must not become a folder on the disk below it.
    """
    folder = Path(setting)
    if not setting:
        problem = f"The worker on {host} has no folder for restored files."
    elif not folder.is_absolute() or not folder.is_dir():
        problem = f"The folder for restored files of the worker on {host} is no folder there: {setting!r}."
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"The worker on {host} may not write in its folder for restored files, {setting!r}."
    else:
        return folder
    raise Impossible(problem, code="no-restore-folder", advice=_ADVICE)


def name_of(restore_id: int | None, step: int, key: str, fence: int) -> str:
    """The name of the file that a step begins."""
    return f"restore-{restore_id}-{step + 1}-{key[:12]}-{fence}.img"


def path_in(folder: Path, name: str) -> Path:
    """A file of ours in the folder. Raises Impossible for any name that we would not give."""
    if not _NAME.fullmatch(name):
        raise Impossible("That is no name of a restored file.", code="file-name")
    return folder / name


def partial_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + ".partial")


def is_there(path: Path, whole: bool) -> bool:
    """Whether the work on a file can go on here: it is there in part, or, when all was written, under its own name."""
    return os.path.lexists(partial_of(path)) or (whole and os.path.lexists(path))


def check_space(path: Path, host: str, repository: Repository, generation: Generation) -> None:
    """Raises Impossible when the generation's data would not fit; a sparse file takes no more than that."""
    with _told(path):
        found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if generation.size <= free:
        return
    needed = data_bytes(repository, generation)
    if needed > free:
        text = f"{_gib(needed)} GiB do not fit into {path.parent} on {host}: {_gib(free)} GiB are free."
        raise Impossible(text, code="no-space", advice="Make room there, or set another folder, and ask again.")


def remove(path: Path) -> None:
    """Remove a file, whole or in part; one that is not there is removed. Raises Transient."""
    with _told(path):
        for one in (path, partial_of(path)):
            one.unlink(missing_ok=True)


class RangeSink(FileSink):
    """A file that was begun, written in ranges: each is on the disk when it is finished; the name stays partial."""

    def __init__(self, path: Path, generation: Generation) -> None:
        self._lock = Lock()
        self.written = 0
        with _told(path):
            super().__init__(path, generation.size, generation.block_bytes, resumed=True)

    def write(self, index: int, content: Content, digest: bytes) -> None:
        with _told(self._path):
            super().write(index, content, digest)
        with self._lock:
            self.written += 1

    def finish(self) -> None:
        with _told(self._path):
            os.fsync(self._handle)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


class FileTarget:
    """One generation's file as a restore writes it: the shape of `workers.blocks.Target`, without a cloud."""

    makes, output = KIND, "file"

    def __init__(self, path: Path, host: str, generation: Generation) -> None:
        self._path, self._host, self._generation = path, host, generation
        self._sink: RangeSink | None = None

    def begin(self, *_: Any, **__: Any) -> str:
        """An empty file for the generation; HOST:PATH. What earlier attempts have begun here is removed. Raises the
        family."""
        with _told(self._path):
            for earlier in _begun_before(self._path):
                earlier.unlink(missing_ok=True)
            os.close(os.open(partial_of(self._path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        return f"{self._host}:{self._path}"

    def sink(self, *_: Any) -> RangeSink:
        """Where blocks are written. Raises Transient when what `begin` made is not there."""
        self._sink = RangeSink(self._path, self._generation)
        return self._sink

    def complete(self, *_: Any) -> None:
        """All is written: the file gets its name, so that both outlast a power cut. May be repeated."""
        with _told(self._path):
            if os.path.lexists(self._path):  # an attempt before this one got as far
                partial_of(self._path).unlink(missing_ok=True)
            else:
                os.replace(partial_of(self._path), self._path)
            handle = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def close(self) -> None:
        """Give back what is open."""
        if self._sink is not None:
            self._sink.close()


def _begun_before(path: Path) -> list[Path]:
    """Partial files of the same step under a lower fence: a worker that was overtaken takes nothing from the next."""
    step, mine = _ids(path.name)
    found = []
    for one in path.parent.glob(f"{step}-*.img.partial"):
        name = one.name.removesuffix(".partial")
        if _NAME.fullmatch(name) and _ids(name)[1] < mine:
            found.append(one)
    return found


def _ids(name: str) -> tuple[str, int]:
    """What all files of a step have in common, and the fence."""
    step, _, fence = name.removesuffix(".img").rpartition("-")
    return step, int(fence)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the file system says, as the family's errors: it must never look like an answer of a cloud."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            text = f"The disk of {path.parent} is full."
            raise Impossible(text, code="no-space", advice="Make room there, and ask again.") from None
        raise Transient(f"{path} could not be written: {error.strerror}.", code="file-failed") from None
