"""The footer of a fixed VHD: 512 bytes at the end of what is uploaded as a disk.

Source: Virtual Hard Disk image format specification 1.0 (Microsoft, 2006), "Hard disk footer format" and "CHS
calculation"; all numbers are big-endian.
"""

import struct
import uuid

FOOTER_BYTES = 512
_FIXED = 2
_SECTOR = 512
_MOST_SECTORS = 65535 * 16 * 255
_LAYOUT = ">8sIIQI4sI4sQQHBBII16sB427s"


def footer(size: int, identity: bytes) -> bytes:
    """The footer of a disk of `size` bytes; `identity` has 16 bytes, and the same ones give the same footer."""
    head = (b"conectix", 2, 0x00010000, (1 << 64) - 1, 0, b"snfl", 0x00010000, b"Wi2k", size, size, *_geometry(size))
    draft = struct.pack(_LAYOUT, *head, _FIXED, 0, uuid.UUID(bytes=identity).bytes, 0, bytes(427))
    return draft[:64] + (~sum(draft) & 0xFFFFFFFF).to_bytes(4, "big") + draft[68:]


def _geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads, sectors a track."""
    sectors = min(size // _SECTOR, _MOST_SECTORS)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    per_track, tracks = 17, sectors // 17
    heads = max(4, (tracks + 1023) // 1024)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads, tracks = 31, 16, sectors // 31
    if tracks >= heads * 1024:
        per_track, heads, tracks = 63, 16, sectors // 63
    return tracks // heads, heads, per_track
