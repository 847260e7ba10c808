"""Webhook calls: signed, to allowed addresses only, tried again until taken, never in the way of anything else."""

import hashlib
import hmac
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.alerts import clear_alert, raise_alert
from coordinator.webhook import CALL_SECONDS, Notifier, take, wait_after
from coordinator.webhook_address import Refusal, address_of
from tasks.catalog import Delivery, session
from tasks.clock import FixedClock
from tasks.secrets import Secret
from tasks.settings import Settings

AT = datetime(2026, 11, 2, 12, tzinfo=UTC)
SETTINGS = Settings(home=Path("/nonexistent"), webhook_secret=Secret("s3cret-of-the-hook"))


class Receiver:
    """A receiver on loopback that answers as `answer` says and remembers what it was sent."""

    def __init__(self) -> None:
        self.status, self.headers = 204, {}
        self.calls: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append((dict(self.headers), body))
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?team=ops"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def deliveries() -> list[Delivery]:
    with session():
        return list(Delivery.select().order_by(Delivery.id))


def test_a_receiver_can_prove_that_a_call_is_ours_and_fresh(catalog: str, receiver: Receiver) -> None:
    """Feature C6: the signature covers the time and the body; the body names the alert and what happened to it."""
    raise_alert("no-worker:copy", "critical", "No worker", "Start one.", AT, {"lane": "copy"})
    clear_alert("no-worker:copy", AT)
    notifier = Notifier(replace(SETTINGS, webhook_url=receiver.url), FixedClock(AT))
    assert notifier.deliver() == 2
    headers, body = receiver.calls[0]
    signed = headers["X-Snapfleet-Timestamp"].encode() + b"." + body
    expected = hmac.new(b"s3cret-of-the-hook", signed, hashlib.sha256).hexdigest()
    assert headers["X-Snapfleet-Signature"] == f"sha256={expected}"
    assert int(headers["X-Snapfleet-Timestamp"]) == int(AT.timestamp())
    read = json.loads(body)
    assert (read["event"], read["alert"]["key"], read["alert"]["detail"]) == (
        "raised",
        "no-worker:copy",
        {"lane": "copy"},
    )
    assert json.loads(receiver.calls[1][1])["event"] == "cleared"
    assert deliveries() == []
    assert b"s3cret" not in body


@pytest.mark.parametrize("status", [301, 302, 307, 400, 500, 503])
def test_whatever_is_not_a_success_is_tried_again_later_and_redirects_are_not_followed(
    embedded_catalog: str, receiver: Receiver, status: int
) -> None:
    """Feature C6: one call to the receiver itself, none to where it points."""
    receiver.status, receiver.headers = status, {"Location": "http://169.254.169.254/latest/"}
    clock = FixedClock(AT)
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    notifier = Notifier(replace(SETTINGS, webhook_url=receiver.url), clock)
    assert notifier.deliver() == 0
    (row,) = deliveries()
    assert (row.attempts, row.next_at) == (1, AT + wait_after(1))
    assert str(status) in row.error_text
    assert notifier.deliver() == 0
    assert len(receiver.calls) == 1
    receiver.status = 200
    clock.advance(wait_after(1))
    assert notifier.deliver() == 1


@pytest.mark.parametrize("drip", [False, True], ids=["silent", "dripping"])
def test_a_receiver_that_never_finishes_its_answer_costs_a_bounded_time(embedded_catalog: str, drip: bool) -> None:
    """Feature C6: also when it sends a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()
        threading.Thread(target=answer_for_ever, args=(listener, drip, ended), daemon=True).start()
        raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        started = time.monotonic()
        assert Notifier(replace(SETTINGS, webhook_url=url), FixedClock(AT)).deliver() == 0
        assert time.monotonic() - started < CALL_SECONDS + 2
        ended.set()
    assert deliveries()[0].error_text


def answer_for_ever(listener: socket.socket, drip: bool, ended: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not ended.wait(0.2):
                connection.sendall(b"X: y\r\n" if drip else b"")
        except OSError:
            return


def test_no_transaction_is_open_while_a_receiver_thinks(embedded_catalog: str, receiver: Receiver) -> None:
    """Feature C6: the coordinator writes while a call is on its way."""
    wrote = []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raise_alert("account-unreachable:prod", "critical", "Gone", "Because.", AT)
            wrote.append(True)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    receiver.server.RequestHandlerClass = Slow
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    assert Notifier(replace(SETTINGS, webhook_url=receiver.url), FixedClock(AT)).deliver() == 1
    assert wrote == [True]


def test_two_coordinators_do_not_make_the_same_call(catalog: str) -> None:
    """Feature C6: who takes a delivery has it for the time that its calls can last."""
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    assert len(take(AT)) == 1
    assert take(AT + timedelta(seconds=30)) == []
    (again,) = take(AT + timedelta(minutes=5))
    assert again.attempts == 2


def test_without_a_receiver_nothing_piles_up(embedded_catalog: str) -> None:
    """Feature C6: deliveries go; the alerts stay to be read."""
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    Notifier(SETTINGS, FixedClock(AT)).deliver()
    assert deliveries() == []


def test_the_thread_delivers_and_ends(embedded_catalog: str, receiver: Receiver) -> None:
    """Feature C6: start returns at once, and stop ends the thread."""
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    notifier = Notifier(replace(SETTINGS, webhook_url=receiver.url), FixedClock(AT))
    notifier.start()
    deadline = time.monotonic() + 10
    while not receiver.calls and time.monotonic() < deadline:
        time.sleep(0.05)
    notifier.stop()
    assert len(receiver.calls) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "webhook"]


REFUSED = [
    "ftp://example.com/",
    "http://example.com/",
    "http://10.0.0.5/",
    "https://169.254.169.254/latest/meta-data",
    "https://169.254.170.2/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xa9.254.169.254/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://168.63.129.16/",
    "https://100.100.100.200/",
    "https://192.0.0.192/",
    "https://metadata.google.internal/",
    "https://METADATA.google.internal./",
    "https://metadata/",
    "https://0.0.0.0/",
    "https://[::]/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https:///path",
    "file:///etc/passwd",
    "https://127.0.0.1:99999/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_addresses_where_clouds_keep_credentials_are_never_called(embedded_catalog: str, url: str) -> None:
    """Feature C6: whichever way the address is written; the text of the refusal does not repeat the URL."""
    raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
    assert Notifier(replace(SETTINGS, webhook_url=url), FixedClock(AT)).deliver() == 0
    assert deliveries()[0].error_text.startswith(Refusal.PREFIX)
    assert url not in deliveries()[0].error_text


@pytest.mark.unit
@pytest.mark.parametrize(
    ("scheme", "host"), [("https", "203.0.113.7"), ("https", "10.0.0.5"), ("http", "127.0.0.1"), ("http", "::1")]
)
def test_receivers_inside_and_outside_are_allowed_over_https(scheme: str, host: str) -> None:
    """Feature C6: a private receiver is an operator's own choice; plain http stays on this host."""
    assert address_of(scheme, host, 443) == host


def test_a_call_goes_through_the_proxy_with_its_login_and_never_asks_for_the_name(embedded_catalog: str) -> None:
    """Feature C6: the proxy is asked for a tunnel to the receiver's name."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse_tunnel, args=(listener, asked.append), daemon=True).start()
        settings = replace(
            SETTINGS,
            webhook_url="https://hooks.invalid/x",
            proxy=f"127.0.0.1:{listener.getsockname()[1]}",
            proxy_user="u",
            proxy_password=Secret("p4ssw0rd"),
        )
        raise_alert("brake:web", "critical", "Stopped", "Because.", AT)
        Notifier(settings, FixedClock(AT)).deliver()
    assert asked[0].startswith(b"CONNECT hooks.invalid:443 ")
    assert b"Proxy-Authorization: Basic dTpwNHNzdzByZA==" in asked[0]
    assert "p4ssw0rd" not in deliveries()[0].error_text


def refuse_tunnel(listener: socket.socket, note: Callable[[bytes], Any]) -> None:
    connection, _ = listener.accept()
    with connection:
        note(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.unit
def test_pauses_grow_and_are_bounded() -> None:
    """Feature C6: at once when it was a moment, hourly when it lasts."""
    waits = [wait_after(number) for number in range(1, 40)]
    assert waits[:3] == [timedelta(seconds=10), timedelta(seconds=20), timedelta(seconds=40)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=1)
