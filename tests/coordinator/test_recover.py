"""Restores, step by step through coordinators and workers: the chain, the undo, and what ends neither well."""

import threading
from typing import Any

import pytest

from admin.forecast import forecast_restore
from coordinator.alerts import evaluate
from coordinator.recover import begin_restore
from coordinator.restore_claims import claims_of
from coordinator.restore_facts import RestoreRequest
from coordinator.restore_plan import PlannedStep, RestorePlan, ref
from tasks.catalog import Creation, Job, Point, Resource, Restore, RestoreStep, Scan, session, transaction
from tasks.catalog.point import DELETED_ELSEWHERE
from tasks.catalog.transitions import move_parts, move_point
from tasks.errors import Invalid, Refused
from tasks.states import JobState, PointState, RequestState, RestoreState
from tests.coordinator.house import HOME, MINUTE, House


def good_point(house: House) -> Point:
    house.account()
    house.policy()
    house.volumes(1)
    house.wished("run", policy="gold")
    house.work(2 * MINUTE)
    (point,) = house.points()
    return point


def asked(house: House, keep: bool = False) -> int:
    request: dict[str, Any] = {"kind": "volume", "zone": "us-east-1a"}
    point = good_point(house)
    return int(house.wished("restore", point=point.id, request=request, keep_on_failure=keep)["restore"])


def state(house: House, number: int) -> tuple[RestoreState, str]:
    with session():
        row = Restore.get_by_id(number)
    return row.state, row.error_text


def steps(house: House) -> list[JobState]:
    with session():
        return [row.state for row in RestoreStep.select().order_by(RestoreStep.number)]


def test_a_restore_goes_from_step_to_step_ahead_of_everything_and_ends_well(house: House) -> None:
    number = asked(house)
    house.work(4 * MINUTE, MINUTE / 2)
    assert state(house, number) == (RestoreState.DONE, "")
    assert set(steps(house)) == {JobState.DONE}
    with session():
        assert [row.kind for row in Creation.select()] == ["volume"]


def test_a_step_that_fails_is_undone_and_the_restore_says_why(house: House) -> None:
    number = asked(house)
    house.cloud.fault("start_restore", "error-state")
    house.work(MINUTE, MINUTE / 4)
    house.cloud.fault("start_restore", "denied")
    house.work(4 * MINUTE, MINUTE / 2)
    ended, text = state(house, number)
    assert ended == RestoreState.FAILED
    assert "authorized" in text
    with session():
        assert all(row.removed_at is not None for row in Creation.select())


def test_what_is_to_be_kept_after_a_failure_is_kept(house: House) -> None:
    number = asked(house, keep=True)
    house.cloud.fault("start_restore", "denied")
    house.work(2 * MINUTE, MINUTE / 2)
    assert state(house, number)[0] == RestoreState.FAILED
    assert house.jobs("restore-undo") == []


def test_an_undo_that_fails_too_names_what_is_still_there(house: House) -> None:
    number = asked(house)
    with session():
        job = house.jobs("restore-step")[0]
    with transaction():
        Creation.create(
            restore=number, step="create", kind="volume", external_id="vol-left", created_at=house.clock.timer()
        )
        Job.update(state=JobState.FAILED, error_code="cloud-failed", error_text="It broke.", fence=Job.fence + 1).where(
            Job.id == job.id
        ).execute()
    house.step()
    (undo,) = house.jobs("restore-undo")
    with transaction():
        Job.update(state=JobState.FAILED, error_code="cloud-failed", error_text="No right.", fence=Job.fence + 1).where(
            Job.id == undo.id
        ).execute()
    house.step()
    ended, text = state(house, number)
    assert ended == RestoreState.FAILED
    assert text == "It broke. What it made could not be removed (No right.): volume vol-left."
    with session():
        evaluate(house.clock)
    (alert,) = house.alerts("restore-left-over")
    assert (alert.key, alert.severity) == (f"restore-left-over:restore-{number}", "critical")
    assert alert.text == f"Left: volume vol-left. {text}"


def test_a_machine_that_an_undo_left_stopped_is_told_of_until_a_look_sees_it_run(house: House) -> None:
    point = machine_point(house)
    wish: dict[str, Any] = {"point": point.id, "request": {"kind": "in-place"}}
    number = int(house.wished("restore", **wish)["restore"])
    at = house.clock.timer()
    with transaction():
        for kind, name in (("stop", "i-web"), ("detachment", "vol-web-0:i-web:/dev/sda"), ("volume", "vol-new")):
            Creation.create(restore=number, step="x", kind=kind, external_id=name, created_at=at)
        Restore.update(
            state=RestoreState.FAILED, error_code="cloud-failed", finished_at=at, error_text="It broke."
        ).execute()
        Resource.update(seen_at=at).execute()
        evaluate(house.clock)
    (alert,) = house.alerts("restore-left-over")
    assert alert.text == "Stopped: i-web. Left: vol-web-0 off i-web (/dev/sda), volume vol-new. It broke."
    with transaction():
        Resource.update(seen_at=at + MINUTE).execute()
        evaluate(house.clock)
    assert house.alerts("restore-left-over")[0].cleared_at is not None


def test_a_follow_up_that_cannot_be_planned_fails_its_restore_and_holds_up_nobody(house: House) -> None:
    number = asked(house)
    with transaction():
        (first, *_) = house.jobs("restore-step")
        RestoreStep.create(
            restore=number, number=1, name="next", kind="attach-volume", params={"volume_id": {"$ref": "no.thing"}}
        )
        Job.update(state=JobState.DONE, fence=Job.fence + 1).where(Job.id == first.id).execute()
    house.step()
    ended, text = state(house, number)
    assert (ended, "no" in text) == (RestoreState.FAILED, True)


@pytest.mark.parametrize("gone", [PointState.CREATING, PointState.EXPIRING, PointState.DELETED])
def test_a_point_that_is_not_there_or_on_its_way_out_is_not_restored_from(house: House, gone: PointState) -> None:
    point = good_point(house)
    with transaction():
        Point.update(state=gone, expire_code="outlived").execute()
    row = house.wish("restore", point=point.id, request={"kind": "volume", "zone": "us-east-1a"})
    assert (row.state, row.error_code) == (RequestState.REFUSED, "invalid")


def test_a_point_that_a_restore_reads_is_not_deleted_under_it(house: House) -> None:
    """Marked in the same moment: cleanup asks again and gives it back."""
    number = asked(house)
    with transaction():
        Point.update(state=PointState.EXPIRING, expire_code="outlived").execute()
    house.work(4 * MINUTE, MINUTE / 2)
    assert state(house, number)[0] == RestoreState.DONE
    assert len(house.points()) == 1


def machine_point(house: House) -> Point:
    house.account()
    house.policy(targets=[{"type": "instance", "account": "prod", "region": HOME, "id": "i-web"}])
    with house.cloud.transaction():
        house.cloud.instance("i-web")
    house.wished("run", policy="gold")
    house.work(2 * MINUTE)
    (point,) = house.points()
    return point


def test_one_restore_at_a_time_writes_into_a_machine_until_it_is_over_or_undone(house: House) -> None:
    """The second is refused by the name of the first, however the first ends; what makes new things goes beside it."""
    point = machine_point(house)
    wish: dict[str, Any] = {"point": point.id, "request": {"kind": "in-place"}}
    for outcome in ("undone", "good"):
        first = int(house.wished("restore", **wish)["restore"])
        if outcome == "undone":
            house.work(MINUTE / 2, MINUTE / 4)
            with transaction():
                Restore.update(state=RestoreState.UNDOING, error_code="denied").where(Restore.id == first).execute()
        second = house.wish("restore", **wish)
        assert (second.state, second.error_code) == (RequestState.REFUSED, "restore-under-way")
        assert f"restore-{first} writes into i-web" in second.error_text
        house.wished("restore", point=point.id, request={"kind": "volume", "zone": "us-east-1a"})
        with transaction():
            ended = RestoreState.FAILED if outcome == "undone" else RestoreState.DONE
            Restore.update(state=ended).where(Restore.id == first).execute()
    house.wished("restore", **wish)


def test_of_two_restores_asked_for_at_the_same_moment_one_is_refused(house: House) -> None:
    """By two coordinators: the second decides when the first has written its own."""
    point, told = machine_point(house), []

    def begin() -> None:
        try:
            with transaction():
                begin_restore(point.id, {"kind": "in-place"}, False, "ann", house.clock.timer())
        except Refused as error:
            told.append(error.code)

    second = threading.Thread(target=begin)
    with transaction():
        begin()
        second.start()
        second.join(0.2)
        assert second.is_alive()
    second.join(20)
    assert told == ["restore-under-way"]


@pytest.mark.parametrize("ends", [RestoreState.DONE, RestoreState.FAILED])
def test_what_was_restored_into_is_looked_at_when_it_has_ended(house: House, ends: RestoreState) -> None:
    """So that the next plan takes off what is there, and not what was there before."""
    point = machine_point(house)
    number = int(house.wished("restore", point=point.id, request={"kind": "in-place"})["restore"])
    if ends == RestoreState.FAILED:
        house.cloud.fault("start_restore", "denied")
    house.work(6 * MINUTE, MINUTE / 2)
    with session():
        restore, scan = Restore.get_by_id(number), Scan.get()
    assert restore.state == ends
    assert scan.finished_at >= restore.finished_at


@pytest.mark.parametrize(
    ("kind", "params", "claims"),
    [
        ("check-volumes", {"instance_id": "i-1", "volumes": {}}, {"prod/us-east-1/i-1/"}),
        ("replace-root", {"instance_id": "i-1"}, {"prod/us-east-1/i-1/"}),
        ("stop-instance", {"instance_id": ref("run", "instance_id")}, set()),
        ("attach-volume", {"instance_id": "i-1"}, set()),
        ("azure-deallocate", {"vm_id": "/vm"}, {"prod/us-east-1//vm/"}),
        ("restore-file-system", {"into": "fs-1"}, {"prod/us-east-1/fs-1/"}),
        ("restore-file-system", {}, set()),
        ("restore-namespace", {"namespace": ref("make", "namespace")}, set()),
        ("restore-namespace", {"namespace": "sales"}, {"prod/us-east-1/sales/"}),
        ("restore-bucket", {"bucket": "files", "prefix": "a/"}, {"s3/files/a/"}),
    ],
)
def test_a_plan_claims_what_exists_already_and_is_written_into(
    kind: str, params: dict[str, Any], claims: set[str]
) -> None:
    plan = RestorePlan("rp-1", "", "prod", "us-east-1", "", (PlannedStep("step", kind, params, ""),))
    assert claims_of(plan) == claims


def test_a_point_that_somebody_deleted_from_may_be_tried_with_a_warning_and_one_that_repair_gave_up_not(
    house: House,
) -> None:
    """feature C11: a role that meant another account for an hour must not keep anybody from a restore for a day."""
    point, text = good_point(house), "Somebody else deleted snap-1 in the cloud."
    with transaction():
        assert move_point(point.id, PointState.LOST, error_code=DELETED_ELSEWHERE, error_text=text)
        move_parts(point.id, PointState.LOST)
    wish = RestoreRequest("volume", zone="us-east-1a")
    plan = forecast_restore(f"rp-{point.id}", wish)
    assert plan.warnings[0].startswith(text)
    number = house.wished("restore", point=point.id, request=wish.to_json(), keep_on_failure=False)["restore"]
    house.work(4 * MINUTE, MINUTE / 2)
    assert state(house, number) == (RestoreState.DONE, "")
    with transaction():
        Point.update(error_code="object-missing").where(Point.id == point.id).execute()
    with pytest.raises(Invalid, match="is lost"):
        forecast_restore(f"rp-{point.id}", wish)
