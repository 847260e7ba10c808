"""A worker process with a little planner beside it, for tests that kill it at a named line and start it again.

Usage: python -m tests.workers.crashing URL, with the settings, SNAPFLEET_FAKE_CLOUD and SNAPFLEET_CRASH_AT in the
environment. It brings one estate through a look, a throttled and then a good backup, a copy, a restore that is undone,
a second backup and the deletion of the first. Each wish has a fixed key, so a second process goes on where the first
was killed. It ends with 0 when all of it is done.
"""

import os
import sys
import threading
from datetime import timedelta
from typing import Any

from tasks.broker import build_broker
from tasks.catalog import (
    Account,
    Job,
    Outbox,
    Point,
    Policy,
    Resource,
    Restore,
    RestoreStep,
    Run,
    open_catalog,
    session,
    transaction,
)
from tasks.catalog.transitions import add_jobs, mark_published, move_point, publish_again, requeue
from tasks.lanes import Lane
from tasks.localbroker import LocalBroker, LocalPublisher
from tasks.messages import JobMessage
from tasks.settings import load_settings
from tasks.states import JobState, PointState
from workers.main import start_embedded

HOME, AWAY = "us-east-1", "eu-west-1"
PATIENCE = 400  # rounds of 50 ms


class Planner:
    """What the coordinator would do, in as few lines as this scenario needs."""

    def __init__(self, broker: LocalBroker) -> None:
        self.settings = load_settings()
        self.clock = self.settings.clock()
        self.publisher = LocalPublisher(broker)
        self.pause = threading.Event()
        with transaction():  # messages in memory died with the process that held them
            for job in Job.select().where(Job.state == JobState.QUEUED):
                publish_again(job, self.clock.timer())

    def reach(self, key: str, kind: str, lane: Lane, **columns: Any) -> Job:
        """The wish with this key, fulfilled."""
        with transaction():
            account = Account.get()
            row = {"key": key, "kind": kind, "lane": str(lane), "account": account.id, "service": "ec2"}
            row |= {"region": HOME, "retry_wait_s": 0, "max_attempts": 50, **columns}
            add_jobs([row], self.clock.timer())
        for _ in range(PATIENCE):
            self.turn()
            with session():
                job = Job.get(Job.key == key)
            if job.state is JobState.DONE:
                return job
            self.pause.wait(0.05)
        raise SystemExit(f"{key} is {job.state}: {job.error_code} {job.error_text}")

    def turn(self) -> None:
        """Take back what dead processes held, ask about what waits, publish what is pending."""
        at = self.clock.timer()
        with transaction():
            for job in Job.select().where(Job.state == JobState.RUNNING):
                if f":{os.getpid()}:" not in job.lease_owner:
                    requeue(job, at)
            waiting = Job.select().where(Job.state == JobState.WAITING)
            for account, region in {(job.account_id, job.region) for job in waiting}:
                self._wake(account, region)
            Job.update(not_before_at=at).where(Job.state == JobState.PENDING).execute()
            unpublished = Job.state.in_([JobState.PENDING, JobState.QUEUED])
            jobs = list(Job.select().join(Outbox, on=(Outbox.job == Job.id)).where(unpublished))
            # in the same transaction, as the coordinator does: no worker can fail and ask again in between
            self.publisher.publish([(Lane(job.lane), JobMessage(job.id, job.attempt, job.fence)) for job in jobs])
            mark_published([job.id for job in jobs], at)

    def _wake(self, account: int, region: str) -> None:
        key = f"poll:{account}:{region}:ec2"
        row = {"kind": "poll", "lane": "poll", "key": key, "account": account, "region": region, "service": "ec2"}
        job = Job.get_or_none(Job.key == key)
        if job is None:
            add_jobs([row], self.clock.timer())
        elif job.state in (JobState.DONE, JobState.FAILED):
            requeue(job, self.clock.timer(), attempt=0)

    def run_row(self, minute: int) -> int:
        """The run of one slot."""
        with transaction():
            policy = Policy.get()
            slot = policy.created_at + timedelta(minutes=minute)
            Run.insert(policy=policy, slot_at=slot, created_at=slot).on_conflict_ignore().execute()
            return int(Run.get(Run.slot_at == slot).id)

    def restore_row(self, point_id: int, snapshot: str) -> int:
        """The restore of a point, with its one step."""
        with transaction():
            row = Restore.get_or_none()
            if row is None:
                row = Restore.create(
                    point=point_id, request={}, plan={}, requested_by="me", created_at=self.clock.timer()
                )
                RestoreStep.create(restore=row, number=0, name="disk", kind="create-volume", params={"of": snapshot})
            return int(row.id)

    def snapshot(self, key: str, minute: int) -> Job:
        """A good backup."""
        with session():
            resource = Resource.get(Resource.external_id == "i-1").id
        run = self.run_row(minute)
        return self.reach(key, "snapshot", Lane.SNAPSHOT, run=run, resource=resource, spec={"mode": "snapshots"})


def scenario(planner: Planner) -> None:
    """All of it, in order."""
    planner.reach("look", "discover", Lane.DISCOVER, spec={"types": ["instance", "volume"]})
    first = planner.snapshot("first", 0)
    with session():
        point = Point.get_by_id(first.point_id)
        snapshot = point.parts.first().external_id
    if point.state is PointState.GOOD:
        spec = {"point": point.id, "destination": f"prod/{AWAY}", "role": "copy"}
        planner.reach("copy", "copy", Lane.COPY, region=AWAY, resource=point.resource_id, run=first.run_id, spec=spec)
        restore = planner.restore_row(point.id, snapshot)
        spec = {"step": 0, "kind": "create-volume", "params": {"snapshot_id": snapshot}}
        planner.reach("step", "restore-step", Lane.RESTORE, restore_id=restore, spec=spec)
        planner.reach("undo", "restore-undo", Lane.RESTORE, restore_id=restore)
        with transaction():
            Restore.update(state="failed", error_code="denied").execute()
    planner.snapshot("second", 5)
    with transaction():
        move_point(point.id, PointState.EXPIRING, expire_code="generations")
    planner.reach("cleanup", "cleanup", Lane.CLEANUP, spec={"points": [point.id]})


def main() -> None:
    """Work until the scenario is done."""
    open_catalog(sys.argv[1])
    settings = load_settings()
    broker = build_broker("", settings.message_keys())
    assert isinstance(broker, LocalBroker)
    running = start_embedded(settings, broker)
    scenario(Planner(broker))
    running.stop()  # the last wish is granted at its commit: whoever is behind that line gets to the end of its message
    os._exit(0)  # threads of a process that has nothing more to do need no farewell


if __name__ == "__main__":
    main()
