"""A generation into a file that appears when it is whole; one that was cut off is gone on with where it was.

Until then it is FILE.partial, and FILE.partial.json says what is on the disk: of which generation, with which blocks
lost, and how many from the first. It is written after each range is synced, so that a crash anywhere repeats less than
a range; a block that is written twice is the same both times.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workers.repository.errors import RepositoryError
from workers.repository.manifest import Generation
from workers.repository.pipeline import Tuning
from workers.repository.repository import Repository
from workers.repository.restore import Restored, data_bytes, restore
from workers.repository.source import FileSink

# Blocks between two notes: 4 GiB, some ten seconds of work at what two cores prove.
RANGE = 8192


class _Ranges(FileSink):
    """A file that is written in ranges: each is on the disk when it is finished, and keeps its partial name."""

    def finish(self) -> None:
        os.fsync(self._handle)

    def complete(self) -> None:
        """All is written: the file gets its name, and keeps it through a power cut."""
        os.replace(self._partial, self._path)
        _sync_folder(self._path.parent)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


def restore_to_file(
    repository: Repository,
    generation: Generation,
    path: Path,
    told: Callable[[int], None] = lambda _: None,
    tuning: Tuning | None = None,
    step: int = RANGE,
) -> Restored:
    """Write a generation to a new file; what an earlier call left of the same one is not written again. `told` hears
    at the beginning and after each range how many blocks, from the first, are on the disk.

    Raises RepositoryError (the file exists, does not fit, is being written, or is in part of something else), Damaged,
    Missing, Archived, and OSError; whatever was written so far stays for the next call.
    """
    partial = path.with_name(path.name + ".partial")
    note = path.with_name(path.name + ".partial.json")
    with _alone(partial):
        if path.exists():
            raise RepositoryError(f"{path} exists already.", advice="Name a file that does not exist.")
        at, figures = _begun(partial, note, generation), Restored()
        _check_space(repository, generation, partial)
        sink = _Ranges(path, generation.size, generation.block_bytes, resumed=at > 0)
        try:
            told(at)
            while at < generation.blocks:
                stop = min(generation.blocks, at + step)
                restore(repository, generation, sink, tuning, at, stop, figures)
                at = stop
                _write(note, {**_names(generation), "blocks": at})
                told(at)
            sink.complete()
        finally:
            sink.close()
        note.unlink(missing_ok=True)
    return figures


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Nobody else writes the file meanwhile, and nothing of it is touched before that is certain. What stayed empty
    goes again."""
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"Another process is writing {partial}."
            raise RepositoryError(text, advice="Wait for it, or name another file.") from None
        try:
            yield
        finally:
            if not os.fstat(handle).st_size:
                partial.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _begun(partial: Path, note: Path, generation: Generation) -> int:
    """How many blocks of it are on the disk already. Raises RepositoryError for a part of something else."""
    try:
        found = json.loads(note.read_text()) if partial.stat().st_size else {}
        blocks = int(found.pop("blocks", 0))
    except (FileNotFoundError, ValueError):
        return 0
    if found and found != _names(generation):
        text = f"{partial} is a part of another generation, or of this one before it was repaired."
        raise RepositoryError(text, advice=f"Remove it and {note.name}, or name another file.")
    return blocks


def _names(generation: Generation) -> dict[str, Any]:
    """What must be the same in both halves of a file: a repair between them makes other zeros."""
    lost = [list(span) for span in generation.lost]
    return {"generation": generation.id, "size": generation.size, "block_bytes": generation.block_bytes, "lost": lost}


def _check_space(repository: Repository, generation: Generation, partial: Path) -> None:
    where, there = os.statvfs(partial.parent), partial.stat().st_blocks * 512
    free = where.f_bavail * where.f_frsize
    if generation.size > free + there and (needed := data_bytes(repository, generation) - there) > free:
        text = f"{needed} bytes do not fit beside {partial}: {free} are free."
        raise RepositoryError(text, advice="Name a file elsewhere.")


def _write(note: Path, facts: dict[str, Any]) -> None:
    """Whole or not at all: a note that was torn would be one of another file."""
    new = note.with_name(note.name + ".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, note)
    _sync_folder(note.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot sync a folder write names in order
            raise
    finally:
        os.close(handle)
