"""A store in a local folder (file:///path): for a disk that is carried away, and for restores without a cloud.

An object is a file that appears whole: written beside its place, synced, then linked or renamed into it. Compare-
and-set holds a lock on the folder, so it counts between processes of one host; a network file system that does not
honour flock is not suitable.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workers.repository.errors import AccessRefused, Conflict, Missing, StoreUnavailable, Unsuitable
from workers.repository.store import PLAIN, Body, Features, Put, Stat, Thaw

_TEMPORARY = ".tmp"


class FolderStore:
    """Objects as files below `root`; made when it is not there, readable by the owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"file://{root}"

    def put(self, name: str, body: Body, how: Put = PLAIN) -> str:
        _plain(how)
        with _translated(name):
            place = self._place(name)
            os.replace(self._written(body), place)
            _sync(place.parent)
        return _tag(body)

    def create(self, name: str, body: Body, how: Put = PLAIN) -> str:
        _plain(how)
        with _translated(name):
            temporary = self._written(body)
            try:
                place = self._place(name)
                os.link(temporary, place)
                _sync(place.parent)
            except FileExistsError:
                if self.get(name)[0] != body:
                    raise Conflict(f"{name} is there already.") from None
            finally:
                temporary.unlink()
        return _tag(body)

    def replace(self, name: str, body: Body, tag: str) -> str:
        with self._locked():
            found, now = self.get(name)
            if now != tag and found != body:
                raise Conflict(f"{name} has changed.")
            return self.put(name, body)

    def get(self, name: str) -> tuple[bytes, str]:
        with _translated(name):
            body = self._path(name).read_bytes()
        return body, _tag(body)

    def read(self, name: str, start: int, length: int) -> bytes:
        with _translated(name), self._path(name).open("rb") as file:
            return os.pread(file.fileno(), length, start)

    def list(self, prefix: str) -> Iterator[Stat]:
        folder = self.root / prefix.rpartition("/")[0]
        names = []
        for path in folder.rglob("*") if folder.is_dir() else ():
            name = path.relative_to(self.root).as_posix()
            if name.startswith(prefix) and not name.startswith(_TEMPORARY) and path.is_file():
                names.append(name)
        for name in sorted(names):
            try:
                yield self.stat(name)
            except Missing:
                continue  # deleted while we looked

    def stat(self, name: str) -> Stat:
        with _translated(name):
            facts = self._path(name).stat()
        return Stat(name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def delete(self, names: Iterable[str]) -> dict[str, str]:
        kept = {}
        for name in names:
            try:
                self._path(name).unlink(missing_ok=True)
            except OSError as error:
                kept[name] = error.strerror or "refused"
        return kept

    def thaw(self, names: Iterable[str], days: int, tier: str) -> dict[str, Thaw]:  # noqa: ARG002 - the store's shape
        return dict.fromkeys(names, Thaw.READY)

    def extend_lock(self, name: str, until: datetime) -> None:  # noqa: ARG002 - the store's shape
        raise Unsuitable("A folder cannot lock objects.")

    def reclass(self, name: str, storage_class: str) -> None:  # noqa: ARG002 - the store's shape
        raise Unsuitable("A folder has no storage classes.")

    def features(self) -> Features:
        return Features()

    def _path(self, name: str) -> Path:
        if name.startswith(("/", ".")) or "/." in name:
            raise ValueError("an object's name has no dots at the start of a step")
        return self.root / name

    def _place(self, name: str) -> Path:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def _written(self, body: Body) -> Path:
        path = self.root / _TEMPORARY / secrets.token_hex(8)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        return path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _sync(folder: Path) -> None:
    """Make a new name outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(how: Put) -> None:
    if how != PLAIN:
        raise Unsuitable("A folder has neither storage classes nor locks.")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Missing(f"{name} is not there.") from None
    except PermissionError as error:
        raise AccessRefused(f"The folder refuses {name}: {error.strerror}.") from None
    except OSError as error:
        raise StoreUnavailable(f"The folder failed at {name}: {error.strerror}.") from None


def _tag(body: Body) -> str:
    return hashlib.sha256(body).hexdigest()
