"""A place that answers nothing takes no thread from the others."""

from datetime import timedelta

from tasks.catalog import Job
from tasks.states import JobState
from tests.workers.world import AWAY, World
from workers.strain import FIRST, LONGEST


def backups(world: World, count: int, **columns: object) -> list[Job]:
    return [world.snapshot_job(resource=world.new_resource(f"i-{n}"), **columns) for n in range(50, 50 + count)]


def test_after_three_calls_without_an_answer_the_others_of_that_place_are_put_off_for_nothing(world: World) -> None:
    """Feature 31: an account that is cut off must not hold the threads that the others need."""
    world.cloud.fault("start_backup", "lost-request", times=3)
    first, rest = backups(world, 5)[:3], world.snapshot_job()
    assert [world.work(job) for job in first] == ["retry"] * 3
    assert world.work(rest) == "deferred"
    row = world.row(rest)
    assert (row.state, row.attempt, row.error_code) == (JobState.PENDING, 0, "place-strained")
    assert len(world.cloud.calls("start_backup")) == 3


def test_one_at_a_time_tries_and_the_first_success_opens_the_place(world: World) -> None:
    world.cloud.fault("start_backup", "throttle", times=3)
    jobs = backups(world, 5)
    assert [world.work(job) for job in jobs[:3]] == ["deferred"] * 3
    world.clock.advance(FIRST * 2)
    others: list[str] = []
    world.cloud.before_call = lambda _: others.append(world.work(jobs[4])) if not others else None
    assert world.work(jobs[3]) == "waiting"
    assert others == ["deferred"]
    assert [world.work(job) for job in (jobs[0], jobs[4])] == ["waiting", "waiting"]


def test_failing_tries_come_at_growing_distances_with_an_end(world: World) -> None:
    place, strain = (1, "r"), world.context.strain
    for _ in range(3):
        strain.note(place, world.clock.timer(), strike=True)
    pauses = []
    for _ in range(8):
        pause = strain.pause(place, world.clock.timer())
        assert pause is not None
        pauses.append(pause)
        world.clock.advance(pause)
        assert strain.pause(place, world.clock.timer()) is None
        strain.note(place, world.clock.timer(), strike=True)
    assert pauses == [min(LONGEST, FIRST * 2**n) for n in range(8)]


def test_another_region_and_a_restore_go_on(world: World) -> None:
    world.cloud.fault("start_backup", "lost-request", times=3)
    for job in backups(world, 3):
        world.work(job)
    assert world.work(world.snapshot_job(region=AWAY)) == "waiting"
    assert world.poll(after=timedelta(seconds=1)) == "done"


def test_a_try_that_was_overtaken_leaves_the_place_open_to_the_next(world: World) -> None:
    place, strain = (1, "r"), world.context.strain
    for _ in range(3):
        strain.note(place, world.clock.timer(), strike=True)
    world.clock.advance(FIRST)
    assert strain.pause(place, world.clock.timer()) is None
    assert strain.pause(place, world.clock.timer()) == FIRST
    strain.note(place, world.clock.timer(), strike=False)
    assert strain.pause(place, world.clock.timer()) is None
