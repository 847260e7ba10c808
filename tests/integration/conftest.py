"""Houses over the emulated AWS: fixtures of the tests about repositories, syncs and archives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.catalog import close_catalog
from tests.catalog import open_quickly
from tests.integration.test_repository_pipeline import Archiving
from tests.sandbox import Sandbox
from workers.repository.keys import SCRYPT


@pytest.fixture
def entered(sandbox: Sandbox, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The emptied sandbox, with what a process needs to enter it in the environment, and an open, empty catalog.

    Repositories made here have passphrases that are cheap to guess: each of a story's twenty jobs opens its repository,
    at 0.1 s for a guess (tests/workers/repository/test_keys.py holds the cost that others get).
    """
    monkeypatch.setitem(SCRYPT, "n", 1 << 10)
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    open_quickly(sqlite_url)
    yield sandbox
    close_catalog()


@pytest.fixture
def archiving(entered: Sandbox, tmp_path: Path) -> Archiving:
    """A house whose repository is in the estate and not created yet; modules that want it created say so in a fixture
    of the same name."""
    return Archiving(tmp_path, entered)
