"""What both brokers hand to dramatiq's workers, and whom they tell of what they refuse."""

from collections.abc import Callable

import dramatiq
from dramatiq.broker import Consumer, MessageProxy

from tasks.lanes import Lane

Observe = Callable[[str, Lane, str], None]
"""Called with (event, lane, reason). Events: `refused` (a body went to the dead queue, reason is the decoder's code),
`stale` (a message of a lost connection was finished; the broker delivers it again), `redelivered`."""


def ignore(_event: str, _lane: Lane, _reason: str) -> None:
    """The observer of those who do not count."""


class Delivery(MessageProxy):
    """A message and the consumer it came from. Its tag means something on that consumer's channel only."""

    def __init__(self, message: dramatiq.Message[None], origin: Consumer, tag: int, *, redelivered: bool) -> None:
        super().__init__(message)
        self.origin = origin
        self.tag = tag
        self.redelivered = redelivered
