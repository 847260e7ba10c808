"""An HTTP proxy with a login, for tests: what it was asked for is noted."""

import base64
import http.client
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
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = urlsplit(self.path)
            if self.headers.get("Proxy-Authorization") != wanted:
                self.send_error(407)
                return
            hosts.append(target.netloc)
            onward = http.client.HTTPConnection(target.netloc, timeout=10)
            kept = {k: v for k, v in self.headers.items() if not k.lower().startswith(("proxy-", "connection"))}
            onward.request("POST", target.path or "/", body, kept)
            answer = onward.getresponse()
            content = answer.read()
            onward.close()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, hosts
    finally:
        server.shutdown()
        server.server_close()
