"""The calls of Azure Blob that a repository needs, without an SDK: block blobs of one container, tried again.

The SDK has patience of its own (86 s of silence when a store is down, measured 2026-11), joins what it reads out of
pieces and starts 0.26 s later; this shares the engine's HTTP client, pace and errors with S3. Source: Azure Storage
REST reference, read 2026-11.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree

from workers.repository.azureauth import Authority
from workers.repository.clock import Clock, host_clock
from workers.repository.errors import (
    AccessRefused,
    Archived,
    Conflict,
    Missing,
    RepositoryError,
    StoreUnavailable,
    Unsuitable,
)
from workers.repository.http import Answer, Http
from workers.repository.pace import Pace
from workers.repository.store import Body

# The version of the protocol: the first with the Cold tier and immutability is 2021-12-02; this one all clouds have.
VERSION = "2023-11-03"
_ATTEMPTS = 8
_REQUESTS_PER_SECOND = 100_000.0  # no limit of our own: the service says ServerBusy, and then the pace drops
# Bodies up to here go with their MD5, over plain HTTP all: TLS keeps what is larger whole, and MD5 would cost 1.6 s
# of CPU a GiB (2026-11).
_DIGESTED = 1 << 20
_RFC_1123 = "%a, %d %b %Y %H:%M:%S GMT"
LOCKED = frozenset({"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "ImmutabilityPolicyLocked"})
_COLD = frozenset({"BlobArchived", "BlobBeingRehydrated", "CannotVerifyCopySource"})
_CONFLICT = frozenset({"ConditionNotMet", "BlobAlreadyExists", "TargetConditionNotMet", "UnmodifiedSinceHeader"})
_MISSING = frozenset({"BlobNotFound", "ResourceNotFound"})
_NOWHERE = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})


class Locked(AccessRefused):
    """An immutability policy or a legal hold forbids it."""

    code = "object-locked"


class BlobWire:
    """Calls to one container at `endpoint` (https://ACCOUNT.blob.core.windows.net; http only on this machine). Safe to
    be shared by threads. `proxy` and `ca_bundle` are as in http.Http.

    Every call raises StoreUnavailable, AccessRefused, Missing, Archived, Conflict, Locked, Unsuitable.
    """

    def __init__(
        self,
        endpoint: str,
        account: str,
        container: str,
        authority: Authority,
        clock: Clock = host_clock,
        proxy: str = "",
        ca_bundle: str = "",
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise Unsuitable(f"{endpoint} is not HTTPS: keys and signatures are not sent in the open.")
        self._http = Http(f"{parts.scheme}://{parts.netloc}", proxy, ca_bundle)
        self._tls = parts.scheme == "https"
        self._root = parts.path.rstrip("/")
        self._path = f"{self._root}/{quote(container, safe='-_.~$')}"
        self._authority, self._clock, self._pace = authority, clock, Pace(_REQUESTS_PER_SECOND)
        self.url = f"azure://{account}/{container}"

    def now(self) -> datetime:
        """The time, as requests are stamped with it."""
        return self._clock()

    def put(self, key: str, body: Body, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Write a block blob; the answer's headers."""
        named = {"x-ms-blob-type": "BlockBlob", **headers}
        if len(body) <= _DIGESTED or not self._tls:
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            named["content-md5"] = base64.b64encode(digest).decode()
        return self.call("PUT", key, headers=named, body=body).headers

    def read(self, key: str, start: int, length: int, into: memoryview | None = None) -> Any:
        """A range, in `into` where that is given; empty beyond the end."""
        try:
            return self.call("GET", key, headers={"x-ms-range": f"bytes={start}-{start + length - 1}"}, into=into).body
        except _BeyondError:
            return b""

    def list(self, prefix: str, more: Mapping[str, str] | None = None) -> Iterator[ElementTree.Element]:
        """The `Blob` elements of all blobs whose name begins so."""
        query = {"restype": "container", "comp": "list", "prefix": prefix, **(more or {})}
        while True:
            page = ElementTree.fromstring(bytes(self.call("GET", "", query).body))  # noqa: S314 - expat limits entities
            yield from page.iterfind("Blobs/Blob")
            marker = page.findtext("NextMarker") or ""
            if not marker or "maxresults" in query:
                return
            query["marker"] = marker

    def call(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        into: memoryview | None = None,
        service: bool = False,
    ) -> Answer:
        """One call about a blob, the container (`key` '') or the whole service, tried again while that may help."""
        last: RepositoryError = StoreUnavailable(f"{self.url} did not answer.")
        path = f"{self._root}/" if service else f"{self._path}/{quote(key, safe='/-_.~')}" if key else self._path
        for attempt in range(1, _ATTEMPTS + 1):
            self._pace.take()
            try:
                answer = self._send(method, path, query or {}, headers or {}, body, into)
            except StoreUnavailable as error:
                last = StoreUnavailable(f"{self.url} did not answer at {key}: {error.text}")
            else:
                if answer.status < 300:
                    return answer
                if answer.status == 416:
                    raise _BeyondError
                last = error_of(answer.headers.get("x-ms-error-code", ""), answer.status, key, self.url)
                if not last.passing:
                    raise last
                self._pace.throttled()
            self._pace.pause(attempt)
        raise last

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Body,
        into: memoryview | None,
    ) -> Answer:
        named = {"x-ms-date": self._clock().astimezone(UTC).strftime(_RFC_1123), "x-ms-version": VERSION, **headers}
        more, allowed = self._authority.allow(method, path, query, named, len(body))
        asked = urlencode({**query, **more}, quote_via=quote, safe="")
        target = f"{path}?{asked}" if asked else path
        return self._http.request(method, target, {"host": self._http.host, **named, **allowed}, body, into)


class _BeyondError(Exception):
    """The range begins after the blob's end."""


def error_of(code: str, status: int, name: str, url: str) -> RepositoryError:
    """An error code of Azure Blob (or, for a HEAD without one, the status) as one of ours."""
    if code in _NOWHERE:
        return Unsuitable(f"{url}: there is no such container.", advice="Create it first.")
    if code in _COLD:
        return Archived(f"{name} is archived.")
    if code in LOCKED:
        return Locked(f"{name} is locked ({code}).", advice="Wait until its immutability policy is over.")
    if code in _CONFLICT or status == 412:
        return Conflict(f"{name} is not as expected.")
    if code in _MISSING or status == 404:
        return Missing(f"{name} is not there.")
    if status in (401, 403):
        advice = (
            "Check the key, signature or role: Storage Blob Data Contributor on the container; and this host's clock."
        )
        return AccessRefused(f"{url} refuses {name} ({code or status}).", advice=advice)
    if status in (408, 429, 500, 502, 503, 504):
        return StoreUnavailable(f"{url} is busy ({code or status}).")
    return RepositoryError(f"{url} refuses {name} ({code or status}).")


def instant(text: str) -> datetime:
    """A time as the service writes it in headers and listings."""
    return datetime.strptime(text, _RFC_1123).replace(tzinfo=UTC)


def stamp(at: datetime) -> str:
    """A time as the service takes it in headers."""
    return at.astimezone(UTC).strftime(_RFC_1123)
