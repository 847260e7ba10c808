"""What a request's Authorization header says, and whether its signature fits the caller's secret.

"Signature Version 4 signing process" (AWS general reference).
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache

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


def valid(credential: Credential, secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a POST to `/` was signed with the secret; `headers` by lower-case name."""
    lines = "".join(f"{n}:{' '.join(headers.get(n, '').split())}\n" for n in credential.signed)
    payload = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n/\n\n{lines}\n{';'.join(credential.signed)}\n{payload}"
    scope = f"{credential.day}/{credential.region}/{credential.service}/aws4_request"
    moment = headers.get("x-amz-date", "")
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(secret, credential.day, credential.region, credential.service)
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), credential.signature)
