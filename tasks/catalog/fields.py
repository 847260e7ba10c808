"""Columns that mean the same on PostgreSQL and on SQLite."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from peewee import Check, Field, ForeignKeyField, Node, PostgresqlDatabase, TextField


class UtcField(Field):
    """An instant: aware UTC in Python, timestamptz on PostgreSQL, sortable fixed-width text on SQLite.

    Naive values are refused on the way in: a naive time in a catalog is a bug that shows at the next clock change.
    """

    field_type = "TIMESTAMPTZ"

    def db_value(self, value: datetime | None) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{self.name} needs an aware time, got {value!r}")
        instant = value.astimezone(UTC)
        if is_postgres(self.model._meta.database):
            return instant
        return instant.strftime("%Y-%m-%d %H:%M:%S.%f+00:00")

    def python_value(self, value: Any) -> datetime | None:
        if value is None:
            return None
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


class StateField(TextField):
    """A column that holds one value of an enumeration, stored as its text."""

    def __init__(self, states: type[StrEnum], **kwargs: Any) -> None:
        self.states = states
        super().__init__(**kwargs)

    def db_value(self, value: Any) -> str | None:
        return None if value is None else str(self.states(value))

    def python_value(self, value: Any) -> StrEnum | None:
        return None if value is None else self.states(value)


def says_why(states: Iterable[StrEnum], code: str = "error_code") -> Node:
    """A check for a model's constraints: no row is in one of these states without a reason code, whoever writes it."""
    found: Node = Check(f""""state" NOT IN ({", ".join(f"'{state}'" for state in sorted(states))}) OR "{code}" <> ''""")
    return found


class SureField(ForeignKeyField):
    """A reference that the database does not check for each row that is written.

    Only where the referred row was read, or written, in the same transaction, and rows of its table are never deleted:
    what a check could find cannot be. On the tables that every due slot writes to, these checks, each of which also
    locks the row that it finds, took a fifth of PostgreSQL's time (measured 2026-11-23).
    """

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, _deferred=True, **options)


def reader_of(field: Field) -> Callable[[Any], Any] | None:
    """What makes of PostgreSQL's answer this field's value; None where it is that already."""
    return field.python_value if isinstance(field, UtcField | StateField) else None


def read_columns(found: list[tuple[Any, ...]], readers: Sequence[Callable[[Any], Any] | None]) -> list[tuple[Any, ...]]:
    """Rows, read a column at a time: a third of the time that it takes row by row."""
    if not found or not any(readers):
        return found
    columns = zip(zip(*found, strict=True), readers, strict=True)
    read = [column if reader is None or _are_utc(column) else map(reader, column) for column, reader in columns]
    return list(zip(*read, strict=True))


def _are_utc(column: Sequence[Any]) -> bool:
    """Whether these are instants as they should be: a connection gives all of them in its own time zone."""
    return isinstance(column[0], datetime) and column[0].tzinfo is UTC


def is_postgres(database: Any) -> bool:
    """Whether the database behind a proxy (or itself) is PostgreSQL."""
    return isinstance(getattr(database, "obj", database), PostgresqlDatabase)
