"""Catalogs for tests: the fixture `catalog` runs a test on SQLite and on PostgreSQL, each migrated and empty.

The schema is made once a session for each database and copied for each test, which takes milliseconds. No machine loses
its power here: an open SQLite catalog leaves its commits to the kernel, as the PostgreSQL of the tests does (a wait for
the disk takes 2 ms, and some stories commit 20,000 times).
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.catalog import close_catalog, database, open_catalog, session
from tasks.catalog.audit import sign_audit_with
from tasks.catalog.migrate import migrate
from tasks.secrets import MasterKey

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite catalog that nobody opens again."""
    path = tmp_path_factory.mktemp("catalog") / "template.sqlite"
    _migrated(f"sqlite://{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Any) -> Iterator[str]:
    """The name of a migrated PostgreSQL database that nobody opens again."""
    name = postgres.new_database()
    _migrated(postgres.url(name))
    yield name
    postgres.drop_database(name)


def _migrated(url: str) -> None:
    open_catalog(url)
    migrate()
    close_catalog()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated, empty SQLite catalog; nothing is opened."""
    path = tmp_path / "catalog.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite://{path}"


@pytest.fixture
def postgres_catalog_url(postgres: Any, postgres_template: str) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL catalog; nothing is opened."""
    name = f"c{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f'create database "{name}" template "{postgres_template}"')
    yield postgres.url(name)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f'drop database "{name}" with (force)')


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.unit), "postgresql"])
def catalog(request: pytest.FixtureRequest) -> Iterator[str]:
    """An open catalog of the test's own, on both databases in turn; the value is its URL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_catalog_url")
    open_quickly(url)
    yield url
    close_catalog()


@pytest.fixture
def embedded_catalog(sqlite_url: str) -> Iterator[str]:
    """An open SQLite catalog of the test's own, where the database makes no difference."""
    open_quickly(sqlite_url)
    yield sqlite_url
    close_catalog()


def open_quickly(url: str) -> None:
    """Open a catalog whose commits wait for no disk."""
    open_catalog(url)
    sign_audit_with(lambda: MasterKey(bytes(32)))
    if url.startswith("sqlite:"):
        with session():
            database.pragma("synchronous", "off", permanent=True)  # of every later connection too
