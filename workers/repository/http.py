"""A lean HTTP/1.1 client: one kept connection a thread, bodies received straight into the caller's buffer.

For many small reads, where an SDK's cost per request would exceed the work. No proxies, no redirects, no cookies.
"""

import socket
import ssl
import struct
from dataclasses import dataclass
from threading import local
from typing import Any
from urllib.parse import urlsplit

from workers.repository.errors import StoreUnavailable

# A connection that takes longer goes to a broken network; a block that takes longer is better asked for again
# (a client without limits was seen to hang for ever).
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
_HEAD_LIMIT = 32 << 10
# No answer of the services spoken to is larger: a page of 10 000 blocks has 3 MB.
BODY_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body; with `into` given, the body is the filled part of that buffer."""

    status: int
    headers: dict[str, str]
    body: Any


class Http:
    """Speaks with one endpoint; safe to be shared by threads."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint is http://HOST[:PORT] or https://HOST[:PORT]")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self.host = parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._threads = local()

    def request(
        self, method: str, target: str, headers: dict[str, str], body: Any = b"", into: memoryview | None = None
    ) -> Answer:
        """Send one request. Raises StoreUnavailable when no whole answer came; whether it took effect is unknown."""
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = f"content-length: {len(body)}\r\n" if len(body) or method in ("PUT", "POST") else ""
        head = f"{method} {target} HTTP/1.1\r\n{text}{length}\r\n".encode()
        try:
            connection = self._connection()
            if len(body) > 65536:
                connection.sendall(head)
                connection.sendall(body)
            else:
                connection.sendall(head + bytes(body))
            return self._answer(connection, method, into)
        except (OSError, ValueError) as error:
            self._close()
            raise StoreUnavailable(f"{self.host} gave no whole answer ({type(error).__name__}).") from None

    def _connection(self) -> socket.socket:
        found: socket.socket | None = getattr(self._threads, "socket", None)
        if found is None:
            found = socket.create_connection((self._host, self._port), CONNECT_SECONDS)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                found = self._tls.wrap_socket(found, server_hostname=self._host)
            _limit(found)
            self._threads.socket = found
        return found

    def _close(self) -> None:
        found: socket.socket | None = getattr(self._threads, "socket", None)
        self._threads.socket = None
        if found is not None:
            found.close()

    def _answer(self, connection: socket.socket, method: str, into: memoryview | None) -> Answer:
        buffer = bytearray()
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if len(buffer) > _HEAD_LIMIT:
                raise ValueError("head")
            buffer += _some(connection.recv(8192))
        lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        rest = bytes(buffer[end + 4 :])
        if method == "HEAD" or status in (204, 304):
            body: Any = b""
        elif "chunked" in headers.get("transfer-encoding", ""):
            body = _chunked(connection, rest)
        else:
            body = _sized(connection, rest, int(headers["content-length"]), into if status < 300 else None)
        if headers.get("connection", "").lower() == "close":
            self._close()
        return Answer(status, headers, body)


def _limit(connection: socket.socket) -> None:
    """Give up on a silent server. By the kernel's own time limit, so that a plain socket stays blocking and a block is
    received in one call; TLS needs Python's."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(READ_SECONDS)
        return
    connection.settimeout(None)
    limit = struct.pack("ll", int(READ_SECONDS), 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _some(received: bytes) -> bytes:
    if not received:
        raise ConnectionError("closed")
    return received


def _sized(connection: socket.socket, rest: bytes, length: int, into: memoryview | None) -> Any:
    if length > BODY_LIMIT or len(rest) > length:
        raise ValueError("length")
    if into is None:
        into = memoryview(bytearray(length))
    elif length > len(into):
        raise ValueError("length")
    view = into[:length]
    view[: len(rest)] = rest
    at = len(rest)
    flags = 0 if isinstance(connection, ssl.SSLSocket) else socket.MSG_WAITALL
    while at < length:
        got = connection.recv_into(view[at:], length - at, flags)
        if not got:
            raise ConnectionError("closed")
        at += got
    return view


def _chunked(connection: socket.socket, rest: bytes) -> bytes:
    data, body = bytearray(rest), bytearray()
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += _some(connection.recv(65536))
        size = int(bytes(data[:end]).split(b";")[0], 16)
        del data[: end + 2]
        if len(body) + size > BODY_LIMIT:
            raise ValueError("length")
        while len(data) < size + 2:
            data += _some(connection.recv(65536))
        body += data[:size]
        del data[: size + 2]
        if not size:
            return bytes(body)
