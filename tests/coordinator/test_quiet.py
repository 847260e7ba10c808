"""Places where nothing is followed any more are looked at all the same (feature C11)."""

from datetime import timedelta

from coordinator.quiet import wake_quiet_places
from tasks.catalog import Account, Job, Meta, Policy, session, transaction
from tasks.catalog.looking import LOOK_EVERY, LOOKED
from tasks.states import JobState
from tests.coordinator.house import HOME, MINUTE, House

HOUR = timedelta(hours=1)


def looked() -> set[tuple[str, str]]:
    """The places that were looked at, each with the last time."""
    with session():
        return {(row.key, row.value) for row in Meta.select().where(Meta.key.startswith(LOOKED))}


def looks(house: House) -> int:
    """How many polls come after a quiet day, none of which is left over."""
    before = looked()
    house.clock.advance(LOOK_EVERY + HOUR)
    house.work(12 * MINUTE, 2 * MINUTE)
    with session():
        assert not Job.select().where(Job.state == JobState.PENDING).exists()
    return len(looked() - before)


def test_a_place_that_holds_good_points_is_looked_at_once_a_day_though_nothing_runs_there(house: House) -> None:
    account = house.account("prod", [HOME])
    house.policy()
    house.volumes(1)
    house.wished("run", policy="gold")
    house.work(4 * MINUTE, timedelta(seconds=30))
    with transaction():
        Policy.update(enabled=False).execute()
    assert [looks(house), looks(house)] == [1, 1]
    with transaction():
        assert wake_quiet_places(house.clock.timer()) == 0
        Account.update(enabled=False).where(Account.id == account.id).execute()
    assert looks(house) == 0
