"""Opening the catalog: one URL, one pool, connections that are given back.

`postgresql://…` is a fleet's catalog; `sqlite:///PATH` the embedded one (WAL). The models of this package are bound
to one database per process. Code works inside `session()` (reads) or `transaction()` (writes) and holds neither
during a call to a cloud: leaving the block gives the connection back to the pool.
"""

import contextlib
import select
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import peewee
from peewee import Cast, DatabaseProxy, Field, InterfaceError, Model, OperationalError
from playhouse.pool import PooledPostgresqlDatabase, PooledSqliteDatabase

from tasks.catalog.fields import is_postgres, read_columns, reader_of
from tasks.errors import Invalid, Unavailable

# A statement that runs longer than this is a defect, not work: the largest sweep takes under 5 s at 50,000 points.
STATEMENT_TIMEOUT_MS = 60_000
# A transaction that does nothing for so long belongs to a process that was frozen or cut off: its locks are given back.
# The longest honest pause is the wait for a broker's confirms, 15 s.
IDLE_TRANSACTION_MS = 60_000
# How long a thread waits for a free connection before it says so. Longer would hide a leak.
POOL_WAIT_SECONDS = 10
# A link whose other end is gone without a word is given up after 30 s, as the broker's is (heartbeat 10): what was sent
# by then, and what is waited for by probes. The kernel's own defaults are a quarter of an hour and two hours.
_LINK = {
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "connect_timeout": 10,
}
# SQLite has one writer: others queue this long. Writes here are milliseconds.
SQLITE_BUSY_MS = 30_000


class _Pool(PooledPostgresqlDatabase):
    """peewee's pool asks every connection `SELECT 1` before it gives it out, under the lock that all threads need: a
    quarter of the statements of a backup (measured 2026-11). A connection at rest that has nothing to read lives, as
    far as this host knows; only one on which the server said something, such as goodbye, is asked."""

    def _is_closed(self, conn: Any) -> bool:
        if conn.closed:
            return True
        heard = select.poll()
        heard.register(conn.fileno(), select.POLLIN)
        return bool(heard.poll(0)) and bool(super()._is_closed(conn))


database = DatabaseProxy()
_depth = threading.local()
_bound: dict[str, str] = {}  # the URL that the models are bound to


class CatalogModel(Model):
    """Base of every table."""

    class Meta:
        database = database
        legacy_table_names = False

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Columns that peewee adds by itself (`run_id` of a foreign key `run`)."""


class _Answer:
    """All rows of a statement, as a cursor gives them."""

    def __init__(self, cursor: Any) -> None:
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        self._rows = deque(cursor.fetchall())

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchall(self) -> list[Any]:
        found, self._rows = list(self._rows), deque()
        return found

    def close(self) -> None:
        self._rows.clear()


class _SqlitePool(PooledSqliteDatabase):
    """SQLite whose answers are read whole at once. A half-read one holds its snapshot open: a transaction that begins
    on the same connection after somebody else's commit is refused at once then ("database is locked"), whatever
    `busy_timeout` says (SQLITE_BUSY_SNAPSHOT, "Isolation In SQLite")."""

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        cursor = super().execute_sql(sql, params)
        return cursor if cursor.description is None else _Answer(cursor)


def open_catalog(url: str, *, max_connections: int = 40) -> None:
    """Bind the models to the catalog at `url`. Nothing is connected yet. Raises Invalid for another kind of URL.

    Opening what is open already changes nothing: other threads may be in the middle of a transaction on it.
    """
    if _bound.get("url") == url:
        return
    parsed = urlparse(url)
    if parsed.scheme in {"postgresql", "postgres"}:
        real: peewee.Database = _Pool(
            url.replace("postgres://", "postgresql://", 1),
            max_connections=max_connections,
            timeout=POOL_WAIT_SECONDS,
            stale_timeout=300,
            autoconnect=False,
            prefer_psycopg3=True,
            **_LINK,
            # Statements here take milliseconds; to compile one takes PostgreSQL fifty.
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC -c jit=off"
            f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_MS}",
        )
    elif parsed.scheme == "sqlite":
        path = unquote(parsed.path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        real = _SqlitePool(
            path,
            max_connections=max_connections,
            timeout=POOL_WAIT_SECONDS,
            autoconnect=False,
            check_same_thread=False,
            pragmas={
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": 1,
                "busy_timeout": SQLITE_BUSY_MS,
            },
        )
    else:
        raise Invalid(
            f"The catalog URL starts with {parsed.scheme or 'nothing'!r}.",
            advice="Use postgresql://USER@HOST/NAME or sqlite:///PATH in SNAPFLEET_CATALOG_URL.",
        )
    database.initialize(real)
    _bound["url"] = url


def close_catalog() -> None:
    """Close every pooled connection of this process."""
    _bound.clear()
    if database.obj is not None and hasattr(database.obj, "close_all"):
        database.obj.close_all()


def after_fork() -> None:
    """Forget the parent's connections in a child process; the child opens its own."""
    database.obj.dispose() if hasattr(database.obj, "dispose") else database.obj.manual_close()


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Hold a connection for this block; nested blocks share it. Raises Unavailable when there is none to be had."""
    if getattr(_depth, "value", 0):
        _depth.value += 1
        try:
            yield
        finally:
            _depth.value -= 1
        return
    try:
        database.connect(reuse_if_open=True)
    except (OperationalError, InterfaceError, sqlite3.OperationalError) as error:
        raise Unavailable(f"The catalog cannot be reached ({first_line(error)}).") from error
    _depth.value = 1
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"The catalog went away ({first_line(error)}).") from error
    finally:
        _depth.value = 0
        with contextlib.suppress(peewee.DatabaseError, InterfaceError):
            database.close()


@contextlib.contextmanager
def transaction() -> Iterator[None]:
    """A write transaction: all of the block or nothing. On SQLite it takes the write lock at its start."""
    with session():
        atomic: Any = database.atomic() if is_postgres(database) else database.atomic("IMMEDIATE")
        with atomic:
            yield


def first_line(error: BaseException) -> str:
    """The first line of a database error, which names the host and the cause but never a parameter."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def database_time() -> datetime:
    """The database's own clock; on SQLite the host's, since one host is the whole fleet there."""
    with session():
        if is_postgres(database):
            (value,) = database.execute_sql("select clock_timestamp()").fetchone()
            return value.astimezone(UTC)
        (text,) = database.execute_sql("select strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')").fetchone()
        return datetime.fromisoformat(text)


def look_up_rows() -> None:
    """Have PostgreSQL find rows by indexes alone until this transaction ends. Its figures about a table that is empty
    most of the day tell it to read the whole table for each row that it looks for, and in a wave the table is long: 240
    ms for a thousand rows instead of 10 (measured 2026-11-23)."""
    if is_postgres(database):
        database.execute_sql("SET LOCAL enable_seqscan = off")


def lock_rows(query: Any) -> Any:
    """`FOR UPDATE SKIP LOCKED` where the database has it; SQLite's write lock already excludes others."""
    return query.for_update("FOR UPDATE SKIP LOCKED") if is_postgres(database) else query


def hold_rows(query: Any) -> Any:
    """`FOR SHARE`: what is read stays as it is until this transaction ends; waits for whoever is changing it."""
    return query.for_update("FOR SHARE") if is_postgres(database) else query


def rows(query: Any) -> list[Any]:
    """The query's rows as plain tuples, in the order of its columns.

    peewee's own reading took more of a large round than any other line (measured 2026-11-22): columns that are plain
    fields, or casts, are read without it on PostgreSQL.
    """
    selected = getattr(query, "_returning", None) or ()
    plain = all(isinstance(one, Field | Cast) for one in selected)
    if not (selected and plain and is_postgres(database)):
        return list(query.tuples())
    readers = [None if isinstance(one, Cast) else reader_of(one) for one in selected]
    return read_columns(database.execute(query).fetchall(), readers)
