"""Work for a fleet that is being killed, and what must be true of it in the end.

Used by the crash tests (some 150 kills) and by the long run (`make chaos`, a thousand kills).
"""

import itertools
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.catalog import Job, Part, Point, Policy, Request, Restore, Run, rows, session, transaction
from tasks.catalog.database import database_time
from tasks.crash import POINTS
from tasks.states import JOB_OPEN, RUN_OPEN, PointState, RestoreState, RunState
from tests.scenario.fleet import Fleet, Seat

VOLUMES = 6
WORKERS = 3
COORDINATOR_POINTS = tuple(name for name in POINTS if name.startswith("coordinator."))
WORKER_POINTS = tuple(name for name in POINTS if not name.startswith("coordinator."))
POLICIES: dict[str, dict[str, Any]] = {
    "gold": {
        "targets": [{"tag": {"backup": "gold"}, "types": ["volume"], "accounts": ["prod"]}],
        "generations": 2,
        "retries": {"attempts": 50, "wait": "1m"},
        "dr": [{"region": "eu-west-1", "every": 1}],
    }
}
# What goes wrong in the cloud meanwhile, one for each run asked for.
FAULTS = ("", "", "throttle", "", "lost-response", "", "", "error-state")
# A point that no work reaches within this time is passed over; the test then says so.
POINT_PATIENCE = 25.0


@dataclass
class Outcome:
    """What a killing spree left behind; every count but `kills`, `jobs` and `runs` must be zero."""

    kills: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    jobs: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    dangling: int = 0
    below_floor: int = 0
    seconds: float = 0.0
    stories: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One line."""
        plain = {name: value for name, value in vars(self).items() if name != "reached"}
        return json.dumps({**plain, "points": len(self.reached), "seconds": round(self.seconds, 1)})


def points_for(names: tuple[str, ...], count: int, dice: random.Random) -> list[str]:
    """`count` crash points: every name in turn, at the first, second or third time it is reached."""
    return [f"{name}:{dice.choice((1, 1, 1, 2))}" for name in itertools.islice(itertools.cycle(names), count)]


class Spree:
    """Keeps a fleet busy with every kind of work until its crash points are used up, then lets it heal."""

    def __init__(self, folder: Path, catalog_url: str, broker_url: str, kills: int, seed: int = 1) -> None:
        dice = random.Random(seed)
        self.fleet = Fleet(folder, catalog_url, broker_url)
        self.fleet.estate(VOLUMES, POLICIES, schedule={"every": "15m", "starts_at": "2026-01-01T00:00"})
        share = max(len(COORDINATOR_POINTS), kills * len(COORDINATOR_POINTS) // len(POINTS))
        coordinator_points = points_for(COORDINATOR_POINTS, share, dice)
        worker_points = points_for(WORKER_POINTS, kills - share, dice)
        self.fleet.seat("coordinator", coordinator_points)
        self.fleet.seat("coordinator")  # the other one never dies on purpose, and must do no harm
        for number in range(WORKERS):
            self.fleet.seat("worker", worker_points[number::WORKERS])
        self.outcome = Outcome()
        self._since: dict[str, tuple[str, float]] = {}
        self._asked = itertools.count()

    def run(self, seconds: float) -> Outcome:
        """Work under kills until the points are used up or `seconds` are over, heal, and judge."""
        began = time.monotonic()
        self.fleet.start()
        try:
            while time.monotonic() - began < seconds and any(seat.points for seat in self.fleet.seats):
                self._keep_busy()
                self._pass_over_unreached()
                time.sleep(0.1)
            for seat in self.fleet.seats:
                self.outcome.missed += list(seat.points)
                seat.points.clear()
                seat.env.pop("SNAPFLEET_CRASH_AT", None)
                seat.kill()  # it still has its wish in its environment: the supervisor starts it without
            self.fleet.until("healing", self._healed, 180)
        finally:
            self.fleet.stop()
        self.outcome.seconds = time.monotonic() - began
        return self._judge()

    def _keep_busy(self) -> None:
        """One run after another, now and then a restore that works and one that must be undone."""
        with session():
            busy = Run.select().where(Run.state.in_(list(RUN_OPEN))).exists()
            wishes = Request.select().where(Request.state == "new").exists()
            restoring = Restore.select().where(Restore.state.not_in([RestoreState.DONE, RestoreState.FAILED])).exists()
            point = (
                Point.select()
                .where(Point.state == PointState.GOOD, Point.destination == "")
                .order_by(Point.id.desc())
                .first()
            )
        if wishes:
            return
        if not busy:
            fault = FAULTS[next(self._asked) % len(FAULTS)]
            if fault:
                self.fleet.cloud.fault("start_backup", fault)
            self._ask("run", {"policy": "gold"})
        if point is not None and not restoring:
            if next(self._asked) % 2:
                self.fleet.cloud.fault("start_restore", "error-state")  # fails later, and is undone
            request = {"kind": "volume", "zone": "us-east-1a"}
            self._ask("restore", {"point": point.id, "request": request, "keep_on_failure": False})

    def _ask(self, kind: str, payload: dict[str, Any]) -> None:
        with transaction():
            Request.create(kind=kind, payload=payload, requested_by="test", created_at=database_time())

    def _pass_over_unreached(self) -> None:
        now = time.monotonic()
        for seat in self.fleet.seats:
            wish = f"{seat.wish}#{len(seat.reached)}"
            if self._since.get(seat.name, ("", 0.0))[0] != wish:
                self._since[seat.name] = (wish, now)
            elif seat.wish and now - self._since[seat.name][1] > POINT_PATIENCE:
                self.outcome.missed.append(seat.skip())

    def _healed(self) -> bool:
        with session():
            return not (
                Run.select().where(Run.state.in_(list(RUN_OPEN))).exists()
                or Request.select().where(Request.state == "new").exists()
                or Job.select().where(Job.state.in_(list(JOB_OPEN)), Job.kind.not_in(["poll", "discover"])).exists()
                or Job.select().where(~Job.settled).exists()
                or Point.select().where(Point.state.in_([PointState.CREATING, PointState.EXPIRING])).exists()
            )

    def _judge(self) -> Outcome:
        outcome, cloud = self.outcome, self.fleet.cloud
        for seat in self.fleet.seats:
            outcome.kills += len(seat.reached)
            outcome.reached.update(point.split(":")[0] for point in seat.reached)
        made = {call.subject for call in cloud.calls("create:snapshot")}
        with session():
            outcome.jobs, outcome.runs = Job.select().count(), Run.select().count()
            recorded = {part for (part,) in rows(Part.select(Part.external_id))}
            outcome.doubled = len(made - recorded) + _slots_with_two_points()
            outcome.stories = _targets_without_point()
            outcome.lost = len(outcome.stories)
            existing = {thing.id for thing in cloud.of_kind("snapshot")}
            good = {
                part
                for (part,) in rows(Part.select(Part.external_id).join(Point).where(Point.state == PointState.GOOD))
            }
            outcome.dangling = len(good - existing)
            outcome.below_floor = VOLUMES - _targets_with_good_points()
        return outcome


def _slots_with_two_points() -> int:
    """(run, resource, destination) triples with more than one point that is or was good."""
    good = rows(
        Point.select(Point.run, Point.resource, Point.destination).where(
            Point.state.in_([PointState.GOOD, PointState.DELETED]), Point.kind != "intermediate", Point.error_code == ""
        )
    )
    return sum(count - 1 for count in Counter(good).values() if count > 1)


def _targets_without_point() -> list[str]:
    """Finished runs in which a target has no primary point, with what the run says of itself."""
    missing = []
    for run in Run.select().where(Run.state != RunState.CANCELLED):
        have = {
            resource
            for (resource,) in rows(Point.select(Point.resource).where(Point.run == run.id, Point.destination == ""))
        }
        # A backup that had not begun when the next slot came stands for that slot too, and the run says so.
        have |= {
            resource
            for (resource,) in rows(Job.select(Job.resource).where(Job.run == run.id, Job.error_code == "overlapped"))
        }
        if len(have) < VOLUMES:
            missing.append(f"run-{run.id} {run.trigger} {run.state} {len(have)}/{run.targets} {run.problems}")
    return missing


def _targets_with_good_points() -> int:
    query = Point.select(Point.resource).where(Point.state == PointState.GOOD, Point.destination == "").distinct()
    return len(rows(query))


def policy_successes() -> int:
    """Successful runs of the policy."""
    with session():
        return int(Policy.get(Policy.name == "gold").successes)


__all__ = ["Outcome", "Seat", "Spree", "policy_successes"]
