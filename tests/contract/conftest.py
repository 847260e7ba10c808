"""The contract runs against the emulated AWS over HTTP; the SDK's own settings lead there."""

from collections.abc import Iterator

import pytest

from tests.sandbox import Sandbox, sandbox, sandbox_process  # noqa: F401


@pytest.fixture
def cloud(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:  # noqa: F811
    """An empty emulated AWS, and the environment that reaches it."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    yield sandbox
    sandbox.clear_faults()
