"""Copying: from a good point only, once, and with its own state."""

from datetime import timedelta
from typing import Any

import pytest

from tasks.catalog import Account, CopySlots, Job, Point, session, transaction
from tasks.lanes import Lane
from tasks.states import JobState, PointState
from tests.workers.world import AWAY, World


def copy_job(world: World, source: Point, **columns: Any) -> Job:
    spec = {"point": source.id, "destination": f"prod/{AWAY}", "kms_key": "", "role": "copy"}
    spec |= columns.pop("spec", {})
    return world.job("copy", Lane.COPY, region=AWAY, resource=world.resource, spec=spec, slots=2, **columns)


def test_a_copy_becomes_a_point_of_its_own_with_the_age_of_its_source(world: World) -> None:
    """Feature 20: retention counts a copy by when its data was taken."""
    source = world.good_point()
    job = copy_job(world, source)
    assert world.work(job) == "waiting"
    world.poll(region=AWAY)
    copied = world.point(job)
    assert (copied.state, copied.region, copied.destination) == (PointState.GOOD, AWAY, f"prod/{AWAY}")
    assert (copied.copy_of_id, copied.taken_at, copied.attributes) == (source.id, source.taken_at, source.attributes)
    assert [part.source_id for part in world.parts(copied)] == ["vol-1-0", "vol-1-1"]
    assert world.row(job).state is JobState.DONE


def test_a_copy_half_begun_when_the_quota_was_met_goes_on_where_it_was(world: World) -> None:
    source = world.good_point()
    job = copy_job(world, source)
    world.cloud.fault("start_copy", "lost-response")
    assert world.work(job) == "retry"
    assert world.work(job) == "waiting"
    assert len([call for call in world.cloud.calls("create:snapshot") if call.region == AWAY]) == 2
    assert len(world.parts(world.point(job))) == 2


def test_a_source_that_is_not_good_any_more_is_not_copied(world: World) -> None:
    source = world.expiring(world.good_point())
    job = copy_job(world, source)
    assert world.work(job) == "failed"
    assert world.row(job).error_code == "gone"
    assert not world.cloud.calls("start_copy")


def test_a_copy_that_the_cloud_can_never_make_is_refused_without_a_call(world: World) -> None:
    """A snapshot under the default key cannot go to another account."""
    for volume in ("vol-1-0", "vol-1-1"):
        world.cloud.volume(volume, instance="i-1", encrypted=True, default_key=True)
    with transaction():
        vault = Account.create(name="vault", regions=[AWAY])
    source = world.good_point()
    job = copy_job(world, source, account=vault, spec={"destination": f"vault/{AWAY}"})
    assert world.work(job) == "failed"
    assert (world.row(job).error_code, len(world.points())) == ("copy-impossible", 1)
    assert not world.cloud.calls("start_copy")


@pytest.mark.parametrize(("role", "kind"), [("copy", "snapshots"), ("intermediate", "intermediate")])
def test_the_role_of_a_copy_is_its_kind(world: World, role: str, kind: str) -> None:
    job = copy_job(world, world.good_point(), spec={"role": role})
    world.work(job)
    assert world.point(job).kind == kind


def test_a_failed_copy_leaves_its_source_good_and_goes_again_as_a_new_point(world: World) -> None:
    source = world.good_point()
    job = copy_job(world, source)
    world.cloud.fault("start_copy", "error-state")
    world.work(job)
    world.poll(region=AWAY)
    assert world.point(job).state is PointState.FAILED
    assert world.points()[0].state is PointState.GOOD
    world.clock.advance(timedelta(minutes=10))
    world.work(job)
    world.poll(region=AWAY)
    assert world.point(job).state is PointState.GOOD


def test_a_refusal_for_want_of_a_slot_tells_admission_how_many_run(world: World) -> None:
    """feature C3: the job is put off and burns no attempt, and no further copy goes there for a while."""
    source = world.good_point()
    world.copies_run_on()
    jobs = [copy_job(world, source) for _ in range(11)]
    assert [world.work(job) for job in jobs] == ["waiting"] * 10 + ["deferred"]
    assert world.row(jobs[-1]).attempt == 0
    with session():
        (row,) = CopySlots.select()
    assert (row.region, row.service, row.most, row.refused_at) == (AWAY, "ec2", 20, world.clock.timer())
