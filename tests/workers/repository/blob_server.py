"""A little Azure Blob that knows what Azurite does not: versions, immutability, slow rehydration; and that loses
answers on demand. Answers after the REST reference; who asks is not checked."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from workers.repository.azurewire import instant, stamp


@dataclass
class Blob:
    """A blob or one of its versions."""

    body: bytes
    tag: str
    version: str
    tier: str = ""
    until: datetime | None = None
    asked: int = field(default=-1)  # looks since its rehydration was asked for


class BlobServer:
    """One container on a port of loopback. `lose`: that many next answers to writes are lost; `busy`: that many next
    requests are turned away; `rehydrates`: looks until a retrieval is over."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.versions: dict[tuple[str, str], Blob] = {}
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.lose = self.busy = self.rehydrates = self.soft_delete_days = 0
        self._count = 0
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    outer.calls.append((self.command, self.path, headers))
                    status, more, content = outer.handle(self.command, self.path, headers, body)
                    lost = self.command == "PUT" and outer.lose > 0
                    outer.lose -= lost
                if lost:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if "content-length" not in more:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_DELETE = do_HEAD = _answer

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        """Status, headers and body of an answer."""
        if self.busy > 0:
            self.busy -= 1
            return _error(503, "ServerBusy")
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = unquote(parts.path).removeprefix("/c").lstrip("/")
        if query.get("restype") == "service":
            enabled = "true" if self.soft_delete_days else "false"
            days = f"<Days>{self.soft_delete_days}</Days>" if self.soft_delete_days else ""
            rule = f"<DeleteRetentionPolicy><Enabled>{enabled}</Enabled>{days}</DeleteRetentionPolicy>"
            return 200, {}, f"<StorageServiceProperties>{rule}</StorageServiceProperties>".encode()
        if query.get("comp") == "list":
            return 200, {}, self._list(query)
        if query.get("restype") == "container":
            return 200, {"x-ms-immutable-storage-with-versioning-enabled": "true"}, b""
        if method == "PUT" and "comp" not in query:
            return self._put(name, headers, body)
        if query.get("versionid"):
            return self._delete_version(name, query["versionid"])
        if name not in self.blobs:
            return _error(404, "BlobNotFound")
        return self._of(method, name, query, headers)

    def _of(self, method: str, name: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, Any, bytes]:
        blob = self.blobs[name]
        if query.get("comp") == "immutabilityPolicies":
            blob.until = instant(headers["x-ms-immutability-policy-until-date"])
            return 200, {}, b""
        if query.get("comp") == "tier":
            if blob.asked >= 0:
                return _error(409, "BlobBeingRehydrated")
            if blob.tier == "Archive" and headers["x-ms-access-tier"] == "Hot":
                blob.asked = 0
                return 202, {}, b""
            blob.tier = headers["x-ms-access-tier"]
            return 200, {}, b""
        if method == "DELETE":
            self.versions[name, blob.version] = self.blobs.pop(name)
            return 202, {}, b""
        if method == "GET" and blob.tier == "Archive":
            return _error(409, "BlobArchived")
        return 200, self._facts(blob), blob.body if method == "GET" else b""

    def _facts(self, blob: Blob) -> dict[str, str]:
        found = {"etag": blob.tag, "last-modified": stamp(datetime.now(UTC)), "x-ms-version-id": blob.version}
        found["content-length"] = str(len(blob.body))
        if blob.asked >= 0:
            blob.asked += 1
            if blob.asked > self.rehydrates:
                blob.tier, blob.asked = "Hot", -1
            else:
                found["x-ms-archive-status"] = "rehydrate-pending-to-hot"
        if blob.tier:
            found["x-ms-access-tier"] = blob.tier
        if blob.until:
            found |= {"x-ms-immutability-policy-until-date": stamp(blob.until)}
            found |= {"x-ms-immutability-policy-mode": "locked"}
        return found

    def _put(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, bytes]:
        there = self.blobs.get(name)
        if there is not None and headers.get("if-none-match") == "*":
            return _error(409, "BlobAlreadyExists")
        if "if-match" in headers and (there is None or there.tag != headers["if-match"]):
            return _error(412, "ConditionNotMet")
        if there is not None:
            self.versions[name, there.version] = there
        self._count += 1
        held = headers.get("x-ms-immutability-policy-until-date")
        tier = headers.get("x-ms-access-tier", "")
        made = Blob(body, f'"0x{self._count}"', f"v{self._count}", tier, instant(held) if held else None)
        self.blobs[name] = made
        return 201, {"etag": made.tag, "x-ms-version-id": made.version}, b""

    def _delete_version(self, name: str, version: str) -> tuple[int, Any, bytes]:
        found = self.versions.get((name, version))
        if found is None:
            return _error(404, "BlobNotFound")
        if found.until and found.until > datetime.now(UTC):
            return _error(409, "BlobImmutableDueToPolicy")
        del self.versions[name, version]
        return 202, {}, b""

    def _list(self, query: dict[str, str]) -> bytes:
        found = [(name, blob) for name, blob in self.blobs.items() if name.startswith(query.get("prefix", ""))]
        if "versions" in query.get("include", ""):
            found += [(name, blob) for (name, _), blob in self.versions.items()]
        items = "".join(
            f"<Blob><Name>{name}</Name><VersionId>{blob.version}</VersionId><Properties/></Blob>"
            for name, blob in found
        )
        return f"<EnumerationResults><Blobs>{items}</Blobs><NextMarker/></EnumerationResults>".encode()


def _error(status: int, code: str) -> tuple[int, Any, bytes]:
    return status, {"x-ms-error-code": code}, b""
