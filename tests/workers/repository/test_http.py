"""The lean client takes whole answers only, from servers that answer well, badly, slowly or not at all."""

import socket
import threading
from collections.abc import Iterator

import pytest

from workers.repository.errors import StoreUnavailable
from workers.repository.http import Http
from workers.repository.pace import Pace

pytestmark = pytest.mark.unit

BODY = bytes(range(256)) * 300


@pytest.fixture
def answering() -> Iterator[tuple[Http, list[bytes]]]:
    """A client, and the list of answers its server gives: one for each connection, then it closes."""
    server = socket.create_server(("127.0.0.1", 0))
    answers: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answers.pop(0) if answers else b"")

    threading.Thread(target=serve, daemon=True).start()
    yield Http(f"http://127.0.0.1:{server.getsockname()[1]}"), answers
    server.close()


def whole(body: bytes, extra: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def test_a_body_is_received_into_the_callers_buffer(answering: tuple[Http, list[bytes]]) -> None:
    client, answers = answering
    answers.append(whole(BODY, "X-Thing: a: b\r\n"))
    buffer = memoryview(bytearray(len(BODY) + 5))
    answer = client.request("GET", "/", {"host": "h"}, into=buffer)
    assert (answer.status, answer.headers["x-thing"], bytes(answer.body)) == (200, "a: b", BODY)
    assert bytes(buffer[: len(BODY)]) == BODY


def test_chunks_are_put_together(answering: tuple[Http, list[bytes]]) -> None:
    client, answers = answering
    answers.append(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    assert client.request("GET", "/", {}).body == b"hello world"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        whole(BODY)[:-1],
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 100_000,
    ],
)
def test_half_an_answer_is_none(answering: tuple[Http, list[bytes]], answer: bytes) -> None:
    client, answers = answering
    answers.append(answer)
    with pytest.raises(StoreUnavailable):
        client.request("GET", "/", {})
    answers.append(whole(b"again"))
    assert bytes(client.request("GET", "/", {}).body) == b"again"


def test_a_body_that_does_not_fit_is_refused(answering: tuple[Http, list[bytes]]) -> None:
    client, answers = answering
    answers.append(whole(BODY))
    with pytest.raises(StoreUnavailable):
        client.request("GET", "/", {}, into=memoryview(bytearray(10)))


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(answering: tuple[Http, list[bytes]]) -> None:
    client, answers = answering
    for number in range(4):
        answers.append(whole(b"%d" % number))
        assert bytes(client.request("GET", "/", {}).body) == b"%d" % number


def test_an_endpoint_is_an_address() -> None:
    for wrong in ("ftp://h", "host", "https://"):
        with pytest.raises(ValueError, match="endpoint"):
            Http(wrong)


def test_a_pace_halves_when_it_is_told_and_comes_back() -> None:
    pace = Pace(1000)
    pace.throttled()
    pace.throttled()
    assert pace.rate == 500
    for _ in range(30):
        pace.take()
    assert 1 <= pace.rate <= 1000
