"""Block tokens and page tokens of the EBS direct APIs: they name what they are for, end, and cannot be made up.

"Frequently asked questions for EBS direct APIs" (EBS user guide): block tokens last seven days, page tokens 60
minutes. Tokens differ from one listing to the next (GetSnapshotBlock, EBS direct API reference).
"""

import base64
import hashlib
import json
import secrets
import struct
from datetime import datetime, timedelta
from typing import Any

from deploy.sandbox.errors import AwsError

BLOCK_TOKEN_LASTS = timedelta(days=7)
PAGE_TOKEN_LASTS = timedelta(minutes=60)

_KEY = secrets.token_bytes(32)
_HEAD = struct.Struct(">QI")  # end (seconds since 1970) and the listing's number


def invalid(reason: str, message: str) -> AwsError:
    """ValidationException (400) with one of the reasons of the API reference."""
    return AwsError("ValidationException", message, 400, reason)


def _mac(*parts: object) -> bytes:
    return hashlib.blake2b("|".join(map(str, parts)).encode(), key=_KEY, digest_size=12).digest()


class BlockTokens:
    """The tokens of one listing, made at `now`."""

    def __init__(self, now: datetime):
        self.expires_at = (now + BLOCK_TOKEN_LASTS).replace(microsecond=0)
        self._head = _HEAD.pack(int(self.expires_at.timestamp()), secrets.randbits(32))

    def token(self, snapshot_id: str, index: int) -> str:
        return base64.b64encode(self._head + _mac(self._head.hex(), snapshot_id, index)).decode()


def check_block_token(token: str, snapshot_id: str, index: int, now: datetime) -> None:
    """ValidationException INVALID_BLOCK_TOKEN unless the token was given out for this block and still holds."""
    try:
        raw = base64.b64decode(token, validate=True)
        head = raw[: _HEAD.size]
        end, _ = _HEAD.unpack(head)
    except (ValueError, struct.error):
        raise invalid("INVALID_BLOCK_TOKEN", "The block token is malformed.") from None
    if not secrets.compare_digest(raw[_HEAD.size :], _mac(head.hex(), snapshot_id, index)):
        raise invalid("INVALID_BLOCK_TOKEN", "The block token is not valid for this block.")
    if end <= now.timestamp():
        raise invalid("INVALID_BLOCK_TOKEN", "The block token has expired.")


def page_token(now: datetime, about: list[Any], position: int, blank: bool) -> str:
    """A token for the page that starts at `position`; `blank` when the page before it was left empty."""
    end = int((now + PAGE_TOKEN_LASTS).timestamp())
    head = json.dumps([end, position, int(blank)])
    return base64.b64encode(_mac(head, *about) + head.encode()).decode()


def read_page_token(token: str, about: list[Any], now: datetime) -> tuple[int, bool]:
    """(position, blank); ValidationException INVALID_PAGE_TOKEN for a foreign, made-up or expired token."""
    try:
        raw = base64.b64decode(token, validate=True)
        mac, head = raw[:12], raw[12:].decode()
        end, position, blank = json.loads(head)
    except (ValueError, TypeError):
        raise invalid("INVALID_PAGE_TOKEN", "The page token is malformed.") from None
    if not secrets.compare_digest(mac, _mac(head, *about)):
        raise invalid("INVALID_PAGE_TOKEN", "The page token belongs to another request.")
    if end <= now.timestamp():
        raise invalid("INVALID_PAGE_TOKEN", "The page token has expired.")
    return position, bool(blank)
