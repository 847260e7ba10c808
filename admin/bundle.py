"""An encrypted file of records: what `snapfleet state` writes. Streamed both ways, and every byte is authenticated.

    {"format": "snapfleet-state", "version": 1, "salt": ..., "prefix": ...}\n     the head, plain
    (4 bytes: length)(AES-256-GCM of up to 1 MiB of zlib-compressed JSON lines)   ...

The key is scrypt of the passphrase or of what the key file holds. A frame's nonce is the head's prefix and the frame's
number; with it are authenticated the head and whether it is the last frame, so that frames can neither be changed, left
out, exchanged, cut off nor added without being refused.
"""

import base64
import contextlib
import json
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tasks.errors import Invalid
from tasks.secrets import Secret

FORMAT, VERSION = "snapfleet-state", 1
LEAST_SECRET = 12  # characters: below, the scrypt of a passphrase is guessed by those who have the file
_FRAME = 1 << 20
_MOST_FRAME = 1 << 22  # what a length field of a damaged file may make us read
_SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}  # 64 MiB and 0.2 s a guess (measured 2026-11-22 on two cores)
_HEAD_LIMIT = 4096
Record = dict[str, Any]


class Writer:
    """Writes records into a new file that appears under its name only when it is complete; a context manager."""

    def __init__(self, path: Path, secret: Secret) -> None:
        if len(secret.reveal()) < LEAST_SECRET:
            raise Invalid(f"A passphrase or key file needs at least {LEAST_SECRET} characters.")
        self._path, self._part = path, path.with_name(f".{path.name}.part")
        salt, self._prefix = secrets.token_bytes(16), secrets.token_bytes(8)
        head = {"format": FORMAT, "version": VERSION, "salt": _text(salt), "prefix": _text(self._prefix)}
        self._head = json.dumps(head).encode() + b"\n"
        self._cipher, self._number = AESGCM(_derive(secret, salt)), 0
        self._zip, self._ready = zlib.compressobj(6), bytearray()

    def __enter__(self) -> "Writer":
        if self._path.exists():
            raise Invalid(f"{self._path} is there already.", advice="Name a new file.")
        with self._writing():
            self._part.unlink(missing_ok=True)
            descriptor = os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            # Without a buffer of its own, which closing would try to write once more to a disk that is full.
            self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)
        return self

    def add(self, record: Record) -> None:
        """Append one record."""
        self._ready += self._zip.compress(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        while len(self._ready) > _FRAME:
            self._frame(bytes(self._ready[:_FRAME]), last=False)
            del self._ready[:_FRAME]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._frame(bytes(self._ready) + self._zip.flush(), last=True)
        with self._writing():
            os.fsync(self._file.fileno())
            os.link(self._part, self._path)  # never over a file that somebody made meanwhile

    def _frame(self, data: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._prefix, self._number), data, _beside(self._head, last=last))
        head = b"" if self._number else self._head
        self._write(head + struct.pack(">I", len(sealed)) + sealed)
        self._number += 1

    def _write(self, data: bytes) -> None:
        with self._writing():
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises Invalid where the file cannot be written."""
        try:
            yield
        except OSError as error:
            raise Invalid(f"{self._path} cannot be written: {error.strerror}.", code="bundle-unwritable") from None


def read_bundle(path: Path, secret: Secret) -> Iterator[Record]:
    """The records of a bundle, in order. Raises Invalid for a file that is none, is damaged, or needs another secret;
    a caller that reads to the end has seen every byte authenticated."""
    try:
        with path.open("rb") as file:
            head = file.readline(_HEAD_LIMIT)
            salt, prefix = _read_head(path, head)
            cipher, unzip, text = AESGCM(_derive(secret, salt)), zlib.decompressobj(), b""
            for data in _frames(path, file, cipher, prefix, head):
                *lines, text = (text + unzip.decompress(data)).split(b"\n")
                yield from map(json.loads, lines)
            if text:
                raise Invalid(f"{path} is damaged: it ends in the middle of a record.", code="bundle-damaged")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from None
    except zlib.error:
        raise Invalid(f"{path} is damaged.", code="bundle-damaged") from None


def _frames(path: Path, file: BufferedReader, cipher: AESGCM, prefix: bytes, head: bytes) -> Iterator[bytes]:
    number, last = 0, False
    while not last:
        size = file.read(4)
        length = struct.unpack(">I", size)[0] if len(size) == 4 else _MOST_FRAME
        sealed = file.read(length) if length < _MOST_FRAME else b""
        last = not file.peek(1)
        try:
            yield cipher.decrypt(_nonce(prefix, number), sealed, _beside(head, last=last))
        except InvalidTag:
            text = "it is damaged or cut off" if number else "the passphrase or key file is another, or it is damaged"
            raise Invalid(f"{path} does not open: {text}.", code="bundle-damaged") from None
        number += 1


def _read_head(path: Path, line: bytes) -> tuple[bytes, bytes]:
    try:
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise ValueError
        salt, prefix, version = (
            base64.b64decode(head["salt"]),
            base64.b64decode(head["prefix"]),
            head["version"],
        )
    except (ValueError, KeyError, TypeError):
        raise Invalid(f"{path} is not a bundle of `snapfleet state backup`.") from None
    if version != VERSION:
        raise Invalid(f"{path} was written by a newer version.", advice="Restore it with that version.")
    if (len(salt), len(prefix)) != (16, 8):
        raise Invalid(f"{path} is damaged.", code="bundle-damaged")
    return salt, prefix


def _derive(secret: Secret, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(secret.reveal().encode())


def _nonce(prefix: bytes, number: int) -> bytes:
    return prefix + struct.pack(">I", number)


def _beside(head: bytes, *, last: bool) -> bytes:
    return head + (b"last" if last else b"more")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
