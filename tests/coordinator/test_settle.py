"""What follows a finished job: copies, their refusals, the end of an intermediate, the outcome of a run."""

import itertools
from datetime import timedelta

import pytest

from coordinator.advance import ask_about_operations, close_runs
from coordinator.settle import settle_jobs
from tasks.catalog import Account, Job, Operation, Point, Policy, Run, session, transaction
from tasks.states import JobState, OperationState, PointState, RunState
from tasks.telemetry import Counters
from tests.coordinator.house import AWAY, FAR, HOME, MINUTE, House


def backed_up(house: House, **policy: object) -> None:
    house.account("prod", [HOME, AWAY, FAR])
    house.policy(**policy)
    house.volumes(1)
    run(house)


def run(house: House, spell: timedelta = 4 * MINUTE) -> None:
    house.wished("run", policy="gold")
    house.work(spell, timedelta(seconds=30))


def places(house: House) -> list[str]:
    return [point.destination for point in house.points()]


def test_a_good_backup_is_copied_to_every_place_that_is_due_and_every_nth_to_others(house: House) -> None:
    """feature 11"""
    backed_up(house, dr=[{"region": AWAY}, {"region": FAR, "every": 2}])
    run(house)
    run(house)
    assert places(house) == [
        *("", f"prod/{AWAY}", f"prod/{FAR}"),
        *("", f"prod/{AWAY}"),
        *("", f"prod/{AWAY}", f"prod/{FAR}"),
    ]
    with session():
        assert Policy.get().successes == 3


def test_every_nth_counts_also_while_the_copies_of_earlier_runs_are_still_under_way(house: House) -> None:
    """Copies take hours: a run that begins before they end is the second success all the same, not the first again."""
    backed_up(house, dr=[{"region": FAR, "every": 2}], generations=9)
    house.cloud.set("answers", 10**6)  # nothing that begins from now on ends
    with transaction():
        Job.update(state=JobState.WAITING, settled=False).where(Job.kind == "copy").execute()
        Run.update(state=RunState.OPEN).execute()
    house.cloud.set("answers", 0)
    house.wished("run", policy="gold")
    house.work(MINUTE)
    assert [row.ordinal for row in house.runs()] == [1, 2]
    assert [job.run_id for job in house.jobs("copy")] == [house.runs()[0].id]


def test_a_run_of_some_targets_uses_up_no_turn(house: House) -> None:
    backed_up(house, dr=[{"region": AWAY, "every": 2}])
    house.wished("run", policy="gold", resources=["vol-prod-000"])
    house.work(3 * MINUTE)
    with session():
        assert Policy.get().successes == 1
    assert [row.ordinal for row in house.runs()] == [1, 2]


def test_copies_of_one_target_to_one_place_go_in_the_order_of_their_points(house: House) -> None:
    house.account("prod", [HOME, AWAY])
    house.policy(dr=[{"region": AWAY}])
    house.volumes(1)
    for _ in range(2):
        run(house, MINUTE)
    house.cloud.set("answers", 3)
    run(house, MINUTE)
    run(house, 12 * MINUTE)
    made = [point.copy_of_id for point in house.points(Point.destination != "")]
    assert made == sorted(made)
    assert len(made) == 4
    spans = [(job.started_at, job.finished_at) for job in house.jobs("copy")]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_copy_that_cannot_work_is_refused_with_the_clouds_reason_and_never_called(house: House) -> None:
    house.account("vault", [FAR], kind="dr")
    house.account("prod", [HOME])
    house.policy(dr=[{"account": "vault", "region": FAR}, {"account": "nobody", "region": FAR}, {"region": HOME}])
    house.volumes(1, default_key=True)
    run(house)
    codes = [(job.state, job.error_code) for job in house.jobs("copy")]
    assert codes == [(JobState.FAILED, code) for code in ("default-key", "unknown-account", "same-place")]
    assert house.cloud.calls("start_copy") == []
    assert [one.state for one in house.runs()] == [RunState.PARTIAL]


def test_an_intermediate_copy_goes_when_the_copy_made_from_it_is_good(house: House) -> None:
    house.account("vault", [FAR], kind="dr")
    house.account("prod", [HOME])
    house.policy(dr=[{"account": "vault", "region": FAR, "reencrypt_key": "alias/shared"}])
    house.volumes(1, default_key=True)
    run(house, 10 * MINUTE)
    kinds = [(point.kind, point.destination, point.state) for point in house.points(state=None)]
    assert kinds == [
        ("snapshots", "", PointState.GOOD),
        ("intermediate", f"prod/{HOME}", PointState.DELETED),
        ("snapshots", f"vault/{FAR}", PointState.GOOD),
    ]
    assert [one.state for one in house.runs()] == [RunState.DONE]


@pytest.mark.parametrize(("service", "left"), [("redshift", PointState.EXPIRING), ("rds", PointState.GOOD)])
def test_what_is_billed_by_the_hour_goes_as_soon_as_the_copy_of_it_has_failed(
    house: House, service: str, left: PointState
) -> None:
    """Feature 43: a temporary cluster waits for nobody; other intermediates stay, since the copy may be asked for
    again."""
    backed_up(house)
    at = house.clock.timer()
    with transaction():
        source = Point.get()
        middle = Point.create(
            resource=source.resource_id,
            policy=source.policy_id,
            account=source.account_id,
            region=HOME,
            destination=f"vault/{HOME}",
            kind="intermediate",
            copy_of=source.id,
            state=PointState.GOOD,
            taken_at=source.taken_at,
        )
        Job.create(
            kind="copy",
            lane="copy",
            key="second-hop",
            account=source.account_id,
            region=HOME,
            service=service,
            resource=source.resource_id,
            spec={"point": middle.id},
            state=JobState.FAILED,
            error_code="cloud-failed",
            not_before_at=at,
            created_at=at,
        )
    settle_jobs(at)
    with session():
        assert Point.get_by_id(middle.id).state is left


@pytest.mark.long
def test_a_route_that_cannot_be_finished_leaves_nothing_on_its_way(house: House) -> None:
    """What was made for a copy that is given up goes too, and the run says that it is only partly good."""
    house.account("vault", [FAR], kind="dr")
    house.account("prod", [HOME])
    house.policy(dr=[{"account": "vault", "region": FAR, "reencrypt_key": "alias/shared"}], retries={"attempts": 1})
    house.volumes(1, default_key=True)
    house.wished("run", policy="gold")
    for _ in range(200):
        house.workers_live()
        house.step()
        house.deliver()
        house.clock.advance(timedelta(seconds=5))
        if house.cloud.calls("start_copy"):
            break
    house.cloud.fault("start_copy", "denied", times=100)
    house.work(timedelta(days=1, hours=1), 30 * MINUTE)  # beyond the grace of a step that may go on
    house.work(10 * MINUTE)
    left = [(point.kind, point.destination) for point in house.points()]
    assert left == [("snapshots", "")]
    assert {point.state for point in house.points(Point.kind == "intermediate", state=None)} == {PointState.DELETED}
    assert [one.state for one in house.runs()] == [RunState.PARTIAL]


def test_a_copy_that_the_cloud_will_not_make_in_one_step_goes_by_two(house: House) -> None:
    """Feature 42, feature C16: the refusal is no failure of the run; what was made on the way is removed at the end."""
    house.account("vault", [FAR], kind="dr")
    house.account("prod", [HOME])
    house.policy(dr=[{"account": "vault", "region": FAR}])
    house.volumes(1)
    house.cloud.fault("start_copy", "two-hops", times=1)
    run(house, 10 * MINUTE)
    kinds = [(point.kind, point.destination, point.state) for point in house.points(state=None)]
    assert kinds == [
        ("snapshots", "", PointState.GOOD),
        ("snapshots", f"vault/{FAR}", PointState.DELETED),  # the one that was refused
        ("intermediate", f"prod/{FAR}", PointState.DELETED),
        ("snapshots", f"vault/{FAR}", PointState.GOOD),
    ]
    assert [one.state for one in house.runs()] == [RunState.DONE]


def test_dr_entries_that_cannot_be_read_hold_up_no_other_policy(house: House) -> None:
    house.account("prod", [HOME, AWAY])
    house.policy("bad", dr=[{"every": 1}])
    house.policy("gold", dr=[{"region": AWAY}])
    house.volumes(1)
    house.wished("run", policy="bad")
    run(house)
    assert {point.destination for point in house.points()} == {"", f"prod/{AWAY}"}
    assert [(one.policy.name, one.state) for one in house.runs()] == [
        ("bad", RunState.PARTIAL),
        ("gold", RunState.DONE),
    ]


def test_a_job_that_was_stranded_or_cancelled_leaves_no_point_that_is_being_made(house: House) -> None:
    backed_up(house)
    house.cloud.fault("start_backup", "throttle", times=100)
    house.wished("run", policy="gold")
    house.work(2 * MINUTE)
    assert len(house.points(state=PointState.CREATING)) == 1
    house.wished("cancel", run=house.runs()[-1].id)
    house.step()
    (point,) = house.points(state=PointState.FAILED)
    assert point.error_code == "cancelled"


def test_operations_of_a_job_that_has_ended_wake_nobody(house: House) -> None:
    backed_up(house)
    house.cloud.set("answers", 10**6)
    run(house, MINUTE)
    house.clock.advance(MINUTE)
    with session():
        assert ask_about_operations(house.clock.timer()) == 1
    with transaction():
        Job.update(state=JobState.FAILED, error_code="denied").where(Job.state == JobState.WAITING).execute()
        assert Operation.select().where(Operation.state == OperationState.RUNNING).count() == 1
        assert ask_about_operations(house.clock.timer()) == 0


def test_jobs_of_an_account_that_was_removed_fail_with_that_reason_instead_of_hanging(house: House) -> None:
    backed_up(house)
    house.cloud.set("answers", 10**6)
    run(house, MINUTE)
    house.wished("run", policy="gold")
    with transaction():
        Account.update(enabled=False).execute()
    house.work(2 * MINUTE)
    assert {job.error_code for job in house.jobs()[1:]} == {"account-removed"}
    assert {one.state for one in house.runs()[1:]} == {RunState.FAILED}
    assert house.points(state=PointState.CREATING) == []
    sent = len(house.queue.sent)
    house.work(2 * MINUTE)
    assert len(house.queue.sent) == sent


def test_a_run_ends_once_whoever_closes_it(pair: House) -> None:
    backed_up(pair)
    with transaction():
        Run.update(state=RunState.OPEN).execute()
    counters = Counters()
    at = pair.clock.timer()
    with session():
        assert [close_runs(at, counters), close_runs(at, counters)] == [1, 0]
        assert Policy.get().successes == 1
        assert settle_jobs(at) == 0
