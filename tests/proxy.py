"""Proxies for tests: an HTTP one with a login that notes what it was asked for, and a TCP one that goes wrong."""

import base64
import contextlib
import http.client
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def login_proxy(user: str, password: str) -> Iterator[tuple[int, list[str]]]:
    """A proxy on loopback that wants this login: its port, and the hosts it was asked for with the right one."""
    hosts: list[str] = []
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = urlsplit(self.path)
            if self.headers.get("Proxy-Authorization") != wanted:
                self.send_error(407)
                return
            hosts.append(target.netloc)
            onward = http.client.HTTPConnection(target.netloc, timeout=10)
            kept = {k: v for k, v in self.headers.items() if not k.lower().startswith(("proxy-", "connection"))}
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            onward.request(self.command, path, body, kept)
            answer = onward.getresponse()
            content = answer.read()
            onward.close()
            self.send_response(answer.status)
            for name in ("Content-Type", "x-amzn-errortype"):
                if answer.headers.get(name):
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _pass_on

        def do_CONNECT(self) -> None:
            if self.headers.get("Proxy-Authorization") != wanted:
                self.send_error(407)
                return
            hosts.append(self.path)
            host, port = self.path.rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=10) as onward:
                self.send_response(200)
                self.end_headers()
                _relay(self.connection, onward)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, hosts
    finally:
        server.shutdown()
        server.server_close()


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions until one side has nothing more to say."""
    onward = {one: other, other: one}
    while True:
        ready, _, _ = select.select([one, other], [], [], 10)
        if not ready:
            return
        for side in ready:
            data = side.recv(65536)
            if not data:
                return
            onward[side].sendall(data)


class FaultProxy:
    """A TCP proxy on loopback that goes wrong on demand: half-open links, resets, refusals, slow bytes.

    `half_open` swallows what either side sends and closes nothing, as a firewall that forgot a connection does, and
    `forget` only on the links there are; `heal` ends the swallowed links with a reset, as the first packet after that
    does. Needs no rights.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._links: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._silent, self._refusing, self._delay = threading.Event(), threading.Event(), 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def half_open(self) -> None:
        """Say nothing any more to anybody, also on new connections."""
        self._silent.set()

    def forget(self) -> None:
        """Say nothing any more on the links there are; new ones work, as behind a firewall that was restarted."""
        with self._lock:
            self._forgotten |= self._links

    def refuse(self) -> None:
        """Reset what there is and every new connection."""
        self._refusing.set()
        self.reset()

    def slow(self, seconds: float) -> None:
        """Hold every piece of data back for so long."""
        self._delay = seconds

    def heal(self) -> None:
        """Pass on again; links that were swallowed are reset."""
        swallowed = self._silent.is_set()
        self._delay = 0.0
        self._refusing.clear()
        self._silent.clear()
        if swallowed:
            self.reset()

    def reset(self) -> None:
        """End every link with a reset."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            _abort(link)

    def close(self) -> None:
        """Stop listening and end every link."""
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing.is_set():
                _abort(here)
                continue
            try:
                there = socket.create_connection(("127.0.0.1", self._target), timeout=5)
                there.settimeout(None)
            except OSError:
                _abort(here)
                continue
            with self._lock:
                self._links |= {here, there}
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._delay:
                    threading.Event().wait(self._delay)
                if not self._silent.is_set() and source not in self._forgotten:
                    sink.sendall(data)
        with self._lock:
            gone = {source, sink} & self._links
            self._links -= gone
            self._forgotten -= {source, sink}
        for link in gone:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)  # close alone says nothing while the other direction waits for data
            link.close()


def _abort(link: socket.socket) -> None:
    """Close with RST instead of FIN."""
    with contextlib.suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        link.close()
