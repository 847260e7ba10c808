"""Sealing: compress, encrypt, bind to a purpose and a name. FORMAT.md sections 3 and 4.

Every object and every pack has a key of its own, derived from the master key with a random salt, so that a nonce
can be a plain counter. What an object is and where it lies goes into the tag: an object that is moved, swapped with
another, or taken from another repository does not open.
"""

import hmac
import os
import struct
from collections import OrderedDict
from threading import Lock

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from workers.repository.errors import Damaged, Newer

VERSION = 1
MAGIC = b"SNFL"
HEADER = struct.Struct("<4sBBH16s")  # magic, version, kind, zero, salt
LEASE, PART, GENERATION, TOMB, FOOTER = 1, 2, 3, 4, 5
TAG_BYTES = 16
# No sealed object is larger when opened: the biggest, the manifest of a 64 TiB volume, has 0.2 MB.
OPENED_LIMIT = 64 << 20
_NONCE = bytes(12)
# Ciphers kept by salt: a reader works on a handful of packs at a time, a cipher costs 2 KB.
_CIPHERS = 256


def derive(master: bytes, salt: bytes, purpose: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) with one output block: 32 bytes for one purpose."""
    extracted = hmac.digest(salt, master, "sha256")
    return hmac.digest(extracted, b"snapfleet/1/" + purpose.encode() + b"\x01", "sha256")


class Sealer:
    """Seals and opens with one master key; safe to be shared by threads."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._identity = derive(master, b"", "identity")
        self._ciphers: OrderedDict[tuple[bytes, str], AESGCM] = OrderedDict()
        self._lock = Lock()

    def identity(self, payload: bytes) -> str:
        """The name that proves a payload: keyed, so that a store cannot guess contents; 64 hex digits."""
        return hmac.digest(self._identity, payload, "sha256").hex()

    def label(self, text: str) -> str:
        """A short keyed name for a text that the store must not learn; 16 hex digits."""
        return hmac.digest(self._identity, b"label/" + text.encode(), "sha256").hex()[:16]

    def cipher(self, salt: bytes, purpose: str) -> AESGCM:
        """The cipher of a salt and purpose, kept for the next frame of the same pack."""
        with self._lock:
            found = self._ciphers.get((salt, purpose))
            if found is None:
                found = self._ciphers[salt, purpose] = AESGCM(derive(self._master, salt, purpose))
                if len(self._ciphers) > _CIPHERS:
                    self._ciphers.popitem(last=False)
            return found

    def seal(self, kind: int, name: str, payload: bytes) -> bytes:
        """An object of a kind for the place `name`; two calls never give the same bytes."""
        salt = os.urandom(16)
        header = HEADER.pack(MAGIC, VERSION, kind, 0, salt)
        body = zstandard.ZstdCompressor(level=3).compress(payload)
        key = derive(self._master, salt, f"object/{kind}")
        return header + AESGCM(key).encrypt(_NONCE, body, header + name.encode())

    def open(self, kind: int, name: str, sealed: bytes) -> bytes:
        """The payload of an object read at `name`. Raises Damaged, Newer."""
        if len(sealed) < HEADER.size + TAG_BYTES:
            raise Damaged(name, "it is too short")
        header = bytes(sealed[: HEADER.size])
        magic, version, found, _, salt = HEADER.unpack(header)
        if magic != MAGIC:
            raise Damaged(name, "it is no object of a repository")
        if version > VERSION:
            raise Newer(f"{name} has format version {version}; this program reads up to {VERSION}.")
        if found != kind:
            raise Damaged(name, "it is of another kind")
        try:
            key = derive(self._master, salt, f"object/{kind}")
            body = AESGCM(key).decrypt(_NONCE, bytes(sealed[HEADER.size :]), header + name.encode())
        except InvalidTag:
            raise Damaged(name, "its seal does not match its content, name and key") from None
        return unpacked(name, body, OPENED_LIMIT)


def unpacked(name: str, body: bytes, limit: int) -> bytes:
    """Decompress one zstd frame that states its size. Raises Damaged beyond `limit` bytes or when malformed."""
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size > limit:
            raise Damaged(name, f"it would expand to {size} bytes")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=limit) if size else b""
    except zstandard.ZstdError:
        raise Damaged(name, "it does not decompress") from None
