"""Which messages of one channel are still to be settled, and how to tell the broker in few frames.

The client library turns its loop once for each acknowledgement. AMQP lets one frame acknowledge everything up to a tag,
and what the threads of a process have finished is, but for the slowest, everything up to some tag.
"""

import threading
from enum import StrEnum
from typing import NamedTuple


class Ending(StrEnum):
    """What becomes of a message."""

    DONE = "done"
    DEAD = "dead"  # to the dead queue
    BACK = "back"  # to whoever comes next


class Frames(NamedTuple):
    """What to send, in this order: each rejection, everything up to `up_to` (0 for nothing), then each single one."""

    rejected: list[tuple[int, Ending]]
    up_to: int
    single: list[int]


class Unsettled:
    """The delivery tags of one channel. `delivered` and `take` belong to the thread of its connection, `settle` to
    any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, None] = {}  # in the order of delivery, which is the tags' own
        self._ended: list[tuple[int, Ending]] = []

    def delivered(self, tag: int) -> None:
        """A message is given to the threads."""
        self._open[tag] = None

    def settle(self, tag: int, ending: Ending) -> bool:
        """Note what becomes of a message; True when nobody else has anything to be sent yet, and so has to call for
        it."""
        with self._lock:
            self._ended.append((tag, ending))
            return len(self._ended) == 1

    def forget(self) -> None:
        """Nothing can be sent any more: the connection is gone, and the broker delivers all of it again."""
        with self._lock:
            self._ended = []

    def take(self) -> Frames:
        """What was noted since the last call. A tag below `up_to` is never one that is still worked on."""
        with self._lock:
            ended, self._ended = self._ended, []
        done = {tag for tag, ending in ended if ending is Ending.DONE}
        rejected = [one for one in ended if one[1] is not Ending.DONE]
        for tag, _ in rejected:
            self._open.pop(tag, None)
        up_to = 0
        for tag in self._open:
            if tag not in done:
                break
            up_to = tag
        for tag in done:
            self._open.pop(tag, None)
        return Frames(rejected, up_to, sorted(tag for tag in done if tag > up_to))
