"""From an address to a store: s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX, file:///PATH, memory:// (for
rehearsals)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from workers.repository.errors import Unsuitable
from workers.repository.folder import FolderStore
from workers.repository.memory import MemoryStore
from workers.repository.store import Store

if TYPE_CHECKING:
    from workers.repository.azureauth import Authority

# Of Azure's public cloud; other clouds are named by AZURE_STORAGE_BLOB_ENDPOINT.
BLOB_SUFFIX = "blob.core.windows.net"
ADDRESSES = "Use s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX or file:///PATH."


def store_at(url: str, endpoint: str | None = None, region: str | None = None) -> Store:
    """The store at an address, with the environment's own credentials. Raises Unsuitable for an unknown scheme.

    `endpoint` defaults to AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, for Azure to AZURE_STORAGE_BLOB_ENDPOINT, so that
    any server can be spoken to.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        from workers.repository.s3 import s3_store

        return s3_store(parts.netloc, unquote(parts.path), endpoint, region)
    if parts.scheme == "azure":
        from workers.repository.azureblob import BlobStore
        from workers.repository.azurewire import BlobWire

        account, container, prefix = azure_place(url)
        endpoint = endpoint or os.environ.get("AZURE_STORAGE_BLOB_ENDPOINT")
        wire = BlobWire(endpoint or f"https://{account}.{BLOB_SUFFIX}", account, container, _authority(account))
        return BlobStore(wire, prefix)
    if parts.scheme == "file" and parts.path:
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return MemoryStore(url=url)
    raise Unsuitable(f"{url!r} is no address of a repository.", advice=ADDRESSES)


def azure_place(url: str) -> tuple[str, str, str]:
    """Storage account, container and prefix of an address. Raises Unsuitable."""
    parts = urlsplit(url)
    container, _, prefix = unquote(parts.path).strip("/").partition("/")
    if parts.scheme != "azure" or not parts.netloc or not container:
        raise Unsuitable(f"{url!r} is no address of a repository.", advice=ADDRESSES)
    return parts.netloc, container, prefix


def _authority(account: str) -> "Authority":
    """What the environment gives: an account key, a signature, or a token of Entra (as `az account get-access-token
    --resource https://storage.azure.com` prints it). Raises Unsuitable without any."""
    from workers.repository.azureauth import Bearer, Sas, SharedKey

    if key := os.environ.get("AZURE_STORAGE_KEY"):
        return SharedKey(account, key)
    if signature := os.environ.get("AZURE_STORAGE_SAS_TOKEN"):
        return Sas(signature)
    if token := os.environ.get("AZURE_STORAGE_ACCESS_TOKEN"):
        return Bearer(lambda: token)
    names = "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_ACCESS_TOKEN"
    raise Unsuitable(f"Nothing opens the storage account {account}.", advice=f"Set {names}.")
