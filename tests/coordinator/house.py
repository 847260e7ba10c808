"""A whole house in one thread: real coordinators, inline workers over a fake cloud, a queue in memory, one clock.

`House.work` lets time pass in steps: each coordinator takes a round, then every message that was published is worked
on as a worker process would. Nothing sleeps and nothing is patched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.due import Grid, next_slot, start_of
from coordinator.main import Coordinator
from tasks.catalog import (
    Account,
    Alert,
    Job,
    Meta,
    Outbox,
    Point,
    Policy,
    PolicySchedule,
    Process,
    Request,
    Resource,
    Run,
    Scan,
    Schedule,
    session,
    transaction,
)
from tasks.catalog.transitions import claim
from tasks.clock import FixedClock
from tasks.lanes import LANES, Lane
from tasks.messages import JobMessage
from tasks.secrets import MasterKey
from tasks.settings import Settings
from tasks.states import PointState, RequestState
from tasks.telemetry import Counters
from tests.fakes.cloud import FakeCloud
from tests.fakes.driver import FakeDriver
from workers.app import work
from workers.context import Context

HOME, AWAY, FAR = "us-east-1", "eu-west-1", "eu-central-1"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NIGHTLY = {"every": "1d", "starts_at": "2026-03-01T01:00", "time_zone": "UTC"}
ALL_VOLUMES = {"tag": {"backup": "*"}, "types": ["volume"]}


class Queue:
    """The broker as coordinators see it: takes messages while it is there; what it holds can be purged."""

    def __init__(self) -> None:
        self.available = True
        self.last_error = ""
        self.messages: list[tuple[Lane, JobMessage]] = []
        self.sent: list[tuple[Lane, JobMessage]] = []

    def publish(self, messages: Sequence[tuple[Lane, JobMessage]]) -> list[bool]:
        self.messages += messages
        self.sent += messages
        return [True] * len(messages)

    def take(self) -> list[tuple[Lane, JobMessage]]:
        """Everything that waits, restores first as the lanes say."""
        taken, self.messages = self.messages, []
        return sorted(taken, key=lambda one: list(Lane).index(one[0]))

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class House:
    """One installation; `coordinators` says how many stand side by side."""

    home: Path
    coordinators: int = 1
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))
    queue: Queue = field(default_factory=Queue)
    lanes: tuple[Lane, ...] = tuple(Lane)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.home, poll_floor_seconds=15, retention_seconds=300)
        self.cloud = FakeCloud()
        fake = FakeDriver(self.cloud)
        self.context = Context(
            settings=self.settings,
            clock=self.clock,
            drivers={"instance": fake, "volume": fake},
            keys=MasterKey(bytes(32)),
            installation="inst-1",
            counters=Counters(),
            owner="host:1:worker",
        )
        self.counters = Counters()
        self.staff = [self.coordinator(f"host:{n}:coordinator") for n in range(1, self.coordinators + 1)]
        with transaction():
            Meta.insert(key="installation", value="inst-1").on_conflict_ignore().execute()  # another process's house

    def coordinator(self, name: str) -> Coordinator:
        """One more coordinator of this house."""
        return Coordinator(self.settings, self.clock, self.queue, self.counters, name=name)

    # --- what there is ---

    def account(self, name: str = "prod", regions: Sequence[str] = (HOME,), **columns: Any) -> Account:
        with transaction():
            return Account.create(name=name, regions=list(regions), **columns)

    def policy(self, name: str = "gold", schedules: Iterable[dict[str, Any]] = (), **columns: Any) -> Policy:
        """A policy as `apply` writes it; keyword arguments that are no columns go into its spec."""
        known = {key: columns.pop(key) for key in ("enabled", "priority", "deleted_at") if key in columns}
        spec = {"targets": [ALL_VOLUMES], **columns}
        now = self.clock.now()
        with transaction():
            policy = Policy.create(name=name, spec=spec, created_at=now, changed_at=now, **known)
            for number, grid in enumerate(schedules):
                schedule = Schedule.create(name=f"{name}-{number}", spec=grid, created_at=now, changed_at=now)
                slot = next_slot(Grid.from_spec(grid), now)
                PolicySchedule.create(
                    policy=policy,
                    schedule=schedule,
                    next_slot_at=slot,
                    next_start_at=slot and start_of(Grid.from_spec(grid), slot, name),
                    last_slot_at=now,
                )
        return policy

    def volumes(self, count: int, account: str = "prod", **doc: Any) -> list[str]:
        """Volumes in the cloud that `ALL_VOLUMES` matches."""
        with self.cloud.transaction():
            return [
                self.cloud.volume(f"vol-{account}-{n:03}", account=account, tags={"backup": "gold"}, **doc)
                for n in range(count)
            ]

    def resources(self, count: int, account: Account, region: str = HOME) -> list[int]:
        """Volumes that are in the catalog and were looked at just now, without a cloud behind them."""
        at = self.clock.timer()
        columns = {"account": account.id, "region": region, "type": "volume", "found_at": at, "seen_at": at}
        rows = [
            {**columns, "external_id": f"vol-{account.name}-{n:05}", "tags": {"backup": "gold"}} for n in range(count)
        ]
        with transaction():
            for start in range(0, count, 500):
                Resource.insert_many(rows[start : start + 500]).execute()
            Scan.insert(account=account.id, region=region, service="ec2", finished_at=at).execute()
            return [row.id for row in Resource.select().where(Resource.account == account.id).order_by(Resource.id)]

    # --- what happens ---

    def wish(self, kind: str, **payload: Any) -> Request:
        """Ask, and let the first coordinator answer."""
        with transaction():
            row = Request.create(kind=kind, payload=payload, requested_by="ann", created_at=self.clock.timer())
        self.staff[0].step()
        with session():
            return Request.get_by_id(row.id)

    def wished(self, kind: str, **payload: Any) -> dict[str, Any]:
        """What an accepted wish led to."""
        row = self.wish(kind, **payload)
        assert row.state == RequestState.ACCEPTED, row.error_text
        return dict(row.result)

    def step(self) -> None:
        """A round of every coordinator."""
        for one in self.staff:
            one.step()

    def deliver(self, messages: Iterable[tuple[Lane, JobMessage]] | None = None) -> int:
        """Work on messages as workers do; those that wait, by default. How many were claimed."""
        claimed = 0
        for lane, message in self.queue.take() if messages is None else messages:
            with session():
                job = claim(message.job, message.fence, self.context.owner, self.clock.timer(), LANES[lane].lease)
            if job is not None:
                claimed += 1
                work(self.context, job)
        return claimed

    def workers_live(self) -> None:
        """The fleet reports itself, as heartbeats do."""
        with transaction():
            Process.insert(
                name="host:1:worker",
                role="worker",
                lanes=[str(lane) for lane in self.lanes],
                started_at=START,
                seen_at=self.clock.timer(),
            ).on_conflict(conflict_target=[Process.name], update={Process.seen_at: self.clock.timer()}).execute()

    def work(self, spell: timedelta = 10 * MINUTE, step: timedelta = timedelta(seconds=20)) -> None:
        """Let this time pass with everybody at work."""
        end = self.clock.timer() + spell
        while self.clock.timer() < end:
            self.round()
            self.clock.advance(step)

    def round(self) -> None:
        """Everybody does what there is to do at this moment."""
        self.workers_live()
        for _ in range(20):
            self.step()
            if not self.deliver():
                return

    # --- what there is now ---

    def points(self, *where: Any, state: PointState | None = PointState.GOOD) -> list[Point]:
        with session():
            query = Point.select().where(*where) if where else Point.select()
            query = query.where(Point.state == state) if state else query
            return list(query.order_by(Point.id))

    def runs(self) -> list[Run]:
        with session():
            return list(Run.select(Run, Policy).join(Policy).order_by(Run.id))

    def jobs(self, kind: str = "snapshot") -> list[Job]:
        with session():
            return list(Job.select().where(Job.kind == kind).order_by(Job.id))

    def outbox(self) -> int:
        with session():
            return int(Outbox.select().count())

    def alerts(self, prefix: str = "") -> list[Alert]:
        with session():
            return list(Alert.select().where(Alert.key.startswith(prefix)).order_by(Alert.id))
