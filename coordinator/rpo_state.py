"""Whether a resource keeps what its policies promise: met, at risk or breached, from real points and slots alone. Pure.

Slots are counted instead of hours, as in `rpo`: a policy that rests on Sunday is not late on Monday.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum


class RpoState(StrEnum):
    """From best to worst; a resource is as well off as its worst policy."""

    WAITING = "waiting"  # its first slot has not come
    MET = "met"
    AT_RISK = "at-risk"  # the newest slot is half over, and there is no point of it yet
    BREACHED = "breached"  # two slots have come since the newest good point


UNPROTECTED = "unprotected"  # no policy covers it
_ORDER = list(RpoState)


def rpo_state(
    newest_at: datetime | None,
    since: datetime | None,
    slots: Iterable[datetime],
    next_slot: datetime | None,
    now: datetime,
) -> RpoState:
    """The state of one target of one policy at calendar time `now`.

    `newest_at` is when its newest good point was taken, `since` the first slot at which it was a target: earlier ones
    do not count. `slots` are the policy's newest ones up to now (two are enough); `next_slot` follows them.
    """
    counted = sorted({slot for slot in slots if since is not None and slot >= since})[-2:]
    if not counted:
        return RpoState.WAITING
    if len(counted) == 2 and (newest_at is None or newest_at < counted[0]):
        return RpoState.BREACHED
    newest = counted[-1]
    half = newest + (next_slot - newest) / 2 if next_slot is not None else newest
    return RpoState.AT_RISK if (newest_at is None or newest_at < newest) and now >= half else RpoState.MET


def worst(states: Iterable[RpoState]) -> RpoState | None:
    """The worst of some states; None without any."""
    return max(states, key=_ORDER.index, default=None)
