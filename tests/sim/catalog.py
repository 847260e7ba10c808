"""The catalog's port: production models and statements on SQLite in memory, with connections that can be lost.

One connection serves every simulated process, because an actor is never interrupted inside a transaction; what a
process that died had not committed is rolled back. What only concurrent transactions of PostgreSQL can show is not seen
here: tests on the real database show that.
"""

import functools
import sqlite3
from typing import Any

from peewee import SCOPE_VALUES, Column, Context, Field, OperationalError, SqliteDatabase, Table

from tasks.catalog import close_catalog, open_catalog
from tasks.catalog.migrate import migrate
from tests.sim.world import Death, World


class Rows:
    """A statement's answer, read at once: what others do meanwhile does not change it."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.description, self.lastrowid, self.rowcount = cursor.description, cursor.lastrowid, cursor.rowcount
        self._rows = iter(cursor.fetchall() if cursor.description else ())

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Any:
        return self._rows

    def close(self) -> None:
        """Everything is read."""


_as_peewee_writes_it = Field.__sql__


def quick_column(field: Field, ctx: Context) -> Context:
    """Write a column into a statement: what peewee writes, in one call instead of eight; a fifth of a seed's time."""
    column = field.column
    if type(column) is not Column or type(column.source) is not Table:
        written: Context = _as_peewee_writes_it(field, ctx)
        return written
    if ctx.state.scope == SCOPE_VALUES:
        return ctx.literal(f'"{column.name}"')
    if column.source._alias:
        ctx.alias_manager[column.source] = column.source._alias
    return ctx.literal(f'"{ctx.alias_manager[column.source]}"."{column.name}"')


@functools.cache
def template(folder: str) -> bytes:
    """A migrated, empty catalog as bytes; made once a process, in `folder`."""
    open_catalog(f"sqlite://{folder}/template.sqlite")
    try:
        migrate()
        close_catalog()
        with sqlite3.connect(f"{folder}/template.sqlite") as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
            connection.execute("pragma journal_mode = delete")
            return connection.serialize()
    finally:
        close_catalog()


class SimDatabase(SqliteDatabase):
    """peewee's SQLite database for one world: every statement outside a transaction is a step of its actor."""

    def __init__(self, world: World, image: bytes) -> None:
        self._open = False
        self._world = world
        super().__init__(":memory:", autoconnect=False, cached_statements=2000)
        super().connect()
        self._open = True
        self._raw: sqlite3.Connection = self.connection()
        self._raw.deserialize(image)
        self._raw.execute("pragma foreign_keys = 1")

    def connect(self, reuse_if_open: bool = False) -> bool:
        """An actor begins a session."""
        actor = self._world.current
        if actor is not None:
            self._world.step("connect")
            actor.broken = False
            if self._world.now < self._world.catalog_back_at:
                raise OperationalError("connection refused")
        return True

    def close(self) -> bool:
        """An actor gives its connection back; the one there is stays."""
        return True

    def is_closed(self) -> bool:
        return not self._open

    def shut(self) -> None:
        """The end of the world."""
        super().close()

    def _may_go_on(self, name: str) -> None:
        actor = self._world.current
        if actor is None:
            return
        if not actor.process.alive:
            raise Death
        if not actor.broken and not self.in_transaction():
            self._world.step(name)
        away = self._world.now < self._world.catalog_back_at
        if actor.broken or away or self._world.chance(self._world.weather.catalog):
            if not actor.broken:
                self._world.tell(actor.process.name, f"lost its connection at {name}")
            actor.broken = True
            raise OperationalError("server closed the connection unexpectedly")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        self._may_go_on(sql[:6])
        return Rows(super().execute_sql(sql, params))

    def begin(self, lock_type: str | None = None) -> None:
        self._may_go_on("begin")
        super().begin(lock_type)

    def commit(self) -> None:
        """A commit whose answer is lost may have happened."""
        actor = self._world.current
        if actor is not None and not actor.process.alive:
            self.rollback()
            raise Death
        if actor is not None and self._world.chance(self._world.weather.catalog * 3):
            happened = self._world.chance(0.5)
            self._world.tell(actor.process.name, f"lost its connection at a commit, which happened: {happened}")
            actor.broken = True
            if happened:
                super().commit()
            raise OperationalError("server closed the connection unexpectedly")
        super().commit()
        if actor is not None and actor.process.works:
            self._world.commits += 1

    def rollback(self) -> None:
        if self._raw.in_transaction:
            super().rollback()
