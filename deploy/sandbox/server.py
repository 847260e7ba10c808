"""The HTTP server: loopback only, keep-alive, one thread a connection, able to lose an answer on purpose."""

import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.sandbox.control import Control
from deploy.sandbox.dispatch import Cloud
from deploy.sandbox.http import Request, Response

LARGE = 65_536  # bytes; from here on a second write is cheaper than a copy
HOST = "127.0.0.1"  # the control plane writes disks and destroys resources for whoever asks


class Handler(BaseHTTPRequestHandler):
    """Reads a request, asks the control plane or the cloud, writes the answer in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    cloud: Cloud
    control: Control

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {k.lower(): v for k, v in self.headers.items()}
        request = Request(self.command, self.path, headers, self._body(length, headers))
        ours = request.path.startswith("/sandbox/")
        response = self.control.handle(request) if ours else self.cloud.handle(request)
        self._reply(response)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle

    def handle_expect_100(self) -> bool:
        """Say so at once: the client holds its body back, for up to a second, until it hears this."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def _body(self, length: int, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(length) if length else b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, response: Response) -> None:
        if response.lost:
            time.sleep(response.hold)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        whole = response.stream is not None or self.command == "HEAD"
        length = response.length if whole else len(response.body)
        lines = [f"HTTP/1.1 {response.status} {self.responses.get(response.status, ('Unknown',))[0]}"]
        lines += [f"{k}: {v}" for k, v in response.headers.items()]
        lines += [f"Content-Length: {length}", "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if response.stream is None:
            body = b"" if self.command == "HEAD" else response.body[: response.cut]
            if len(body) < LARGE:
                self.wfile.write(head + body)
            else:
                self.wfile.write(head)
                self.wfile.write(body)
        else:
            self.wfile.write(head)
            for piece in response.stream:
                self.wfile.write(piece)
        self.wfile.flush()
        if response.cut is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: object) -> None:
        """The call log is the log."""


class Server(ThreadingHTTPServer):
    """A sandbox on a port of the loopback interface; 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, cloud: Cloud, control: Control, port: int):
        handler = type("BoundHandler", (Handler,), {"cloud": cloud, "control": control})
        super().__init__((HOST, port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""
