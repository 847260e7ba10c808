"""The pack that several threads fill at a time."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock

from workers.repository.pack import MAX_FRAMES, PackWriter, shrink


class Filling:
    """The pack that all compute threads fill. A full one is handed on when the last of them has encrypted its frame."""

    def __init__(
        self, new_pack: Callable[[], PackWriter], level: int, pack_bytes: int, done: "SimpleQueue[PackWriter | None]"
    ) -> None:
        self._new_pack, self._level, self._pack_bytes, self._done = new_pack, level, pack_bytes, done
        self._turn, self._lock = Lock(), Lock()  # never one inside the other the wrong way: turn, then lock
        self._writer: PackWriter | None = None
        self._busy: dict[int, int] = {}  # frames that are being encrypted, by pack
        self._full: set[int] = set()

    def add(self, content: memoryview, digest: bytes) -> int:
        """Store a content; its location as one number: pack, then 16 bits of frame."""
        body, flags = shrink(content, self._level)
        with self._turn:
            writer = self._writer
            if writer is None or not writer.fits(len(body)):
                self.close()
                writer = self._writer = self._new_pack()
            number, start = writer.reserve(len(body), len(content), digest)
            with self._lock:
                self._busy[writer.pack.number] = self._busy.get(writer.pack.number, 0) + 1
            if writer.size >= self._pack_bytes or len(writer) >= MAX_FRAMES:
                self.close()
        try:
            writer.fill(number, start, body, flags, digest)
        finally:
            self._filled(writer)
        return writer.pack.number << 16 | number

    def close(self) -> None:
        """Nothing more goes into the current pack."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._lock:
                self._full.add(writer.pack.number)
            self._hand_on(writer)

    def _filled(self, writer: PackWriter) -> None:
        with self._lock:
            self._busy[writer.pack.number] -= 1
        self._hand_on(writer)

    def _hand_on(self, writer: PackWriter) -> None:
        number = writer.pack.number
        with self._lock:
            ready = number in self._full and not self._busy.get(number)
            if ready:
                self._full.discard(number)
                self._busy.pop(number, None)
        if ready:
            self._done.put(writer)
