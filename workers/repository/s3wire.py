"""The few S3 calls that move objects, without an SDK: put, get, head, list of one bucket, signed and tried again.

The SDK costs 0.2 s to import and set up, joins what it reads out of pieces, and hashes what it need not; this sends a
pack in one call and receives one into the caller's buffer. What it does not understand (a bucket in another region,
a redirect) it leaves to the SDK by raising Elsewhere. Source: Amazon S3 API reference, read 2026-11.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit
from xml.etree import ElementTree

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
from workers.repository.sigv4 import Provider, Signer
from workers.repository.store import Body, Stat

MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})
REFUSED = frozenset({"AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"})
_PASSING = {
    "ExpiredToken",  # the next attempt fetches another session
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "Throttling",
    "503",
    "500",
    "502",
    "504",
}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307", "308"}
_ATTEMPTS = 8
# No limit of our own on requests: S3 says SlowDown, and then the pace drops.
_REQUESTS_PER_SECOND = 100_000.0
_PLAIN_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_UNSIGNED = "UNSIGNED-PAYLOAD"


class Elsewhere(Exception):
    """The bucket is not where the wire looks for it; the SDK knows how to follow."""


class Underway(Conflict):
    """409: another conditional write to the same name is in flight."""


class Wire:
    """Calls to one bucket; safe to be shared by threads. Addresses the bucket by host at AWS, by path elsewhere.

    `proxy` and `ca_bundle` are as in http.Http. Every call raises StoreUnavailable, AccessRefused, Missing, Archived,
    Conflict, Unsuitable, or Elsewhere.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        region: str,
        credentials: Provider,
        clock: Clock = host_clock,
        proxy: str = "",
        ca_bundle: str = "",
    ) -> None:
        parts = urlsplit(endpoint)
        by_host = ".amazonaws.com" in parts.netloc and _PLAIN_BUCKET.fullmatch(bucket)
        self._http = Http(f"{parts.scheme}://{bucket}.{parts.netloc}" if by_host else endpoint, proxy, ca_bundle)
        self._path = "/" if by_host else f"/{quote(bucket, safe='-_.~')}/"
        self._signer = Signer(credentials, "s3", region)
        self._clock, self._pace = clock, Pace(_REQUESTS_PER_SECOND)
        self._url = f"s3://{bucket}"

    def put(self, key: str, body: Body, headers: dict[str, str]) -> str:
        """Write an object; its tag."""
        return self._call("PUT", key, headers=headers, body=body).headers.get("etag", "")

    def get(self, key: str) -> tuple[bytes, str]:
        """A whole object and its tag."""
        answer = self._call("GET", key)
        return bytes(answer.body), answer.headers.get("etag", "")

    def read(self, key: str, start: int, length: int, into: memoryview | None = None) -> Any:
        """A range, in `into` where that is given; empty beyond the end."""
        try:
            return self._call("GET", key, headers={"range": f"bytes={start}-{start + length - 1}"}, into=into).body
        except _BeyondError:
            return b""

    def stat(self, key: str) -> Stat:
        """An object as a listing would show it, under its whole key."""
        headers = self._call("HEAD", key).headers
        at = datetime.strptime(headers["last-modified"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        return Stat(key, int(headers["content-length"]), at, storage_class(headers.get("x-amz-storage-class")))

    def list(self, prefix: str) -> Iterator[Stat]:
        """All objects whose key begins so, under their whole keys."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        while True:
            page = ElementTree.fromstring(bytes(self._call("GET", "", query).body))  # noqa: S314 - expat limits entities
            coded = _text(page, "EncodingType") == "url"
            for item in page.iterfind("{*}Contents"):
                key = _text(item, "Key")
                at = datetime.fromisoformat(_text(item, "LastModified")).astimezone(UTC)
                kind = storage_class(_text(item, "StorageClass") or None)
                yield Stat(unquote_plus(key) if coded else key, int(_text(item, "Size")), at, kind)
            token = _text(page, "NextContinuationToken")
            if _text(page, "IsTruncated") != "true" or not token:
                return
            query["continuation-token"] = token

    def _call(
        self,
        method: str,
        key: str,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: Body = b"",
        into: memoryview | None = None,
    ) -> Answer:
        last: RepositoryError = StoreUnavailable(f"{self._url} did not answer.")
        path = self._path + quote(key, safe="/-_.~")
        for attempt in range(1, _ATTEMPTS + 1):
            named = {"host": self._http.host, **(headers or {})}
            target, signed = self._signer.sign(method, path, query or {}, named, _UNSIGNED, self._clock())
            self._pace.take()
            try:
                answer = self._http.request(method, target, signed, body, into)
            except StoreUnavailable as error:
                last = StoreUnavailable(f"{self._url} did not answer at {key}: {error.text}")
            else:
                if answer.status < 300:
                    return answer
                found = _CODE.search(bytes(answer.body))
                code = found[1].decode() if found else str(answer.status)
                if answer.status == 416:
                    raise _BeyondError
                if code in _ELSEWHERE:
                    raise Elsewhere
                last = error_of(code, key, self._url)
                if not last.passing:
                    raise last
                self._pace.throttled()
            self._pace.pause(attempt)
        raise last


class _BeyondError(Exception):
    """The range begins after the object's end."""


def storage_class(stated: str | None) -> str:
    """A storage class as the store's interface has it: '' for the standard one."""
    return "" if stated in (None, "STANDARD") else str(stated)


def error_of(code: str, name: str, url: str) -> RepositoryError:
    """An S3 error code (or, without a body, the status) as one of ours."""
    if code in ("PreconditionFailed", "412"):
        return Conflict(f"{name} is not as expected.")
    if code in ("ConditionalRequestConflict", "409"):
        return Underway(f"{name} is being written.")
    if code in MISSING:
        return Missing(f"{name} is not there.")
    if code == "NoSuchBucket":
        return Unsuitable(f"{url}: there is no such bucket.", advice="Create it first.")
    if code == "InvalidObjectState":
        return Archived(f"{name} is archived.")
    if code == "RequestTimeTooSkewed":
        return Unsuitable("This host's clock is too far off.", advice="Set the clock, then try again.")
    if code in REFUSED:
        return AccessRefused(f"{url} refuses {name} ({code}).")
    if code in _PASSING:
        return StoreUnavailable(f"{url} is busy ({code}).")
    return RepositoryError(f"{url} refuses {name} ({code}).")


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
