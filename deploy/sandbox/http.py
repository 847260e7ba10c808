"""A request and a response as plain values, between the HTTP server and what answers it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """Header names are lower case; `target` is the path with its query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass
class Response:
    """`lost` closes the connection without an answer after `hold` seconds; a stream needs its `length`.

    `cut` is the number of bytes of the body after which the connection ends.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Iterable[bytes] | None = None
    length: int = 0
    lost: bool = False
    hold: float = 0.0
    cut: int | None = None
