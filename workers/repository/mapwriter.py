"""Writes a generation's map: segments as frames of map packs, so that a scattered change costs one object."""

import hashlib
import secrets

from workers.repository.manifest import SegmentRef
from workers.repository.names import MAP, Pack
from workers.repository.pack import MAX_FRAMES, PACK_BYTES, PackWriter
from workers.repository.repository import Repository
from workers.repository.segment import Place, Segment
from workers.repository.store import PLAIN, Put


class MapWriter:
    """Collects segments; `finish` puts what is left and gives their references. Belongs to one thread."""

    def __init__(self, repository: Repository, job: str, how: Put = PLAIN) -> None:
        self._repository, self._job = repository, job
        self._how = Put(retain_until=how.retain_until)  # maps stay in the standard class: every later step reads them
        self._run = secrets.token_hex(8)
        self._packs = 0
        self._writer: PackWriter | None = None
        self._waiting: list[tuple[int, int, int, int, bytes]] = []
        self._refs: dict[int, SegmentRef] = {}
        self.stored_bytes = 0

    def add(self, number: int, segment: Segment, before: SegmentRef | None = None) -> None:
        """Write segment `number` of the volume, unless it is what `before` holds already."""
        payload = segment.encode()
        digest = hashlib.sha256(payload).digest()
        if before is not None and before.digest == digest:
            self._refs[number] = before
            return
        if self._writer is None:
            pack = Pack(self._job, self._run, self._packs)
            self._packs += 1
            self._writer = PackWriter(self._repository.sealer, pack, MAP, bytearray(), 3)
        offset = self._writer.size
        self._writer.add(payload, digest)
        self._waiting.append((number, offset, self._writer.size - offset, len(payload), digest))
        if self._writer.size >= PACK_BYTES or len(self._writer) >= MAX_FRAMES:
            self._flush()

    def finish(self) -> dict[int, SegmentRef]:
        """References by segment number; everything they name is in the store."""
        self._flush()
        return self._refs

    def _flush(self) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        buffer, footer = writer.finish()
        self._repository.store.put(writer.pack.name(MAP), buffer, self._how)
        self.stored_bytes += len(buffer)
        place = Place(writer.pack, len(buffer), footer)
        for number, offset, length, size, digest in self._waiting:
            self._refs[number] = SegmentRef(place, offset, length, size, digest)
        self._waiting = []
