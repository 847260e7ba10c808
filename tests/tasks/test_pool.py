"""The pool of connections to PostgreSQL: a dead one is never given out, a living one without a question."""

import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks.catalog import close_catalog, database, open_catalog, session
from tests.services import PostgresServer, wait_until


@pytest.fixture
def name(database_url: str) -> Iterator[str]:
    """The database that the catalog is open on."""
    open_catalog(database_url)
    yield urlsplit(database_url).path.removeprefix("/")
    close_catalog()


def _ask(statement: str) -> Any:
    with session():
        return database.execute_sql(statement).fetchone()[0]


def test_a_connection_that_was_cut_at_rest_is_replaced_without_an_error(name: str, postgres: PostgresServer) -> None:
    first = _ask("SELECT pg_backend_pid()")
    assert _ask("SELECT pg_backend_pid()") == first
    assert postgres.terminate_connections(name) == 1
    wait_until(lambda: not postgres.sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {first}"))
    assert _ask("SELECT pg_backend_pid()") != first


def test_a_connection_at_rest_is_given_out_without_a_round_trip(name: str, postgres: PostgresServer) -> None:
    """Every backup takes a handful of connections, and the pool's lock is held meanwhile."""
    process = _ask("SELECT pg_backend_pid()")
    with session():
        last = postgres.sql(f"SELECT query FROM pg_stat_activity WHERE pid = {process}")[0][0]
    assert last == "SELECT pg_backend_pid()"


def test_a_server_that_went_without_a_word_is_given_up_within_half_a_minute(name: str) -> None:
    """What the kernel is told for each connection: its own defaults would hold a thread for a quarter of an hour."""
    with session():
        link = socket.socket(fileno=os.dup(database.connection().fileno()))
    with link:
        unanswered = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        idle, pause, count = (
            link.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
    assert 0 < unanswered <= 30_000  # milliseconds
    assert idle + pause * count <= 30  # seconds
