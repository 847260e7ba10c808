"""Bringing a catalog to the schema of this version: ordered scripts, one process at a time.

`NNNN_pre_…` scripts are safe under the code of the version before, `NNNN_post_…` ones only when no such process runs
any more. playhouse keeps the order and the history but has no lock (three at once: one wins, two die; measured with
peewee 4.5.3), so a PostgreSQL advisory lock, or a lock file beside the SQLite file, is held around it.
"""

import fcntl
from pathlib import Path

from peewee import DatabaseError
from playhouse.migrations import Runner

from tasks.catalog.database import database, first_line, session
from tasks.catalog.fields import is_postgres
from tasks.errors import Invalid

DIRECTORY = Path(__file__).parent / "migrations"
HISTORY = "schema_history"
# Any number, the same for every process: the advisory lock's name.
LOCK = 7_300_519_001


def _runner() -> Runner:
    return Runner(database.obj, str(DIRECTORY), table_name=HISTORY)


def pending() -> list[str]:
    """Names of the migrations that this catalog still lacks, in order."""
    with session():
        return [item.name for item in _runner().status() if not item.applied]


def unknown() -> list[str]:
    """Migrations that the catalog has and this version does not know: a newer version has been here."""
    with session():
        return [item.name for item in _runner().status() if item.path is None]


def applied() -> list[str]:
    """Migrations that the catalog has, in order."""
    with session():
        return sorted(item.name for item in _runner().status() if item.applied)


def known() -> list[str]:
    """Migrations that this version has, in order."""
    return sorted(path.stem for path in DIRECTORY.glob("[0-9]*.py"))


def migrate() -> list[str]:
    """Apply what is missing; returns the names applied. Two at once: one waits, then finds nothing to do.

    Raises Invalid when a newer version has migrated this catalog, or when a script fails (nothing of it stays).
    """
    with session():
        if is_postgres(database):
            database.execute_sql("select pg_advisory_lock(%s)", (LOCK,))
            try:
                return _apply()
            finally:
                database.execute_sql("select pg_advisory_unlock(%s)", (LOCK,))
        with Path(f"{database.obj.database}.migrate").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return _apply()


def _apply() -> list[str]:
    foreign = unknown()
    if foreign:
        raise Invalid(
            f"The catalog was migrated by a newer version ({foreign[-1]}).",
            advice="Run that version, or restore the catalog that belongs to this one.",
        )
    try:
        return list(_runner().up())
    except DatabaseError as error:
        raise Invalid(f"A migration failed and was undone: {first_line(error)}.") from error


def require_current() -> None:
    """Raise Invalid, naming the next step, unless the catalog has exactly this version's schema."""
    if unknown():
        raise Invalid("The catalog belongs to a newer version.", advice="Upgrade this process.")
    if pending():
        raise Invalid(
            "The catalog's schema is not up to date.", advice="Run `snapfleet init` (or `snapfleet upgrade`)."
        )
