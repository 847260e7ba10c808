"""What a job waits for is what publishing would say: its gates, asked about one job."""

from datetime import timedelta

import pytest

from coordinator.admission import LANE, Admission, Candidate, InFlight, held_back
from coordinator.copy_slots import COPY_SLOTS
from coordinator.publish import publish
from coordinator.waiting import why_behind, why_waiting
from tasks.catalog import Account, Job, Operation, Outbox, Run, session, transaction
from tasks.catalog.budgets import calls_of, spend
from tasks.catalog.standstill import begin_standstill, end_standstill
from tasks.catalog.transitions import add_job
from tasks.lanes import Lane
from tasks.states import JobState
from tasks.telemetry import Counters
from tests.coordinator.house import MINUTE, House

HOUR = timedelta(hours=1)


class Line:
    """Jobs that wait for one thing each, by the code of it."""

    def __init__(self, house: House) -> None:
        self.house, self.at = house, house.clock.timer()
        self.prod, self.site = house.account(), house.account("site", settings={"pool": "x"})
        with transaction():
            self.run = Run.create(policy=house.policy(), slot_at=house.clock.now(), created_at=self.at)

    def add(self, lane: Lane = Lane.SNAPSHOT, account: Account | None = None, **columns: object) -> int:
        known = {"kind": str(lane), "account": account or self.prod, "region": "us-east-1", "service": "ec2"}
        with transaction():
            return int(add_job(lane=lane, at=self.at, **{**known, **columns}).id)

    def codes(self) -> dict[int, str]:
        with session():
            return {job: why.code for job, why in why_waiting(list(Job.select()), self.at).items()}


@pytest.fixture
def line(house: House) -> Line:
    return Line(house)


def test_every_gate_names_itself_and_what_names_none_is_what_goes(line: Line) -> None:
    """feature C23: the answers and what publishing does are the same decisions."""
    first = line.add(chain="snapshot:1", run=line.run)
    slots = COPY_SLOTS["ec2"]
    wanted = {
        first: "next-round",
        line.add(chain="snapshot:1"): "in-line",
        line.add(ready_at=line.at + HOUR): "not-before",
        line.add(ready_at=line.at + HOUR, error_code="throttled", error_text="Slow down.", attempt=1): "retry",
        line.add(account=line.site): "pool-without-worker",
        line.add(region="eu-west-1"): "pace",
        line.add(Lane.COPY, state=JobState.RUNNING, slots=slots, lease_until_at=line.at + MINUTE): "running",
        line.add(Lane.COPY, slots=1): "copy-slots",
        line.add(Lane.DISCOVER, state=JobState.RUNNING, lease_until_at=line.at - MINUTE): "worker-silent",
        line.add(Lane.REPOSITORY, state=JobState.WAITING): "parts",
    }
    with transaction():
        spend({calls_of(line.prod.id, "eu-west-1", "ec2.create-snapshot"): HOUR}, line.at)
        Outbox.delete().where(Outbox.job.in_(Job.select(Job.id).where(Job.state != JobState.PENDING))).execute()
    assert line.codes() == wanted
    with session():
        (text,) = [one.text for one in why_behind(list(wanted)).values()]
        assert text == f"behind job-{first} of run-{line.run.id}, which is pending: one of a resource goes at a time"
        publish(line.house.queue, Counters(), line.at)
    assert [message.job for _, message in line.house.queue.sent] == [first]
    assert line.codes()[first] == "pool-without-worker"  # no worker at all has reported
    line.house.workers_live()
    assert line.codes()[first] == "in-broker"


def test_a_standstill_holds_all_but_what_the_cloud_is_asked(line: Line) -> None:
    """feature C23"""
    still, poll, lost = line.add(), line.add(Lane.POLL), line.add(Lane.CLEANUP)
    with transaction():
        begin_standstill("me", line.at)
        Outbox.delete().where(Outbox.job == lost).execute()
    assert line.codes() == {still: "standstill", poll: "next-round", lost: "standstill"}
    end_standstill()
    assert line.codes()[lost] == "no-message"


def test_what_the_cloud_works_on_says_how_far_it_is(line: Line) -> None:
    """feature C23"""
    job = line.add(state=JobState.WAITING)
    known = {"account": line.prod, "region": "us-east-1", "service": "ec2", "kind": "snapshot"}
    with transaction():
        for number, percent in enumerate((80, 30)):
            times = {"next_poll_at": line.at, "started_at": line.at}
            Operation.create(job=job, external_id=f"s-{number}", percent=percent, **known, **times)
    with session():
        (why,) = why_waiting([Job.get_by_id(job)], line.at).values()
    assert (why.code, why.text) == ("cloud-works", "the cloud is at 30 % (2 operations)")


@pytest.mark.unit
def test_a_full_lane_holds_back_whatever_place_it_is_for() -> None:
    item, full = Candidate(1, Lane.SNAPSHOT, 1, "r", 50, 1), Admission(dict.fromkeys(Lane, 0))
    assert held_back(item, InFlight(), {}, full) == LANE
    assert held_back(item, InFlight(), {}) == ""
