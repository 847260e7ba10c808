"""A run becomes jobs: after a fresh look, or without it when nobody answers, whatever other accounts do."""

import pytest

from coordinator.members import note_members
from coordinator.planner import LOOK_PATIENCE
from tasks.catalog import Account, Job, Membership, Policy, Resource, session, transaction
from tasks.states import JobState, RunState
from tests.coordinator.house import AWAY, DAY, HOME, HOUR, MINUTE, NIGHTLY, House


def test_a_run_looks_before_it_plans_and_backs_up_what_it_found(house: House) -> None:
    house.account()
    house.policy()
    house.volumes(3)
    run = house.wished("run", policy="gold")["run"]
    assert house.jobs() == []
    house.work(3 * MINUTE)
    assert [(one.id, one.state, one.targets) for one in house.runs()] == [(run, RunState.DONE, 3)]
    assert len(house.points()) == 3
    assert len(house.cloud.calls("discover")) == 1


def test_a_refused_connection_costs_a_first_run_seconds_and_none_of_its_targets(house: House) -> None:
    """Found by the simulator: one call that failed left out whatever no look had seen yet, on a first night all."""
    house.account()
    house.policy()
    house.volumes(2)
    house.cloud.fault("discover", "lost-request", times=2)
    house.wished("run", policy="gold")
    house.work(4 * MINUTE)
    assert [(one.state, one.problems) for one in house.runs()] == [(RunState.DONE, [])]
    assert len(house.points()) == 2


def test_an_account_that_refuses_holds_up_no_run_of_another_and_its_own_for_seconds_only(house: House) -> None:
    """30 runs wait for an account that cannot be entered; the run of the other account is planned beside them."""
    house.account("prod")
    house.account("broken")
    for number in range(30):
        house.policy(f"b{number:02}", targets=[{**_all(), "accounts": ["broken"]}])
    house.policy("gold", targets=[{**_all(), "accounts": ["prod"]}])
    house.volumes(1)
    for number in range(30):
        house.wished("run", policy=f"b{number:02}")
    house.wished("run", policy="gold")
    messages = house.queue.take()
    refusing = [one for one in messages if _account_of(house, one[1].job) == "broken"]
    house.queue.messages = [one for one in messages if one not in refusing]
    assert refusing
    gold = [run for run in house.runs() if run.policy.name == "gold"]
    house.work(2 * MINUTE)  # the broken account's look is not even answered
    assert [run.state for run in house.runs() if run.id == gold[0].id] == [RunState.DONE]
    assert house.runs()[0].state == RunState.RESOLVING
    house.cloud.fault("discover", "credentials")
    house.deliver(refusing)
    house.work(MINUTE)
    states = {run.state for run in house.runs() if run.id != gold[0].id}
    assert states == {RunState.FAILED}
    assert house.runs()[0].problems[0]["code"] == "stale-look"
    assert "role cannot be assumed" in house.runs()[0].problems[0]["text"]
    assert house.clock.timer() - house.runs()[0].created_at < LOOK_PATIENCE


def _all() -> dict[str, object]:
    return {"tag": {"backup": "*"}, "types": ["volume"]}


def _account_of(house: House, job: int) -> str:
    with session():
        return str(Job.get_by_id(job).account.name)


def test_a_look_that_nobody_answers_delays_a_run_by_minutes_and_the_run_says_so(house: House) -> None:
    account = house.account()
    house.policy()
    house.resources(2, account)
    house.clock.advance(HOUR)
    house.wished("run", policy="gold")
    house.clock.advance(LOOK_PATIENCE)
    house.step()
    (run,) = house.runs()
    assert (run.state, run.targets) == (RunState.OPEN, 2)
    assert [problem["code"] for problem in run.problems] == ["stale-look"]


def test_a_policy_removed_in_mid_run_plans_nothing_and_copies_nothing_more(house: House) -> None:
    account = house.account(regions=[HOME, AWAY])
    policy = house.policy(dr=[{"region": AWAY}])
    house.resources(1, account)
    house.wished("run", policy="gold")
    with transaction():
        Policy.update(deleted_at=house.clock.now()).where(Policy.id == policy.id).execute()
    house.step()
    house.step()
    assert [run.state for run in house.runs()] == [RunState.CANCELLED]
    assert house.jobs() == []


def test_a_target_that_still_waits_for_an_earlier_run_keeps_its_place_and_gets_no_second_one(house: House) -> None:
    """feature C5: while workers are away hourly runs do not pile up, and each target is backed up once after it."""
    account = house.account()
    house.policy(schedules=[{**NIGHTLY, "every": "1h"}])
    house.resources(2, account)
    for _ in range(5):
        house.clock.advance(HOUR)
        house.step()
        house.clock.advance(LOOK_PATIENCE)
        house.step()
    states = [(job.run_id, job.state, job.error_code) for job in house.jobs()]
    first = house.runs()[0].id
    assert [one for one in states if one[1] != JobState.CANCELLED] == [(first, JobState.QUEUED, "")] * 2
    assert {one[2] for one in states if one[1] == JobState.CANCELLED} == {"overlapped"}
    assert len(states) == 2 * len(house.runs())
    assert [run.state for run in house.runs()][1:] == [RunState.CANCELLED] * 4


def test_a_policy_that_cannot_be_read_fails_its_own_run_only(house: House) -> None:
    account = house.account()
    house.policy("bad", targets=[{"tag": 7, "types": ["volume"]}])
    house.policy("good")
    house.resources(1, account)
    house.wished("run", policy="bad")
    house.wished("run", policy="good")
    house.step()
    assert [run.state for run in house.runs()] == [RunState.FAILED, RunState.OPEN]


def test_image_once_makes_one_image_and_snapshots_from_then_on(house: House) -> None:
    house.account()
    house.policy(mode="image-once", targets=[{"tag": {"backup": "*"}, "types": ["instance"]}])
    house.cloud.instance("i-1", tags={"backup": "gold"})
    for _ in range(3):
        house.wished("run", policy="gold")
        house.work(5 * MINUTE)
    assert [point.kind for point in house.points()] == ["image", "snapshots", "snapshots"]


def test_a_run_of_some_targets_backs_up_those_and_names_what_is_none(house: House) -> None:
    """feature 12"""
    account = house.account()
    house.policy()
    house.resources(3, account)
    house.wished("run", policy="gold", resources=["vol-prod-00001", "vol-other"])
    house.step()
    (job,) = house.jobs()
    with session():
        assert Resource.get_by_id(job.resource_id).external_id == "vol-prod-00001"
    assert [problem["target"] for problem in house.runs()[0].problems] == ["vol-other"]


@pytest.mark.long
def test_what_joins_a_policy_is_backed_up_at_once_and_once(house: House) -> None:
    """A new policy starts with its next slot; a volume that comes or gets the tag later does not wait for it."""
    house.account()
    house.policy(schedules=[NIGHTLY], backup_on_add=True)
    house.volumes(2)
    house.work(20 * MINUTE, MINUTE)
    assert house.runs() == []
    house.volumes(3)
    house.work(20 * MINUTE, MINUTE)
    assert [(run.trigger, run.only) for run in house.runs()] == [("added", ["vol-prod-002"])]
    assert len(house.points()) == 1
    house.work(40 * MINUTE, MINUTE)
    assert len(house.runs()) == 1


def test_what_is_no_target_any_more_has_left_when_that_was_first_seen(house: House) -> None:
    """Not the accounts that were switched off: nobody can say that anything left there."""
    one, two = house.account("one"), house.account("two")
    house.policy()
    house.resources(2, one)
    house.resources(2, two)
    house.step()
    with transaction():
        Account.update(enabled=False).where(Account.id == two.id).execute()
        Resource.update(tags={}).where(Resource.external_id == "vol-one-00000").execute()
    house.clock.advance(DAY)
    house.step()
    seen_at = house.clock.now()
    for _ in range(3):
        house.clock.advance(DAY)
        house.step()
    assert _left() == {"vol-one-00000": seen_at, "vol-one-00001": None, "vol-two-00000": None, "vol-two-00001": None}
    with transaction():
        Resource.update(tags={"backup": "gold"}).where(Resource.external_id == "vol-one-00000").execute()
    house.clock.advance(DAY)
    house.step()
    assert set(_left().values()) == {None}


def _left() -> dict[str, object]:
    with session():
        return {row.resource.external_id: row.left_at for row in Membership.select()}


def test_memberships_are_not_written_under_a_lease_that_was_lost(house: House) -> None:
    from coordinator.lease import give_back, take
    from coordinator.looks import read_looks

    account = house.account()
    house.policy()
    house.resources(1, account)
    mine = take("sweep", "a", house.clock.timer())
    assert mine is not None
    give_back(mine, house.clock.timer())
    take("sweep", "b", house.clock.timer())
    with session():
        note_members(mine, read_looks(), house.clock.now(), house.clock.timer())
        assert Membership.select().count() == 0
