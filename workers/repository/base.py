"""What a base generation holds block by block, for sources that cannot list changes (files, streams).

A block whose SHA-256 is the base's at the same place is not stored again. The hashes lie in the footers of the
base's packs: one small read a pack. Where those packs are archived, nothing is compared and everything is stored.
"""

from threading import Lock

from workers.repository.errors import Archived, Missing
from workers.repository.manifest import Generation
from workers.repository.repository import Repository
from workers.repository.segment import BLOCKS, Place, Segment


class BaseIndex:
    """Finds the base's content of a block; keeps the two segments that readers are at. Safe to be shared by threads."""

    def __init__(self, repository: Repository, generation: Generation) -> None:
        self._repository, self._generation = repository, generation
        self._segments: dict[int, Segment] = {}
        self._lock = Lock()
        self._readable = True

    def find(self, index: int) -> tuple[Place, int, bytes] | None:
        """Place, frame and SHA-256 of a block of the base; None for zeros and for what cannot be read."""
        if not self._readable:
            return None
        found = self._segment(index // BLOCKS).get(index)
        if found is None:
            return None
        place, frame = found
        try:
            footer = self._repository.footer(place)
        except Missing:
            return None
        except Archived:
            self._readable = False
            return None
        return (place, frame, footer.hash(frame)) if frame < len(footer) else None

    def _segment(self, number: int) -> Segment:
        with self._lock:
            if number not in self._segments:
                if len(self._segments) > 1:
                    self._segments.pop(min(self._segments))
                self._segments[number] = self._repository.segment(self._generation, number)
            return self._segments[number]
