"""The embedded catalog under threads that read and write side by side."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.catalog import Meta, Policy, close_catalog, open_catalog, session, transaction
from tasks.catalog.migrate import migrate

pytestmark = pytest.mark.unit
AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_transaction_begins_in_the_middle_of_a_reading_although_another_thread_has_written(tmp_path: Path) -> None:
    """SQLite refuses it at once, without waiting, while a half-read answer holds its snapshot open on the same
    connection: a coordinator took that for a catalog that went away, and left out its pass of retention."""
    open_catalog(f"sqlite://{tmp_path}/catalog.sqlite")
    try:
        migrate()
        with transaction():
            for name in ("one", "two"):
                Policy.create(name=name, spec={}, created_at=AT, changed_at=AT)

        def write(key: str) -> None:
            with transaction():
                Meta.create(key=key, value="")

        with session():
            for policy in Policy.select().order_by(Policy.id):
                other = threading.Thread(target=write, args=(f"other:{policy.name}",))
                other.start()
                other.join()
                write(f"own:{policy.name}")
            assert Meta.select().where(Meta.key.startswith("o")).count() == 4
    finally:
        close_catalog()
