"""Retention as it happens: floors, the brake, confirmation, failures on the way, orphans left alone."""

from dataclasses import replace
from datetime import timedelta

import pytest

from coordinator.judge import judge
from coordinator.lease import take
from coordinator.sweep import plan_cleanups, retention_pass
from tasks.catalog import Account, Job, Part, Point, Policy, Resource, Run, session, transaction
from tasks.catalog.point import SUPERSEDED
from tasks.states import JobState, PointState, RequestState, RunState
from tests.coordinator.house import AWAY, DAY, HOME, HOUR, MINUTE, START, House
from tests.fakes.cloud import Thing


def history(house: House, points: int, resources: int = 1, **policy: object) -> Policy:
    """A policy whose targets have a good point a day, the newest a day old; no cloud behind them but their parts."""
    account = house.account()
    row = house.policy(**{"generations": 3, **policy})
    numbers = house.resources(resources, account)
    first = house.clock.now() - points * DAY
    with transaction():
        for day in range(points):
            at = first + day * DAY
            run = Run.create(policy=row, slot_at=at, created_at=at, state=RunState.DONE)
            for number in numbers:
                good_point(house, row, number, at, run)
    return row


def good_point(
    house: House, policy: Policy, resource: int, at: object, run: Run | None = None, **columns: object
) -> Point:
    point = Point.create(
        **{
            "resource": resource,
            "policy": policy,
            "run": run,
            "account": Resource.get_by_id(resource).account_id,
            "region": HOME,
            "state": PointState.GOOD,
            "taken_at": at,
            "completed_at": at,
            **columns,
        }
    )
    snapshot = house.cloud.new_id("snap")
    tags = {"tags": {"snapfleet:installation": "inst-1"}}
    house.cloud.put(Thing(snapshot, "snapshot", "prod", HOME, f"key-{point.id}", tags))
    Part.create(point=point, external_id=snapshot, state=PointState.GOOD)
    return point


def alive(house: House) -> int:
    return len(house.cloud.of_kind("snapshot"))


def test_what_outlived_the_rule_is_marked_cleaned_and_gone_from_the_cloud_with_a_reason(house: House) -> None:
    history(house, 10, resources=5, generations=9)
    house.work(2 * MINUTE, MINUTE)
    gone = house.points(state=PointState.DELETED)
    assert len(gone) == 5
    assert {(point.expire_code, bool(point.marked_at), bool(point.deleted_at)) for point in gone} == {
        ("outlived", True, True)
    }
    assert alive(house) == 45


def test_the_brake_stops_a_rule_that_was_cut_by_mistake_until_those_points_are_confirmed(house: House) -> None:
    """The confirmation holds although another point comes before the next pass, and releases no later ones."""
    policy = history(house, 10, generations=10)
    house.step()
    with transaction():
        Policy.update(spec={**policy.spec, "generations": 2}).execute()
    house.clock.advance(HOUR)
    house.step()
    assert len(house.points()) == 10
    (alert,) = house.alerts("brake:")
    plan_hash = alert.text.rsplit(" ", 1)[1].rstrip("`.")
    with transaction():
        good_point(house, policy, 1, house.clock.now())
    house.clock.advance(HOUR)
    house.step()
    assert len(house.points()) == 11
    assert house.wished("confirm", policy="gold", hash=plan_hash)["points"] == 8
    house.work(3 * MINUTE, MINUTE)
    assert len(house.points()) == 2
    assert [alert.cleared_at is not None for alert in house.alerts("brake:")] == [True]


def test_a_confirmation_of_a_plan_that_never_was_is_refused(house: House) -> None:
    history(house, 10, generations=2)
    house.step()
    row = house.wish("confirm", policy="gold", hash="0123456789abcdef")
    assert (row.state, row.error_code) == (RequestState.REFUSED, "plan-changed")
    house.work(3 * MINUTE, MINUTE)
    assert len(house.points()) == 10


def test_a_point_that_is_held_stays_and_says_why(house: House) -> None:
    policy = history(house, 4)
    oldest = house.points()[0]
    house.wish("hold", point=oldest.id, reason="an audit")
    house.work(2 * MINUTE, MINUTE)
    assert len(house.points()) == 4
    with session():
        verdict = judge(policy, house.clock.now()).plan.verdicts[oldest.id]
    assert [reason.code for reason in verdict.reasons] == ["held", "outlived"]


def quarantine(house: House, seconds: float) -> None:
    for one in house.staff:
        one.settings = replace(one.settings, quarantine_seconds=seconds)


def test_what_retention_lets_go_stays_in_quarantine_before_it_is_deleted(house: House) -> None:
    """feature C15: a failed point, of which nothing can be restored, and one that was written over need not wait."""
    history(house, 6)
    failed, over = house.points()[:2]
    with transaction():
        Point.update(state=PointState.FAILED, error_code="denied", completed_at=None).where(
            Point.id == failed.id
        ).execute()
        Point.update(state=PointState.EXPIRING, expire_code=SUPERSEDED).where(Point.id == over.id).execute()
    quarantine(house, 86400)
    assert house.wish("hold", point=over.id, reason="an audit").state is RequestState.REFUSED
    house.work(HOUR, 5 * MINUTE)
    assert (alive(house), len(house.points(state=PointState.EXPIRING))) == (4, 1)
    house.clock.advance(DAY)
    house.work(2 * MINUTE, MINUTE)
    assert alive(house) == 3


def test_a_hold_takes_a_point_out_of_quarantine_and_none_that_a_cleanup_has_begun_with(house: House) -> None:
    """feature C15"""
    history(house, 4)
    quarantine(house, 86400)
    house.work(2 * MINUTE, MINUTE)
    (marked,) = house.points(state=PointState.EXPIRING)
    with transaction():
        Part.update(state=PointState.EXPIRING).where(Part.point == marked.id).execute()
    assert house.wish("hold", point=marked.id, reason="an audit").state is RequestState.REFUSED
    with transaction():
        Part.update(state=PointState.GOOD).where(Part.point == marked.id).execute()
    house.wished("hold", point=marked.id, reason="an audit")
    with session():
        row = Point.get_by_id(marked.id)
    assert (row.state, row.held, row.marked_at, row.expire_code) == (PointState.GOOD, "an audit", None, "")
    house.clock.advance(2 * DAY)
    house.work(2 * MINUTE, MINUTE)
    assert alive(house) == 4


def test_a_mark_of_a_clock_that_was_wrong_begins_its_quarantine_anew(house: House) -> None:
    history(house, 4)
    quarantine(house, 86400)
    house.work(2 * MINUTE, MINUTE)
    with transaction():
        Point.update(marked_at=house.clock.timer() + 300 * DAY).where(Point.state == PointState.EXPIRING).execute()
    house.work(10 * MINUTE, MINUTE)
    assert alive(house) == 4
    house.clock.advance(DAY)
    house.work(2 * MINUTE, MINUTE)
    assert alive(house) == 3


def test_a_point_that_is_good_after_its_time_stays_until_its_copies_are_planned(house: House) -> None:
    """A seed of the simulator: a backup that was retried for so long that newer ones had outlived it was marked in the
    moment between its success and the planning of its copy, which its DR entry keeps for longer than the original."""
    policy = history(house, 4, dr=[{"region": AWAY, "generations": 30}])
    oldest = house.points()[0]
    with transaction():
        job = Job.create(
            kind="snapshot", lane="snapshot", key="late", account=oldest.account_id, region=HOME, service="ec2",
            run=oldest.run_id, resource=oldest.resource_id, point_id=oldest.id, state=JobState.DONE,
            created_at=START, not_before_at=START, finished_at=house.clock.timer(),
        )  # fmt: skip
    with session():
        verdict = judge(policy, house.clock.now()).plan.verdicts[oldest.id]
    assert [reason.code for reason in verdict.reasons] == ["in_use", "outlived"]
    assert verdict.reasons[0].text == f"in use by job:{job.id}"
    house.step()
    with session():
        assert [copy.spec["point"] for copy in Job.select().where(Job.kind == "copy")] == [oldest.id]


def test_what_a_failed_attempt_left_in_the_cloud_goes_once_a_later_attempt_was_good(house: House) -> None:
    house.account()
    house.policy(retries={"attempts": 2, "wait": "1m"})
    house.volumes(1)
    house.cloud.fault("start_backup", "error-state")
    house.wished("run", policy="gold")
    house.work(20 * MINUTE, MINUTE)
    states = [(point.state, point.expire_code) for point in house.points(state=None)]
    assert states == [(PointState.DELETED, "failed_superseded"), (PointState.GOOD, "")]
    assert alive(house) == 1


@pytest.mark.long
def test_a_backup_that_took_two_attempts_counts_as_a_generation_like_any_other(house: House) -> None:
    """feature C1: the failed first attempt goes, and the good second one is not dragged along with it."""
    house.account()
    house.policy(generations=5, retries={"attempts": 2, "wait": "1m"})
    house.volumes(1)
    for number in range(3):
        if number == 1:
            house.cloud.fault("start_backup", "error-state")
        house.wished("run", policy="gold")
        house.work(20 * MINUTE, MINUTE)
    assert len(house.points()) == 3
    assert alive(house) == 3


def test_nothing_is_deleted_that_is_not_in_the_catalog(house: House) -> None:
    """Snapshots with our own tag that no row names: another installation's, or an older catalog's."""
    history(house, 4)
    for number in range(3):
        tags = {"tags": {"snapfleet:installation": "inst-1"}, "name": "", "source": "", "fate": "done"}
        house.cloud.put(Thing(f"snap-orphan{number}", "snapshot", "prod", HOME, "", tags))
    house.work(10 * MINUTE, MINUTE)
    assert len([one for one in house.cloud.of_kind("snapshot") if "orphan" in one.id]) == 3
    assert alive(house) == 6


def test_a_cleanup_that_cannot_work_is_not_planned_again_at_every_round(house: House) -> None:
    history(house, 4)
    house.cloud.fault("delete", "credentials", times=1)
    house.work(3 * MINUTE, MINUTE)
    assert [job.state for job in house.jobs("cleanup")] == [JobState.FAILED]
    house.clock.advance(HOUR)
    house.work(2 * MINUTE, MINUTE)
    assert [job.state for job in house.jobs("cleanup")] == [JobState.FAILED, JobState.DONE]


def test_whoever_lost_the_lease_marks_nothing_and_plans_nothing(house: House) -> None:
    history(house, 4)
    at = house.clock.timer()
    mine = take("sweep", "a", at)
    assert mine is not None
    house.clock.advance(timedelta(seconds=15))
    assert take("sweep", "b", house.clock.timer()) is not None
    with session():
        assert retention_pass(mine, house.clock) == {"marked": 0, "stopped": 0}
    with transaction():
        Point.update(state=PointState.EXPIRING, expire_code="outlived").where(
            Point.id == house.points()[0].id
        ).execute()
    with session():
        assert plan_cleanups(mine, house.clock.timer()) == 0
        assert Job.select().count() == 0


def test_a_policy_that_cannot_be_read_loses_nothing_and_stops_no_other(house: House) -> None:
    policy = history(house, 4)
    with transaction():
        bad = Policy.create(name="abc", spec={"keep": {"daily": "x"}}, created_at=START, changed_at=START)
        good_point(house, bad, 1, START)
    house.work(2 * MINUTE, MINUTE)
    assert len(house.points(Point.policy == bad.id)) == 1
    assert len(house.points(Point.policy == policy.id)) == 3


@pytest.mark.parametrize("own", [None, 2])
def test_copies_age_by_their_entrys_generations_and_by_the_policys_periods(house: House, own: int | None) -> None:
    """`keep` stands beside either; all six lie in one week."""
    entry = {"region": AWAY, **({"generations": own} if own else {})}
    policy = history(house, 6, generations=5, keep={"weekly": 2}, dr=[entry])
    with transaction():
        for day in range(6):
            at = house.clock.now() - (6 - day) * DAY
            good_point(house, policy, 1, at, destination=f"prod/{AWAY}")
    with session():
        verdicts = judge(policy, house.clock.now()).plan.verdicts
        copies = [point.id for point in Point.select().where(Point.destination != "").order_by(Point.id)]
    codes = [[reason.code for reason in verdicts[number].reasons] for number in copies]
    generations = [code for reasons in codes for code in reasons if code == "generation"]
    assert len(generations) == (own or 5)
    assert [code for reasons in codes for code in reasons if code == "weekly"] == ["weekly"]


def test_targets_that_left_keep_their_last_good_point_after_a_month_and_not_before(house: House) -> None:
    history(house, 3, generations=3)
    with transaction():
        Resource.update(tags={}).execute()
    for _ in range(29):
        house.clock.advance(DAY)
        house.round()
    assert len(house.points()) == 3
    for _ in range(4):
        house.clock.advance(DAY)
        house.round()
    assert len(house.points()) == 3  # two of three at once is more than rotation explains: somebody looks first
    (alert,) = house.alerts("brake:")
    house.wished("confirm", policy="gold", hash=alert.text.rsplit(" ", 1)[1].rstrip("`."))
    house.work(3 * MINUTE, MINUTE)
    assert [point.taken_at for point in house.points()] == [START - DAY]


def test_targets_of_an_account_that_is_switched_off_have_not_left(house: House) -> None:
    history(house, 3, generations=3)
    with transaction():
        Account.update(enabled=False).execute()
    for _ in range(35):
        house.clock.advance(DAY)
        house.round()
    assert len(house.points()) == 3
    assert house.alerts("brake:") == []
