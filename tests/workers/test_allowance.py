"""The fleet's paces as one process uses them: taken in portions, refused before a call, lowered by a throttle."""

from datetime import timedelta

import pytest

from tasks.catalog import Account, Budget, database, session, transaction
from tasks.catalog.budgets import calls_of, read_paces
from tasks.errors import Throttled
from tasks.lanes import Lane
from tasks.limits import USUAL, family_of, family_of_start
from tests.workers.world import HOME, World
from workers.allowance import SPENT, Allowance, serving

READS = "ec2.read"


def calls(world: World, allowance: Allowance, count: int, operation: str = "DescribeSnapshots", **job: object) -> int:
    """How many of `count` calls may be sent by a job of the cleanup lane (or as `job` says)."""
    row = world.job("cleanup", **{"lane": Lane.CLEANUP, **job})  # type: ignore[arg-type]
    sent = 0
    with serving(row):
        for _ in range(count):
            try:
                allowance.take("ec2", operation, "prod", HOME)
            except Throttled as error:
                if error.code == SPENT:
                    break
                raise
            sent += 1
    return sent


def test_the_whole_fleet_sends_no_more_than_its_share_of_a_bucket(world: World) -> None:
    """feature C2: three workers together have the burst of one pace, and then what it brings back."""
    workers = [Allowance(world.clock) for _ in range(3)]
    burst = USUAL.pace(READS).burst
    assert sum(calls(world, worker, 100) for worker in workers) == burst == 60
    assert database.is_closed()
    world.clock.advance(timedelta(seconds=1))
    assert sum(calls(world, worker, 100) for worker in workers) == 12


def test_most_calls_ask_the_catalog_nothing(world: World) -> None:
    """feature C2: a portion is a sixth of the burst; the catalog knows of it at once and of its use never."""
    allowance = Allowance(world.clock)
    assert calls(world, allowance, 7) == 7
    with session():
        (row,) = Budget.select()
        (place,) = read_paces(world.clock.timer())
    assert place == (world.account.id, HOME, READS)
    assert row.tat_at - world.clock.timer() == USUAL.pace(READS).worth(10)


def test_what_a_dead_worker_had_taken_comes_back_as_time_passes(world: World) -> None:
    """feature C2: nothing is booked to a worker, so nothing has to be given back."""
    assert calls(world, Allowance(world.clock), 1) == 1
    assert calls(world, Allowance(world.clock), 100) == 50
    world.clock.advance(timedelta(minutes=1))
    assert calls(world, Allowance(world.clock), 100) == 60


def test_restores_and_polls_go_ahead_and_others_pay(world: World) -> None:
    """feature C2: a person waits for a restore; who can wait gives way until the debt is paid."""
    assert calls(world, Allowance(world.clock), 200, lane=Lane.RESTORE) == 200
    assert calls(world, Allowance(world.clock), 5) == 0
    world.clock.advance(timedelta(seconds=10))
    assert calls(world, Allowance(world.clock), 5) == 0
    world.clock.advance(timedelta(seconds=10))
    assert calls(world, Allowance(world.clock), 5) == 5


def test_what_a_job_was_dealt_when_it_was_published_is_not_counted_again(world: World) -> None:
    """feature C2: its start, and nothing else that it calls."""
    allowance = Allowance(world.clock)
    assert calls(world, allowance, 500, "CreateSnapshots", lane=Lane.SNAPSHOT) == 500
    assert calls(world, allowance, 500, "CreateImage", lane=Lane.SNAPSHOT) == 30
    assert family_of("ec2", "CreateSnapshots") == family_of_start("ec2", Lane.SNAPSHOT)
    assert family_of("sts", "AssumeRole") == family_of("s3", "PutObject") == ""


def test_a_throttle_is_felt_by_every_worker(world: World) -> None:
    """feature C2"""
    first, second = Allowance(world.clock), Allowance(world.clock)
    assert calls(world, second, 5) == 5
    for _ in range(8):  # the threads of one worker, throttled together
        first.throttled("ec2", "DescribeVolumes", "prod", HOME)
    with session():
        (row,) = Budget.select()
    assert row.share == 0.5
    assert calls(world, first, 5) == 0
    assert calls(world, second, 50) == 5  # what it had in hand
    world.clock.advance(timedelta(seconds=5))
    assert 29 <= calls(world, first, 100) <= 30
    assert calls(world, first, 100, lane=Lane.CLEANUP, account=other(world)) == 0


def other(world: World) -> Account:
    with transaction():
        return Account.create(name="other", regions=[HOME])


def test_an_account_that_the_catalog_does_not_know_is_not_metered(world: World) -> None:
    allowance = Allowance(world.clock)
    for _ in range(500):
        allowance.take("ec2", "DescribeVolumes", "a probe", HOME)
    with session():
        assert Budget.select().count() == 0


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_the_share_of_an_account_is_an_operators_choice(world: World, share: float) -> None:
    with transaction():
        Account.update(settings={"limits": {"share": share}}).execute()
    assert calls(world, Allowance(world.clock), 200) == int(100 * share)
    with session():
        assert [row.name for row in Budget.select()] == [calls_of(world.account.id, HOME, READS)]


def test_a_look_waits_for_moments_instead_of_beginning_anew(world: World) -> None:
    """feature C2: a service that tells tags one by one takes hundreds of calls a look, at the fleet's pace."""
    waited: list[timedelta] = []

    def wait(span: timedelta) -> None:
        waited.append(span)
        world.clock.advance(span)

    looking = Allowance(world.clock, wait)
    began = world.clock.timer()
    assert calls(world, looking, 500, lane=Lane.DISCOVER) == 500
    assert max(waited) <= timedelta(seconds=1)
    seconds = (world.clock.timer() - began).total_seconds()
    assert (500 - 60) / 12 <= seconds <= (500 - 60) / 12 * 1.3


def test_a_look_is_put_off_when_others_run_into_debt_for_long(world: World) -> None:
    """feature C2: it holds its thread for some seconds at most for one call."""
    waited: list[timedelta] = []
    assert calls(world, Allowance(world.clock), 400, lane=Lane.RESTORE) == 400
    assert calls(world, Allowance(world.clock, waited.append), 1, lane=Lane.DISCOVER) == 0
    assert sum(waited, timedelta(0)) <= timedelta(seconds=4)
