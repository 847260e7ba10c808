"""Fixture modules that all tests share."""

from importlib.util import find_spec

pytest_plugins = [name for name in ("tests.services", "tests.sandbox") if find_spec(name)]
