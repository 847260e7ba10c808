"""From an address to a store: s3://BUCKET/PREFIX, file:///PATH, memory:// (for rehearsals)."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workers.repository.errors import Unsuitable
from workers.repository.folder import FolderStore
from workers.repository.memory import MemoryStore
from workers.repository.store import Store


def store_at(url: str, endpoint: str | None = None, region: str | None = None) -> Store:
    """The store at an address, with the environment's own credentials. Raises Unsuitable for an unknown scheme.

    `endpoint` defaults to AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, so that any server can be spoken to.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        from workers.repository.s3 import S3Store, s3_client

        endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return S3Store(s3_client(endpoint, region), parts.netloc, unquote(parts.path))
    if parts.scheme == "file" and parts.path:
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return MemoryStore(url=url)
    raise Unsuitable(f"{url!r} is no address of a repository.", advice="Use s3://BUCKET/PREFIX or file:///PATH.")
