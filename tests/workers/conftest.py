"""The world that handler tests act in."""

from pathlib import Path

import pytest

from tests.workers.world import World


@pytest.fixture
def world(catalog: str, tmp_path: Path) -> World:
    """An estate in an empty catalog, on both databases in turn."""
    return World(tmp_path)
