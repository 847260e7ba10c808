"""A small estate with a fake cloud and one worker's tools, for tests of handlers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.catalog import (
    Account,
    Job,
    Meta,
    Operation,
    Part,
    Point,
    Policy,
    Resource,
    Run,
    database,
    session,
    transaction,
)
from tasks.catalog.transitions import add_job, claim
from tasks.clock import FixedClock
from tasks.lanes import Lane
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tasks.states import JobState, PointState, RunState
from tasks.telemetry import Counters
from tests.fakes.cloud import FakeCloud
from tests.fakes.driver import FakeDriver
from workers.app import work
from workers.context import Context

HOME, AWAY = "us-east-1", "eu-west-1"
START = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
LEASE = timedelta(seconds=120)


def no_connection(method: str) -> None:
    """What a driver call must find: this thread holds no connection to the catalog."""
    assert database.is_closed(), f"a connection was held while the driver was called ({method})"


@dataclass
class World:
    """Rows of one account, one policy, one instance; `work` claims a job and runs its handler as a worker does."""

    home: Path
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(before_call=no_connection)
        fake = FakeDriver(self.cloud)
        self.context = Context(
            settings=Settings(home=self.home),
            clock=self.clock,
            drivers={"instance": fake, "volume": fake},
            keys=MasterKey(bytes(32)),
            installation="inst-1",
            counters=Counters(),
            owner="host:1:worker",
        )
        with transaction():
            Meta.create(key="installation", value="inst-1")
            self.account = Account.create(name="prod", regions=[HOME, AWAY])
            self.policy = Policy.create(name="gold", spec={}, created_at=START, changed_at=START)
            self.run = self.new_run()
        self.resource = self.new_resource("i-1")

    def new_run(self) -> Run:
        """A run of the policy at the present moment."""
        at = self.clock.now() + timedelta(seconds=Run.select().count())
        return Run.create(policy=self.policy, slot_at=at, created_at=at, state=RunState.OPEN)

    def new_resource(self, external_id: str, volumes: int = 2, **doc: Any) -> Resource:
        """An instance in the cloud and in the catalog."""
        self.cloud.instance(external_id, volumes=volumes, **doc)
        with transaction():
            return Resource.create(
                account=self.account,
                region=HOME,
                type="instance",
                external_id=external_id,
                name=external_id,
                found_at=START,
                seen_at=START,
            )

    def job(self, kind: str, lane: Lane, **columns: Any) -> Job:
        """A pending job; run, account and region are filled in."""
        columns = {"account": self.account, "region": HOME, "run": self.run, "service": "ec2", **columns}
        with transaction():
            return add_job(lane=lane, at=self.clock.timer(), kind=kind, **columns)

    def snapshot_job(self, **columns: Any) -> Job:
        """A job that backs up the resource by snapshots."""
        columns = {"resource": self.resource, "spec": {"mode": "snapshots", "exclude": []}, **columns}
        return self.job("snapshot", Lane.SNAPSHOT, **columns)

    def claim(self, job: Job) -> Job:
        """Claim a job as the worker would. It must be there to be claimed."""
        row = self.row(job)
        with session():
            claimed = claim(row.id, row.fence, self.context.owner, self.clock.timer(), LEASE)
        assert claimed is not None
        return claimed

    def work(self, job: Job) -> str:
        """Claim and work; the outcome."""
        return work(self.context, self.claim(job))

    def poll(self, after: timedelta = timedelta(minutes=10), region: str = HOME) -> str:
        """Let time pass, then ask about everything that is due, as the standing job does."""
        self.clock.advance(after)
        key = f"poll:{self.account.id}:{region}:ec2:{self.clock.timer().isoformat()}"
        return self.work(self.job("poll", Lane.POLL, run=None, region=region, key=key, max_attempts=1))

    def row(self, job: Job) -> Job:
        """The job as the catalog has it now."""
        with session():
            return Job.get_by_id(job.id)

    def point(self, job: Job) -> Point:
        """The point that a job makes."""
        with session():
            return Point.get_by_id(self.row(job).point_id)

    def points(self) -> list[Point]:
        """All points, oldest first."""
        with session():
            return list(Point.select().order_by(Point.id))

    def parts(self, point: Point) -> list[Part]:
        """The parts of a point."""
        with session():
            return list(Part.select().where(Part.point == point.id).order_by(Part.id))

    def operations(self, job: Job) -> list[Operation]:
        """The operations of a job."""
        with session():
            return list(Operation.select().where(Operation.job == job.id).order_by(Operation.id))

    def good_point(self, resource: Resource | None = None) -> Point:
        """A recovery point made the real way: backed up, asked about, completed."""
        with transaction():
            run = self.new_run()
        job = self.snapshot_job(run=run, resource=resource or self.resource)
        assert self.work(job) == "waiting"
        self.poll()
        point = self.point(job)
        assert (self.row(job).state, point.state) == (JobState.DONE, PointState.GOOD)
        return point

    def copies_run_on(self, answers: int = 99) -> None:
        """What is there is completed; what is begun from now on runs until it was asked about so often."""
        for thing in self.cloud.of_kind("snapshot"):
            thing.doc["asked"] = answers
            self.cloud.put(thing)
        self.cloud.set("answers", answers)

    def expiring(self, point: Point, code: str = "generations") -> Point:
        """Mark a point as retention does."""
        with transaction():
            Point.update(state=PointState.EXPIRING, expire_code=code, marked_at=self.clock.now()).where(
                Point.id == point.id
            ).execute()
        return point
