"""How calls to Azure Blob are allowed: a storage account's key, a shared access signature, or a token of Entra.

Sources: Azure Storage REST reference, "Authorize with Shared Key" (string to sign since version 2015-02-21),
"Delegate access with a shared access signature", "Authorize with Microsoft Entra ID"; read 2026-11.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from workers.repository.errors import Unsuitable

# Standard headers that are signed, in this order; a length of 0 is signed as nothing.
_SIGNED = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


class Authority(Protocol):
    """What allows a request; safe to be shared by threads."""

    def allow(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], length: int
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Query and headers to be added to a request. `path` is as sent; `length` is of the body, in bytes."""


class SharedKey:
    """A storage account's key in base64. Raises Unsuitable for anything else."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        try:
            self._key = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            raise Unsuitable("The storage account's key is not base64.") from None

    def allow(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], length: int
    ) -> tuple[dict[str, str], dict[str, str]]:
        known = {name.lower(): value for name, value in headers.items()}
        known["content-length"] = str(length) if length else ""
        lines = [method, *(known.get(name, "") for name in _SIGNED)]
        lines += [f"{name}:{known[name]}" for name in sorted(known) if name.startswith("x-ms-")]
        lines.append(f"/{self._account}{path}")
        lines += [f"{name}:{query[name]}" for name in sorted(query)]
        digest = hmac.new(self._key, "\n".join(lines).encode(), hashlib.sha256).digest()
        return {}, {"authorization": f"SharedKey {self._account}:{base64.b64encode(digest).decode()}"}


class Sas:
    """A shared access signature, with or without its question mark. Raises Unsuitable for anything else."""

    def __init__(self, token: str) -> None:
        self._query = dict(parse_qsl(token.strip().lstrip("?")))
        if "sig" not in self._query:
            raise Unsuitable("This is no shared access signature: it has no `sig`.")

    def allow(
        self,
        method: str,  # noqa: ARG002 - a signature is the same for every request
        path: str,  # noqa: ARG002
        query: Mapping[str, str],  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
        length: int,  # noqa: ARG002
    ) -> tuple[dict[str, str], dict[str, str]]:
        return self._query, {}


class Bearer:
    """Access tokens for storage; `token` gives one that is good now and keeps it as long as it is."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def allow(
        self,
        method: str,  # noqa: ARG002 - a token is the same for every request
        path: str,  # noqa: ARG002
        query: Mapping[str, str],  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
        length: int,  # noqa: ARG002
    ) -> tuple[dict[str, str], dict[str, str]]:
        return {}, {"authorization": f"Bearer {self._token()}"}


def authority_of(account: str, secret: str) -> Authority:
    """The authority that a secret is: a signature has `sig=`, anything else is a key. Raises Unsuitable."""
    return Sas(secret) if "sig=" in unquote(secret) else SharedKey(account, secret)
