"""What a request's Authorization header says, and whether its signature fits the caller's secret.

"Signature Version 4 signing process" (AWS general reference); "Authenticating Requests: Using the Authorization
Header" (S3 API reference): S3 does not encode the path a second time.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote_plus

from deploy.sandbox.http import Request

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=(\w+)"
)


@dataclass
class Credential:
    """The parts of an Authorization header."""

    access_key: str
    day: str
    region: str
    service: str
    signed: list[str]
    signature: str


def parse(authorization: str) -> Credential | None:
    found = _HEADER.match(authorization)
    if found is None:
        return None
    key, day, region, service, signed, signature = found.groups()
    return Credential(key, day, region, service, signed.split(";"), signature)


@lru_cache(maxsize=4096)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _query(target: str) -> str:
    """The canonical query string: names and values encoded, in order."""
    pairs = [p.partition("=") for p in target.partition("?")[2].split("&") if p]
    known = [tuple(quote(unquote_plus(part), safe="-_.~") for part in (name, value)) for name, _, value in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(known))


def body_matches(request: Request) -> bool:
    """Whether the body is the one that x-amz-content-sha256 promises; true when that promises nothing."""
    promised = request.headers.get("x-amz-content-sha256", "")
    return not re.fullmatch(r"[0-9a-f]{64}", promised) or promised == hashlib.sha256(request.body).hexdigest()


def valid(credential: Credential, secret: str, request: Request) -> bool:
    """Whether a request was signed with the secret."""
    headers = request.headers
    lines = "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in credential.signed)
    payload = headers.get("x-amz-content-sha256") or hashlib.sha256(request.body).hexdigest()
    path = request.target.partition("?")[0]
    path = path if credential.service == "s3" else quote(path, safe="/~")
    signed = ";".join(credential.signed)
    canonical = f"{request.method}\n{path}\n{_query(request.target)}\n{lines}\n{signed}\n{payload}"
    scope = f"{credential.day}/{credential.region}/{credential.service}/aws4_request"
    moment = headers.get("x-amz-date", "")
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(secret, credential.day, credential.region, credential.service)
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), credential.signature)
