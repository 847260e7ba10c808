"""Restores, step by step through coordinators and workers: the chain, the undo, and what ends neither well."""

from typing import Any

import pytest

from tasks.catalog import Creation, Job, Point, Restore, RestoreStep, session, transaction
from tasks.states import JobState, PointState, RequestState, RestoreState
from tests.coordinator.house import MINUTE, House


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
        Job.update(state=JobState.FAILED, error_text="It broke.", fence=Job.fence + 1).where(Job.id == job.id).execute()
    house.step()
    (undo,) = house.jobs("restore-undo")
    with transaction():
        Job.update(state=JobState.FAILED, error_text="No right.", fence=Job.fence + 1).where(
            Job.id == undo.id
        ).execute()
    house.step()
    ended, text = state(house, number)
    assert ended == RestoreState.FAILED
    assert text == "It broke. What it made could not be removed (No right.): volume vol-left."


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
        Point.update(state=gone).execute()
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
