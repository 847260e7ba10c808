"""A lean HTTP/1.1 client: kept connections, bodies received straight into the caller's buffer, through a proxy or not.

For many small reads, where an SDK's cost per request would exceed the work. No redirects, no cookies. What bounds it
(2026-11): a block of 512 KiB costs 0.15 ms of CPU, most of it the kernel's copy; over TLS 0.3 ms.
"""

import base64
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from workers.repository.errors import StoreUnavailable

# A connection that takes longer goes to a broken network; a block that takes longer is better asked for again
# (a client without limits was seen to hang for ever).
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
_HEAD_LIMIT = 32 << 10
# No answer of the services spoken to is larger: a page of 10 000 blocks has 3 MB, a pack some 41 MiB.
BODY_LIMIT = 64 << 20
# A connection that was idle for longer is looked at before it is used: servers close them after some seconds.
_IDLE_SECONDS = 1.0
# Idle connections that are kept: as many as the readers of a volume.
_IDLE_MOST = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body; with `into` given, the body is the filled part of that buffer."""

    status: int
    headers: dict[str, str]
    body: Any


def proxy_for(endpoint: str, configured: Mapping[str, str] | None = None) -> str:
    """The proxy's URL for an endpoint, '' for none: `configured` by scheme, else HTTPS_PROXY and HTTP_PROXY; the hosts
    of NO_PROXY are spoken to directly in both cases."""
    from urllib.request import getproxies, proxy_bypass  # 20 ms to load, which not every process needs

    parts = urlsplit(endpoint)
    proxies = getproxies() if configured is None else configured
    found = proxies.get(parts.scheme, "")
    return "" if not found or proxy_bypass(parts.netloc.rpartition("@")[2]) else found


class Http:
    """Speaks with one endpoint, over `proxy` (http://[USER:PASSWORD@]HOST[:PORT], '' for none) where one is given, and
    trusting the certificates in the file `ca_bundle` (the system's when ''). Safe to be shared by threads.

    Raises ValueError for an endpoint or a proxy of another kind, OSError for a bundle that cannot be read.
    """

    def __init__(self, endpoint: str, proxy: str = "", ca_bundle: str = "") -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an endpoint is http://HOST[:PORT] or https://HOST[:PORT]")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self.host = parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context(cafile=ca_bundle or None) if parts.scheme == "https" else None
        self._proxy, self._login = _proxy(proxy)
        # a proxy is told the whole address, unless it only passes TLS on
        self._absolute = f"http://{self.host}" if self._proxy and self._tls is None else ""
        self._idle: list[tuple[socket.socket, float]] = []

    def request(
        self, method: str, target: str, headers: dict[str, str], body: Any = b"", into: memoryview | None = None
    ) -> Answer:
        """Send one request. Raises StoreUnavailable when no whole answer came; whether it took effect is unknown."""
        text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        login = self._login if self._absolute else ""
        length = f"content-length: {len(body)}\r\n" if len(body) or method in ("PUT", "POST") else ""
        head = f"{method} {self._absolute}{target} HTTP/1.1\r\n{text}{login}{length}\r\n".encode()
        try:
            return self._through(head, method, body, into)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"{self.host} gave no whole answer ({type(error).__name__}).") from None

    def _through(self, head: bytes, method: str, body: Any, into: memoryview | None) -> Answer:
        """Send and receive: on a kept connection, or a new one where that was closed before it answered at all."""
        connection = self._kept()
        if connection is not None:
            try:
                return self._over(connection, head, method, body, into)
            except _ClosedError:
                pass  # the server had enough of it
        return self._over(self._connected(), head, method, body, into)

    def _over(self, connection: socket.socket, head: bytes, method: str, body: Any, into: memoryview | None) -> Answer:
        try:
            _send(connection, head, body)
            answer, lasts = _answer(connection, method, into)
        except BaseException:
            connection.close()
            raise
        if lasts and len(self._idle) < _IDLE_MOST:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()
        return answer

    def _kept(self) -> socket.socket | None:
        """A connection that was used before and still stands."""
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since < _IDLE_SECONDS or _stands(connection):
                return connection
            connection.close()

    def _connected(self) -> socket.socket:
        made = socket.create_connection(self._proxy or (self._host, self._port), CONNECT_SECONDS)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                if self._proxy:
                    self._tunnel(made)
                made = self._tls.wrap_socket(made, server_hostname=self._host)
            _limit(made)
        except BaseException:
            made.close()
            raise
        return made

    def _tunnel(self, connection: socket.socket) -> None:
        """Ask a proxy for a way through. Raises ConnectionError when it refuses."""
        name = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        connection.sendall(f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n{self._login}\r\n".encode())
        buffer = bytearray()
        while buffer[-4:] != b"\r\n\r\n":  # byte by byte: what follows belongs to TLS
            buffer += _some(connection.recv(1))
            if len(buffer) > _HEAD_LIMIT:
                raise ValueError("head")
        if int(bytes(buffer[:32]).split(b" ", 2)[1]) != 200:
            raise ConnectionRefusedError("the proxy refuses")


def _proxy(url: str) -> tuple[tuple[str, int] | None, str]:
    """Address of a proxy, and the header that logs in there."""
    if not url:
        return None, ""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a proxy is http://[USER:PASSWORD@]HOST[:PORT]")
    login = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    return (parts.hostname, parts.port or 80), login


class _ClosedError(ConnectionError):
    """The connection was closed before the first byte of an answer."""


def _stands(connection: socket.socket) -> bool:
    """Whether a silent connection was not closed by the other side."""
    connection.setblocking(False)
    try:
        connection.recv(1)  # anything readable is the end, or noise: neither is of use
    except (BlockingIOError, ssl.SSLWantReadError):
        connection.setblocking(True)
        _limit(connection)
        return True
    except OSError:
        pass
    return False


def _send(connection: socket.socket, head: bytes, body: Any) -> None:
    try:
        if len(body) > 65536:
            connection.sendall(head)
            connection.sendall(body)
        else:
            connection.sendall(head + bytes(body))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise _ClosedError from error


def _answer(connection: socket.socket, method: str, into: memoryview | None) -> tuple[Answer, bool]:
    """The answer to one request, and whether the connection lasts."""
    buffer = bytearray()
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        if len(buffer) > _HEAD_LIMIT:
            raise ValueError("head")
        try:
            buffer += _some(connection.recv(8192))
        except ConnectionError as error:
            raise error if buffer else _ClosedError from error
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
    return Answer(status, headers, body), headers.get("connection", "").lower() != "close"


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
