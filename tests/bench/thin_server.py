"""A thin, honest stand-in for S3 and the EBS direct APIs: real listing, tokens, checksums and conditional writes.

moto spends 5 ms of CPU a block and rclone 5 to 9 CPU-s a GiB, so on two cores they measure themselves; this one
moves bytes with recv_into and sendfile to and from where they stay (thin_room.py), and counts requests. Signatures are
not checked: real services do that on their own CPUs. `verify` also checks the checksums of what is written. Latency and
a request limit can be injected.

    python -m tests.bench.thin_server --root DIR [--snapshot ID=FILE[,GIB] ...] [--latency S] [--limit N]
        [--verify] [--ahead GIB]

prints its port. GET /_stats gives the counters as JSON, POST /_set?latency=S&limit=N changes them.
"""

import argparse
import base64
import binascii
import hashlib
import itertools
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from tests.bench.thin_room import Place, Room

BLOCK = 512 << 10
RESPONSES = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content"}


class Stored:
    """One object: its place, size, tag and time."""

    def __init__(self, place: Place, tag: str) -> None:
        self.place, self.size, self.tag = place, len(place.view), tag
        self.at = datetime.now(UTC)


class Snapshot:
    """A disk image, or its first `size` bytes, with the SHA-256 of each block that is not zeros."""

    def __init__(self, path: str, size: int = 0) -> None:
        self.handle = os.open(path, os.O_RDWR)
        self.size = size or os.fstat(self.handle).st_size
        self.sums: dict[int, str] = {}
        self.pending = False

    def hash(self) -> None:
        zero = bytes(BLOCK)
        for index in range(self.size // BLOCK):
            if os.pread(self.handle, BLOCK, index * BLOCK) != zero:
                self.hash_one(index)

    def known(self, path: str) -> None:
        """Take the hashes from a file of an earlier run, or make it: hashing a disk takes longer than archiving one."""
        try:
            with open(path) as file:
                sums = json.load(file)
        except FileNotFoundError:
            self.hash()
            sums = self.sums
            with open(path, "w") as file:
                json.dump(sums, file)
        self.sums = {int(index): one for index, one in sums.items() if int(index) < self.size // BLOCK}

    def hash_one(self, index: int) -> None:
        block = os.pread(self.handle, BLOCK, index * BLOCK)
        self.sums[index] = base64.b64encode(hashlib.sha256(block).digest()).decode()


class World:
    """What all connections share."""

    def __init__(
        self, root: str, latency: float = 0.0, limit: float = 0.0, verify: bool = False, ahead: int = 0
    ) -> None:
        self.root, self.latency, self.limit, self.verify = root, latency, limit, verify
        self.room = Room(root, ahead)
        self.lock = threading.Lock()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.counts: dict[str, int] = {}
        self.moved = {"in": 0, "out": 0}
        self.serial = itertools.count(1)
        self.window = (0, 0)
        self.salt = ""  # block tokens depend on it
        self.refused: set[str] = set()  # snapshots that nobody may read
        self.page = 1000  # names in a listing

    def count(self, verb: str) -> bool:
        """Count a request; False when the limit of this second is reached."""
        with self.lock:
            self.counts[verb] = self.counts.get(verb, 0) + 1
            if not self.limit:
                return True
            second, used = self.window
            now = int(time.monotonic())
            used = used + 1 if now == second else 1
            self.window = (now, used)
            return used <= self.limit

    def token(self, snapshot: str, index: int) -> str:
        return base64.b64encode(hashlib.sha256(f"{self.salt}{snapshot}/{index}".encode()).digest()).decode()


class Connection(threading.Thread):
    """One client connection, kept alive."""

    def __init__(self, sock: socket.socket, world: World) -> None:
        super().__init__(daemon=True)
        self.sock, self.world = sock, world
        self.buffer = bytearray()

    def run(self) -> None:
        try:
            while True:
                self.serve()
        except (OSError, ValueError, ConnectionError):
            pass
        finally:
            self.sock.close()

    # -- reading ------------------------------------------------------------------------------------------------
    def until(self, mark: bytes) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError
            self.buffer += data
        found = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return found

    def fill(self, view: memoryview) -> None:
        """Receive as much as `view` takes, straight into it."""
        at = min(len(self.buffer), len(view))
        view[:at] = self.buffer[:at]
        del self.buffer[:at]
        while at < len(view):
            got = self.sock.recv_into(view[at:], 0, self.flag(socket.MSG_WAITALL))
            if not got:
                raise ConnectionError
            at += got

    def chunks(self) -> Iterator[int]:
        """The lengths of a body's pieces, each to be received by `fill` before the next is asked for."""
        chunked = self.headers.get("transfer-encoding") == "chunked"
        signed = self.headers.get("x-amz-content-sha256", "").startswith("STREAMING")
        if chunked or signed or "aws-chunked" in self.headers.get("content-encoding", ""):
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                yield size
                self.until(b"\r\n")
            while self.until(b"\r\n"):
                pass
        elif size := int(self.headers.get("content-length", 0)):
            yield size

    def whole(self) -> bytes:
        parts = []
        for size in self.chunks():
            part = bytearray(size)
            self.fill(memoryview(part))
            parts.append(part)
        return b"".join(parts)

    def placed(self) -> Place:
        """The body as an object, received where it stays; through memory where its length is not told first."""
        length = self.headers.get("x-amz-decoded-content-length") or self.headers.get("content-length")
        if length is None:
            data = self.whole()
            place = self.world.room.place(len(data))
            place.view[:] = data
            return place
        place, at = self.world.room.place(int(length)), 0
        for size in self.chunks():
            self.fill(place.view[at : at + size])
            at += size
        if at != len(place.view):
            raise ValueError("length")
        return place

    def flag(self, wanted: int) -> int:
        """What a call to the kernel may say besides; TLS takes nothing."""
        return 0 if isinstance(self.sock, ssl.SSLSocket) else wanted

    # -- answering ----------------------------------------------------------------------------------------------
    def answer(
        self, status: int, body: bytes = b"", length: int | None = None, more: bool = False, **headers: str
    ) -> None:
        """Send an answer; `more` says that its body follows by `file`, so that both leave in the same packets."""
        lines = [
            f"HTTP/1.1 {status} {RESPONSES.get(status, 'Error')}",
            f"Content-Length: {len(body) if length is None else length}",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body, self.flag(socket.MSG_MORE if more else 0))

    def fail(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, b"" if self.method == "HEAD" else body, Content_Type="application/xml")

    def file(self, handle: int, start: int, length: int) -> None:
        while length:
            sent = os.sendfile(self.sock.fileno(), handle, start, length)
            if not sent:
                raise ConnectionError
            start, length = start + sent, length - sent
            self.world.moved["out"] += sent

    def serve(self) -> None:
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.method, target, _ = lines[0].split(" ")
        self.headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        path = urllib.parse.unquote(path)
        if self.headers.get("expect"):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if path == "/_stats":
            facts = {"counts": self.world.counts, "moved": self.world.moved, "cpu": time.process_time()}
            self.answer(200, json.dumps(facts).encode())
        elif path == "/_set":
            self.settings()
        else:
            if self.world.latency:
                time.sleep(self.world.latency)
            (self.ebs if path.startswith("/snapshots") else self.s3)(path)

    def settings(self) -> None:
        self.whole()
        with self.world.lock:
            self.world.latency = float(self.query.get("latency", self.world.latency))
            self.world.limit = float(self.query.get("limit", self.world.limit))
            self.world.counts.clear()
            self.world.moved.update({"in": 0, "out": 0})
        self.answer(200)

    # -- S3 -----------------------------------------------------------------------------------------------------
    def s3(self, path: str) -> None:
        bucket, _, key = path.lstrip("/").partition("/")
        if not self.world.count(self.method if key else f"{self.method} bucket"):
            self.whole()
            self.fail(503, "SlowDown")
            return
        objects = self.world.buckets.get(bucket)
        if self.method == "PUT" and not key:
            self.whole()
            self.world.buckets.setdefault(bucket, {})
            self.answer(200)
        elif objects is None:
            self.whole()
            self.fail(404, "NoSuchBucket")
        elif key:
            self.object(objects, key)
        elif self.method == "POST" and "delete" in self.query:
            self.delete_many(objects)
        elif "location" in self.query:
            self.answer(200, b"<LocationConstraint>us-east-1</LocationConstraint>")
        elif {"versioning", "object-lock", "lifecycle"} & set(self.query):
            self.answer(200, b"<VersioningConfiguration/>") if "versioning" in self.query else self.fail(
                404, "NotFound"
            )
        else:
            self.listing(objects) if self.method == "GET" else self.answer(200)

    def object(self, objects: dict[str, Stored], key: str) -> None:
        found = objects.get(key)
        if self.method == "PUT":
            self.put(objects, key)
        elif self.method == "DELETE":
            objects.pop(key, None)
            self.answer(204)
        elif found is None:
            self.fail(404, "NoSuchKey")
        else:
            self.get(found)

    def put(self, objects: dict[str, Stored], key: str) -> None:
        world, place = self.world, self.placed()
        tag = f'"{next(world.serial):032x}"'
        stated = self.headers.get("x-amz-checksum-crc32") if world.verify else None
        if stated and base64.b64decode(stated) != binascii.crc32(place.view).to_bytes(4, "big"):
            self.fail(400, "BadDigest")
            return
        with world.lock:
            found = objects.get(key)
            wanted = self.headers.get("if-match")
            refused = (self.headers.get("if-none-match") == "*" and found) or (found and wanted and found.tag != wanted)
            if not refused and not (wanted and not found):
                objects[key] = Stored(place, tag)
                world.moved["in"] += len(place.view)
        if refused or (wanted and not found):
            self.fail(412, "PreconditionFailed") if refused else self.fail(404, "NoSuchKey")
            return
        self.answer(200, ETag=tag)

    def get(self, found: Stored) -> None:
        start, end, status, extra = 0, found.size - 1, 200, {}
        wanted = self.headers.get("range")
        if wanted and self.method == "GET":
            first, _, last = wanted.partition("=")[2].partition("-")
            start = int(first) if first else max(0, found.size - int(last))
            end = min(end, int(last)) if first and last else end
            if start > end:
                self.fail(416, "InvalidRange")
                return
            status, extra = 206, {"Content_Range": f"bytes {start}-{end}/{found.size}"}
        extra |= {
            "ETag": found.tag,
            "Last_Modified": found.at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "Accept_Ranges": "bytes",
        }
        length, sent = end - start + 1, self.method == "GET" and end >= start
        self.answer(status, length=length, more=sent, Content_Type="application/octet-stream", **extra)
        if sent:
            self.file(found.place.piece.handle, found.place.start + start, length)

    def delete_many(self, objects: dict[str, Stored]) -> None:
        from xml.etree.ElementTree import fromstring

        for element in fromstring(self.whole()).iter():
            if element.tag.endswith("Key"):
                objects.pop(element.text or "", None)
        self.answer(200, b"<DeleteResult></DeleteResult>", Content_Type="application/xml")

    def listing(self, objects: dict[str, Stored]) -> None:
        query = self.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        most = min(self.world.page, int(query.get("max-keys", 1000)))
        with self.world.lock:
            names = sorted(name for name in objects if name.startswith(prefix))
        rows, folders, last, more = [], [], "", False
        for name in names:
            if name <= after or (delimiter and folders and name.startswith(folders[-1])):
                continue
            if len(rows) + len(folders) >= most:
                more = True
                break
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest.split(delimiter)[0] + delimiter
                if not after.startswith(folder):
                    folders.append(folder)
            else:
                rows.append(name)
            last = name
        items = "".join(self.row(name, objects[name]) for name in rows if name in objects)
        items += "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        token = escape(last + "\x7f" if folders and last not in rows else last)
        rest = f"<NextContinuationToken>{token}</NextContinuationToken><NextMarker>{token}</NextMarker>"
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows) + len(folders)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{rest if more else ''}{items}</ListBucketResult>"
        )
        self.answer(200, body.encode(), Content_Type="application/xml")

    def row(self, name: str, found: Stored) -> str:
        at = found.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return (
            f"<Contents><Key>{escape(name)}</Key><LastModified>{at}</LastModified><ETag>{escape(found.tag)}</ETag>"
            f"<Size>{found.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    # -- EBS direct ---------------------------------------------------------------------------------------------
    def ebs(self, path: str) -> None:
        steps = path.strip("/").split("/")
        kind = {
            ("GET", "blocks"): "ListSnapshotBlocks" if len(steps) == 3 else "GetSnapshotBlock",
            ("GET", "changedblocks"): "ListChangedBlocks",
            ("PUT", "blocks"): "PutSnapshotBlock",
        }.get(
            (self.method, steps[2] if len(steps) > 2 else ""),
            "CompleteSnapshot" if len(steps) == 3 else "StartSnapshot",
        )
        if not self.world.count(kind):
            self.whole()
            self.refuse(429, "RequestThrottledException", "RESOURCE_LEVEL_THROTTLE")
            return
        if len(steps) > 1 and steps[1] in self.world.refused:
            self.whole()
            self.refuse(403, "AccessDeniedException")
        elif kind in ("ListSnapshotBlocks", "ListChangedBlocks"):
            self.list_blocks(steps[1], kind)
        elif kind == "GetSnapshotBlock":
            self.get_block(steps[1], int(steps[3]))
        elif kind == "PutSnapshotBlock":
            self.put_block(steps[1], int(steps[3]))
        elif kind == "StartSnapshot":
            self.start_snapshot()
        else:
            self.complete(steps[2])

    def refuse(self, status: int, kind: str, reason: str = "") -> None:
        self.answer(status, json.dumps({"Message": kind, "Reason": reason}).encode(), x_amzn_ErrorType=kind)

    def list_blocks(self, name: str, kind: str) -> None:
        snapshot, base = self.world.snapshots.get(name), None
        if kind == "ListChangedBlocks":
            base = self.world.snapshots.get(self.query["firstSnapshotId"])
        if snapshot is None or (kind == "ListChangedBlocks" and base is None):
            self.refuse(404, "ResourceNotFoundException")
            return
        if base is not None and base.size != snapshot.size:
            self.refuse(400, "ValidationException", "UNRELATED_SNAPSHOTS")
            return
        first = int(self.query.get("pageToken") or self.query.get("startingBlockIndex") or 0)
        most = int(self.query.get("maxResults", 100))
        indexes = sorted(snapshot.sums if base is None else snapshot.sums.keys() | base.sums.keys())
        rows = []
        for index in indexes:
            now, before = snapshot.sums.get(index), base.sums.get(index) if base else None
            if index < first or (base and now == before):
                continue
            row: dict[str, object] = {"BlockIndex": index}
            if base is None:
                row["BlockToken"] = self.world.token(name, index)
            elif now:
                row["SecondBlockToken"] = self.world.token(name, index)
            rows.append(row)
            if len(rows) > most:
                break
        page = {
            "ChangedBlocks" if base else "Blocks": rows[:most],
            "BlockSize": BLOCK,
            "VolumeSize": snapshot.size >> 30,
        }
        if len(rows) > most:
            page["NextToken"] = str(rows[most]["BlockIndex"])
        self.answer(200, json.dumps(page).encode(), Content_Type="application/json")

    def get_block(self, name: str, index: int) -> None:
        snapshot = self.world.snapshots.get(name)
        if snapshot is None or index not in snapshot.sums:
            self.refuse(404, "ResourceNotFoundException")
        elif self.query.get("blockToken") != self.world.token(name, index):
            self.refuse(400, "ValidationException", "INVALID_BLOCK_TOKEN")
        else:
            facts = {"x_amz_Data_Length": str(BLOCK), "x_amz_Checksum_Algorithm": "SHA256"}
            self.answer(200, length=BLOCK, more=True, x_amz_Checksum=snapshot.sums[index], **facts)
            self.file(snapshot.handle, index * BLOCK, BLOCK)

    def start_snapshot(self) -> None:
        facts = json.loads(self.whole())
        seed = facts.get("ClientToken", os.urandom(8).hex()).encode()
        name = f"snap-{int.from_bytes(hashlib.sha256(seed).digest()[:8], 'big'):017x}"
        path = os.path.join(self.world.root, name)
        with self.world.lock:
            if name not in self.world.snapshots:
                with open(path, "wb") as file:
                    file.truncate(facts["VolumeSize"] << 30)
                self.world.snapshots[name] = Snapshot(path)
                self.world.snapshots[name].pending = True
        body = {"SnapshotId": name, "BlockSize": BLOCK, "VolumeSize": facts["VolumeSize"], "Status": "pending"}
        self.answer(201, json.dumps(body).encode(), Content_Type="application/json")

    def put_block(self, name: str, index: int) -> None:
        data = self.whole()
        snapshot = self.world.snapshots.get(name)
        if snapshot is None or not snapshot.pending:
            self.refuse(404, "ResourceNotFoundException")
            return
        stated = self.headers.get("x-amz-checksum", "")
        if self.world.verify and base64.b64encode(hashlib.sha256(data).digest()).decode() != stated:
            self.refuse(400, "ValidationException", "INVALID_CHECKSUM")
            return
        os.pwrite(snapshot.handle, data, index * BLOCK)
        snapshot.sums[index] = stated
        self.world.moved["in"] += len(data)
        self.answer(201, x_amz_Checksum=stated, x_amz_Checksum_Algorithm="SHA256")

    def complete(self, name: str) -> None:
        self.whole()
        snapshot = self.world.snapshots[name]
        digests = b"".join(base64.b64decode(snapshot.sums[index]) for index in sorted(snapshot.sums))
        stated = self.headers.get("x-amz-checksum")
        wrong = stated and base64.b64decode(stated) != hashlib.sha256(digests).digest()
        if wrong or int(self.headers["x-amz-changedblockscount"]) != len(snapshot.sums):
            self.refuse(400, "ValidationException", "INVALID_CHECKSUM")
            return
        snapshot.pending = False
        self.answer(202, b'{"Status":"pending"}', Content_Type="application/json")


def listen(world: World, port: int = 0) -> tuple[socket.socket, int]:
    """A listening socket and its port; `accept_all` serves it."""
    sock = socket.create_server(("127.0.0.1", port), backlog=512)
    return sock, sock.getsockname()[1]


def accept_all(sock: socket.socket, world: World) -> None:
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            return  # closed
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(connection, world).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--snapshot", action="append", default=[])
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--limit", type=float, default=0.0)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--ahead", type=float, default=0.0, help="GiB of room for objects that is touched at once")
    options = parser.parse_args()
    world = World(options.root, options.latency, options.limit, options.verify, int(options.ahead * 2**30))
    for text in options.snapshot:
        name, _, path = text.partition("=")
        path, _, gib = path.partition(",")
        world.snapshots[name] = Snapshot(path, int(gib or 0) << 30)
        world.snapshots[name].known(path + ".sums")
    sock, port = listen(world)
    print(port, flush=True)
    sys.stdout.close()
    accept_all(sock, world)


if __name__ == "__main__":
    main()
