"""Fixtures of the page's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.web.site import Site


@pytest.fixture
def site(embedded_catalog: str, tmp_path: Path) -> Iterator[Site]:
    """The page over an empty SQLite catalog."""
    served = Site.serve(tmp_path, embedded_catalog)
    yield served
    served.stop()
