"""Packs: many compressed, encrypted blocks in one object. FORMAT.md section 5.

A frame carries its own salt and counter, so that compaction moves it into another pack without opening it. The
footer, sealed to the pack's name, lists length, size and SHA-256 of every frame; the hash is bound into the frame's
tag, so that a frame opens only as the content its footer claims.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import zstandard
from cryptography.exceptions import InvalidTag

from workers.repository.crypt import FOOTER, TAG_BYTES, VERSION, Sealer
from workers.repository.errors import Damaged, Newer
from workers.repository.lanes import digests
from workers.repository.names import Pack

HEAD = struct.Struct("<4sBBH8s")  # magic, version, kind, zero, reserved
MAGIC, END = b"SNPK", b"KPNS"
FRAME = struct.Struct("<16sIBBH")  # salt, counter, flags, kind, zero
TAIL = struct.Struct("<I4s")  # length of the sealed footer, end magic
RAW = 1  # flag: the content is stored as it is, because it does not compress
FRAME_OVERHEAD = FRAME.size + TAG_BYTES
# 27 requests a GiB stored. Measured 2026-11: packs of 64 MiB would save $0.02 a TiB in requests, and cost readers and
# writers five times 24 MiB of memory.
PACK_BYTES = 40 << 20
MAX_FRAMES = 0xFFFE  # a map entry has 16 bits for the frame; the last value means nothing
# No frame is larger when opened: blocks have 512 KiB, a map segment under 1 MiB.
CONTENT_LIMIT = 4 << 20
# zstd's own table for level 1 has 2^14 entries, 64 KiB; half of it lies in a core's first cache. Measured 2026-11-22 on
# two cores at once: 1.88 CPU seconds a GiB for 2.04, and 3 % more bytes; half again gains nothing.
_TABLE_LOG = 13
# Up to a window of 2^18 zstd 1.5.7 searches without a branch that is mispredicted. Measured 2026-11-23, beside the 2^19
# that a block takes: 3 % less time, and not 0.1 % more bytes of system disks; 2^17 gains nothing more.
_WINDOW_LOG = 18
# Less than 3 % gained is not worth decompressing for.
_WORTH = 0.97
# Buffers grow by so much: packs differ by less.
_STEP = 512 << 10
_THREAD = local()
_PURPOSE = {1: "frame/1", 2: "frame/2"}


@dataclass(frozen=True, slots=True)
class Footer:
    """What a pack holds: byte offset, stored length, opened size and SHA-256 of each frame, in order."""

    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    sizes: tuple[int, ...]
    hashes: bytes

    def __len__(self) -> int:
        return len(self.lengths)

    def hash(self, frame: int) -> bytes:
        """SHA-256 of a frame's content."""
        return self.hashes[frame * 32 : frame * 32 + 32]


def encode_footer(lengths: list[int], sizes: list[int], hashes: list[bytes]) -> bytes:
    """Columns, little-endian: count, stored lengths, opened sizes, hashes."""
    count = len(lengths)
    return struct.pack(f"<I{count}I{count}I", count, *lengths, *sizes) + b"".join(hashes)


def decode_footer(name: str, payload: bytes) -> Footer:
    """Read what `encode_footer` made. Raises Damaged."""
    if len(payload) < 4:
        raise Damaged(name, "its footer is too short")
    (count,) = struct.unpack_from("<I", payload)
    if count > MAX_FRAMES or len(payload) != 4 + 40 * count:
        raise Damaged(name, "its footer has the wrong length")
    numbers = struct.unpack_from(f"<{2 * count}I", payload, 4)
    offsets, at = [], HEAD.size
    for length in numbers[:count]:
        offsets.append(at)
        at += length
    return Footer(tuple(offsets), numbers[:count], numbers[count:], payload[4 + 8 * count :])


class PackWriter:
    """Fills one pack in a buffer that is used again for the next: a bytearray grows, a view takes what `fits`.

    `add` and `move` belong to one thread and a bytearray; where several threads fill one pack, each compresses with
    `shrink`, asks for room with `reserve` under their lock, and encrypts into it with `fill` beside the others."""

    def __init__(self, sealer: Sealer, pack: Pack, kind: int, buffer: bytearray | memoryview, level: int = 1) -> None:
        self.pack, self.kind = pack, kind
        self.size = HEAD.size
        self._sealer = sealer
        self._buffer = buffer
        self._salt = os.urandom(16)
        self._cipher = sealer.cipher(self._salt, _PURPOSE[kind])
        self._level = level
        self._lengths: list[int] = []
        self._sizes: list[int] = []
        self._hashes: list[bytes] = []
        self._put(0, HEAD.pack(MAGIC, VERSION, kind, 0, bytes(8)))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def buffer(self) -> bytearray | memoryview:
        """The buffer it was given."""
        return self._buffer

    def fits(self, length: int) -> bool:
        """Whether a body of `length` bytes, and the footer, find room without a larger buffer."""
        return self.size + length + FRAME_OVERHEAD + _footer_room(len(self) + 1) <= len(self._buffer)

    def add(self, content: Any, digest: bytes) -> int:
        """Compress, encrypt and append one content; its frame number. `digest` is the content's SHA-256."""
        body, flags = shrink(content, self._level)
        self._room(self.size + len(body) + FRAME_OVERHEAD)
        number, start = self.reserve(len(body), len(content), digest)
        self.fill(number, start, body, flags, digest)
        return number

    def reserve(self, length: int, size: int, digest: bytes) -> tuple[int, int]:
        """Room for a body of `length` bytes that opens to `size`: the frame's number and where it begins."""
        number, start = len(self._lengths), self.size
        self._note(length + FRAME_OVERHEAD, size, digest)
        return number, start

    def fill(self, number: int, start: int, body: Any, flags: int, digest: bytes) -> None:
        """Encrypt a body into the room that was reserved for it."""
        header = FRAME.pack(self._salt, number, flags, self.kind, 0)
        inside = start + FRAME.size
        with memoryview(self._buffer) as view:
            view[start:inside] = header
            room = view[inside : inside + len(body) + TAG_BYTES]
            self._cipher.encrypt_into(nonce(number), body, header[20:] + digest, room)

    def move(self, frame: bytes, size: int, digest: bytes) -> int:
        """Append a sound frame of another pack as it is; its number here."""
        self._room(self.size + len(frame))
        self._buffer[self.size : self.size + len(frame)] = frame
        self._note(len(frame), size, digest)
        return len(self._lengths) - 1

    def finish(self) -> tuple[bytearray | memoryview, int]:
        """The finished pack in the buffer, and the length of its sealed footer."""
        payload = encode_footer(self._lengths, self._sizes, self._hashes)
        footer = self._sealer.seal(FOOTER, self.pack.name(self.kind), payload)
        self._put(self.size, footer + TAIL.pack(len(footer), END))
        if isinstance(self._buffer, memoryview):
            return self._buffer[: self.size], len(footer)
        del self._buffer[self.size :]
        return self._buffer, len(footer)

    def _note(self, length: int, size: int, digest: bytes) -> None:
        self._lengths.append(length)
        self._sizes.append(size)
        self._hashes.append(bytes(digest))
        self.size += length

    def _put(self, at: int, content: bytes) -> None:
        self._room(at + len(content))
        self._buffer[at : at + len(content)] = content
        self.size = at + len(content)

    def _room(self, end: int) -> None:
        if isinstance(self._buffer, bytearray) and end > len(self._buffer):
            self._buffer.extend(bytes(end - len(self._buffer) + (1 << 20)))


def _footer_room(frames: int) -> int:
    """No sealed footer of so many frames, with the end of a pack, is larger: 40 bytes for each, which zstd lets grow by
    a 256th and its header at most, and the seal."""
    payload = 4 + 40 * frames
    return payload + (payload >> 8) + 256


def shrink(content: Any, level: int) -> tuple[Any, int]:
    """The body of a frame and its flags: compressed, or as it is where that gains nothing."""
    body = _compressor(level).compress(content)
    return (content, RAW) if len(body) > _WORTH * len(content) else (body, 0)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """The thread's own: its tables are used again."""
    found: tuple[int, zstandard.ZstdCompressor] | None = getattr(_THREAD, "compressor", None)
    if found is None or found[0] != level:
        smaller = {"hash_log": _TABLE_LOG, "window_log": _WINDOW_LOG} if level == 1 else {}
        how = zstandard.ZstdCompressionParameters.from_level(level, write_content_size=True, **smaller)
        found = _THREAD.compressor = (level, zstandard.ZstdCompressor(compression_params=how))
    return found[1]


def nonce(counter: int) -> bytes:
    """The 12 bytes for a frame's counter."""
    return counter.to_bytes(12, "little")


class Buffer:
    """Memory that is used again for one content after the other: page faults for fresh memory cost a reader a tenth of
    its time (measured 2026-11-22). Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def view(self, length: int) -> memoryview:
        """The first `length` bytes; what was there before is gone."""
        if len(self._memory) < length:  # with room for the next, which is often a little larger
            self._memory = bytearray(-(-length // _STEP) * _STEP)
        return memoryview(self._memory)[:length]


def open_frame(sealer: Sealer, name: str, kind: int, frame: Any, size: int, digest: bytes) -> bytes:
    """The content of one frame, `size` bytes with SHA-256 `digest`, as the tag attests. Raises Damaged, Newer.

    The tag covers content and digest together; `proved` computes the digest as well.
    """
    return bytes(open_into(sealer, name, kind, frame, size, digest, Buffer()))


def open_into(sealer: Sealer, name: str, kind: int, frame: Any, size: int, digest: bytes, into: Buffer) -> memoryview:
    """As `open_frame`, into a buffer: what is given back is good until the buffer is used again."""
    if len(frame) < FRAME_OVERHEAD or size > CONTENT_LIMIT:
        raise Damaged(name, "a frame has an impossible size")
    salt, counter, flags, found, _ = FRAME.unpack_from(frame)
    if found != kind:
        raise Damaged(name, "a frame is of another kind")
    if flags & ~RAW:
        raise Newer(f"{name} has a frame with flags {flags}, which this program does not know.")
    length = len(frame) - FRAME_OVERHEAD
    if flags & RAW and length != size:
        raise Damaged(name, "a frame has another size than its footer says")
    content = into.view(size)
    body = content if flags & RAW else _scratch().view(length)
    try:
        cipher = sealer.cipher(salt, _PURPOSE[kind])
        cipher.decrypt_into(nonce(counter), frame[FRAME.size :], bytes(frame[20:24]) + digest, body)
    except InvalidTag:
        raise Damaged(name, "a frame does not match its tag") from None
    if not flags & RAW:
        _decompress(name, body, content)
    return content


def _decompress(name: str, body: memoryview, content: memoryview) -> None:
    """Fill `content` with what `body`, one zstd frame, holds. Raises Damaged unless it fills it exactly."""
    try:
        if zstandard.get_frame_parameters(body).content_size != len(content):
            raise Damaged(name, "a frame states another size than the footer")
        # a whole frame and room for all of it: zstd writes straight into the room, without a window of its own
        if _decompressor().stream_reader(body, closefd=False).readinto(content) != len(content):
            raise Damaged(name, "a frame has another size than its footer says")
    except zstandard.ZstdError:
        raise Damaged(name, "a frame does not decompress") from None


def _decompressor() -> zstandard.ZstdDecompressor:
    """The thread's own: making one costs as much as a tenth of a block's decompression."""
    found: zstandard.ZstdDecompressor | None = getattr(_THREAD, "decompressor", None)
    if found is None:
        found = _THREAD.decompressor = zstandard.ZstdDecompressor()
    return found


def _scratch() -> Buffer:
    """The thread's own, for bodies between decryption and decompression."""
    found: Buffer | None = getattr(_THREAD, "scratch", None)
    if found is None:
        found = _THREAD.scratch = Buffer()
    return found


def proved(sealer: Sealer, name: str, kind: int, frame: Any, size: int, digest: bytes) -> bytes:
    """As `open_frame`, and the content's own SHA-256 is computed and compared."""
    content = open_into(sealer, name, kind, frame, size, digest, Buffer())
    if wrong := disproved(name, [content], [digest]):
        raise wrong[0]
    return bytes(content)


def disproved(name: str, contents: Sequence[memoryview], hashes: Sequence[bytes]) -> dict[int, Damaged]:
    """Which of the contents that `open_into` gave have another SHA-256 than they should. It takes several at once."""
    pairs = enumerate(zip(digests(contents), hashes, strict=True))
    return {
        at: Damaged(name, "a frame's content does not have its SHA-256") for at, (one, other) in pairs if one != other
    }


def open_footer(sealer: Sealer, name: str, tail: Any, length: int) -> Footer:
    """The footer from the last bytes of a pack, `length` being the sealed footer's. Raises Damaged, Newer."""
    if len(tail) < length + TAIL.size or TAIL.unpack(bytes(tail[-TAIL.size :])) != (length, END):
        raise Damaged(name, "it is truncated or its end is overwritten")
    sealed = bytes(tail[-TAIL.size - length : -TAIL.size])
    return decode_footer(name, sealer.open(FOOTER, name, sealed))


def open_pack(sealer: Sealer, name: str, kind: int, content: Any) -> Footer:
    """Check a whole pack's frame (head, end, footer, lengths) and give its footer. Raises Damaged, Newer."""
    if len(content) < HEAD.size + TAIL.size:
        raise Damaged(name, "it is too short")
    magic, version, found, zero, reserved = HEAD.unpack_from(content)
    if magic == MAGIC and version > VERSION:
        raise Newer(f"{name} has format version {version}; this program reads up to {VERSION}.")
    if magic != MAGIC or found != kind or zero or any(reserved):
        raise Damaged(name, "it does not begin as a pack of its kind")
    length = TAIL.unpack(bytes(content[-TAIL.size :]))[0]
    footer = open_footer(sealer, name, content, length)
    if HEAD.size + sum(footer.lengths) + length + TAIL.size != len(content):
        raise Damaged(name, "its frames and footer do not add up to its size")
    return footer
