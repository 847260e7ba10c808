"""The schema in the scripts is the schema of the models, on both databases, whoever migrates at the same time."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.catalog import MODELS, close_catalog, database, open_catalog, session
from tasks.catalog import migrate as migrations
from tasks.catalog.fields import is_postgres
from tasks.errors import Invalid

ROOT = Path(__file__).parent.parent.parent


def columns(name: str) -> dict[str, tuple[str, bool]]:
    """Column to (type, may be null) as the database describes them."""
    return {one.name: (one.data_type.upper(), one.null) for one in database.get_columns(name)}


def indexes(name: str) -> set[tuple[tuple[str, ...], bool]]:
    return {(tuple(one.columns), bool(one.unique)) for one in database.get_indexes(name)}


def checks(name: str) -> list[str]:
    """What the database itself refuses in rows of a table."""
    if is_postgres(database):
        text = "select pg_get_constraintdef(oid) from pg_constraint where contype = 'c' and conrelid = %s::regclass"
        return sorted(row[0] for row in database.execute_sql(text, (f'"{name}"',)).fetchall())
    ((sql,),) = database.execute_sql("select sql from sqlite_master where name = ?", (name,)).fetchall()
    return sorted(re.findall(r"CHECK \([^)]*\)?[^)]*\)", sql))


def described() -> dict[str, Any]:
    with session():
        names = [name for name in sorted(database.get_tables()) if name != migrations.HISTORY]
        keys = {
            name: {(one.column, one.dest_table, one.dest_column) for one in database.get_foreign_keys(name)}
            for name in names
        }
        return {name: (columns(name), indexes(name), keys[name], checks(name)) for name in names}


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.unit), "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog in which nothing is yet."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/catalog.sqlite"
    return str(request.getfixturevalue("database_url"))


def test_the_scripts_make_exactly_what_the_models_say(empty_url: str) -> None:
    """feature 63: one schema on PostgreSQL and on SQLite."""
    open_catalog(empty_url)
    assert migrations.pending()
    migrations.migrate()
    migrated = described()
    with session():
        for table in sorted(migrated):
            cascade = " cascade" if is_postgres(database) else ""
            database.execute_sql("pragma foreign_keys = 0") if not cascade else None
            database.execute_sql(f'drop table "{table}"{cascade}')
        database.create_tables(MODELS)
    modelled = described()
    close_catalog()
    assert set(modelled) == {model._meta.table_name for model in MODELS}
    assert migrated == modelled
    assert any(found for *_, found in migrated.values())


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    open_catalog(empty_url)
    first, second = migrations.migrate(), migrations.migrate()
    assert first
    assert second == []
    assert migrations.pending() == []
    migrations.require_current()
    close_catalog()


def test_three_processes_migrate_at_once_and_all_succeed(empty_url: str) -> None:
    """playhouse alone has no lock: one would win and the others die."""
    code = (
        "import sys; from tasks.catalog import open_catalog; from tasks.catalog.migrate import migrate;"
        "open_catalog(sys.argv[1]); sys.stdin.readline(); print(len(migrate()))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_url], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], answers
    assert sorted(answer.strip() for answer, _ in answers) == [
        "0",
        "0",
        str(len(list(migrations.DIRECTORY.glob("0*.py")))),
    ]


def test_a_catalog_of_a_newer_version_is_not_touched(empty_url: str) -> None:
    open_catalog(empty_url)
    migrations.migrate()
    with session():
        names = [one.name for one in database.get_columns(migrations.HISTORY)]
        assert "name" in names
        row = migrations._runner().status()[0]
        database.execute_sql(f"update {migrations.HISTORY} set name = '9999_post_later' where name = '{row.name}'")
    with pytest.raises(Invalid, match="newer version"):
        migrations.migrate()
    with pytest.raises(Invalid, match="newer version"):
        migrations.require_current()
    close_catalog()


def test_an_unmigrated_catalog_is_refused_with_the_next_step(empty_url: str) -> None:
    open_catalog(empty_url)
    with pytest.raises(Invalid, match="snapfleet init"):
        migrations.require_current()
    close_catalog()
