"""The whole state of an installation as one bundle: catalog, master key, settings. The same on both databases.

The catalog is read in one transaction (a snapshot: work goes on meanwhile), row by row through the models, so that a
bundle made on SQLite is restored into PostgreSQL and the other way round. Every table's rows are counted and hashed,
the bundle is read back before it counts, and a restore compares what it wrote with what was read.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from admin.bundle import Record, Writer, read_bundle
from tasks.catalog import MODELS, Lease, Meta, Process, database, session
from tasks.catalog.audit import audit_head
from tasks.catalog.database import CatalogModel
from tasks.catalog.fields import is_postgres
from tasks.catalog.migrate import applied
from tasks.errors import Invalid
from tasks.secrets import Secret
from tasks.settings import Settings

# Who runs and who holds a lease is nobody's any more when a catalog is put back.
TABLES = tuple(model for model in MODELS if model not in (Process, Lease))
_PAGE = 2000  # rows read at once
FILES = ("snapfleet.toml", "tls/page.crt", "tls/page.key")
KEY_FILE = "keys/master.key"


@dataclass
class Summary:
    """What a bundle holds: the installation, when and by which version it was made, its schema, rows and files."""

    installation: str
    made_at: datetime
    version: str
    schema: list[str]
    key_id: str
    audit: str = ""  # the end of the audit's chain: `snapfleet audit verify --anchor` takes it
    tables: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As it is printed."""
        return {**vars(self), "rows": sum(self.tables.values())}


def back_up(settings: Settings, path: Path, secret: Secret, made_at: datetime) -> Summary:
    """Write the bundle and read it back. Raises Invalid for a file that is there already, Unavailable without a
    catalog. With a key command the key itself is not in it: it stays where that command gets it."""
    with Writer(path, secret) as writer:
        for record in _records(settings, made_at):
            writer.add(record)
    return inspect(path, secret)


def inspect(path: Path, secret: Secret) -> Summary:
    """Read a bundle to its end and check every count and hash. Raises Invalid when something is wrong with it."""
    summary: Summary | None = None
    for record in check(read_bundle(path, secret)):
        if "state" in record:
            state = {**record["state"], "made_at": datetime.fromisoformat(record["state"]["made_at"])}
            summary = Summary(**state)
        elif summary is not None and "file" in record:
            summary.files.append(record["file"]["path"])
        elif summary is not None and "end" in record:
            summary.tables[record["end"]["table"]] = record["end"]["rows"]
    if summary is None or len(summary.tables) < len(TABLES):
        raise Invalid(f"{path} does not hold a whole installation.", code="bundle-incomplete")
    return summary


def check(records: Iterator[Record]) -> Iterator[Record]:
    """Pass records on, and raise Invalid when a table's rows or a file are not what was counted and hashed."""
    rows, digest = 0, hashlib.sha256()
    for record in records:
        if "row" in record:
            rows += 1
            digest.update(line_of(record["row"]))
        elif "end" in record:
            told = record["end"]
            if (told["rows"], told["sha256"]) != (rows, digest.hexdigest()):
                raise Invalid(
                    f"The table {told['table']} of the bundle is not what was written.", code="bundle-damaged"
                )
            rows, digest = 0, hashlib.sha256()
        elif "file" in record:
            data = base64.b64decode(record["file"]["data"])
            if hashlib.sha256(data).hexdigest() != record["file"]["sha256"]:
                raise Invalid(f"The file {record['file']['path']} of the bundle is damaged.", code="bundle-damaged")
        yield record


def _records(settings: Settings, made_at: datetime) -> Iterator[Record]:
    with session(), database.atomic():
        if is_postgres(database):
            database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield {
            "state": {
                "installation": str(Meta.get_by_id("installation").value),
                "made_at": made_at.astimezone(UTC).isoformat(),
                "version": version("snapfleet"),
                "schema": applied(),
                "key_id": settings.master_key().key_id,
                "audit": str(audit_head()),
            }
        }
        yield from _files(settings)
        for model in TABLES:
            yield from _table(model)


def _files(settings: Settings) -> Iterator[Record]:
    places = {name: settings.home / name for name in FILES}
    if not settings.key_command:
        places[KEY_FILE] = settings.key_path
    for name, path in places.items():
        if path.is_file():
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            yield {"file": {"path": name, "sha256": digest, "data": base64.b64encode(data).decode()}}


def _table(model: type[CatalogModel]) -> Iterator[Record]:
    rows, digest = 0, hashlib.sha256()
    for row in table_rows(model):
        rows += 1
        digest.update(line_of(row))
        yield {"row": row}
    yield {"end": {"table": model._meta.table_name, "rows": rows, "sha256": digest.hexdigest()}}


def table_rows(model: type[CatalogModel]) -> Iterator[Record]:
    """Every row in order of its key, values as JSON has them. Inside the caller's session."""
    key: Any = model._meta.primary_key
    last: Any = None
    while True:
        query: Any = model.select().order_by(key).limit(_PAGE).dicts()
        page = list(query if last is None else query.where(key > last))
        for row in page:
            yield {name: _plain(value) for name, value in row.items()}
        if len(page) < _PAGE:
            return
        last = page[-1][key.name]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def line_of(row: Record) -> bytes:
    """A row as it is hashed: the same whatever database it came from."""
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode()


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
