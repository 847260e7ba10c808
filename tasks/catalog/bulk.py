"""Many rows in one statement, at a tenth of what the query builder takes for each.

On PostgreSQL the rows travel as one JSON document (`json_to_recordset`), so that the statement's text is the same for
one row and for thousands and the server keeps its plan; a column with one value in all rows travels once. On SQLite,
where a process has few rows at a time, the query builder writes them.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from peewee import SQL, Field, Tuple

from tasks.catalog.database import CatalogModel, database
from tasks.catalog.fields import StateField, UtcField, is_postgres

_TYPES = {
    "BIGAUTO": "bigint",
    "BIGINT": "bigint",
    "INT": "integer",
    "TEXT": "text",
    "TIMESTAMPTZ": "timestamptz",
    "BOOL": "boolean",
    "JSON": "jsonb",
}
_CHUNK = 400  # rows in one statement of the query builder: SQLite takes 32,766 parameters
Row = Mapping[str, Any]
_Row = TypeVar("_Row", bound=CatalogModel)


def insert_rows(
    model: type[CatalogModel], rows: Sequence[Row], *, returning: Sequence[str] = (), ignore: bool = False
) -> list[tuple[Any, ...]]:
    """Insert rows; what `returning` names of each row that was written, in no particular order.

    Rows map the model's field names to values (ids for other rows); a name that a row leaves out gets the field's
    default. With `ignore` rows that collide with existing ones are left out.
    """
    if not rows:
        return []
    if not is_postgres(database):
        return _insert_slowly(model, rows, returning, ignore)
    fields = [field for field in model._meta.sorted_fields if not _is_serial(field)]
    defaults = _defaults(model)
    varying, fixed = [], {}
    for field in fields:
        default = defaults.get(field.name)
        first = rows[0].get(field.name, default)
        if all(row.get(field.name, default) == first for row in rows):
            fixed[field.name] = first
        else:
            varying.append(field)
    values = [f"%s::{_type(field)}" if field.name in fixed else f'u."{field.name}"' for field in fields]
    constants = [_fixed(field, fixed[field.name]) for field in fields if field.name in fixed]
    names = ", ".join(f'"{field.column_name}"' for field in fields)
    source = _record(varying) if varying else f"generate_series(1, {len(rows)}) AS u"
    complete = [{**defaults, **row} for row in rows] if varying else []
    sql = (
        f'INSERT INTO "{model._meta.table_name}" ({names}) SELECT {", ".join(values)} FROM {source}'
        f"{' ON CONFLICT DO NOTHING' if ignore else ''}{_returning(model, returning)}"
    )
    cursor = database.execute_sql(sql, [*constants, *([_document(varying, complete)] if varying else [])])
    return _read(model, returning, cursor) if returning else []


def update_rows(
    model: type[CatalogModel],
    rows: Sequence[Row],
    *,
    by: Sequence[str] = ("id",),
    given: str = "",
    same: Row | None = None,
    returning: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Update rows, each found by the fields in `by`; what `returning` names of each row that was changed.

    All rows have the same fields. `same` holds columns with one value for all; `given` is an SQL condition, a text of
    the program's own, that must hold beside `by`.
    """
    if not rows:
        return []
    same = same or {}
    if not is_postgres(database):
        return _update_slowly(model, rows, by, given, same, returning)
    table = f'"{model._meta.table_name}"'
    fields = [getattr(model, name) for name in rows[0]]
    fixed = [getattr(model, name) for name in same]
    sets = [f'"{field.column_name}" = u."{field.name}"' for field in fields if field.name not in by]
    sets += [f'"{field.column_name}" = %s::{_type(field)}' for field in fixed]
    match = " AND ".join(f'{table}."{getattr(model, name).column_name}" = u."{name}"' for name in by)
    sql = (
        f"UPDATE {table} SET {', '.join(sets)} FROM {_record(fields)} "
        f"WHERE {match}{f' AND {given}' if given else ''}{_returning(model, returning)}"
    )
    constants = [_fixed(field, same[field.name]) for field in fixed]
    cursor = database.execute_sql(sql, [*constants, _document(fields, rows)])
    return _read(model, returning, cursor) if returning else []


def find_rows(
    model: type[CatalogModel],
    by: Sequence[str],
    keys: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    *,
    given: str = "",
    lock: bool = False,
    as_text: Collection[str] = (),
) -> list[tuple[Any, ...]]:
    """`columns` of the rows whose fields `by` have one of these values together: an index lookup for each.

    With `lock` they are locked in the order of their ids, and those that somebody else holds are left out (PostgreSQL;
    on SQLite a write transaction excludes everybody). `given` is an SQL condition, a text of the program's own, that
    must hold too. JSON in `as_text` comes as it is written.
    """
    if not keys:
        return []
    fields = [getattr(model, name) for name in by]
    if not is_postgres(database):
        return _find_slowly(model, fields, keys, columns, given, as_text)
    match = " AND ".join(f't."{field.column_name}" = u."{field.name}"' for field in fields)
    names = ", ".join(
        f't."{getattr(model, name).column_name}"{"::text" if name in as_text else ""}' for name in columns
    )
    sql = (
        f'SELECT {names} FROM {_record(fields)} JOIN "{model._meta.table_name}" t ON {match}'
        f"{f' WHERE {given}' if given else ''}{' ORDER BY t.id FOR UPDATE OF t SKIP LOCKED' if lock else ''}"
    )
    document = _document(fields, [dict(zip(by, key, strict=True)) for key in keys])
    return _read(model, columns, database.execute_sql(sql, [document]), as_text)


def delete_rows(model: type[CatalogModel], by: str, values: Sequence[Any]) -> None:
    """Delete the rows whose field `by` has one of these values."""
    field = getattr(model, by)
    if not is_postgres(database):
        for start in range(0, len(values), _CHUNK):
            model.delete().where(field.in_(list(values[start : start + _CHUNK]))).execute()
    elif values:
        sql = (
            f'DELETE FROM "{model._meta.table_name}" t USING {_record([field])} '
            f'WHERE t."{field.column_name}" = u."{field.name}"'
        )
        database.execute_sql(sql, [_document([field], [{by: value} for value in values])])


def models_of(model: type[_Row], rows: Iterable[Sequence[Any]]) -> list[_Row]:
    """Rows of all the model's columns, in their order, as the model: without what the query builder does for each."""
    names = [field.name for field in model._meta.sorted_fields]
    readers = [(field.name, _reader(field)) for field in model._meta.sorted_fields if _reader(field)]
    found = []
    for values in rows:
        row = model(__no_default__=True)
        data = row.__data__
        data.update(zip(names, values, strict=True))
        for name, reader in readers:
            data[name] = reader(data[name])
        found.append(row)
    return found


def columns_of(model: type[CatalogModel]) -> str:
    """The model's columns, with its table's name, in the order that `models_of` reads."""
    table = model._meta.table_name
    return ", ".join(f'"{table}"."{field.column_name}"' for field in model._meta.sorted_fields)


def _record(fields: Sequence[Field]) -> str:
    columns = ", ".join(f'"{field.name}" {_type(field)}' for field in fields)
    return f"json_to_recordset(%s::json) AS u({columns})"


def _document(fields: Sequence[Field], rows: Sequence[Row]) -> str:
    """The rows' fields as JSON; instants as ISO text, states as theirs."""
    writers = {field.name: _writer(field) for field in fields}
    plain = [name for name, writer in writers.items() if writer is None]
    other = [(name, writer) for name, writer in writers.items() if writer is not None]
    if not other:
        return json.dumps([{name: row[name] for name in plain} for row in rows])
    return json.dumps(
        [{**{name: row[name] for name in plain}, **{name: writer(row[name]) for name, writer in other}} for row in rows]
    )


def _writer(field: Field) -> Any:
    if isinstance(field, UtcField):
        return _instant
    return (lambda value: None if value is None else str(value)) if isinstance(field, StateField) else None


def _instant(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"a catalog needs aware times, got {value!r}")
    return value.isoformat()


def _fixed(field: Field, value: Any) -> Any:
    """A value as psycopg takes it; JSON travels as text and is cast by the statement."""
    if value is None:
        return None
    if field.field_type == "JSON":
        return json.dumps(value)
    convert: Any = field.db_value
    return convert(value)


def _defaults(model: type[CatalogModel]) -> dict[str, Any]:
    meta: Any = model._meta
    return {name: value for name, value in meta.get_default_dict().items() if name != meta.primary_key.name}


def _is_serial(field: Field) -> bool:
    return bool(field.primary_key) and field.field_type == "BIGAUTO"


def _type(field: Field) -> str:
    return _TYPES[(field.rel_field if hasattr(field, "rel_field") else field).field_type]


def _returning(model: type[CatalogModel], names: Sequence[str]) -> str:
    table = model._meta.table_name
    columns = ", ".join(f'"{table}"."{getattr(model, name).column_name}"' for name in names)
    return f" RETURNING {columns}" if names else ""


def _read(
    model: type[CatalogModel], names: Sequence[str], cursor: Any, as_text: Collection[str] = ()
) -> list[tuple[Any, ...]]:
    """Rows as the fields give them: aware instants, states, decoded JSON."""
    readers = [None if name in as_text else _reader(getattr(model, name)) for name in names]
    if not any(readers):
        return list(cursor.fetchall())
    return [
        tuple(value if reader is None else reader(value) for reader, value in zip(readers, row, strict=True))
        for row in cursor.fetchall()
    ]


def _reader(field: Field) -> Any:
    return field.python_value if isinstance(field, UtcField | StateField) else None


def _find_slowly(
    model: type[CatalogModel],
    fields: Sequence[Field],
    keys: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    given: str,
    as_text: Collection[str],
) -> list[tuple[Any, ...]]:
    wanted = [getattr(model, name).cast("text") if name in as_text else getattr(model, name) for name in columns]
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _CHUNK):
        some = [tuple(key) for key in keys[start : start + _CHUNK]]
        which = Tuple(*fields).in_(some) if len(fields) > 1 else fields[0].in_([key for (key,) in some])
        query: Any = model.select(*wanted).where(which, *([SQL(given)] if given else [])).tuples()
        found += list(query)
    return found


def _insert_slowly(
    model: type[CatalogModel], rows: Sequence[Row], returning: Sequence[str], ignore: bool
) -> list[tuple[Any, ...]]:
    written: list[tuple[Any, ...]] = []
    names = {name for row in rows for name in row}
    defaults = {name: value for name, value in _defaults(model).items() if name in names}
    complete = [{**defaults, **row} for row in rows]
    for start in range(0, len(complete), _CHUNK):
        query = model.insert_many(complete[start : start + _CHUNK])
        query = query.on_conflict_ignore() if ignore else query
        if returning:
            written += list(query.returning(*(getattr(model, name) for name in returning)).tuples().execute())
        else:
            query.execute()
    return written


def _update_slowly(
    model: type[CatalogModel],
    rows: Sequence[Row],
    by: Sequence[str],
    given: str,
    same: Row,
    returning: Sequence[str],
) -> list[tuple[Any, ...]]:
    changed: list[tuple[Any, ...]] = []
    for row in rows:
        columns = {**{name: value for name, value in row.items() if name not in by}, **same}
        where = [getattr(model, name) == row[name] for name in by] + ([SQL(given)] if given else [])
        query = model.update(**columns).where(*where)
        if returning:
            changed += list(query.returning(*(getattr(model, name) for name in returning)).tuples().execute())
        else:
            query.execute()
    return changed
