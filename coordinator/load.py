"""The load of a span of time that has not come: runs, jobs, calls and work per hour, and what will not fit. Pure.

Slots are those of the schedules, starts those that the tick will take (the policy's own place in the spread included),
targets those of each policy's newest run. What a place cannot start within an hour at the pace that admission allows
goes over into the next, as the backlog will.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from coordinator.admission import STARTS
from coordinator.due import Grid, next_slot, slots_between, start_of
from coordinator.elastic import UNMEASURED_SECONDS

HOUR = timedelta(hours=1)
# Calls to the cloud for one job, on the safe side. A snapshot took 1.1 in a steady night of `make bench-estate`, 3.1 in
# a first one (2026-11-22); a copy and an archive are estimates: look-ups, the creating call, a share of the polls.
CALLS: Mapping[str, int] = {"snapshot": 4, "copy": 4, "archive": 8}
Place = tuple[str, str]
"""(account, region)"""


@dataclass(frozen=True)
class PolicyLoad:
    """A policy: its schedules, how many targets it has in each place, and what follows each n-th backup: (n, place) of
    copies and n of archives (0: none)."""

    name: str
    grids: Sequence[Grid]
    targets: Mapping[Place, int]
    copies: Sequence[tuple[int, Place]] = ()
    archive_every: int = 0


@dataclass
class Hour:
    """What begins in one hour. `saturated` are places that cannot start it all within it, `left` what goes over."""

    begins_at: datetime
    runs: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    seconds: float = 0.0
    saturated: dict[Place, int] = field(default_factory=dict)
    over_capacity: bool = False


@dataclass(frozen=True)
class Crowded:
    """A slot whose jobs in a place are all begun only `wait` after its start, because of the pace there."""

    slot_at: datetime
    start_at: datetime
    policy: str
    place: Place
    jobs: int
    wait: timedelta


def forecast(
    policies: Sequence[PolicyLoad], begins_at: datetime, hours: int, seconds: Mapping[str, float], threads: int
) -> tuple[list[Hour], list[Crowded]]:
    """`hours` hours from `begins_at`, and the slots over capacity in order of start.

    `seconds` is what a job of each kind takes a thread; `threads` what the fleet has (0: not known, so never too few).
    """
    found = [Hour(begins_at + HOUR * index) for index in range(hours)]
    crowded: list[Crowded] = []
    busy: dict[Place, datetime] = {}  # until when each place starts what has come so far
    starts = sorted(_starts(policies, begins_at, begins_at + HOUR * hours), key=lambda item: (item[0], item[2].name))
    by_hour: dict[int, list[tuple[datetime, datetime, PolicyLoad]]] = defaultdict(list)
    for start, slot, policy in starts:
        by_hour[(start - begins_at) // HOUR].append((start, slot, policy))
    work = 0.0
    for index, hour in enumerate(found):
        for start, slot, policy in by_hour[index]:
            _add(hour, policy, seconds)
            crowded += _queue(busy, start, slot, policy)
        end = hour.begins_at + HOUR
        left = {place: round((until - end).total_seconds() * STARTS.per_second) for place, until in busy.items()}
        hour.saturated = {place: jobs for place, jobs in sorted(left.items()) if jobs > 0}
        work = max(0.0, work + hour.seconds - threads * HOUR.total_seconds()) if threads else 0.0
        hour.over_capacity = work > 0
    return found, crowded


def _starts(
    policies: Iterable[PolicyLoad], since: datetime, until: datetime
) -> Iterable[tuple[datetime, datetime, PolicyLoad]]:
    """(start, slot, policy); a slot on which two schedules of a policy meet runs once, at the earlier start."""
    for policy in policies:
        earliest: dict[datetime, datetime] = {}
        for grid in policy.grids:
            for slot in slots_between(grid, since - grid.spread - timedelta(seconds=1), until):
                start = start_of(grid, slot, policy.name)
                earliest[slot] = min(start, earliest.get(slot, start))
        yield from ((start, slot, policy) for slot, start in earliest.items() if since <= start < until)


def _add(hour: Hour, policy: PolicyLoad, seconds: Mapping[str, float]) -> None:
    """Copies and archives count with the share of runs in which they come, so that whole days add up."""
    targets = sum(policy.targets.values())
    hour.runs += 1
    jobs = {"snapshot": float(targets), "copy": sum(targets / every for every, _ in policy.copies)}
    jobs["archive"] = targets / policy.archive_every if policy.archive_every else 0.0
    for kind, count in jobs.items():
        whole = round(count)
        hour.jobs[kind] += whole
        hour.calls += whole * CALLS[kind]
        hour.seconds += whole * seconds.get(kind, UNMEASURED_SECONDS)


def _queue(busy: dict[Place, datetime], start: datetime, slot: datetime, policy: PolicyLoad) -> list[Crowded]:
    """Put a start into its places' lines. Over capacity is what takes over an hour, or ends after the next slot."""
    after = (next_slot(grid, slot) for grid in policy.grids)
    following = min((one for one in after if one is not None), default=None)
    found = []
    for place, jobs in sorted(policy.targets.items()):
        done = max(busy.get(place, start), start) + timedelta(seconds=jobs / STARTS.per_second)
        busy[place] = done
        if done - start > HOUR or (following is not None and done > following):
            found.append(Crowded(slot, start, policy.name, place, jobs, done - start))
    return found
