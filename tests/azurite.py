"""Azurite as a fixture: Microsoft's emulator of Azure Blob, a real HTTP server, one process a test session.

What it does not know is not tested against it: versions, immutability, differences of page blobs.
"""

import base64
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.repository.azureauth import Authority, SharedKey
from workers.repository.azureblob import BlobStore
from workers.repository.azurewire import BlobWire
from workers.repository.errors import RepositoryError

FOLDER = Path(__file__).resolve().parent.parent / ".venv-azurite"
PROGRAM = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
ACCOUNT = "snapfleettests"


class Azurite:
    """A server at `endpoint`, entered with `key`."""

    def __init__(self, endpoint: str, key: str) -> None:
        self.endpoint, self.key = endpoint, key

    def wire(self, container: str, authority: Authority | None = None) -> BlobWire:
        """A wire to a container, which is made where it is not there."""
        made = BlobWire(self.endpoint, ACCOUNT, container, SharedKey(ACCOUNT, self.key))
        try:
            made.call("PUT", "", {"restype": "container"})
        except RepositoryError as error:
            if "ContainerAlreadyExists" not in error.text:
                raise
        return BlobWire(self.endpoint, ACCOUNT, container, authority) if authority is not None else made

    def store(self, prefix: str = "some/prefix") -> BlobStore:
        """A store in a container of its own."""
        return BlobStore(self.wire(f"c{secrets.token_hex(8)}"), prefix)


def start(folder: Path) -> tuple[subprocess.Popen[bytes], Azurite]:
    """A server of one's own on a free port; the caller ends it."""
    if not PROGRAM.exists():
        pytest.fail("Azurite is missing: install it with `make azurite`, which needs npm's registry.", pytrace=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    named = FOLDER / "node.path"
    node = named.read_text().strip() if named.exists() else "node"
    node = str(FOLDER.parent / node) if "/" in node and not node.startswith("/") else node
    command = [node, str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}", key)
        except OSError:
            if time.monotonic() > until or process.poll() is not None:
                stop(process)
                raise
            time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that `start` started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """The server, for all tests of a session; each takes a container of its own."""
    process, server = start(tmp_path_factory.mktemp("azurite"))
    yield server
    stop(process)
