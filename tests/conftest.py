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


# The files that take longest, in the order in which pytest-xdist hands them out: no long one is begun when all others
# have ended. Seconds on two busy cores, 2026-11-23, by `pytest --durations=100`. The two sprees
# of kills keep both cores busy; a process takes the fourth file when it has begun the first, so they do not meet.
LONG_FILES = (
    "scenario/test_crash_points.py",  # 120
    "sim/test_seeds.py",  # 75
    "scenario/test_retention_sixty_days.py",  # 60
    "scenario/test_archiving.py",  # 130
    "sim/test_seeds_on.py",  # 75
    "scenario/test_databases.py",  # 60
    "scenario/test_azure_repository.py",  # 60
    "scenario/test_buckets.py",  # 60
    "scenario/test_storage.py",  # 50
    "scenario/test_end_to_end.py",  # 50
    "sim/test_mutants.py",  # 45
    "integration/test_archive_parts.py",  # 45
    "integration/test_repository_pipeline.py",  # 40
    "scenario/test_azure_sql.py",  # 35
    "scenario/test_azure_subscriptions.py",  # 35
    "scenario/test_repository.py",  # 35
    "scenario/test_least_rights.py",  # 35
    "contract/test_azure_driver.py",  # 30
    "contract/test_azure_blocks.py",  # 30
    "bench/test_estate_smoke.py",  # 30
    "bench/test_speed_smoke.py",  # 30
    "bench/test_repository_smoke.py",  # 30
    "bench/test_limits_smoke.py",  # 30
)
_ORDER = {f"tests/{name}": number for number, name in enumerate(LONG_FILES)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    items.sort(key=lambda item: _ORDER.get(item.nodeid.partition("::")[0], len(_ORDER)))
