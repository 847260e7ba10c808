"""Which slot of a policy runs now, which were missed, and when to look again: pure arithmetic, no clock, no catalog.

A policy may have several schedules. Each is a Track: its grid, and the last slot that is dealt with (`after`). A slot
starts `offset_for(policy, spread)` after its nominal time; it stays nominal everywhere else.

What happens after an outage: of each track only the newest due slot counts. If one of them is punctual, it runs; if
all are late, the newest of them runs at once, whatever its age, and the others are reported as missed in one range.
The newest always runs, even when the next regular slot is minutes away: an extra incremental snapshot costs little,
whereas giving way would starve a policy whose coordinator happens to be up only shortly before its slots. Punctual
slots of different tracks never displace each other: they run one decision after the other.

A clock that jumps back makes nothing due again: tracks only move forward. Those that a wrong clock has moved far into
the future are set back (`set_back`); what has its run then runs no second time, by the run's UNIQUE(policy, slot).

Measured 2026-11-22, 2-core, Python 3.11: `decide` for one nightly schedule 35k/s, for two schedules 27k/s, and 3.8k/s
when 124 days of a masked quarter-hourly one were missed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from coordinator.grid import DisabledRange, Grid
from coordinator.interval import Interval
from coordinator.reason import Reason
from coordinator.slots import count_slots, latest_slot, next_slot, slots_between

__all__ = [
    "Decision",
    "DisabledRange",
    "Grid",
    "Interval",
    "MissedRange",
    "Track",
    "count_slots",
    "decide",
    "latest_slot",
    "next_slot",
    "offset_for",
    "set_back",
    "slots_between",
    "start_of",
]

# Ticks come every second and a restart takes a minute or two: what starts later than this is late, not just delayed.
PUNCTUAL_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Track:
    """One schedule of a policy. `after` is the last slot dealt with, or when the policy began to be active."""

    grid: Grid
    after: datetime


@dataclass(frozen=True)
class MissedRange:
    """`count` slots from `first` to `last`, both included, that no run will serve."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True)
class Decision:
    """What to do now.

    `run` is the nominal slot to run, if any; write it with the run's UNIQUE(policy, slot) and ignore the conflict that
    two schedules meeting on one slot make. `missed` is reported once. `next_at` is when to decide again: the next
    start, `now` when another slot is due already, None when every grid has ended. `tracks` replaces those given, in
    the same order; store it in the transaction that writes the run.
    """

    run: datetime | None
    missed: MissedRange | None
    next_at: datetime | None
    reason: Reason
    tracks: tuple[Track, ...]


@lru_cache(maxsize=65_536)  # asked several times a decision, for the same policies every day
def offset_for(policy_key: str, spread: timedelta) -> timedelta:
    """The policy's own place in a spread window: whole seconds in [0, spread), the same on every host and every day."""
    window = spread // timedelta(seconds=1)
    if window <= 0:
        return timedelta(0)
    digest = hashlib.sha256(policy_key.encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % window)


def start_of(grid: Grid, slot: datetime, policy_key: str) -> datetime:
    """When a slot starts: nominal time plus the policy's offset, and always before the grid's next slot."""
    start = slot + offset_for(policy_key, grid.spread)
    if start == slot or grid.every.unit in ("m", "h"):  # spread is shorter than the step
        return start
    following = next_slot(grid, slot)
    return start if following is None else min(start, following - timedelta(seconds=1))


def decide(policy_key: str, tracks: Sequence[Track], now: datetime) -> Decision:
    """What a policy with these tracks does at `now` (aware UTC). Pure: the same facts give the same decision."""
    due = [_newest_due(track, policy_key, now) for track in tracks]
    late_from = now - PUNCTUAL_WITHIN
    punctual = [
        slot
        for track, slot in zip(tracks, due, strict=True)
        if slot is not None and start_of(track.grid, slot, policy_key) > late_from
    ]
    run = min(punctual, default=None) or max((slot for slot in due if slot is not None), default=None)
    kept = {slot for slot in punctual if slot != run}
    moved = tuple(_move(track, slot, kept) for track, slot in zip(tracks, due, strict=True))
    missed = None if run is None else _missed(tracks, moved, run)
    next_at = now if kept else _next_start(moved, policy_key)
    return Decision(run, missed, next_at, _reason(run, bool(punctual), missed, next_at), moved)


def set_back(track: Track, policy_key: str, now: datetime, begun: datetime) -> Track:
    """Where a track stands that a wrong clock has moved beyond `now`: just before the newest slot that should have
    started, so that one whose time came meanwhile is not lost. Never before `begun`, when the policy or its schedule
    came to be as they are."""
    due = _newest_due(replace(track, after=begun), policy_key, now)
    return replace(track, after=min(now, begun) if due is None else due - timedelta(seconds=1))


def _newest_due(track: Track, policy_key: str, now: datetime) -> datetime | None:
    slot = latest_slot(track.grid, now)
    if slot is not None and start_of(track.grid, slot, policy_key) > now:
        slot = latest_slot(track.grid, slot - timedelta(seconds=1))
    return slot if slot is not None and slot > track.after else None


def _move(track: Track, due: datetime | None, kept: set[datetime]) -> Track:
    """Past everything due; just before a slot that the next decision is to run."""
    if due is None:
        return track
    return replace(track, after=due - timedelta(seconds=1) if due in kept else due)


def _missed(before: Sequence[Track], moved: Sequence[Track], run: datetime) -> MissedRange | None:
    """The distinct slots that the tracks passed over, without the one that runs."""
    pairs = zip(before, moved, strict=True)
    spans = [_Span(old.grid, old.after, new.after) for old, new in pairs if new.after > old.after]
    if all(span.until == run and next_slot(span.grid, span.after) == run for span in spans):
        return None
    spans.sort(key=_Span.count, reverse=True)  # the longest is counted by division, the others slot by slot
    total = 0
    for index, span in enumerate(spans):
        if index == 0:
            total += span.count() - span.has(run)
            continue
        others = (slot for slot in slots_between(span.grid, span.after, span.until) if slot != run)
        total += sum(1 for slot in others if not any(earlier.has(slot) for earlier in spans[:index]))
    if not total:
        return None
    edges = [edge for span in spans for edge in span.edges_without(run)]
    return MissedRange(min(edges), max(edges), total)


@dataclass(frozen=True)
class _Span:
    """The slots of a grid in (after, until]."""

    grid: Grid
    after: datetime
    until: datetime

    def count(self) -> int:
        return count_slots(self.grid, self.after, self.until)

    def has(self, slot: datetime) -> bool:
        return self.after < slot <= self.until and latest_slot(self.grid, slot) == slot

    def edges_without(self, run: datetime) -> list[datetime]:
        first, last = next_slot(self.grid, self.after), latest_slot(self.grid, self.until)
        if first == run:
            first = next_slot(self.grid, run)
        if last == run:
            last = latest_slot(self.grid, run - timedelta(seconds=1))
        return [slot for slot in (first, last) if slot is not None and self.after < slot <= self.until]


def _next_start(tracks: Sequence[Track], policy_key: str) -> datetime | None:
    following = [(track.grid, next_slot(track.grid, track.after)) for track in tracks]
    return min((start_of(grid, slot, policy_key) for grid, slot in following if slot is not None), default=None)


def _reason(run: datetime | None, punctual: bool, missed: MissedRange | None, next_at: datetime | None) -> Reason:
    if run is None:
        if next_at is None:
            return Reason("ended", "no schedule of the policy has another slot")
        return Reason("not_due", f"nothing is due before {_shown(next_at)}")
    passed = f"; {missed.count} earlier slots were missed" if missed else ""
    if punctual:
        return Reason("on_time", f"the slot of {_shown(run)} is due{passed}")
    return Reason("catch_up", f"the slot of {_shown(run)} is late and runs now{passed}")


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
