"""Compare-and-set for a repository's leases in the catalog, where its store ignores conditional writes.

Only this catalog's workers can write to such a repository then; whoever opens it otherwise may read.
"""

import base64
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tasks.catalog import RepositoryLease, rows, session, transaction
from workers.repository.errors import Conflict, Missing
from workers.repository.names import LEASES
from workers.repository.store import Store

# The row that says that this catalog keeps the leases; no lease has such a name.
_OWNER = "owner"


class CatalogCommits:
    """Implements workers.repository.store.CommitStore for the repository at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def is_owned(self) -> bool:
        """Whether this catalog is the one that keeps the leases: any other must not write."""
        with session():
            return RepositoryLease.get_or_none(*self._at(_OWNER)) is not None

    def own(self, store: Store | None = None) -> None:
        """From now on this catalog keeps the leases; those whose copies lie in `store` are taken over."""
        if store is not None:
            for one in store.list(LEASES):
                with suppress(Conflict):  # what is here already is newer than its copy there
                    self.create(one.name, store.get(one.name)[0])
        self.create(_OWNER, b"")

    def disown(self) -> None:
        """Forget all leases: from now on nobody writes to the repository."""
        with transaction():
            RepositoryLease.delete().where(self._mine()).execute()

    def create(self, name: str, body: bytes) -> str:
        tag, text = secrets.token_hex(8), base64.b64encode(body).decode()
        with transaction():
            RepositoryLease.insert(url=self._url, name=name, body=text, tag=tag).on_conflict_ignore().execute()
            row = RepositoryLease.get(*self._at(name))
        if row.body != text:
            raise Conflict(f"{name} is there already.")
        return str(row.tag)  # ours, or that of an earlier attempt of this same call, which has succeeded

    def replace(self, name: str, body: bytes, tag: str) -> str:
        new, text = secrets.token_hex(8), base64.b64encode(body).decode()
        with transaction():
            changed = (
                RepositoryLease.update(body=text, tag=new).where(*self._at(name), RepositoryLease.tag == tag).execute()
            )
            row = None if changed else RepositoryLease.get_or_none(*self._at(name))
        if changed:
            return new
        if row is None:
            raise Missing(f"{name} is not there.")
        if row.body != text:
            raise Conflict(f"{name} has changed.")
        return str(row.tag)

    def get(self, name: str) -> tuple[bytes, str]:
        with session():
            row = RepositoryLease.get_or_none(*self._at(name))
        if row is None:
            raise Missing(f"{name} is not there.")
        return base64.b64decode(row.body), row.tag

    def names(self) -> list[str]:
        with session():
            mine = rows(RepositoryLease.select(RepositoryLease.name).where(self._mine()))
            return sorted(name for (name,) in mine if name.startswith(LEASES))

    def remove(self, names: Iterable[str]) -> None:
        listed = list(names)
        with transaction():
            for start in range(0, len(listed), 500):
                some = RepositoryLease.name.in_(listed[start : start + 500])
                RepositoryLease.delete().where(self._mine(), some).execute()

    def _mine(self) -> Any:
        return RepositoryLease.url == self._url

    def _at(self, name: str) -> tuple[Any, Any]:
        return self._mine(), RepositoryLease.name == name
