"""S3 servers for tests: moto for semantics, the thin stand-in for speed; both in threads of this process."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.bench.thin_server import World, accept_all, listen
from workers.repository.s3 import S3Store, s3_client
from workers.repository.sigv4 import Credentials

CREDENTIALS = Credentials("AKIATESTTESTTESTTEST", "test-secret")


def session() -> Any:
    return boto3.Session(CREDENTIALS.access_key, CREDENTIALS.secret_key, region_name="us-east-1")


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """moto's server on a port of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def thin(tmp_path: Path) -> Iterator[tuple[World, str]]:
    """The thin stand-in, checking checksums, with its endpoint."""
    root = tmp_path / "thin"
    root.mkdir()
    world = World(str(root), verify=True)
    sock, port = listen(world)
    threading.Thread(target=accept_all, args=(sock, world), daemon=True).start()
    yield world, f"http://127.0.0.1:{port}"
    sock.close()


def bucket(endpoint: str, name: str, **options: Any) -> Any:
    """A client for an endpoint, with a bucket made there."""
    client = s3_client(endpoint, "us-east-1", session())
    client.create_bucket(Bucket=name, **options)
    return client


def impatient(endpoint: str) -> Any:
    """A client that does not try again."""
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"})
    return session().client("s3", endpoint_url=endpoint, config=config)


__all__ = ["S3Store"]
