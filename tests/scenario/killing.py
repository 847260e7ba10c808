"""Work for a fleet that is being killed, and what must be true of it in the end.

Used by the crash tests (some 130 kills) and by the long run (`make chaos`, a thousand kills).
"""

import contextlib
import itertools
import json
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.catalog import Creation, Job, Part, Point, Policy, Request, Restore, Run, rows, session, transaction
from tasks.catalog.database import database_time
from tasks.crash import POINTS
from tasks.errors import Unavailable
from tasks.states import JOB_OPEN, RUN_OPEN, PointState, RestoreState, RunState
from tests.fakes.cloud import Busy
from tests.scenario.fleet import Fleet, Seat, name_of
from tests.scenario.trouble import Trouble

VOLUMES = 12
WORKERS = 5
# Those of archives have a spree of their own, over an object store: tests.scenario.archiving.
ARCHIVING_POINTS = tuple(
    name for name in POINTS if name.startswith(("archive.", "part.", "fetch.", "forget.", "sync."))
)
COORDINATOR_POINTS = tuple(name for name in POINTS if name.startswith("coordinator."))
# A fleet that has its catalog writes nothing again: tests.workers.test_rebuild_deaths.
ELSEWHERE = tuple(name for name in POINTS if name.startswith("rebuild."))
WORKER_POINTS = tuple(name for name in POINTS if name not in {*COORDINATOR_POINTS, *ARCHIVING_POINTS, *ELSEWHERE})
MINE = COORDINATOR_POINTS + WORKER_POINTS
POLICIES: dict[str, dict[str, Any]] = {
    "gold": {
        "targets": [{"tag": {"backup": "gold"}, "types": ["volume"], "accounts": ["prod"]}],
        "generations": 2,
        "retries": {"attempts": 50, "wait": "1m"},
        "dr": [{"region": "eu-west-1", "every": 1}],
    }
}
# What goes wrong in the cloud meanwhile, in turn and this often (seconds).
FAULTS = ("throttle", "throttle", "lost-response", "throttle", "throttle", "error-state")
FAULT_EVERY = 2.0
HOST = "i-host"
# Points that a spree comes by only now and then: the first time must do.
RARE = ("coordinator.mark", "undo", "restore", "job.fail", "cleanup", "discover")
# Seconds: what healing may take at most; on two idle cores it takes ten (2026-11-23).
HEALING = 400.0
# How many points there are for each kill: names that were reached least have most of them left and come first, so that
# a spree neither has to wait for the third time of a rare one nor runs out of common ones.
CHOICE = 2
# Seconds: longer than the lease of the sweep (9 s), shorter than the patience for a point.
UNSEAT_EVERY = 12.0
# Seconds between two looks at what is under way: each asks the catalog five questions.
LOOK_EVERY = 0.3
# What a process may die at: of so many points one comes by soon, and work gets done in between.
ARMS = 8
# When a process comes by none of its points within this time, it is given others.
POINT_PATIENCE = 15.0


@dataclass
class Outcome:
    """What a killing spree left behind; lost, doubled, dangling and below_floor must be zero."""

    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
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
        plain = {name: value for name, value in vars(self).items() if name not in ("reached", "faults")}
        more = {"faults": self.faults.total(), "fault_kinds": dict(self.faults), "points": len(self.reached)}
        return json.dumps({**plain, **more, "seconds": round(self.seconds, 1)})


def points_for(names: tuple[str, ...], count: int, dice: random.Random) -> list[str]:
    """`count` crash points: every name in turn, at the first, second or third time it is reached."""
    wanted = itertools.islice(itertools.cycle(names), count)
    return [name if name.startswith(RARE) else f"{name}:{dice.choice((1, 1, 1, 2))}" for name in wanted]


class Spree:
    """Keeps a fleet busy with every kind of work until its crash points are used up, then lets it heal."""

    def __init__(
        self,
        folder: Path,
        catalog_url: str,
        broker_url: str,
        kills: int,
        seed: int = 1,
        workers: int = WORKERS,
        trouble: Trouble | None = None,
    ) -> None:
        dice = random.Random(seed)
        self._kills, self._trouble = kills, trouble
        links = (trouble.catalog_url, trouble.broker_url) if trouble else (catalog_url, broker_url)
        self.fleet = Fleet(folder, catalog_url, broker_url, links)
        self.fleet.estate(VOLUMES, POLICIES, schedule={"every": "15m", "starts_at": "2026-01-01T00:00"})
        self.fleet.cloud.instance(HOST, zone="us-east-1a")
        if trouble:
            trouble.cloud = self.fleet.cloud
        self.fleet.cloud.set("page", 3)  # so that a look takes several pages
        share = max(len(COORDINATOR_POINTS), CHOICE * kills * len(COORDINATOR_POINTS) // len(MINE))
        coordinator_points = deque(points_for(COORDINATOR_POINTS, share, dice))
        worker_points = deque(points_for(WORKER_POINTS, CHOICE * kills - share, dice))
        self._lines = (coordinator_points, worker_points)  # seats of one role share one
        dying = max(2, workers // 4)
        for _ in range(dying):
            self.fleet.seat("coordinator", coordinator_points, arms=ARMS)
        self._steady = self.fleet.seat("coordinator")  # it has no point to die at, and must do no harm
        self._unseated_at = time.monotonic()
        for _ in range(workers):
            self.fleet.seat("worker", worker_points, arms=ARMS)
        self.outcome = Outcome()
        self._faults = itertools.cycle(FAULTS)
        self._planted_at = 0.0
        self._spoiled: set[int] = set()

    def run(self, seconds: float) -> Outcome:
        """Work under kills until the points are used up or `seconds` are over, heal, and judge."""
        began = time.monotonic()
        self.fleet.start()
        try:
            while time.monotonic() - began < seconds and self._goes_on():
                self._meanwhile()
                time.sleep(LOOK_EVERY)
            if self._trouble:
                self._trouble.end()
                self.outcome.faults = self._trouble.faults
            self.outcome.missed = sorted(self._unreached())
            for seat in self.fleet.seats:
                seat.points.clear()
                seat.env.pop("SNAPFLEET_CRASH_AT", None)
                self.fleet.cloud.forgive()
                seat.kill()  # it still has its wish in its environment: the supervisor starts it without
            try:
                self.fleet.until("healing", self._healed, HEALING)
            except AssertionError as late:
                raise AssertionError("\n".join([*self._open_ends(), str(late)])) from None
        finally:
            self.fleet.stop()
        self.outcome.seconds = time.monotonic() - began
        return self._judge()

    def _goes_on(self) -> bool:
        """While a kill is still wanted and a point left, a name never reached, or a fault to come."""
        if self._trouble is not None and self._trouble.left > 0:
            return True
        done = sum(len(seat.reached) for seat in self.fleet.seats) >= self._kills
        wanted = self._unreached()
        if done and wanted:
            self._narrow(wanted)
        return bool(wanted) or (not done and any(self._lines))

    def _unreached(self) -> set[str]:
        """Names at which nobody has died so far, of those that somebody was given."""
        left = {name_of(point) for line in self._lines for point in line.copy()}
        return left - {name_of(point) for seat in self.fleet.seats for point in seat.reached}

    def _narrow(self, wanted: set[str]) -> None:
        """There were kills enough: who starts now dies at one of these names or not at all."""
        for line in self._lines:
            for point in line.copy():
                if name_of(point) not in wanted:
                    with contextlib.suppress(ValueError):  # the supervisor has just taken it off
                        line.remove(point)

    def _meanwhile(self) -> None:
        with contextlib.suppress(Unavailable, Busy):  # this process's own connection may be cut too
            self._keep_busy()
            self.fleet.hurry()
        for seat in self.fleet.seats:
            seat.put_off_when_unreached(POINT_PATIENCE)
        self._unseat()
        if self._trouble:
            self._trouble.step()

    def _unseat(self) -> None:
        """Kill the steady coordinator now and then: as long as it has the lease of the sweep, nobody else comes by the
        points inside."""
        wanted = "coordinator.mark-before-commit" in self._unreached()
        if wanted and time.monotonic() - self._unseated_at > UNSEAT_EVERY:
            self._unseated_at = time.monotonic()
            self._steady.kill()

    def _keep_busy(self) -> None:
        """Schedules make runs; this adds runs asked for, restores of which every second is undone, and faults."""
        with session():
            busy = Run.select().where(Run.state.in_(list(RUN_OPEN))).exists()
            wishes = Request.select().where(Request.state == "new").exists()
            restore = Restore.select().where(Restore.state.not_in([RestoreState.DONE, RestoreState.FAILED])).first()
            made = restore is not None and Creation.select().where(Creation.restore == restore.id).exists()
            point = (
                Point.select()
                .where(Point.state == PointState.GOOD, Point.destination == "")
                .order_by(Point.id.desc())
                .first()
            )
        if time.monotonic() - self._planted_at > FAULT_EVERY:
            self._planted_at = time.monotonic()
            self.fleet.cloud.fault("start_backup", next(self._faults))
        if made and restore.id % 2 and restore.id not in self._spoiled:
            self._spoiled.add(restore.id)
            self.fleet.cloud.fault("start_restore", "denied")  # its second step: what the first made is removed again
        if wishes:
            return
        if not busy:
            self._ask("run", {"policy": "gold"})
        if point is not None and restore is None:
            request = {"kind": "volume", "attach_to": HOST, "device": "/dev/sdx"}
            self._ask("restore", {"point": point.id, "request": request, "keep_on_failure": False})

    def _ask(self, kind: str, payload: dict[str, Any]) -> None:
        with transaction():
            Request.create(kind=kind, payload=payload, requested_by="test", created_at=database_time())

    def _healed(self) -> bool:
        with contextlib.suppress(Unavailable):
            self.fleet.hurry()
            return not self._open_ends()
        return False

    def _open_ends(self) -> list[str]:
        """What is not over yet, each with what it says of itself."""
        open_jobs = Job.select().where(Job.state.in_(list(JOB_OPEN)), Job.kind.not_in(["poll", "discover"]))
        half_points = Point.select().where(Point.state.in_([PointState.CREATING, PointState.EXPIRING]))
        with session():
            found = [f"run-{row.id} {row.state}" for row in Run.select().where(Run.state.in_(list(RUN_OPEN)))]
            found += [f"request {row.id} {row.kind}" for row in Request.select().where(Request.state == "new")]
            found += [
                f"job {row.id} {row.kind} {row.state} attempt {row.attempt} {row.error_code} until {row.not_before_at}"
                for row in open_jobs
            ]
            found += [f"job {row.id} {row.kind} {row.state} not settled" for row in Job.select().where(~Job.settled)]
            found += [f"rp-{row.id} {row.state} {row.expire_text} {row.error_text}" for row in half_points]
        return found

    def _about(self, snapshot: str) -> str:
        """What is known of a snapshot: its key, and the job and points of that key."""
        thing = self.fleet.cloud.get(snapshot)
        if thing is None:
            return "which is gone"
        job = Job.get_or_none(Job.key == thing.key.split("/")[0].rsplit("-", 1)[0])
        points = rows(
            Point.select(Point.id, Point.state, Point.error_code).where(Point.id == (job.point_id if job else 0))
        )
        story = job and (job.id, job.kind, str(job.state), job.epoch, job.fence, job.error_code, job.error_text)
        return f"key {thing.key} fate {thing.doc.get('fate')} job {story} points {points}"

    def _judge(self) -> Outcome:
        outcome, cloud = self.outcome, self.fleet.cloud
        for seat in self.fleet.seats:
            outcome.kills += len(seat.reached)
            outcome.reached.update(name_of(point) for point in seat.reached)
        made = {call.subject for call in cloud.calls("create:snapshot")}
        with session():
            outcome.jobs, outcome.runs = Job.select().count(), Run.select().count()
            recorded = {part for (part,) in rows(Part.select(Part.external_id))}
            orphans = sorted(made - recorded)
            twins, missing = _slots_with_two_points(), _targets_without_point()
            outcome.doubled, outcome.lost = len(orphans) + len(twins), len(missing)
            outcome.stories = [f"nobody recorded {one} {self._about(one)}" for one in orphans] + twins + missing
            existing = {thing.id for thing in cloud.of_kind("snapshot")}
            good = {
                part
                for (part,) in rows(Part.select(Part.external_id).join(Point).where(Point.state == PointState.GOOD))
            }
            outcome.dangling = len(good - existing)
            outcome.below_floor = VOLUMES - _targets_with_good_points()
        return outcome


def _slots_with_two_points() -> list[str]:
    """Runs with more than one point, that is or was good, of one resource in one place."""
    good = rows(
        Point.select(Point.run, Point.resource, Point.destination).where(
            Point.completed_at.is_null(False), Point.kind != "intermediate"
        )
    )
    return [
        f"run-{run} resource {what} at {where!r}: {n} points"
        for (run, what, where), n in Counter(good).items()
        if n > 1
    ]


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
        # Before the very first look has ended nobody can know all targets; a run that waited for it in vain says so.
        unlooked = any(problem.get("code") == "stale-look" for problem in run.problems)
        if len(have) < (run.targets if unlooked else VOLUMES):
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
