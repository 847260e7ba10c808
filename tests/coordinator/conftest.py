"""The house that tests of the coordinator live in."""

from pathlib import Path

import pytest

from tests.coordinator.house import House


@pytest.fixture
def house(catalog: str, tmp_path: Path) -> House:
    """One coordinator with its workers, on both databases in turn."""
    return House(tmp_path)


@pytest.fixture
def pair(catalog: str, tmp_path: Path) -> House:
    """Two coordinators side by side, on both databases in turn."""
    return House(tmp_path, coordinators=2)
