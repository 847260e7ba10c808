"""A week of a very large estate in minutes: the fleet's flows as numbers by place, calibrated against the simulator.

    python -m tests.sim.estate [--resources 1000000] [--accounts 500] [--workers 8]

A place is an account and a region. In each step of virtual time due slots join a place's line, admission lets starts
through as the product's pace allows (coordinator.admission), the fleet's threads are shared evenly among places that
want them, snapshots run for as long as they run, copies fill the destination's slots, polls ask about what is in
flight. No resource is an object: memory follows places, not resources. The last line is JSON.
"""

import argparse
import json
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from coordinator.admission import STARTS
from coordinator.copy_slots import COPY_SLOTS
from workers.handlers.poll import MOST_AT_ONCE

DAY = 86_400
PAGE = 200  # snapshots in one description, the drivers' batch


@dataclass(frozen=True)
class Plan:
    """What there is and how long things take, in seconds. Thread times are those a job has a worker's thread in hand.

    `snapshot_s` is how long the cloud takes (first and last of an even spread), `spread` over how long the slots of a
    day are spread, `rpo` how old the newest good point may be.
    """

    resources: int = 1_000_000
    accounts: int = 500
    regions: int = 3
    days: int = 7
    step: int = 120
    cadence: int = DAY
    spread: int = 4 * 3600
    rpo: int = 26 * 3600
    copied: float = 0.5
    workers: int = 8
    threads: int = 8
    snapshot_thread_s: float = 1.0
    copy_thread_s: float = 1.0
    poll_thread_s: float = 0.5
    snapshot_s: tuple[int, int] = (60, 1800)
    copy_s: tuple[int, int] = (300, 3600)
    poll_floor: int = 15
    poll_ceiling: int = 300
    until: int = 0  # seconds after which no slot comes; 0: all days


@dataclass
class Place:
    """One account and region: who waits since when, what is in flight until when."""

    size: int
    phase: int  # second of the cadence at which its slots begin
    line: deque[tuple[int, float]] = field(default_factory=deque)  # (slot, how many still wait)
    running: dict[int, float] = field(default_factory=dict)  # step of completion -> how many
    to_copy: float = 0.0
    copying: dict[int, float] = field(default_factory=dict)
    snapshots: float = 0.0  # in flight, the sum of `running`
    copies: float = 0.0
    waiting: float = 0.0
    next_poll: int = 0
    pause: int = 0


@dataclass
class Week:
    """What came of it."""

    starts: float = 0.0
    copies: float = 0.0
    in_time: float = 0.0
    done: float = 0.0
    calls: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    backlog_most: float = 0.0
    in_flight_most: float = 0.0
    busy_s: float = 0.0  # of threads
    busiest_s: float = 0.0  # of threads in the hour that wanted most, waited for or not
    last_start_s: int = 0
    last_done_s: int = 0

    def figures(self, plan: Plan) -> dict[str, Any]:
        """One JSON object."""
        return {
            "resources": plan.resources,
            "accounts": plan.accounts,
            "days": plan.days,
            "backups": round(self.starts),
            "copies": round(self.copies),
            "rpo_met": round(self.in_time / self.done, 6) if self.done else None,
            "backlog_most": round(self.backlog_most),
            "in_flight_most": round(self.in_flight_most),
            "api_calls": {name: round(count) for name, count in sorted(self.calls.items())},
            "workers": plan.workers,
            "workers_used": round(self.busy_s / (plan.days * DAY * plan.threads), 2),
            "workers_needed": max(1, ceil(self.busiest_s / (3600 * plan.threads))),
        }


def places_of(plan: Plan) -> list[Place]:
    """Accounts of very different sizes (the n-th has 1/n of the first), each spread evenly over its regions."""
    weights = [1 / rank for rank in range(1, plan.accounts + 1)]
    left, total, places = plan.resources, sum(weights), []
    for number, weight in enumerate(weights):
        size = min(left, max(1, round(plan.resources * weight / total)))
        if number == plan.accounts - 1:
            size = left
        left -= size
        for region in range(plan.regions):
            share = size // plan.regions + (region < size % plan.regions)
            if share:
                places.append(Place(share, (number * 7919 + region * 104_729) % max(1, plan.spread)))
    return places


def live(plan: Plan) -> Week:
    """The plan's days, step by step, and then until the lines are empty (two days at most)."""
    places, week = places_of(plan), Week()
    hour: deque[float] = deque(maxlen=max(1, 3600 // plan.step))
    end = plan.until or plan.days * DAY
    for now in range(0, end + 2 * DAY, plan.step):
        if now < end:
            _fall_due(places, plan, now)
        elif not any(place.line or place.running or place.copying or place.to_copy >= 1 for place in places):
            break
        wanted, used = _work(places, plan, now, week)
        week.busy_s += used
        hour.append(wanted)
        week.busiest_s = max(week.busiest_s, sum(hour))
        week.backlog_most = max(week.backlog_most, sum(place.waiting for place in places))
        week.in_flight_most = max(week.in_flight_most, sum(place.snapshots + place.copies for place in places))
    return week


def _fall_due(places: Iterable[Place], plan: Plan, now: int) -> None:
    """A slot comes; a target that still waits for an earlier one stands in line once only (coordinator.planned)."""
    for place in places:
        if (now - place.phase) % plan.cadence < plan.step and now >= place.phase:
            fresh = place.size - place.waiting
            if fresh > 0:
                place.line.append((now, fresh))
                place.waiting += fresh


def _work(places: Sequence[Place], plan: Plan, now: int, week: Week) -> tuple[float, float]:
    """Completions, polls, then as many starts as paces, slots and threads allow; thread seconds wanted and used."""
    wanted = used = 0.0
    for place in places:
        if not (place.running or place.copying):
            continue
        _complete(place, plan, now, week)
        used += _poll(place, plan, now, week)
    threads = plan.workers * plan.threads * plan.step - used
    pace = STARTS.per_second * plan.step
    asks = []
    for place in places:
        if place.line or place.to_copy >= 1:
            starts = min(place.waiting, pace)
            copies = min(place.to_copy, max(0.0, COPY_SLOTS["ec2"] - place.copies), pace)
            asks.append((starts * plan.snapshot_thread_s + copies * plan.copy_thread_s, starts, copies, place))
    wanted = used + sum(ask for ask, *_ in asks)
    left = len(asks)
    for ask, starts, copies, place in sorted(asks, key=lambda one: one[0]):  # an even share each; who wants less
        part = min(1.0, (threads / left) / ask) if ask else 1.0  # leaves the rest to the others
        _start(place, plan, now, week, starts * part, copies * part)
        threads -= ask * part
        used += ask * part
        left -= 1
    return wanted, used


def _start(place: Place, plan: Plan, now: int, week: Week, starts: float, copies: float) -> None:
    week.starts += starts
    week.copies += copies
    week.calls["CreateSnapshot"] += starts
    week.calls["CopySnapshot"] += copies
    if starts or copies:
        week.last_start_s = now
        if not place.running and not place.copying:
            place.next_poll, place.pause = now + plan.poll_floor, plan.poll_floor
    left = starts
    while left > 1e-9 and place.line:
        slot, count = place.line.popleft()
        taken = min(left, count)
        left -= taken
        place.waiting -= taken
        if count - taken > 1e-9:
            place.line.appendleft((slot, count - taken))
        late = now + plan.snapshot_s[1] - slot
        week.in_time += taken if plan.cadence + late <= plan.rpo else 0
        week.done += taken
    _spread(place.running, starts, plan.snapshot_s, plan, now)
    place.snapshots += starts
    place.copies += copies
    place.to_copy -= copies
    _spread(place.copying, copies, plan.copy_s, plan, now)


def _spread(flight: dict[int, float], count: float, takes: tuple[int, int], plan: Plan, now: int) -> None:
    """What begins now ends evenly between the shortest and the longest time."""
    if count <= 0:
        return
    first, last = (ceil((now + seconds) / plan.step) for seconds in takes)
    for step in range(first, last + 1):
        flight[step] = flight.get(step, 0.0) + count / (last + 1 - first)


def _complete(place: Place, plan: Plan, now: int, week: Week) -> None:
    step = now // plan.step
    done, copied = place.running.pop(step, 0.0), place.copying.pop(step, 0.0)
    place.snapshots -= done
    place.copies -= copied
    place.to_copy += done * plan.copied
    if done + copied:
        week.last_done_s = now


def _poll(place: Place, plan: Plan, now: int, week: Week) -> float:
    """One poll asks about everything at a place that is due; its pauses double while nothing new begins."""
    flight = place.snapshots + place.copies
    used = 0.0
    while flight > 1e-6 and place.next_poll <= now:
        turns = ceil(flight / MOST_AT_ONCE)
        week.calls["poll"] += turns
        week.calls["DescribeSnapshots"] += ceil(flight / PAGE)
        used += turns * plan.poll_thread_s
        place.next_poll += place.pause
        place.pause = min(plan.poll_ceiling, place.pause * 2)
    return used


def main() -> None:
    """Live through the week and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=Plan.resources)
    parser.add_argument("--accounts", type=int, default=Plan.accounts)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--days", type=int, default=Plan.days)
    options = parser.parse_args()
    plan, began = Plan(**vars(options)), time.monotonic()
    print(json.dumps({**live(plan).figures(plan), "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
