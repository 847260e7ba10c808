"""Buckets kept in step, as handlers need it; a driver may offer it as its attribute `buckets`.

What the world promises: objects go from bucket to bucket inside the cloud, never through this process; every call is
made by the account that owns the bucket that is written to; errors are the family's. Copying twice is harmless: what
is there already is left alone, so whoever goes on after a kill just goes on.

Keys are relative: what a key has after the prefix of its side. Ranges are (after, until]: '' is an open end.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, unquote

from workers.driver import Account, Resource


@dataclass(frozen=True)
class Pair:
    """Two buckets, what is copied from one to the other and how; as it was decided once, for all workers at it.

    `versions`: every version goes, oldest first. `as_of` (ISO, the cloud's clock): the source as it was then, '' as it
    is. `opaque`: ETags do not tell content (encryption under keys of KMS), so age decides. `kms_key`: everything
    written lies under it. `keeps_kms`: what is written lies under a key of KMS whatever is said. `skip_archived`:
    what lies in an archive class is left out instead of being a failure.
    """

    source: str
    source_region: str
    target: str
    target_region: str
    source_prefix: str = ""
    target_prefix: str = ""
    source_owner: str = ""
    target_owner: str = ""
    versions: bool = False
    versioned: bool = False  # the target keeps versions
    as_of: str = ""
    opaque: bool = False
    kms_key: str = ""
    keeps_kms: bool = False
    skip_archived: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Pair":
        """What `to_json` wrote; what another version knows besides is left out."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: item for name, item in value.items() if name in known})


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of an object, as a listing tells it. `etag` without quotes."""

    size: int
    etag: str
    at: datetime
    storage_class: str = "STANDARD"
    version: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """What a bucket has under one key: versions, the oldest first; `deleted` when nothing of it shows now."""

    key: str
    versions: tuple[Entry, ...]
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Todo:
    """What one key needs: versions to copy, the oldest first; `hide` it again afterwards, since it was deleted in the
    source before it was ever copied; `vanished`: it shows in the target and not in the source."""

    key: str
    copies: tuple[Entry, ...] = ()
    hide: bool = False
    vanished: bool = False


@dataclass(frozen=True)
class Page:
    """Some keys in order, compared. `last` is the key up to which everything is in it; figures are of the page."""

    last: str
    todo: tuple[Todo, ...]
    objects: int  # that show in the source
    bytes: int
    there: int  # that show in the target


@dataclass
class Copied:
    """What became of a page: sums, and of what could not be copied the count and the first few with reasons."""

    copied: int = 0
    copied_bytes: int = 0
    left_out: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Upload:
    """A large object on its way, part by part: enough for another worker to go on."""

    key: str
    source_etag: str
    id: str
    part_bytes: int
    version: str = ""


_NAME = 200  # characters of a key in a report


def shown(key: str) -> str:
    """A key fit for a report: names in buckets are anybody's text."""
    plain = "".join(char if char.isprintable() else "?" for char in key)
    return plain if len(plain) <= _NAME else plain[: _NAME - 1] + "…"


def kept(key: str) -> str:
    """A key fit for the catalog, which takes no NUL; `key_of` reads it."""
    return quote(key, safe="/ ")


def key_of(text: str) -> str:
    """What `kept` wrote."""
    return unquote(text)


class Buckets(Protocol):
    """Bucket access of one cloud."""

    def prepare(self, reader: Account, writer: Account, source: Resource, options: Mapping[str, str]) -> Pair:
        """Look at both buckets and try every right that a sync needs. Raises Impossible, Denied, Invalid with what to
        do."""

    def prepare_restore(self, writer: Account, wish: Mapping[str, Any], tags: Mapping[str, str]) -> Pair:
        """The way back, into a bucket of `writer`, made when it does not exist. Raises as `prepare`."""

    def now(self, writer: Account, pair: Pair) -> datetime:
        """The cloud's clock at the target, in whole seconds: what versions are dated by."""

    def bounds(
        self, writer: Account, pair: Pair, after: str, every: int, late: Callable[[], bool]
    ) -> tuple[list[str], str, bool]:
        """Every `every`-th key of the source after `after`; how far it came, and whether that is the end."""

    def pages(self, writer: Account, pair: Pair, after: str, until: str) -> Iterator[Page]:
        """What a range of keys needs, page by page."""

    def copy(self, writer: Account, pair: Pair, page: Page, width: int) -> Copied:
        """Copy a page's objects, `width` at once; large ones are left to `copy_large`. Raises Throttled, Denied,
        Transient when the rest has to wait; what was copied stays copied."""

    def large(self, pair: Pair, page: Page) -> list[Todo]:
        """Those of a page that go part by part."""

    def copy_large(
        self, writer: Account, pair: Pair, todo: Todo, known: Upload | None, note: Callable[[Upload | None], None],
        late: Callable[[], bool], width: int
    ) -> Copied | None:  # fmt: skip
        """Copy what one key needs, part by part; None when it was late before the end. `note` keeps where it is."""

    def abort(self, writer: Account, pair: Pair, upload: Upload) -> None:
        """Give up an upload that nobody goes on with; already gone is success."""

    def delete(self, writer: Account, pair: Pair, keys: Sequence[str]) -> int:
        """Take these keys out of the target (where it keeps versions they only do not show any more); how many."""
