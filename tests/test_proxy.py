"""The fault proxy does what the chaos runner counts as a fault."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.proxy import FaultProxy

pytestmark = pytest.mark.unit


ENDED = threading.Semaphore(0)


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1024):
            self.request.sendall(data)
        ENDED.release()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy before a server that says back what it is told."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = FaultProxy(server.server_address[1])
        yield proxy
        proxy.close()
        server.shutdown()


def connected(proxy: FaultProxy) -> socket.socket:
    """A link through the proxy that has been heard on."""
    link = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    link.sendall(b"hello")
    assert link.recv(16) == b"hello"
    return link


def test_a_half_open_link_is_silent_and_open_until_it_is_healed_with_a_reset(proxy: FaultProxy) -> None:
    with connected(proxy) as link:
        proxy.half_open()
        link.sendall(b"anybody?")
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(16)
        proxy.heal()
        link.settimeout(5)
        with pytest.raises(ConnectionResetError):
            link.recv(16)
    connected(proxy).close()


def test_a_forgotten_link_is_silent_beside_new_ones_that_work(proxy: FaultProxy) -> None:
    with connected(proxy) as link:
        proxy.forget()
        link.sendall(b"anybody?")
        link.settimeout(0.3)
        with pytest.raises(TimeoutError):
            link.recv(16)
        connected(proxy).close()


def test_a_server_hears_that_its_client_is_gone(proxy: FaultProxy) -> None:
    while ENDED.acquire(blocking=False):
        pass
    connected(proxy).close()
    assert ENDED.acquire(timeout=5)


def test_links_are_reset_and_refused_and_come_back(proxy: FaultProxy) -> None:
    with connected(proxy) as link:
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            link.recv(16)
    with pytest.raises((ConnectionResetError, BrokenPipeError, AssertionError)):
        connected(proxy)
    proxy.heal()
    connected(proxy).close()
