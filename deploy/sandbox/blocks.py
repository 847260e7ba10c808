"""Block storage: sparse maps of 512 KiB blocks, each block kept once under its SHA-256, maps shared copy-on-write.

The bytes live in one unlinked temporary file, so the process's memory does not grow with the data; a block of zeros is
not kept at all. 512 KiB is the block of the EBS direct APIs ("EBS direct APIs", EBS user guide).
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator

BLOCK = 512 * 1024
GIB = 1024**3
ZEROS = bytes(BLOCK)


class BlockStore:
    """Blocks by digest. `sweep` frees those that no map in use names."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="sandbox-blocks-")
        os.unlink(path)
        self._file = handle
        self._slots: dict[bytes, int] = {}
        self._free: list[int] = []
        self._end = 0
        self._lock = threading.Lock()
        self.hashes: dict[str, str] = {}  # fingerprint: SHA-256 of the whole stream

    def put(self, data: bytes, digest: bytes | None = None) -> bytes | None:
        """Keep one whole block, whose SHA-256 may be known already; None for zeros."""
        if data == ZEROS:
            return None
        digest = digest or hashlib.sha256(data).digest()
        with self._lock:
            if digest in self._slots:
                return digest
            slot = self._free.pop() if self._free else self._end
            if slot == self._end:
                self._end += 1
            os.pwrite(self._file, data, slot * BLOCK)
            self._slots[digest] = slot
        return digest

    def get(self, digest: bytes | None) -> bytes:
        return ZEROS if digest is None else os.pread(self._file, BLOCK, self._slots[digest] * BLOCK)

    def sweep(self, maps: Iterable["BlockMap"]) -> int:
        """Free what no map names; the number of blocks freed. Maps that share cells are looked at once."""
        cells = {id(m.cells): m.cells for m in maps}
        live = {digest for c in cells.values() for digest in c.values()}
        with self._lock:
            dead = [d for d in self._slots if d not in live]
            self._free.extend(self._slots.pop(d) for d in dead)
        return len(dead)

    def __len__(self) -> int:
        return len(self._slots)


class BlockMap:
    """The content of one volume or snapshot of `gib` GiB: block number -> digest, absent means zeros."""

    __slots__ = ("_shared", "cells", "gib", "store")

    def __init__(self, store: BlockStore, gib: int, cells: dict[int, bytes] | None = None):
        self.store, self.gib = store, gib
        self.cells: dict[int, bytes] = {} if cells is None else cells
        self._shared = cells is not None

    def frozen(self, gib: int | None = None) -> "BlockMap":
        """The same content at this instant; both sides copy before they write. O(1)."""
        self._shared = True
        return BlockMap(self.store, self.gib if gib is None else gib, self.cells)

    def set_block(self, index: int, digest: bytes | None) -> None:
        if self._shared:
            self.cells, self._shared = dict(self.cells), False
        if digest is None:
            self.cells.pop(index, None)
        else:
            self.cells[index] = digest

    def write(self, offset: int, data: bytes) -> None:
        """Write a byte range; ValueError past the end."""
        if offset < 0 or offset + len(data) > self.gib * GIB:
            raise ValueError(f"{offset}+{len(data)} is outside {self.gib} GiB")
        view, done = memoryview(data), 0
        while done < len(data):
            index, start = divmod(offset + done, BLOCK)
            part = view[done : done + BLOCK - start]
            block = bytes(part)
            if len(part) < BLOCK:
                old = self.store.get(self.cells.get(index))
                block = old[:start] + block + old[start + len(part) :]
            self.set_block(index, self.store.put(block))
            done += len(part)

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """A byte range in pieces of at most one block."""
        end = min(offset + length, self.gib * GIB)
        while offset < end:
            index, start = divmod(offset, BLOCK)
            block = self.store.get(self.cells.get(index))
            piece = block[start : start + end - offset]
            yield piece
            offset += len(piece)

    def fingerprint(self) -> str:
        """Changes with the content and the size, and costs nothing to speak of."""
        digest = hashlib.sha256(self.gib.to_bytes(8, "big"))
        for index in sorted(self.cells):
            digest.update(index.to_bytes(8, "big") + self.cells[index])
        return digest.hexdigest()

    def sha256(self) -> str:
        """SHA-256 of the raw stream, zeros included (about a second per 1.5 GiB the first time)."""
        key = self.fingerprint()
        if key not in self.store.hashes:
            digest = hashlib.sha256()
            for piece in self.read(0, self.gib * GIB):
                digest.update(piece)
            self.store.hashes[key] = digest.hexdigest()
        return self.store.hashes[key]
