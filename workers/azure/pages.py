"""The bytes behind an access signature: which ranges are written or differ, reads of 4 MiB, writes of pages.

Facts (Blob REST reference and managed disks documentation, "Differential ranges"): a difference is asked for at the
newer snapshot with the older one's address in a header, and both must be open; it has written and cleared ranges, in no
promised order; a disk reads as a VHD, whose last 512 bytes are no content. The addresses are secrets: no error has one.
"""

import re
from collections.abc import Iterator, Mapping
from threading import Lock
from urllib.parse import urlsplit
from xml.etree import ElementTree

from tasks.secrets import Secret
from workers.azure.access import Access
from workers.repository.errors import AccessRefused, Missing, RepositoryError, StoreUnavailable, Unrelated
from workers.repository.http import Answer, Http
from workers.repository.pace import Pace
from workers.repository.source import BLOCK_BYTES, Content, Ref

_VERSION = "2023-11-03"  # as the store's; differences by the older one's address came with 2019-07-07
_ATTEMPTS = 6
_RENEWALS = 3  # another process may revoke what this one was just given
# 2,000 requests a second and 60 MiB/s upwards for a disk's export; the service says ServerBusy, and the pace drops.
_REQUESTS_PER_SECOND = 2000.0
# Blocks that one read takes: 4 MiB, as the service allows for checked ranges and as one page write.
RUN = 8
# Threads of a reader: four reads of 4 MiB are on their way, which are 200 MiB/s at 80 ms each.
READERS = 32
WRITERS = 16
# Blocks that are asked about at once: 64 GiB, whose marks take 128 KiB of memory.
_WINDOW = 1 << 17
_PAGE = 10_000
_DATA, _GONE = 1, 2
_UNRELATED = re.compile(r"^PreviousSnapshot|^SnapshotsOfDifferent|^OverlapRange")


class Pages:
    """Calls to one disk or snapshot that `access` opens; safe to be shared by threads. `ca_bundle` is a file of
    authorities, '' for the system's; `proxy` as in repository.http.Http.

    Raises StoreUnavailable, AccessRefused, Missing, Unrelated, RepositoryError, and what `access` raises.
    """

    def __init__(self, access: Access, proxy: str = "", ca_bundle: str = "") -> None:
        self.access = access
        self._proxy, self._ca = proxy, ca_bundle
        self._lock, self._pace = Lock(), Pace(_REQUESTS_PER_SECOND)
        self._http: Http | None = None
        self._host = ""

    def ranges(self, start: int, stop: int, before: Access | None = None) -> Iterator[tuple[int, int, bool]]:
        """Written ranges in [start, stop), or what changed since `before`: first byte, byte after the last, whether it
        was cleared. In no order."""
        query = {"comp": "pagelist", "maxresults": str(_PAGE)}
        headers = {"x-ms-range": f"bytes={start}-{stop - 1}"}
        while True:
            page = ElementTree.fromstring(bytes(self.call("GET", query, headers, before=before).body))  # noqa: S314
            for name, cleared in (("PageRange", False), ("ClearRange", True)):
                for one in page.iterfind(name):
                    yield int(one.findtext("Start") or 0), int(one.findtext("End") or 0) + 1, cleared
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return
            query["marker"] = marker

    def read(self, start: int, length: int, into: memoryview) -> None:
        """A range into a buffer that has just its length."""
        answer = self.call("GET", {}, {"x-ms-range": f"bytes={start}-{start + length - 1}"}, into=into)
        if len(answer.body) != length:
            raise StoreUnavailable("A disk's range came back shorter than it was asked for.")

    def write(self, start: int, content: Content) -> None:
        """Write a range; both ends on pages of 512 bytes, 4 MiB at most."""
        headers = {"x-ms-range": f"bytes={start}-{start + len(content) - 1}", "x-ms-page-write": "update"}
        self.call("PUT", {"comp": "page"}, headers, content)

    def call(
        self,
        method: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Content = b"",
        into: memoryview | None = None,
        before: Access | None = None,
    ) -> Answer:
        """One call, tried again while that may help; with new addresses once these are refused."""
        last: RepositoryError = StoreUnavailable("A disk's pages gave no answer.")
        addresses = [self.access.address(), *([before.address()] if before else [])]
        for attempt in range(1, _ATTEMPTS + 1):
            self._pace.take()
            try:
                answer = self._send(method, addresses, query, headers, body, into)
            except StoreUnavailable:
                last = StoreUnavailable("A disk's pages gave no whole answer.")
            else:
                if answer.status < 300:
                    return answer
                last = _error_of(answer.headers.get("x-ms-error-code", ""), answer.status)
                if isinstance(last, AccessRefused) and attempt <= _RENEWALS:
                    pairs = zip([self.access, *([before] if before else [])], addresses, strict=True)
                    addresses = [one.renewed(refused) for one, refused in pairs]
                elif not last.passing:
                    raise last
                else:
                    self._pace.throttled()
            self._pace.pause(attempt)
        raise last

    def _send(
        self,
        method: str,
        addresses: list[Secret],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Content,
        into: memoryview | None,
    ) -> Answer:
        parts = urlsplit(addresses[0].reveal())
        more = "".join(f"{name}={value}&" for name, value in query.items())
        named = {"host": parts.netloc, "x-ms-version": _VERSION, **headers}
        if len(addresses) > 1:
            named["x-ms-previous-snapshot-url"] = addresses[1].reveal()
        http = self._connected(f"{parts.scheme}://{parts.netloc}")
        return http.request(method, f"{parts.path}?{more}{parts.query}", named, body, into)

    def _connected(self, host: str) -> Http:
        """A new address may name another host."""
        with self._lock:
            if self._http is None or host != self._host:
                self._http, self._host = Http(host, self._proxy, self._ca), host
            return self._http


def _error_of(code: str, status: int) -> RepositoryError:
    """An answer as one of the engine's errors; its own text is not repeated, it may have the address."""
    if _UNRELATED.match(code):
        return Unrelated(f"Azure tells no difference between these snapshots ({code}).")
    if status in (401, 403):
        return AccessRefused(
            f"Azure refuses a disk's pages ({code or status}).", advice="Try again: access is renewed."
        )
    if status == 404:
        return Missing("Azure does not know the disk behind an address any more.")
    if status in (408, 429, 500, 502, 503, 504):
        return StoreUnavailable(f"Azure is busy with a disk's pages ({code or status}).")
    return RepositoryError(f"Azure refuses a request for a disk's pages ({code or status}).")


class _Run:
    """Neighbouring blocks that are read together, and handed out one by one."""

    def __init__(self, count: int) -> None:
        self.lock, self.left = Lock(), count
        self.content: bytearray | None = None


class PageSource:
    """A snapshot of `size` bytes; with `before`, only the blocks that differ from that older snapshot's.

    A block that was wholly cleared is gone and not read; one that was cleared in part is read.
    """

    def __init__(self, pages: Pages, size: int, before: Access | None = None, readers: int = READERS) -> None:
        self._pages, self._before = pages, before
        self.size, self.block_bytes, self.readers, self.incremental = size, BLOCK_BYTES, readers, before is not None
        self._runs: dict[str, _Run] = {}
        self._lock = Lock()

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        with self._lock:
            self._runs.clear()  # what an earlier listing promised and nobody read
        stop = min(stop, -(-self.size // BLOCK_BYTES))
        for first in range(start, stop, _WINDOW):
            last = min(first + _WINDOW, stop)
            yield from _refs(self._marks(first, last), first)

    def _marks(self, first: int, last: int) -> bytearray:
        """What is to be done about each block of a window."""
        marks = bytearray(last - first)
        end = min(last * BLOCK_BYTES, self.size)
        for begin, finish, cleared in self._pages.ranges(first * BLOCK_BYTES, end, self._before):
            start, stop = max(begin, first * BLOCK_BYTES), min(finish, end)
            for index in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
                whole = start <= index * BLOCK_BYTES and stop >= min((index + 1) * BLOCK_BYTES, self.size)
                if not cleared or not whole:
                    marks[index - first] = _DATA
                elif not marks[index - first]:
                    marks[index - first] = _GONE
        return marks

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        first, stop = (int(word) for word in ref.token.split(":"))
        length = min(BLOCK_BYTES, self.size - ref.index * BLOCK_BYTES)
        if stop - first == 1:
            self._pages.read(ref.index * BLOCK_BYTES, length, into[:length])
            return length, None
        with self._lock:
            run = self._runs.setdefault(ref.token, _Run(stop - first))
        with run.lock:
            if run.content is None:
                size = min(stop * BLOCK_BYTES, self.size) - first * BLOCK_BYTES
                content = bytearray(size)
                self._pages.read(first * BLOCK_BYTES, size, memoryview(content))
                run.content = content
            at = (ref.index - first) * BLOCK_BYTES
            into[:length] = memoryview(run.content)[at : at + length]
            run.left -= 1
        if run.left <= 0:
            with self._lock:
                self._runs.pop(ref.token, None)
        return length, None


def _refs(marks: bytearray, first: int) -> Iterator[Ref]:
    """Refs of a window in rising order; those that are read together have the same token, FIRST:STOP."""
    at = 0
    while at < len(marks):
        if marks[at] == _DATA:
            stop = at + 1
            while stop < len(marks) and marks[stop] == _DATA and (first + stop) % RUN:
                stop += 1
            token = f"{first + at}:{first + stop}"
            yield from (Ref(first + index, token) for index in range(at, stop))
            at = stop
            continue
        if marks[at] == _GONE:
            yield Ref(first + at, gone=True)
        at += 1


class UploadSink:
    """A disk that waits for its content; blocks that are never written read as zeros."""

    proves = False

    def __init__(self, pages: Pages, size: int, writers: int = WRITERS) -> None:
        self._pages, self._size, self.writers = pages, size, writers
        self.written = 0
        self._lock = Lock()

    def write(self, index: int, content: Content, digest: bytes) -> None:  # noqa: ARG002 - proved by the engine
        start = index * BLOCK_BYTES
        self._pages.write(start, content[: self._size - start])
        with self._lock:
            self.written += 1

    def finish(self) -> None:
        """The footer comes at the end of all slices."""
