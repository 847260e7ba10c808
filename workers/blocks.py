"""Access to the blocks of disks and to object storage, as handlers of repositories need it; a driver may offer it.

What the world promises: clients are cheap to ask for and safe to be shared by threads; errors are those of
`workers.repository.errors` (the engine's own family), which `workers.repositories` turns into ours.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from workers.driver import Account
from workers.repository.keys import KeyService
from workers.repository.source import Sink, Source
from workers.repository.store import Store


@dataclass(frozen=True)
class Foreign:
    """A snapshot as an account has it, whoever made it. `volume_id` is '' where the cloud does not say of what it was
    taken; `why_not` says in a sentence why its blocks cannot be read, '' when they can."""

    snapshot_id: str
    volume_id: str
    size_gib: int
    taken_at: datetime
    encrypted: bool = False
    kms_key_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    why_not: str = ""


class Target(Protocol):
    """What a restore from a repository writes to: `begin` makes it; `makes` is its kind as undo and polls know it,
    `output` what later steps of the restore refer to it by."""

    makes: str
    output: str

    def begin(
        self,
        account: Account,
        region: str,
        size: int,
        token: str,
        tags: Mapping[str, str],
        kms_key: str = "",
        wishes: Mapping[str, Any] | None = None,
    ) -> str:
        """A new, empty snapshot (or disk) for a volume of `size` bytes; the same one again for the same token. Its id.
        `wishes` are the step's own, for a disk."""

    def sink(self, account: Account, region: str, snapshot_id: str, size: int) -> "CountingSink":
        """Where blocks of what `begin` made are written. It is not complete before `complete` says so."""

    def complete(self, account: Account, region: str, snapshot_id: str, blocks: int) -> None:
        """Say that `blocks` blocks were written in all."""


class Blocks(Target, Protocol):
    """Block access of one cloud."""

    def snapshots(self, account: Account, region: str, tags: Mapping[str, str]) -> Iterator[Foreign]:
        """Every snapshot that the account owns there and that carries all of `tags`, in no order. Raises the family."""

    def store(self, account: Account, region: str, url: str, sse_key: str = "") -> Store:
        """The place of a repository, entered as `account`. With `sse_key` the store itself encrypts what is written
        under that key of its cloud, beside our own encryption. Raises Unsuitable for an address of another cloud."""

    def key_service(self, account: Account, region: str, key: str) -> KeyService:
        """The account's key service, which encrypts under `key`."""

    def source(self, account: Account, region: str, snapshot_id: str, base: str | None = None) -> Source:
        """A completed snapshot; with `base` (another snapshot of the same volume) only what changed since.

        Raises Unrelated or Missing when `base` cannot be compared with.
        """


class Opening(Protocol):
    """Blocks whose reading needs a right that is to be taken back."""

    def opened(self) -> AbstractContextManager[Blocks]:
        """The same access for one piece of work: rights opened for it are shut at its end, however it ends."""


class CountingSink(Sink, Protocol):
    """A sink that knows how many blocks were written to it."""

    written: int
