"""What the engine's own clients put on the wire when they change something: EBS direct and the repository's S3.

The server below is the recording transport: it notes requests as they arrive and understands none of them. Sources:
API references of EBS direct (StartSnapshot, PutSnapshotBlock, CompleteSnapshot) and S3 (PutObject, PutObjectRetention,
RestoreObject).
"""

import base64
import hashlib
import json
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.workers.repository.servers import CREDENTIALS, session
from workers.repository.ebs import EbsClient, EbsSink, complete_snapshot, start_snapshot
from workers.repository.pace import Pace
from workers.repository.s3 import S3Store, s3_client
from workers.repository.s3wire import Wire
from workers.repository.source import BLOCK_BYTES
from workers.repository.store import Put, Thaw

pytestmark = pytest.mark.unit

SNAPSHOT = "snap-0123456789abcdef0"
KEY = "arn:aws:kms:us-east-1:111111111111:key/k"
UNTIL = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
# What every object goes out with; None: not at all.
PUT = {
    "if-none-match": "*",
    "if-match": None,
    "x-amz-storage-class": "GLACIER_IR",
    "x-amz-object-lock-mode": "COMPLIANCE",
    "x-amz-object-lock-retain-until-date": "2027-01-02T03:04:05Z",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": KEY,
    "x-amz-checksum-crc32": "",
}


@dataclass(frozen=True)
class Sent:
    """One request as it arrived; header names in small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Recorder:
    """Requests in their order. The first `lost` of them are noted and answered 500, as where an answer is lost."""

    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    lost: int = 0

    def changing(self) -> list[Sent]:
        return [one for one in self.sent if one.method in ("PUT", "POST", "DELETE")]

    def only(self) -> Sent:
        (one,) = self.changing()
        return one


class Handler(BaseHTTPRequestHandler):
    """Notes a request and says yes; objects are archived ones."""

    protocol_version = "HTTP/1.1"
    recorder: Recorder

    def _serve(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.recorder.sent.append(Sent(self.command, url.path, query, headers, body))
        said = json.dumps({"SnapshotId": SNAPSHOT}).encode() if url.path.startswith("/snapshots") else b""
        status = 202 if "restore" in query else 200
        if self.recorder.lost:
            self.recorder.lost, status, said = self.recorder.lost - 1, 500, b""
        self.send_response(status)
        self.send_header("ETag", '"tag"')
        self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
        self.send_header("x-amz-storage-class", "DEEP_ARCHIVE")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def log_message(self, *_: Any) -> None:
        """Nothing: what arrived is in the record."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"recorder": made}))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def blocks(recorder: Recorder) -> EbsClient:
    return EbsClient(recorder.url, "us-east-1", lambda: CREDENTIALS, pace=Pace(100_000))


@pytest.fixture(params=["wire", "sdk"])
def store(recorder: Recorder, request: pytest.FixtureRequest) -> S3Store:
    """A repository's store both ways: over the lean wire, and through the SDK alone."""
    wire = Wire(recorder.url, "repo", "us-east-1", lambda: CREDENTIALS) if request.param == "wire" else None
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY}
    return S3Store(s3_client(recorder.url, "us-east-1", session()), "repo", "volumes", encryption, wire)


def digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def crc(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def test_a_snapshot_is_started_whole_gib_tagged_encrypted_and_with_the_longest_patience(
    recorder: Recorder, blocks: EbsClient
) -> None:
    """StartSnapshot: VolumeSize in GiB rounded up, Timeout 10 to 4320 minutes, KmsKeyArn only with Encrypted."""
    assert start_snapshot(blocks, (1 << 30) + 1, "t" * 64, {"snapfleet:job": "7"}, KEY) == SNAPSHOT
    sent = recorder.only()
    assert (sent.method, sent.path, sent.headers["content-type"]) == ("POST", "/snapshots", "application/json")
    assert json.loads(sent.body) == {
        "VolumeSize": 2,
        "ClientToken": "t" * 64,
        "Timeout": 4320,
        "Tags": [{"Key": "snapfleet:job", "Value": "7"}],
        "Encrypted": True,
        "KmsKeyArn": KEY,
    }
    assert "/us-east-1/ebs/aws4_request" in sent.headers["authorization"]


def test_without_a_key_the_accounts_default_decides_about_encryption(recorder: Recorder, blocks: EbsClient) -> None:
    """StartSnapshot refuses Encrypted=false where encryption is the account's default, and with a parent."""
    start_snapshot(blocks, 1 << 30, "token", {})
    assert {"Encrypted", "KmsKeyArn", "ParentSnapshotId"}.isdisjoint(json.loads(recorder.only().body))


def test_a_start_whose_answer_was_lost_goes_out_again_under_the_same_token(
    recorder: Recorder, blocks: EbsClient
) -> None:
    """The same token with other parameters is a ConflictException: the body is the same to the byte."""
    recorder.lost = 1
    start_snapshot(blocks, 1 << 30, "token", {"snapfleet:job": "7"})
    first, second = recorder.changing()
    assert first.body == second.body
    assert json.loads(second.body)["ClientToken"] == "token"


def test_a_block_goes_out_at_its_full_length_with_its_own_digest(recorder: Recorder, blocks: EbsClient) -> None:
    """PutSnapshotBlock: exactly 524288 bytes and the base64 of their SHA-256, the last block of a volume too."""
    EbsSink(blocks, SNAPSHOT, 1 << 30, completes=False).write(3, b"x" * 1000, b"")
    sent, whole = recorder.only(), b"x" * 1000 + bytes(BLOCK_BYTES - 1000)
    assert (sent.method, sent.path) == ("PUT", f"/snapshots/{SNAPSHOT}/blocks/3")
    assert sent.body == whole
    assert (sent.headers["x-amz-data-length"], sent.headers["content-length"]) == ("524288", "524288")
    assert (sent.headers["x-amz-checksum"], sent.headers["x-amz-checksum-algorithm"]) == (digest(whole), "SHA256")
    assert sent.headers["x-amz-content-sha256"] == hashlib.sha256(whole).hexdigest()


def test_a_snapshot_is_completed_with_its_blocks_counted_and_digested_in_their_order(
    recorder: Recorder, blocks: EbsClient
) -> None:
    """CompleteSnapshot: LINEAR is the SHA-256 over the raw digests in order of blocks, whenever they were written."""
    sink, content = EbsSink(blocks, SNAPSHOT, 1 << 30), {7: b"b" * BLOCK_BYTES, 2: b"a" * BLOCK_BYTES}
    for index, block in content.items():
        sink.write(index, block, hashlib.sha256(block).digest())
    sink.finish()
    sent = recorder.changing()[-1]
    assert (sent.method, sent.path, sent.body) == ("POST", f"/snapshots/completion/{SNAPSHOT}", b"")
    raw = b"".join(hashlib.sha256(content[index]).digest() for index in (2, 7))
    assert sent.headers["x-amz-changedblockscount"] == "2"
    assert sent.headers["x-amz-checksum"] == digest(raw)
    assert sent.headers["x-amz-checksum-algorithm"] == "SHA256"
    assert sent.headers["x-amz-checksum-aggregation-method"] == "LINEAR"


def test_where_several_workers_filled_a_snapshot_no_digest_is_claimed(recorder: Recorder, blocks: EbsClient) -> None:
    complete_snapshot(blocks, SNAPSHOT, 12)
    sent = recorder.only()
    assert sent.headers["x-amz-changedblockscount"] == "12"
    assert not any(name.startswith("x-amz-checksum") for name in sent.headers)


def test_an_object_goes_out_locked_classed_encrypted_checked_and_only_where_none_is(
    recorder: Recorder, store: S3Store
) -> None:
    """PutObject: a lock needs a checksum, a name is taken once (If-None-Match), a date is an instant of UTC."""
    store.create("pack", b"content", Put(storage_class="GLACIER_IR", retain_until=UNTIL))
    sent = recorder.only()
    assert (sent.method, sent.path, sent.body) == ("PUT", "/repo/volumes/pack", b"content")
    given = {name: sent.headers.get(name) for name in PUT}
    assert given == {**PUT, "x-amz-checksum-crc32": crc(b"content")}
    assert "x-amz-acl" not in sent.headers
    assert not any(name.startswith("x-amz-grant") for name in sent.headers)


def test_an_object_is_replaced_only_as_it_was_read(recorder: Recorder, store: S3Store) -> None:
    store.replace("state", b"next", '"old"')
    sent = recorder.only()
    assert (sent.headers["if-match"], "if-none-match" in sent.headers) == ('"old"', False)
    assert "x-amz-object-lock-mode" not in sent.headers
    assert sent.headers["x-amz-server-side-encryption-aws-kms-key-id"] == KEY


def test_a_lock_is_extended_in_compliance_mode_with_a_checksum_and_bypasses_nothing(
    recorder: Recorder, store: S3Store
) -> None:
    """PutObjectRetention demands Content-MD5 or a checksum of its body."""
    store.extend_lock("pack", UNTIL)
    sent = recorder.only()
    assert (sent.method, sent.path, dict(sent.query)) == ("PUT", "/repo/volumes/pack", {"retention": ""})
    assert b"<Mode>COMPLIANCE</Mode>" in sent.body
    assert b"<RetainUntilDate>2027-01-02T03:04:05Z</RetainUntilDate>" in sent.body
    assert sent.headers["x-amz-checksum-crc32"] == crc(sent.body)
    assert "x-amz-bypass-governance-retention" not in sent.headers


def test_an_archived_object_is_asked_for_with_days_and_tier_and_nowhere_else_put(
    recorder: Recorder, store: S3Store
) -> None:
    """RestoreObject: Days and a tier for a temporary copy; OutputLocation would write the object to another bucket."""
    assert store.thaw(["pack"], 3, "Bulk") == {"pack": Thaw.UNDERWAY}
    sent = recorder.only()
    assert (sent.method, sent.path, dict(sent.query)) == ("POST", "/repo/volumes/pack", {"restore": ""})
    assert b"<Days>3</Days>" in sent.body
    assert b"<GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>" in sent.body
    assert b"OutputLocation" not in sent.body
