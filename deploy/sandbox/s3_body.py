"""The body of an S3 request: taken out of its chunks and compared with every checksum that came with it.

"Checking object integrity in Amazon S3" (S3 user guide), "Transferring payload in multiple chunks" (S3 API
reference): a wrong Content-MD5 or checksum is a BadDigest and nothing is stored.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import replace

from deploy.sandbox.errors import AwsError
from deploy.sandbox.http import Request

PREFIX = "x-amz-checksum-"
ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "sha256": lambda body: hashlib.sha256(body).digest(),
}
NOT_DONE = ("crc32c", "crc64nvme")  # the standard library has neither


def _unchunked(body: bytes) -> tuple[bytes, dict[str, str]]:
    """(data, trailing headers) of a body in aws-chunked encoding."""
    data, at, trailers = bytearray(), 0, {}
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        at = end + 2
        if size == 0:
            break
        data += body[at : at + size]
        at += size + 2
    for line in body[at:].split(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        if value:
            trailers[name.strip().lower()] = value.strip()
    return bytes(data), trailers


def plain(request: Request) -> Request:
    """The request with its bare body; BadDigest (400) when that is not what a checksum says."""
    headers, body = dict(request.headers), request.body
    if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        try:
            body, trailers = _unchunked(body)
        except ValueError:
            raise AwsError("IncompleteBody", "The request body terminated unexpectedly", 400) from None
        encodings = [e for e in headers.pop("content-encoding", "").split(",") if e.strip() not in ("", "aws-chunked")]
        headers |= trailers | ({"content-encoding": ",".join(encodings)} if encodings else {})
        headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
        headers.pop("x-amz-trailer", None)
        headers["content-length"] = str(len(body))
    _check_md5(headers, body)
    _check_sums(headers, body)
    return replace(request, headers=headers, body=body)


def _check_md5(headers: dict[str, str], body: bytes) -> None:
    given = headers.get("content-md5")
    if given is None:
        return
    try:
        right = base64.b64decode(given, validate=True)
    except ValueError:
        right = b""
    if len(right) != 16:
        raise AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400)
    if right != hashlib.md5(body, usedforsecurity=False).digest():
        raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)


def _check_sums(headers: dict[str, str], body: bytes) -> None:
    if headers.get("x-amz-copy-source"):
        return
    for name in [h for h in headers if h.startswith(PREFIX)]:
        algorithm = name.removeprefix(PREFIX)
        if algorithm in NOT_DONE:
            raise AwsError("NotImplemented", f"The sandbox does not compute {algorithm}.", 501)
        if algorithm not in ALGORITHMS:
            continue
        if headers[name] != base64.b64encode(ALGORITHMS[algorithm](body)).decode():
            text = f"The {algorithm.upper()} you specified did not match the calculated checksum."
            raise AwsError("BadDigest", text, 400)
        headers.setdefault("x-amz-sdk-checksum-algorithm", algorithm.upper())
