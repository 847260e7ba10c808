"""Putting an installation back from a bundle: into an empty home and an empty catalog, all of it or nothing."""

import base64
import hashlib
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from peewee import fn

from admin.bundle import Record, read_bundle
from admin.setup import prepare_home, sqlite_path
from admin.state import KEY_FILE, TABLES, Summary, check, inspect, line_of, table_rows, write_private
from tasks.catalog import Audit, Job, Lease, Meta, Process, database, open_catalog, session, transaction
from tasks.catalog.audit import sign_audit_with
from tasks.catalog.database import CatalogModel
from tasks.catalog.era import begin_era
from tasks.catalog.fields import UtcField, is_postgres
from tasks.catalog.migrate import applied, known, migrate
from tasks.errors import Invalid, Refused
from tasks.secrets import MasterKey, Secret
from tasks.settings import Settings
from tasks.states import JOB_OPEN

_BATCH = 300  # rows in one statement: SQLite takes 32,766 parameters, and a job has 35 columns


_FORCE = "Use an empty home and catalog, or --force to lose what is there."


def refuse_if_taken(settings: Settings) -> None:
    """Raises Refused when the home holds a key, or the catalog an installation."""
    key, file = settings.home / KEY_FILE, sqlite_path(settings.catalog)
    if key.exists():
        raise Refused(f"{settings.home} holds an installation.", advice=_FORCE, code="state-in-use")
    if file is not None and not file.exists():
        return
    open_catalog(settings.catalog)
    with session():
        if applied() and Meta.get_or_none(Meta.key == "installation") is not None:
            raise Refused("The catalog holds an installation.", advice=_FORCE, code="state-in-use")


def restore(settings: Settings, path: Path, secret: Secret, *, force: bool, who: str, dry_run: bool = False) -> Summary:
    """Put everything back, and read it back. The whole bundle is checked before anything is touched.

    Raises Invalid for a bundle that does not open, is damaged or has a newer schema, Refused for a place in use.
    """
    summary = inspect(path, secret)
    newer = sorted(set(summary.schema) - set(known()))
    if newer:
        raise Invalid(
            f"The bundle's schema is newer than this version ({newer[-1]}).", advice="Restore it with that version."
        )
    missing = sorted(set(known()) - set(summary.schema))
    if missing:
        raise Invalid(
            f"The bundle's schema is older than this version (it lacks {missing[0]}).",
            advice=f"Restore it with version {summary.version}, then upgrade.",
        )
    _check_key(settings, summary)
    if not force:
        refuse_if_taken(settings)
    if dry_run:
        return summary
    prepare_home(settings.home)
    open_catalog(settings.catalog)
    migrate()
    _put_rows(settings, path, secret, who)
    return summary


def _check_key(settings: Settings, summary: Summary) -> None:
    """Raises Invalid where the key that opens the bundle's secrets is neither in it nor printed by the key command."""
    if settings.key_command:
        if settings.master_key().key_id != summary.key_id:
            text = f"The master key {settings.key_place} is not this bundle's."
            raise Invalid(text, advice="Bring the key that belongs to it.")
    elif KEY_FILE not in summary.files:
        text = "The master key is not in this bundle: a key command printed it."
        raise Invalid(text, advice="Set SNAPFLEET_KEY_COMMAND to that command, and restore again.")


def _key_of(settings: Settings, path: Path, secret: Secret) -> Callable[[], MasterKey]:
    """The bundle's master key, which is not in its place yet; with a key command the one that it prints."""
    found = [record["file"]["data"] for record in _files_of(path, secret) if record["file"]["path"] == KEY_FILE]
    if settings.key_command or not found:
        return settings.master_key
    key = MasterKey(base64.b64decode(base64.b64decode(found[0])))
    return lambda: key


def _files_of(path: Path, secret: Secret) -> Iterator[Record]:
    """The files of a bundle, which come before its tables."""
    for record in read_bundle(path, secret):
        if "row" in record or "end" in record:
            return
        if "file" in record:
            yield record


def elsewhere(settings: Settings) -> list[str]:
    """Settings in the restored snapfleet.toml by which a process that has only those would look for catalog or key in
    another place than they were put back into."""
    file = settings.home / "snapfleet.toml"
    read = tomllib.loads(file.read_text()) if file.exists() else {}
    return [name for name in ("catalog_url", "key_file") if name in read and read[name] != getattr(settings, name)]


def _put_files(settings: Settings, path: Path, secret: Secret) -> None:
    """Each file back into its place, the master key where the settings look for it. Raises Invalid where it cannot be
    written."""
    for record in _files_of(path, secret):
        name, data = record["file"]["path"], base64.b64decode(record["file"]["data"])
        place = settings.key_path if name == KEY_FILE else settings.home / name
        try:
            write_private(place, data)
        except OSError as error:
            raise Invalid(f"{place} cannot be written: {error.strerror}.") from None


def _put_rows(settings: Settings, path: Path, secret: Secret, who: str) -> None:
    with transaction():
        if applied() != known():
            raise Invalid("The catalog's schema is not this version's.")
        for model in (*reversed(TABLES), Process, Lease):
            model.delete().execute()
        digests = _insert(check(read_bundle(path, secret)))
        for model in TABLES:
            found = _digest(model)
            if found != digests[model._meta.table_name]:
                raise Invalid(f"What was written into {model._meta.table_name} is not what was read.")
        sign_audit_with(_key_of(settings, path, secret))
        _begin(settings, who)
        _put_files(settings, path, secret)  # last: a failure leaves the key that the catalog there is sealed with


def _insert(records: Iterator[Record]) -> dict[str, str]:
    """Insert every row; the hash of each table as the bundle has it."""
    tables = iter(TABLES)
    model: type[CatalogModel] = next(tables)
    waiting: list[Record] = []
    digests: dict[str, str] = {}
    for record in records:
        if "row" in record:
            waiting.append(record["row"])
        if "end" in record or len(waiting) >= _BATCH:
            _write(model, waiting)
            waiting = []
        if "end" in record:
            if record["end"]["table"] != model._meta.table_name:
                raise Invalid("The bundle's tables are in another order.", code="bundle-damaged")
            digests[record["end"]["table"]] = record["end"]["sha256"]
            model = next(tables, model)
    return digests


def _write(model: type[CatalogModel], rows: list[Record]) -> None:
    if not rows:
        return
    fields = model._meta.fields
    readers: dict[str, Callable[[str], datetime]] = {
        name: datetime.fromisoformat for name, field in fields.items() if isinstance(field, UtcField)
    }
    complete = [
        {name: readers[name](value) if name in readers and value is not None else value for name, value in row.items()}
        for row in rows
    ]
    statement: Any = model.insert_many(complete)
    statement.execute()


def _digest(model: type[CatalogModel]) -> str:
    digest = hashlib.sha256()
    for row in table_rows(model):
        digest.update(line_of(row))
    return digest.hexdigest()


def _begin(settings: Settings, who: str) -> None:
    """A new era: numbers go on after those that were given, and open work looks for what was made meanwhile."""
    if is_postgres(database):
        for model in TABLES:
            key: Any = model._meta.primary_key
            if key.name == "id":
                newest = model.select(fn.MAX(key)).scalar() or 0
                table = model._meta.table_name
                database.execute_sql("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", (table, max(1, newest)))
    clock = settings.clock()
    era = begin_era(clock.now())
    Job.update(fence=Job.fence + 1).where(Job.state.in_(list(JOB_OPEN))).execute()
    Audit.create(at=clock.timer(), who=who, action="state.restore", subject=f"era {era.number}")
