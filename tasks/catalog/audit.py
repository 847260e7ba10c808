"""Who asked for what, as a chain that tells when somebody has changed it, and who may.

Each row holds the link of the row before, and a link of its own: HMAC-SHA256 over both that and what the row says, by a
key derived from the installation's master key. A bare hash would not do: whoever can write the table can work out a
bare chain anew, but has no business with the key, which lies outside the database. Numbers are given without gaps,
under the lock of the one Meta row that holds the end of the chain, so that writers on either database follow one
another. A tail that is cut off together with that row leaves a chain in order: only an end that was noted elsewhere
(`Anchor`) tells. The chain begins with the first row: no catalog has rows from before it.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from functools import cache
from typing import Any, NamedTuple, Self

from peewee import BigAutoField, JSONField, TextField

from tasks.catalog.database import CatalogModel, database, transaction
from tasks.catalog.estate import Meta, meta, set_meta
from tasks.catalog.fields import UtcField, is_postgres
from tasks.errors import Invalid, SnapfleetError
from tasks.secrets import MasterKey

HEAD = "audit:head"  # the Meta row with the end of the chain
KEY_ID = "key_id"  # the Meta row that tells which master key the catalog belongs to
_BATCH = 400  # rows in one statement: SQLite takes 32,766 parameters
_master: dict[str, Callable[[], MasterKey]] = {}


class Anchor(NamedTuple):
    """An end of the chain: how many rows there were, and the link of the last."""

    rows: int
    link: str

    def __str__(self) -> str:
        return f"{self.rows}:{self.link}"

    @classmethod
    def parse(cls, text: str) -> "Anchor":
        """What `str` wrote. Raises Invalid for another text."""
        count, colon, link = text.partition(":")
        if not (colon and count.isascii() and count.isdecimal() and len(count) < 19):
            raise Invalid(f"{text!r} is not an end of the audit's chain.", advice="`snapfleet audit verify` prints it.")
        return cls(int(count), link)


def sign_audit_with(master: Callable[[], MasterKey]) -> None:
    """Chain the rows that this process adds by a key from the master key, which is asked for at the first row."""
    _master["key"] = cache(master)


def fetch_audit_key() -> None:
    """Ask for the master key now, so that no transaction waits for the command that prints it. Where it is not to be
    had, the first row says so."""
    with suppress(SnapfleetError):
        _master["key"]()


def audit_key() -> bytes:
    """The key of the chain. Raises Invalid where the master key is not to be had, or is another catalog's: its rows
    would look as if somebody had changed them. Reads inside the caller's session."""
    if "key" not in _master:
        raise Invalid("This process has no master key for the audit.")
    master = _master["key"]()
    if meta(KEY_ID) not in ("", master.key_id):
        raise Invalid("The master key of this host is not this catalog's.", advice="Bring the key that belongs to it.")
    return master.derive(b"audit chain")


def audit_head() -> Anchor:
    """The end of the chain as the catalog has it. Reads inside the caller's session."""
    return Anchor.parse(meta(HEAD) or "0:")


class Audit(CatalogModel):
    """One thing somebody asked for. Rows are only ever added, by `create` and `append`."""

    id = BigAutoField()  # 1 for the first row, without gaps
    at = UtcField()
    who = TextField()
    action = TextField()
    subject = TextField(default="")
    detail = JSONField(default=dict)
    previous = TextField()  # the link of the row before; '' in the first
    link = TextField()

    @classmethod
    def create(cls, **columns: Any) -> Self:
        """Add a row at the end of the chain, in the caller's transaction or one of its own."""
        (number,) = cls.append([columns])
        found: Self = cls.get_by_id(number)
        return found

    @classmethod
    def append(cls, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add rows at the end of the chain, and return their numbers. Whoever writes more waits until this transaction
        ends: it comes last in one. Raises Invalid without the key: nothing is done of which nothing is told."""
        if not rows:
            return []
        with transaction():
            key, head = audit_key(), _locked_head()
            complete = []
            for row in rows:
                whole = {"id": head.rows + 1, "subject": "", "detail": {}, **row, "previous": head.link}
                head = Anchor(whole["id"], link_of(key, whole))
                complete.append({**whole, "link": head.link})
            for start in range(0, len(complete), _BATCH):
                cls.insert_many(complete[start : start + _BATCH]).execute()
            set_meta(HEAD, str(head))
        return [row["id"] for row in complete]


def _locked_head() -> Anchor:
    """The end of the chain, which nobody else moves until this transaction ends."""
    Meta.insert(key=HEAD, value="0:").on_conflict_ignore().execute()
    held = Meta.select(Meta.value).where(Meta.key == HEAD)
    return Anchor.parse((held.for_update() if is_postgres(database) else held).get().value)


def link_of(key: bytes, row: Mapping[str, Any]) -> str:
    """The link of a row: over everything that it says, as text that is the same whatever database it came from."""
    said = {name: row[name] for name in ("id", "who", "action", "subject", "previous")}
    told = {**said, "at": row["at"].astimezone(UTC).isoformat(), "detail": _plain(row["detail"])}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _plain(value: Any) -> Any:
    """JSON as PostgreSQL gives it back, where whole numbers have no point."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class User(CatalogModel):
    """Somebody who may log in to the page. Passwords are argon2id hashes."""

    name = TextField(primary_key=True)
    password_hash = TextField()
    role = TextField(default="admin")  # viewer or admin
    created_at = UtcField()
    disabled_at = UtcField(null=True)


class Token(CatalogModel):
    """A service token for /metrics and /api, stored as a SHA-256 of its random text."""

    name = TextField(primary_key=True)
    digest = TextField(unique=True)
    scope = TextField(default="metrics")  # metrics or api
    created_at = UtcField()
    expires_at = UtcField(null=True)
