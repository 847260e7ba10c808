"""Wishes: each is accepted with what it led to or refused with a reason, and none stops the others."""

from datetime import timedelta

import pytest

from coordinator.looks import services_of
from coordinator.plan import MANUAL_PRIORITY
from tasks.catalog import (
    Account,
    DeadLetter,
    Job,
    Outbox,
    Point,
    Request,
    Resource,
    Restore,
    session,
    transaction,
)
from tasks.catalog.transitions import claim, fail_attempt
from tasks.errors import Throttled
from tasks.lanes import Lane
from tasks.states import JobState, PointState, RequestState, RestoreState, RunState
from tests.coordinator.house import DAY, HOME, HOUR, MINUTE, House


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("dance", {}, "unknown-kind"),
        ("run", {}, "malformed"),
        ("run", {"policy": "nobody"}, "invalid"),
        ("run", {"policy": ["gold"]}, "malformed"),
        ("release", {"point": []}, "malformed"),
        ("restore", {"point": 77, "request": {"kind": "volume"}}, "invalid"),
        ("restore", {"point": "rp-1", "request": {}}, "malformed"),
        ("discover", {"account": "nobody"}, "invalid"),
        ("confirm", {"policy": "gold", "hash": "0000"}, "plan-changed"),
        ("hold", {"point": 77, "reason": "audit"}, "refused"),
        ("hold", {"point": 77, "reason": " "}, "invalid"),
        ("release", {"point": 77}, "invalid"),
        ("cancel", {"run": 77}, "invalid"),
        ("cancel", [], "malformed"),
        ("requeue", {"letter": 77}, "invalid"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_a_reason_and_the_next_is_taken_up(
    house: House, kind: str, payload: object, code: str
) -> None:
    house.account()
    house.policy()
    with transaction():
        bad = Request.create(kind=kind, payload=payload, requested_by="eve", created_at=house.clock.timer())
    house.wished("run", policy="gold")
    with session():
        row = Request.get_by_id(bad.id)
    assert (row.state, row.error_code) == (RequestState.REFUSED, code)
    assert row.error_text


def test_wishes_of_one_round_for_one_policy_are_two_runs(house: House) -> None:
    house.account()
    house.policy()
    with transaction():
        for _ in range(2):
            Request.create(kind="run", payload={"policy": "gold"}, requested_by="ann", created_at=house.clock.timer())
    house.step()
    assert [run.trigger for run in house.runs()] == ["manual", "manual"]


def test_a_run_is_refused_for_a_policy_that_was_removed_and_not_for_one_that_is_disabled(house: House) -> None:
    house.account()
    house.policy("off", enabled=False)
    house.policy("gone", deleted_at=house.clock.now())
    assert house.wish("run", policy="off").state == RequestState.ACCEPTED
    assert house.wish("run", policy="gone").state == RequestState.REFUSED


def test_cancelling_stops_what_has_not_begun_and_the_run_ends_when_the_cloud_is_done(house: House) -> None:
    """feature 39: one backup waits for the cloud, one is in a worker's hands, two have not begun."""
    account = house.account()
    house.policy()
    house.cloud.set("answers", 3)
    house.resources(4, account)
    with transaction():
        for number, name in enumerate(house.volumes(4)):
            Resource.update(external_id=name).where(Resource.id == number + 1).execute()
    run = house.wished("run", policy="gold")["run"]
    house.step()
    first, second, *_ = house.queue.take()
    house.deliver([first])
    in_hand = _claim(house, second[1].job)
    answer = house.wished("cancel", run=run)
    assert (answer["cancelled"], answer["finishing"]) == (2, 2)
    _fail_with_a_retry(house, in_hand)
    house.work(5 * MINUTE)
    assert [job.state for job in house.jobs()] == [
        JobState.DONE,
        JobState.CANCELLED,
        JobState.CANCELLED,
        JobState.CANCELLED,
    ]
    assert [one.state for one in house.runs()] == [RunState.PARTIAL]
    assert house.points(state=PointState.CREATING) == []
    assert house.wish("cancel", run=run).error_code == "run-ended"


def _claim(house: House, job: int) -> Job:
    with session():
        claimed = claim(job, 0, "host:1:worker", house.clock.timer(), timedelta(minutes=2))
    assert claimed is not None
    return claimed


def _fail_with_a_retry(house: House, job: Job) -> None:
    with transaction():
        fail_attempt(job, Throttled("Slow down."), house.clock.timer())


def test_a_run_that_still_looks_around_is_cancelled_at_once(house: House) -> None:
    house.account()
    house.policy()
    run = house.wished("run", policy="gold")["run"]
    house.wished("cancel", run=run)
    house.work(2 * MINUTE)
    assert [one.state for one in house.runs()] == [RunState.CANCELLED]
    assert house.jobs() == []


def test_looks_and_checks_are_one_job_a_place_however_often_they_are_asked_for(house: House) -> None:
    house.account(regions=["us-east-1", "eu-west-1"])
    first, again = house.wished("discover", account=None), house.wished("discover", account="prod")
    assert first["jobs"] == again["jobs"]
    looks = 2 * len(services_of("aws"))  # one for each region and service
    assert len(first["jobs"]) == looks
    assert len(house.wished("check", account="prod")["jobs"]) == looks
    assert len(house.queue.sent) == 2 * looks


def test_a_point_that_is_held_can_be_released(house: House) -> None:
    (point,) = _good_points(house, 1)
    house.wished("hold", point=point.id, reason="an audit")
    assert house.points()[0].held == "an audit"
    house.wished("release", point=point.id)
    assert house.points()[0].held == ""


def test_an_orphan_can_be_held_and_stays_until_it_is_released(house: House) -> None:
    """feature C11: it is a failed point, which would go once a later good one exists."""
    (later,) = _good_points(house, 1)
    known = {"resource": later.resource_id, "policy": later.policy_id, "account": later.account_id}
    with transaction():
        orphan = Point.create(
            **known, region=HOME, state=PointState.FAILED, error_code="orphan", taken_at=later.taken_at - DAY
        )
    house.wished("hold", point=orphan.id, reason="look at it")
    house.clock.advance(HOUR)
    house.work(MINUTE, MINUTE)
    assert [(point.id, point.held) for point in house.points(state=PointState.FAILED)] == [(orphan.id, "look at it")]
    house.wished("release", point=orphan.id)
    house.clock.advance(HOUR)
    house.work(MINUTE, MINUTE)
    assert house.points(state=PointState.FAILED) == []


def _good_points(house: House, count: int) -> list[Point]:
    house.account()
    house.policy()
    house.volumes(count)
    house.wished("run", policy="gold")
    house.work(3 * MINUTE)
    return house.points()


def test_a_letter_sends_its_job_again_and_never_itself(house: House) -> None:
    _good_points(house, 1)
    (job,) = house.jobs()
    with transaction():
        Job.update(state=JobState.FAILED, error_code="denied", settled=True).where(Job.id == job.id).execute()
        columns = {"lane": str(Lane.SNAPSHOT), "reason": "too-large", "received_at": house.clock.timer()}
        DeadLetter.create(job_id=job.id, **columns)
        DeadLetter.create(job_id=None, body="forged", **columns)
    sent = len(house.queue.sent)
    assert house.wished("requeue", letter="all") == {"requeued": 1}
    assert len(house.queue.sent) == sent + 1
    assert house.queue.sent[-1][1].job == job.id
    assert house.wished("drop", letter="all") == {"dropped": 0}


def test_a_letter_of_a_restore_that_has_ended_makes_nothing_again(house: House) -> None:
    (point,) = _good_points(house, 1)
    with transaction():
        restore = Restore.create(
            point=point.id,
            request={},
            plan={},
            state=RestoreState.FAILED,
            error_code="cloud-failed",
            requested_by="ann",
            created_at=house.clock.timer(),
        )
        job = Job.create(
            kind="restore-step",
            lane=str(Lane.RESTORE),
            key="k",
            account=point.account_id,
            region="us-east-1",
            restore_id=restore.id,
            state=JobState.FAILED,
            error_code="cloud-failed",
            settled=True,
            not_before_at=house.clock.timer(),
            created_at=house.clock.timer(),
        )
        DeadLetter.create(lane="restore", reason="x", job_id=job.id, received_at=house.clock.timer())
    assert house.wished("requeue", letter="all") == {"requeued": 0}


def test_a_restore_from_an_account_that_was_removed_is_refused(house: House) -> None:
    (point,) = _good_points(house, 1)
    with transaction():
        Account.update(enabled=False).execute()
    row = house.wish("restore", point=point.id, request={"kind": "volume"})
    assert row.state == RequestState.REFUSED
    assert "removed" in row.error_text


@pytest.mark.long
def test_a_policy_of_a_run_keeps_its_priority_behind_what_somebody_waits_for(house: House) -> None:
    """feature 12: an on-demand run is next in line behind a backlog of 5,000 jobs, its own target's included."""
    account = house.account()
    house.policy("night", priority=100)
    house.policy("gold", priority=1)
    resources = house.resources(5000, account)
    night = house.wished("run", policy="night")["run"]
    with transaction():  # as a schedule would have started it
        Job.update(priority=100).where(Job.run == night).execute()
        Outbox.update(priority=100).execute()
    sent = len(house.queue.sent)
    last = f"vol-prod-{4999:05}"
    house.wished("run", policy="gold", resources=[last])
    house.clock.advance(MINUTE / 3)
    house.step()
    with session():
        mine = Job.get(Job.resource == resources[-1], Job.priority == MANUAL_PRIORITY)
    assert house.queue.sent[sent][1].job == mine.id
