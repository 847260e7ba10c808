"""Fixture modules that all tests share."""

import os
from importlib.util import find_spec

import pytest

# dramatiq waits this long (milliseconds, read at import) before it reconnects a consumer; its default is 3 s
os.environ.setdefault("dramatiq_restart_delay", "200")
# and this long until an idle thread sees that it should stop; its default is 1 s
os.environ.setdefault("dramatiq_worker_timeout", "100")

pytest_plugins = [
    name for name in ("tests.services", "tests.sandbox", "tests.azure", "tests.catalog") if find_spec(name)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long stories first, so that two processes end at about the same time (pytest-xdist hands files out in order)."""
    long = ("crash_points", "sixty_days", "scenario/test_archiving")
    items.sort(key=lambda item: not any(name in item.nodeid for name in long))
