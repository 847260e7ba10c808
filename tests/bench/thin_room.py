"""Where the thin stand-in keeps its objects: in memory that was touched before anyone is measured.

What arrives is received straight into its place, and leaves by sendfile from there: one copy by the kernel each way.
A file for each object takes a second copy and fresh pages at every write, which cost more than everything else that the
stand-in did; where a virtual machine's host must give those pages anew, five times as much (measured 2026-11-23).
"""

import mmap
import os
import threading
from dataclasses import dataclass

_PIECE = 64 << 20  # room is taken in such pieces, as it is needed


class _Piece:
    """A file, mapped: room for objects one after the other. It goes when nothing refers to it any more."""

    def __init__(self, path: str, size: int, touched: bool) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.unlink(path)
        os.ftruncate(self.handle, size)
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if touched else 0)
        self.view = memoryview(mmap.mmap(self.handle, size, flags))
        self.used = 0

    def __del__(self) -> None:
        os.close(self.handle)


@dataclass(frozen=True)
class Place:
    """Where one object lies: `view` to fill it, and the piece's handle with `start` to send it."""

    piece: _Piece
    start: int
    view: memoryview


class Room:
    """Room for objects in files without a name below `root`, the first `ahead` bytes of it touched at once."""

    def __init__(self, root: str, ahead: int = 0) -> None:
        self._root, self._lock, self._made = root, threading.Lock(), 0
        self._piece = self._more(ahead, touched=True) if ahead else None

    def place(self, length: int) -> Place:
        """Room for an object of `length` bytes. What is never kept gives its room back with the piece only."""
        with self._lock:
            piece = self._piece
            if piece is None or piece.used + length > len(piece.view):
                piece = self._piece = self._more(max(_PIECE, length), touched=False)
            start, piece.used = piece.used, piece.used + length
        return Place(piece, start, piece.view[start : start + length])

    def _more(self, size: int, touched: bool) -> _Piece:
        self._made += 1
        return _Piece(os.path.join(self._root, f"room-{self._made}"), size, touched)
