"""What `make bench-estate` asks of admission: a request bucket used up and never overdrawn, copy slots always full.

`budget`: so many volumes of one account and region against AWS's bucket for CreateSnapshot, 100 requests refilled at
5/s, at twenty times AWS's speed (100/s), of which the product may use 60 %, with one worker and with eight. `slots`:
copies into one region, of which the cloud runs twenty at once; a worker is killed in the middle. What ran when is read
from the cloud's own times of each copy, what was refused from its log of calls.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from peewee import fn

from tasks.catalog import Job, Part, Point, Run, rows, session
from tasks.states import JobState, PointState, RunState
from tests.bench import watch
from tests.bench.house import FIRST_NIGHT, House, Servers, Size, moved_in

SPEED = 20.0  # of the cloud's buckets and of its work, beside AWS's
BUCKET, REFILL, SHARE = 100, 5.0 * SPEED, 0.6
SLOTS = 20
_CREATES = ("CreateSnapshot", "CreateSnapshots")
PATIENCE = 1500.0


@dataclass(frozen=True)
class Asked:
    """How much is asked for: snapshots against the bucket, copies into the slots, how long a copy runs, and the lease
    of the fleet that copies (see `Size`)."""

    snapshots: int = 10_000
    copies: int = 1_000
    copy_seconds: float = 15.0  # five minutes of AWS at `SPEED`
    crowds: Sequence[int] = (1, 8)
    lease: float = 0.0


def measure(servers: Servers, asked: Asked) -> dict[str, Any]:
    """Both sections; the figures of the JSON line, and under `budgets` and `copy_slots` what they come from."""
    budgets = {crowd: budget(servers, asked.snapshots, crowd) for crowd in asked.crowds} if asked.snapshots else {}
    report: dict[str, Any] = {"budgets": budgets}
    if budgets:
        calls = sum(one["calls"] for one in budgets.values())
        report["throttled_share"] = round(sum(one["throttled"] for one in budgets.values()) / calls, 5)
        report |= {f"budget_used_{crowd}": one["used"] for crowd, one in budgets.items()}
    if asked.copies:
        figures = slots(servers, asked)
        report |= {name: figures[name] for name in ("slots_busy", "slots_exceeded", "slots_refilled_s")}
        report["copy_slots"] = figures
    return report


def budget(servers: Servers, snapshots: int, workers: int) -> dict[str, Any]:
    """One night of snapshots in one place; `used` is how much of the share was used while there was work."""
    size = Size(
        instances=snapshots, accounts=1, regions=1, volumes=1, coordinators=1, workers=workers,
        threads=8 if workers < 4 else 4, snapshot_seconds=1.0, poll_floor=5.0, head_start=6.0 + 5.0 * workers,
    )  # fmt: skip
    account = {"requests": {"ec2.create-snapshot": [BUCKET, REFILL]}, "share": SHARE}
    limits = {name: [BUCKET, REFILL] for name in _CREATES}
    with moved_in(servers, size, estate=_estate(account), limits=limits) as house:
        house.cloud.clear_calls()
        house.open_night(1)
        try:
            watch.follow(house, 1)
        finally:
            house.close_night()
        with session():
            ((first, last),) = rows(
                Job.select(fn.MIN(Job.started_at), fn.MAX(Job.started_at)).where(Job.kind == "snapshot")
            )
        counts = house.cloud.ask("GET", "calls", recent=0)["counts"]
    creates = [row for row in counts if row["operation"] in _CREATES]
    seconds = (last - first).total_seconds()
    figures = {
        "workers": workers,
        "snapshots": sum(row["count"] for row in creates if row["outcome"] == "ok"),
        "calls": sum(row["count"] for row in counts),
        "creates_throttled": sum(row["count"] for row in creates if row["outcome"] == "RequestLimitExceeded"),
        "throttled": sum(row["count"] for row in counts if row["outcome"] == "RequestLimitExceeded"),
        "seconds": round(seconds, 1),
        "used": round(snapshots / (BUCKET * SHARE + REFILL * SHARE * seconds), 3),
    }
    _say(f"budget: {figures}")
    return figures


def slots(servers: Servers, asked: Asked) -> dict[str, Any]:
    """Copies of one region's volumes (the seed spreads them over both) into the other; how many ran there over time."""
    size = Size(
        instances=2 * asked.copies, accounts=1, regions=2, volumes=1, coordinators=1, workers=2, threads=4,
        snapshot_seconds=0.5, poll_floor=0.4, lease=asked.lease,
    )  # fmt: skip
    wide = {"ec2.create-snapshot": [1000, 1000], "ec2.copy-snapshot": [1000, 1000], "ec2.read": [1000, 1000]}
    account = {"requests": wide, "share": 1.0, "copy_slots": {"ec2": SLOTS}}
    estate = _estate(account, copies=True)
    settings = {"metering": False, "copy_seconds": asked.copy_seconds, "copies_per_destination": SLOTS}
    with moved_in(servers, size, estate=estate, **settings) as house:
        house.open_night(1)
        try:
            killed_at = _kill_midway(house, asked.copies)
            _until_copied(house)
        finally:
            house.close_night()
        spans = _spans(house)
        refused = house.cloud.count("CopySnapshot", "ResourceLimitExceeded")
    waits_until = sorted(began for began, _ in spans)[-1]
    figures = {"copies": len(spans), **occupancy(spans, waits_until, killed_at)}
    figures["slots_exceeded"] = refused + max(0, figures["most"] - SLOTS)
    _say(f"slots: {figures}")
    return figures


def occupancy(spans: Sequence[tuple[float, float]], until: float, killed_at: float) -> dict[str, Any]:
    """How full the slots were from when they were first full until the last copy began: the share of time that each
    was busy, the most at once, and how long after the kill they were first full again (0: they stayed full). Pure."""
    changes = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    levels, running = [], 0
    for at, change in changes:
        running += change
        levels.append((at, running))
    full = next((at for at, level in levels if level >= SLOTS), levels[0][0])
    steps = [(max(at, full), min(after, until), level) for (at, level), (after, _) in pairwise(levels)]
    busy = sum(min(level, SLOTS) * (after - at) for at, after, level in steps if after > at)
    dips = [at for at, level in levels if at >= killed_at and level < SLOTS]
    again = next((at for at, level in levels if dips and at >= dips[0] and level >= SLOTS), None)
    return {
        "slots_busy": round(busy / (SLOTS * max(1e-9, until - full)), 3),
        "slots_refilled_s": round(again - dips[0], 2) if dips and again is not None else 0.0,
        "most": max(level for _, level in levels),
        "seconds": round(until - full, 1),
    }


def _kill_midway(house: House, copies: int) -> float:
    """Kill a worker when a third of the copies is done; when that was, by the cloud's clock (the host's)."""
    _wait(house, lambda: _good_copies() >= copies // 3)
    victim = house.processes.pop("worker-1")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    return time.time()


def _until_copied(house: House) -> None:
    open_states = (RunState.RESOLVING, RunState.OPEN)
    _wait(house, lambda: not Run.select().where(Run.state.in_(open_states)).exists())


def _wait(house: House, condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        house.look()
        with session():
            if condition():
                return
            failed = Job.select().where(Job.state == JobState.FAILED, Job.kind.in_(["snapshot", "copy"])).count()
        if failed or time.monotonic() > end:
            raise RuntimeError(f"{failed} jobs failed; {_good_copies()} copies are good")
        time.sleep(0.5)


def _good_copies() -> int:
    with session():
        return int(Point.select().where(Point.destination != "", Point.state == PointState.GOOD).count())


def _spans(house: House) -> list[tuple[float, float]]:
    """When each copy began and ended in the cloud, in seconds."""
    with session():
        kept = {one for (one,) in rows(Part.select(Part.external_id).join(Point).where(Point.destination != ""))}
        ((arn, region),) = [(one.account.role_arn, one.region) for one in _one_copy()]
    there = house.cloud.ask("GET", f"snapshots/{arn.split(':')[4]}/{region}")
    return [(_seconds(one["began_at"]), _seconds(one["ends_at"])) for one in there if one["id"] in kept]


def _one_copy() -> list[Point]:
    return list(Point.select().where(Point.destination != "").limit(1))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _estate(limits: dict[str, Any], *, copies: bool = False) -> Any:
    """What `moved_in` applies: every volume once a night, copied to the second region when that is wanted."""

    def made(facts: dict[str, Any]) -> dict[str, Any]:
        (role,), home = facts["roles"], facts["regions"][0]
        account = {
            "name": "account-00",
            "cloud": "aws",
            "role_arn": role["arn"],
            "external_id": "env:EXTERNAL_ID",
            "regions": facts["regions"],
            "limits": limits,
        }
        nightly = {"name": "nightly", "every": "1d", "starts_at": f"{FIRST_NIGHT:%Y-%m-%dT%H:%M}", "time_zone": "UTC"}
        policy: dict[str, Any] = {
            "name": "gold",
            "schedules": ["nightly"],
            "targets": [{"tag": {"disk": "bulk"}, "types": ["volume"], "regions": [home]}],
            "generations": 30,
            "retries": {"attempts": 3, "wait": "1m"},
        }
        if copies:
            policy["dr"] = [{"region": facts["regions"][1]}]
        return {"version": 1, "accounts": [account], "schedules": [nightly], "policies": [policy]}

    return made


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
