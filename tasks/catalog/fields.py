"""Columns that mean the same on PostgreSQL and on SQLite."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from peewee import Field, PostgresqlDatabase, TextField


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
        return instant.astimezone(UTC)


class StateField(TextField):
    """A column that holds one value of an enumeration, stored as its text."""

    def __init__(self, states: type[StrEnum], **kwargs: Any) -> None:
        self.states = states
        super().__init__(**kwargs)

    def db_value(self, value: Any) -> str | None:
        return None if value is None else str(self.states(value))

    def python_value(self, value: Any) -> StrEnum | None:
        return None if value is None else self.states(value)


def is_postgres(database: Any) -> bool:
    """Whether the database behind a proxy (or itself) is PostgreSQL."""
    return isinstance(getattr(database, "obj", database), PostgresqlDatabase)
