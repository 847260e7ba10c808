"""Many rows in one statement, at a tenth of what the query builder takes for each.

On PostgreSQL each column travels as one array (`unnest`), so that the statement's text is the same for one row and for
thousands and the server keeps its plan; a column with one value in all rows travels once. On SQLite, where a process
has few rows at a time, the query builder writes them.

Statements are written so that the planner can only look each row up by its key. Left to itself it goes by statistics of
a quiet hour, in which hardly any job is pending, and reads all that are pending for each batch: in a wave of 100,000
that was most of the time (measured 2026-11-22). Hence `(SELECT array)`, `IS TRUE` and `OFFSET 0`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeVar, cast

from peewee import SQL, DataError, Field, Tuple

from tasks.catalog.database import CatalogModel, database
from tasks.catalog.fields import UtcField, is_postgres, read_columns, reader_of

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
_MISSING = object()
Row = Mapping[str, Any]
_Row = TypeVar("_Row", bound=CatalogModel)


@dataclass(frozen=True)
class Along:
    """A row of another model for each row that is written: its fields, and the new row's from which they are taken."""

    model: type[CatalogModel]
    fields: Mapping[str, str]


def insert_rows(
    model: type[CatalogModel],
    rows: Sequence[Row],
    *,
    same: Row | None = None,
    returning: Sequence[str] = (),
    ignore: bool = False,
    along: Along | None = None,
) -> list[tuple[Any, ...]]:
    """Insert rows; what `returning` names of each row that was written, in no particular order.

    Rows map the model's field names to values (ids for other rows); a name that a row leaves out gets what `same` has
    for it, or else the field's default. With `ignore` rows that collide with existing ones are left out, and take
    nothing `along`.
    """
    if not rows:
        return []
    if not is_postgres(database):
        return _insert_slowly(model, [{**same, **row} for row in rows] if same else rows, returning, ignore, along)
    fields = [field for field in model._meta.sorted_fields if not _is_serial(field)]
    fixed, varying = _columns(model, fields, rows, same)
    values = [f"%s::{_type(field)}" if field.name in fixed else f'u."{field.name}"' for field in fields]
    constants = [_fixed(field, fixed[field.name]) for field in fields if field.name in fixed]
    names = ", ".join(f'"{field.column_name}"' for field in fields)
    source = _record([field for field, _ in varying]) if varying else f"generate_series(1, {len(rows)}) AS u"
    sql = (
        f'INSERT INTO "{model._meta.table_name}" ({names}) SELECT {", ".join(values)} FROM {source}'
        f"{' ON CONFLICT DO NOTHING' if ignore else ''}"
    )
    sql = _taking(along, model, sql, returning) if along else sql + _returning(model, returning)
    cursor = database.execute_sql(sql, [*constants, *(_array(field, column) for field, column in varying)])
    return _read(model, returning, cursor) if returning else []


def _taking(along: Along, model: type[CatalogModel], sql: str, returning: Sequence[str]) -> str:
    """The insertion with what it takes along, in one statement."""

    def columns(of: type[CatalogModel], names: Iterable[str]) -> str:
        return ", ".join(f'"{getattr(of, name).column_name}"' for name in names)

    needed = list(dict.fromkeys((*returning, *along.fields.values())))
    return (
        f'WITH new AS ({sql}{_returning(model, needed)}), along AS (INSERT INTO "{along.model._meta.table_name}" '
        f"({columns(along.model, along.fields)}) SELECT {columns(model, along.fields.values())} FROM new) "
        f"SELECT {columns(model, returning) or '1'} FROM new"
    )


def _columns(
    model: type[CatalogModel], fields: Sequence[Field], rows: Sequence[Row], same: Row | None = None
) -> tuple[dict[str, Any], list[tuple[Field, Sequence[Any]]]]:
    """The rows' values by column: those with one value in all rows, and the others."""
    defaults, given = {**_defaults(model), **(same or {})}, _by_name(rows)
    fixed: dict[str, Any] = {}
    varying: list[tuple[Field, Sequence[Any]]] = []
    for field in fields:
        default = defaults.get(field.name)
        column = given.get(field.name, (default,))
        if _MISSING in column:
            column = [default if value is _MISSING else value for value in column]
        if column.count(column[0]) == len(column):
            fixed[field.name] = column[0]
        else:
            varying.append((field, column))
    return fixed, varying


def _by_name(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    """The rows' values by name, `_MISSING` where a row leaves one out. Mostly none does, and all are read at once."""
    names = list(rows[0])
    if len(names) > 1 and all(row.keys() == rows[0].keys() for row in rows):
        return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
    return {name: [row.get(name, _MISSING) for row in rows] for name in set[str]().union(*rows)}


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
    changed = [getattr(model, name) for name in rows[0] if name not in by]
    fixed, varying = _columns(model, changed, rows)
    fixed |= same
    varying += [(getattr(model, name), [row[name] for row in rows]) for name in by]
    sets = [f'"{field.column_name}" = u."{field.name}"' for field, _ in varying if field.name not in by]
    sets += [f'"{getattr(model, name).column_name}" = %s::{_type(getattr(model, name))}' for name in fixed]
    match = " AND ".join(f'{table}."{getattr(model, name).column_name}" = u."{name}"' for name in by)
    sql = (
        f"UPDATE {table} SET {', '.join(sets)} FROM {_record([field for field, _ in varying])} "
        f"WHERE {match}{f' AND ({given}) IS TRUE' if given else ''}{_returning(model, returning)}"
    )
    constants = [_fixed(getattr(model, name), value) for name, value in fixed.items()]
    cursor = database.execute_sql(sql, [*constants, *(_array(field, column) for field, column in varying)])
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

    A column of a row that another field refers to is written FIELD.COLUMN. With `lock` the model's own rows are locked
    in the order of the keys, and those that somebody else holds are left out (PostgreSQL; on SQLite a write
    transaction excludes everybody). `given` is an SQL condition, a text of the program's own, that must hold too.
    JSON in `as_text` comes as it is written.
    """
    if not keys:
        return []
    fields = [getattr(model, name) for name in by]
    if not is_postgres(database):
        return _find_slowly(model, fields, keys, columns, given, as_text)
    match = " AND ".join(f't."{field.column_name}" = u."{field.name}"' for field in fields)
    names = ", ".join(
        f'{name.rpartition(".")[0] or "t"}."{_field(model, name).column_name}"{"::text" if name in as_text else ""}'
        for name in columns
    )
    joins = "".join(
        f' JOIN "{there.model._meta.table_name}" {name} ON {name}."{there.column_name}" = t."{here.column_name}"'
        for name, here, there in _joined(model, columns)
    )
    table, where = f'"{model._meta.table_name}" t{joins}', f"WHERE {match}{f' AND {given}' if given else ''}"
    one_by_one = "FOR NO KEY UPDATE OF t SKIP LOCKED" if lock else "OFFSET 0"
    found = f"SELECT {names} FROM {table} {where} {one_by_one}"
    sql = f"SELECT t.* FROM {_record(fields)} CROSS JOIN LATERAL ({found}) t"
    arrays = [_array(field, column) for field, column in zip(fields, zip(*keys, strict=True), strict=True)]
    return _read(model, columns, database.execute_sql(sql, arrays), as_text)


def _field(model: type[CatalogModel], name: str) -> Any:
    """The field that a column's name means, FIELD or FIELD.COLUMN."""
    reference, _, own = name.rpartition(".")
    return getattr(getattr(model, reference).rel_model if reference else model, own)


def _joined(model: type[CatalogModel], columns: Iterable[str]) -> list[tuple[str, Any, Any]]:
    """The references that columns go through: each one's name, its field and the field that it refers to."""
    names = sorted({name.partition(".")[0] for name in columns if "." in name})
    return [(name, getattr(model, name), getattr(model, name).rel_field) for name in names]


def among(field: Any, values: Collection[Any]) -> Any:
    """The condition that a field has one of these values, as a text that does not grow with them (on PostgreSQL)."""
    if not is_postgres(database):
        return field.in_(list(values))
    return field == SQL(f"ANY((SELECT %s::{_type(field)}[])::{_type(field)}[])", [_array(field, values)])


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
        database.execute_sql(sql, [_array(field, values)])


def models_of(model: type[_Row], rows: Iterable[Sequence[Any]]) -> list[_Row]:
    """Rows of all the model's columns, in their order, as the model: without what the query builder does for each."""
    names = [field.name for field in model._meta.sorted_fields]
    readers = [(field.name, read) for field in model._meta.sorted_fields if (read := reader_of(field))]
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
    """The arrays of these fields, side by side, as a table; behind a SELECT their length is nothing to plan by."""
    arrays = ", ".join(f"(SELECT %s::{_type(field)}[])" for field in fields)
    names = ", ".join(f'"{field.name}"' for field in fields)
    return f"unnest({arrays}) AS u({names})"


def array_of(values: Collection[Any]) -> str:
    """Texts, or whole numbers, as PostgreSQL writes an array: a tenth of what psycopg takes for a list."""
    if all(isinstance(value, int) for value in values):
        return "{" + ",".join(map(str, values)) + "}"
    return _plain(values) or "{" + ",".join(map(_quoted, values)) + "}"


def _array(field: Field, column: Collection[Any]) -> str:
    """Values of one column as PostgreSQL writes an array: instants as ISO text, states as theirs, JSON as JSON."""
    write = _writer(field)
    if write is _quoted and (plain := _plain(column)):
        return plain
    return "{" + ",".join(["NULL" if value is None else write(value) for value in column]) + "}"


def _plain(column: Collection[Any]) -> str:
    """The array of texts in which nothing has to be quoted by itself, as nearly always; '' for any other."""
    try:
        joined = '","'.join(column)
    except TypeError:  # something is no text: nothing, or a number
        return ""
    quotes = 2 * (len(column) - 1)
    return f'{{"{joined}"}}' if joined.isascii() and "\\" not in joined and joined.count('"') == quotes else ""


def _writer(field: Field) -> Callable[[Any], str]:
    if isinstance(field, UtcField):
        return _instant
    if field.field_type == "JSON":
        return lambda value: _quoted(json.dumps(value))
    return _quoted if _type(field) == "text" else str


def _quoted(value: Any) -> str:
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a character, in a name that a cloud answered
            raise DataError(f"a text that is not Unicode ({error.reason})") from None
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _instant(value: datetime) -> str:
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
    readers = [None if name in as_text else reader_of(_field(model, name)) for name in names]
    return read_columns(cursor.fetchall(), readers)


def _find_slowly(
    model: type[CatalogModel],
    fields: Sequence[Field],
    keys: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    given: str,
    as_text: Collection[str],
) -> list[tuple[Any, ...]]:
    wanted = [_field(model, name).cast("text") if name in as_text else _field(model, name) for name in columns]
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), _CHUNK):
        some = [tuple(key) for key in keys[start : start + _CHUNK]]
        which = Tuple(*fields).in_(some) if len(fields) > 1 else fields[0].in_([key for (key,) in some])
        query: Any = model.select(*wanted)
        for _, here, there in _joined(model, columns):
            query = query.join_from(model, there.model, on=here == there)
        query = query.where(which, *([SQL(given)] if given else [])).tuples()
        found += list(query)
    return found


def _insert_slowly(
    model: type[CatalogModel], rows: Sequence[Row], returning: Sequence[str], ignore: bool, along: Along | None
) -> list[tuple[Any, ...]]:
    if along is not None:
        wanted = [*returning, *along.fields.values()]
        new = _insert_slowly(model, rows, wanted, ignore, None)
        copies = [dict(zip(along.fields, row[len(returning) :], strict=True)) for row in new]
        _insert_slowly(along.model, copies, (), False, None)
        return [row[: len(returning)] for row in new]
    written: list[tuple[Any, ...]] = []
    given, meta = _defaults(model), cast(Any, model._meta)
    defaults = {name: given.get(name) for row in rows for name in row if name != meta.primary_key.name}
    complete = [{**defaults, **row} for row in rows]  # all of one shape: the query builder goes by the first
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
