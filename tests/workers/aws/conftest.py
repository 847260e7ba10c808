"""The emulated AWS for tests at the edge of the SDK, with one account that is entered by its role."""

from collections.abc import Iterator

import pytest

from tasks.secrets import Secret
from tests.sandbox import Sandbox, sandbox, sandbox_process  # noqa: F401
from workers.driver import Account

ROLE = "arn:aws:iam::111111111111:role/backup"
PROD = Account("prod", role_arn=ROLE, external_id=Secret("x-1"), number="111111111111")
HOME, AWAY = "us-east-1", "eu-west-1"


@pytest.fixture
def cloud(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:  # noqa: F811
    """The emulated AWS with a role in it, reached by the SDK's own settings."""
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    sandbox.role(ROLE, external_id="x-1")
    yield sandbox
    sandbox.clear_faults()
    sandbox.configure(copy_seconds=None)
