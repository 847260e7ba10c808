"""EBS snapshots through the EBS direct APIs: a source of blocks, and a sink that makes a new snapshot.

Facts (Amazon EBS API reference, read 2026-11): blocks of 524 288 bytes; only written blocks are listed, indexes rise;
a page may be empty and still have a NextToken; page tokens live 60 minutes, block tokens 7 days and change at every
listing; ListChangedBlocks needs a common history; GetSnapshotBlock states a SHA-256; PutSnapshotBlock checks one;
1000 GetSnapshotBlock a second and snapshot.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from threading import Lock
from typing import Any

from workers.repository.clock import Clock, host_clock
from workers.repository.errors import (
    AccessRefused,
    Damaged,
    Missing,
    RepositoryError,
    StoreUnavailable,
    Unrelated,
    Unsuitable,
)
from workers.repository.http import Answer, Http
from workers.repository.pace import Pace
from workers.repository.sigv4 import Provider, Signer
from workers.repository.source import BLOCK_BYTES, Content, Ref

# Permits below the quota of 1000 a second and snapshot: the rest is for retries and for whoever else reads.
READS_PER_SECOND = 950.0
# Measured 2026-11: 64 threads hide 30 ms of latency, 128 gain nothing.
READERS = 64
# AWS's guide models 100 ms for a write: 32 at a time are 160 MiB/s.
WRITERS = 32
PAGE = 10_000  # the most a listing gives: fewest requests
# The page that tells a volume's size is listed from, too: reads begin while the next page is on its way.
_FIRST = 100
ATTEMPTS = 10
# Idle snapshots are cancelled after this many minutes; the most EBS allows (3 days).
SNAPSHOT_MINUTES = 4320
# Hashes of all blocks are kept for the aggregate checksum up to 32 MiB of them, a volume of 512 GiB.
_AGGREGATE_BLOCKS = 1 << 20


class EbsClient:
    """Calls of one account and region, signed, paced and tried again; safe to be shared by threads.

    `proxy` and `ca_bundle` are as in http.Http; `proxy_for` finds the proxy that settings or environment name.
    """

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Provider,
        clock: Clock = host_clock,
        pace: Pace | None = None,
        proxy: str = "",
        ca_bundle: str = "",
    ) -> None:
        self._http = Http(endpoint, proxy, ca_bundle)
        self._signer = Signer(credentials, "ebs", region)
        self._clock = clock
        self.pace = pace or Pace(READS_PER_SECOND)

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = b"",
        headers: dict[str, str] | None = None,
        into: memoryview | None = None,
        settling: bool = False,
        digest: str | None = None,
    ) -> Answer:
        """One call. `digest` is the body's SHA-256 in hex where it is known. `settling`: a snapshot that was just
        started may not be known yet, so that is tried again.

        Raises StoreUnavailable, AccessRefused, Missing, Unrelated, RepositoryError.
        """
        last: RepositoryError = StoreUnavailable("EBS did not answer.")
        digest = digest or hashlib.sha256(body).hexdigest()
        for attempt in range(1, ATTEMPTS + 1):
            self.pace.take()
            target, signed = self._signer.sign(
                method, path, query or {}, {"host": self._http.host, **(headers or {})}, digest, self._clock()
            )
            try:
                answer = self._http.request(method, target, signed, body, into)
            except StoreUnavailable as error:
                last = error
            else:
                if answer.status < 300:
                    return answer
                last = _error(answer, path)
                if last.code == "throttled":
                    self.pace.throttled()
                if not (last.passing or (settling and isinstance(last, Missing))):
                    raise last
            self.pace.pause(attempt)
        raise last


class _Throttled(StoreUnavailable):
    code = "throttled"


class _StaleToken(RepositoryError):
    code = "stale-token"


def _error(answer: Answer, path: str) -> RepositoryError:
    """EBS's answer as one of ours; its own text is not repeated, as it may hold anything."""
    kind = answer.headers.get("x-amzn-errortype", "").split(":")[0]
    reason = ""
    try:
        facts = json.loads(bytes(answer.body))
        reason = str(facts.get("Reason", ""))
        kind = kind or str(facts.get("__type", "")).rpartition("#")[2]
    except (ValueError, AttributeError):
        pass
    named = path.split("/")[2] if path.count("/") >= 2 else "the snapshot"
    if kind == "RequestThrottledException" or answer.status == 429:
        return _Throttled(f"EBS asks to slow down at {named}.")
    if reason == "UNRELATED_SNAPSHOTS":
        return Unrelated(f"{named} and its base have no common history.")
    if reason in ("INVALID_BLOCK_TOKEN", "INVALID_PAGE_TOKEN"):
        return _StaleToken(f"A token of {named} is no longer valid.")
    if answer.status == 404 or kind == "ResourceNotFoundException":
        return Missing(f"EBS does not know {named}.", advice="Check that the snapshot is completed and in this region.")
    if kind == "ExpiredTokenException":
        return StoreUnavailable("The session with EBS has run out.")  # the next attempt fetches another
    if kind == "InvalidSignatureException":
        return Unsuitable("EBS refuses the signature.", advice="Set this host's clock, then try again.")
    if answer.status in (401, 403):
        return AccessRefused(
            f"EBS refuses {named}.", advice="Grant the identity the ebs: actions on it, and kms:Decrypt on its key."
        )
    if answer.status >= 500:
        return StoreUnavailable(f"EBS failed at {named} with status {answer.status}.")
    return RepositoryError(
        f"EBS refuses the request for {named} ({kind or answer.status} {reason}).".replace(" )", ")")
    )


class EbsSource:
    """A completed snapshot. With `base`, only the blocks that differ from that older snapshot.

    Raises Unrelated when the two have no common history or another size: archive the whole volume then.
    """

    def __init__(
        self, client: EbsClient, snapshot: str, base: str | None = None, readers: int = READERS, size: int | None = None
    ) -> None:
        self._client, self._snapshot, self._base = client, snapshot, base
        self.readers, self.incremental = readers, base is not None
        self.block_bytes = BLOCK_BYTES
        page = self._page(0, None, _FIRST)
        self._ahead: dict[str, Any] | None = page
        if page["BlockSize"] != BLOCK_BYTES:
            raise Unsuitable(f"EBS has blocks of {page['BlockSize']} bytes here, not {BLOCK_BYTES}.")
        self.size = page["VolumeSize"] << 30
        if size is not None and base is not None and self.size != size:
            raise Unrelated(f"{snapshot} has another size than its base.")

    def blocks(self, start: int, stop: int) -> Iterator[Ref]:
        token: str | None = None
        at = start
        ahead, self._ahead = self._ahead if start == 0 else None, None
        while True:
            try:
                page, ahead = ahead or self._page(at, token, PAGE), None
            except _StaleToken:
                token = None  # pages live an hour: list anew from the block we are at
                continue
            for block in page["ChangedBlocks" if self._base else "Blocks"]:
                index = block["BlockIndex"]
                if index >= stop:
                    return
                if index < at:
                    continue
                if self._base:
                    second = block.get("SecondBlockToken")
                    yield Ref(index, second or "", gone=second is None)
                else:
                    yield Ref(index, block["BlockToken"])
                at = index + 1
            token = page.get("NextToken")
            if not token:
                return

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        try:
            answer = self._get(ref.index, ref.token, into)
        except _StaleToken:
            answer = self._get(ref.index, self._fresh(ref.index), into)
        try:
            stated = base64.b64decode(answer.headers["x-amz-checksum"], validate=True)
        except (KeyError, binascii.Error):
            raise Damaged(f"block {ref.index} of {self._snapshot}", "EBS states no checksum") from None
        return len(answer.body), stated

    def _get(self, index: int, token: str, into: memoryview) -> Answer:
        path = f"/snapshots/{self._snapshot}/blocks/{index}"
        return self._client.call("GET", path, {"blockToken": token}, into=into)

    def _fresh(self, index: int) -> str:
        for ref in self.blocks(index, index + 1):
            return ref.token
        raise Damaged(f"block {index} of {self._snapshot}", "EBS no longer lists it")

    def _page(self, start: int, token: str | None, most: int) -> dict[str, Any]:
        query = {"maxResults": str(most), "startingBlockIndex": str(start)}
        if token:
            query = {"maxResults": str(most), "pageToken": token}
        kind = "blocks"
        if self._base:
            query["firstSnapshotId"] = self._base
            kind = "changedblocks"
        answer = self._client.call("GET", f"/snapshots/{self._snapshot}/{kind}", query)
        page: dict[str, Any] = json.loads(bytes(answer.body))
        return page


def start_snapshot(client: EbsClient, size: int, token: str, tags: dict[str, str], kms_key: str | None = None) -> str:
    """Begin a new snapshot for `size` bytes; its id. `token` makes a repetition give the same one.

    An encrypted one when `kms_key` is given, else as the account's default says.
    """
    facts: dict[str, Any] = {
        "VolumeSize": -(-size // (1 << 30)),
        "ClientToken": token,
        "Timeout": SNAPSHOT_MINUTES,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if kms_key:
        facts |= {"Encrypted": True, "KmsKeyArn": kms_key}
    body = json.dumps(facts).encode()
    answer = client.call("POST", "/snapshots", body=body, headers={"content-type": "application/json"})
    return str(json.loads(bytes(answer.body))["SnapshotId"])


def complete_snapshot(client: EbsClient, snapshot: str, blocks: int, aggregate: bytes | None = None) -> None:
    """Say that `blocks` blocks were written; `aggregate` is the SHA-256 over their SHA-256s in order of blocks."""
    headers = {"x-amz-changedblockscount": str(blocks)}
    if aggregate is not None:
        headers |= {
            "x-amz-checksum": base64.b64encode(aggregate).decode(),
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-checksum-aggregation-method": "LINEAR",
        }
    client.call("POST", f"/snapshots/completion/{snapshot}", headers=headers, settling=True)


class EbsSink:
    """A snapshot that `start_snapshot` began. EBS checks the SHA-256 of every block against the repository's.

    With `completes` False (several workers fill one snapshot) the caller adds up `written` and completes it.
    """

    proves = True

    def __init__(
        self, client: EbsClient, snapshot: str, size: int, completes: bool = True, writers: int = WRITERS
    ) -> None:
        self.writers = writers
        self._client, self.snapshot, self._completes = client, snapshot, completes
        self.written = 0
        blocks = -(-size // BLOCK_BYTES)
        self._hashes: dict[int, bytes] | None = {} if blocks <= _AGGREGATE_BLOCKS else None
        self._lock = Lock()

    def write(self, index: int, content: Content, digest: bytes) -> None:
        if len(content) < BLOCK_BYTES:
            content = bytes(content) + bytes(BLOCK_BYTES - len(content))
            digest = hashlib.sha256(content).digest()
        headers = {
            "x-amz-data-length": str(BLOCK_BYTES),
            "x-amz-checksum": base64.b64encode(digest).decode(),
            "x-amz-checksum-algorithm": "SHA256",
        }
        path = f"/snapshots/{self.snapshot}/blocks/{index}"
        self._client.call("PUT", path, body=content, headers=headers, settling=True, digest=digest.hex())
        with self._lock:
            if self._hashes is not None:
                self._hashes[index] = digest
            self.written += 1

    def finish(self) -> None:
        if not self._completes:
            return
        aggregate = None
        if self._hashes is not None:
            aggregate = hashlib.sha256(b"".join(self._hashes[i] for i in sorted(self._hashes))).digest()
        complete_snapshot(self._client, self.snapshot, self.written, aggregate)
