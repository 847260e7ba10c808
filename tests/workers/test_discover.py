"""Looking at what exists: pages, what is gone, and what a broken look may not say."""

from datetime import timedelta

import pytest

from tasks.catalog import Account, Counter, Job, Resource, Scan, session, transaction
from tasks.catalog.transitions import requeue, requeue_idle
from tasks.errors import FenceLost
from tasks.lanes import Lane
from tasks.states import AccountState
from tests.workers.world import HOME, START, World
from workers.handlers import discover
from workers.handlers.discover import storable


def look(world: World) -> Job:
    key = f"discover:{world.clock.timer().isoformat()}"
    spec = {"types": ["instance", "volume"]}
    return world.job("discover", Lane.DISCOVER, run=None, spec=spec, key=key, max_attempts=1)


def found(world: World) -> dict[str, Resource]:
    with session():
        return {row.external_id: row for row in Resource.select()}


def account(world: World) -> Account:
    with session():
        return Account.get_by_id(world.account.id)


def test_a_look_writes_what_exists_page_by_page(world: World) -> None:
    """Feature 10: ids, names, tags, and what a restore needs."""
    world.cloud.instance("i-2", volumes=3, name="web", tags={"env": "prod"})
    world.cloud.set("page", 2)
    job = look(world)
    assert world.work(job) == "done"
    rows = found(world)
    assert set(rows) == {"i-1", "i-2", "vol-1-0", "vol-1-1", "vol-2-0", "vol-2-1", "vol-2-2"}
    assert (rows["i-2"].name, rows["i-2"].tags) == ("web", {"env": "prod"})
    assert [one["id"] for one in rows["i-2"].attributes["volumes"]] == ["vol-2-0", "vol-2-1", "vol-2-2"]
    assert len(world.cloud.calls("discover")) == 4
    with session():
        scan = Scan.get()
    assert (scan.finished_at, scan.found, scan.error_code) == (START, 7, "")
    assert (account(world).state, account(world).checked_at) == (AccountState.REACHABLE, START)


def test_what_was_not_seen_any_more_is_gone_and_back_when_it_is_seen_again(world: World) -> None:
    world.work(look(world))
    world.cloud.remove("vol-1-1")
    world.clock.advance(timedelta(hours=1))
    world.work(look(world))
    assert found(world)["vol-1-1"].gone_at == world.clock.timer()
    assert found(world)["vol-1-0"].gone_at is None
    world.cloud.volume("vol-1-1", instance="i-1")
    world.clock.advance(timedelta(hours=1))
    world.work(look(world))
    assert found(world)["vol-1-1"].gone_at is None
    assert found(world)["vol-1-1"].found_at == START


def test_tags_that_may_not_be_read_stay_as_they_were_known_and_the_look_says_so(world: World) -> None:
    """Feature 10: a right that is lost takes nothing out of its policy; what was never read has no tags."""
    world.cloud.instance("i-2", tags={"backup": "gold"})
    world.work(look(world))
    for name in ("i-2", "i-3"):
        world.cloud.instance(name, tags={}, unread=["tags"], name="again")
    world.clock.advance(timedelta(hours=1))
    job = look(world)
    world.work(job)
    rows = found(world)
    assert (rows["i-2"].tags, rows["i-2"].name, rows["i-2"].gone_at) == ({"backup": "gold"}, "again", None)
    assert (rows["i-3"].tags, rows["i-3"].attributes["unread"]) == ({}, ["tags"])
    assert "tags of 2 found here may not be read, as those of i-2" in world.row(job).result["note"]
    world.cloud.instance("i-2", tags={"backup": "silver"})
    world.clock.advance(timedelta(hours=1))
    world.work(look(world))
    assert found(world)["i-2"].tags == {"backup": "silver"}


def test_a_look_that_broke_off_makes_nothing_gone(world: World) -> None:
    """A page that was not read says nothing about what is on it."""
    world.work(look(world))
    world.clock.advance(timedelta(hours=1))
    world.cloud.fault("discover", "lost-request")
    assert world.work(look(world)) == "failed"
    assert not [row for row in found(world).values() if row.gone_at]
    with session():
        scan = Scan.get()
    assert (scan.finished_at, scan.error_code) == (START, "transient")


def test_a_look_is_handed_back_at_its_next_page_when_its_worker_drains(world: World) -> None:
    """A look at a large account takes minutes, and a drain has half of one. Another worker begins it anew, at no cost
    to its one attempt, and the account's last look stays what is known."""
    world.work(look(world))
    world.cloud.set("page", 1)
    world.clock.advance(timedelta(hours=1))
    world.context.draining.set()
    job, before = look(world), len(world.cloud.calls("discover"))
    assert world.work(job) == "deferred"
    assert len(world.cloud.calls("discover")) == before + 1
    with session():
        assert (Scan.get().finished_at, Scan.get().error_code) == (START, "")
    world.context.draining.clear()
    assert world.work(job) == "done"
    assert not [row for row in found(world).values() if row.gone_at]


def test_an_account_that_cannot_be_entered_is_marked_with_the_reason(world: World) -> None:
    world.cloud.fault("discover", "credentials")
    world.work(look(world))
    assert account(world).state is AccountState.UNREACHABLE
    assert "role" in account(world).state_text
    world.clock.advance(timedelta(minutes=1))
    world.work(look(world))
    assert (account(world).state, account(world).state_text) == (AccountState.REACHABLE, "")


def test_a_look_that_is_denied_says_nothing_against_the_account(world: World) -> None:
    """Feature 10: it could be entered; what it lets us see is another matter, and counted as such."""
    world.work(look(world))
    world.cloud.fault("discover", "denied")
    world.clock.advance(timedelta(minutes=1))
    assert world.work(look(world)) == "failed"
    assert (account(world).state, account(world).state_text) == (AccountState.REACHABLE, "")
    with session():
        assert Scan.get().error_code == "denied"
    world.context.counters.flush()
    with session():
        counted = {row.labels: row.value for row in Counter.select().where(Counter.name == "snapfleet_scans_total")}
    assert [value for labels, value in counted.items() if "denied" in labels] == [1]


def test_a_wish_older_than_the_look_is_fulfilled_and_a_newer_one_is_not(world: World) -> None:
    with transaction():
        Scan.create(account=world.account, region=HOME, service="ec2", wanted_at=START)
    world.work(look(world))
    with session():
        assert Scan.get().wanted_at is None
    newer = world.clock.timer() + timedelta(hours=2)
    with transaction():
        Scan.update(wanted_at=newer).execute()
    world.clock.advance(timedelta(hours=1))
    world.work(look(world))
    with session():
        assert Scan.get().wanted_at == newer


def test_a_look_that_was_overtaken_writes_nothing(world: World) -> None:
    """Promise 2: a late look must not bring back what a newer one has seen gone."""
    job = look(world)
    late = world.claim(job)
    with transaction():
        requeue(world.row(job), world.clock.timer())
    world.claim(job)
    with pytest.raises(FenceLost):
        discover.run(world.context, late)
    assert set(found(world)) == {"i-1"}


def test_hostile_names_are_stored_without_what_a_database_refuses(world: World) -> None:
    """A tag is other people's text: NUL and lone surrogates would make PostgreSQL refuse the whole page."""
    world.cloud.instance("i-9", name="a\x00b\ud800", tags={"k\x00": "v\x00"})
    assert world.work(look(world)) == "done"
    assert (found(world)["i-9"].name, found(world)["i-9"].tags) == ("ab?", {"k": "v"})


def test_values_that_are_no_text_are_stored_as_they_are() -> None:
    assert storable({"a": [1, None, True, ("x\x00",)]}) == {"a": [1, None, True, ["x"]]}


def test_a_check_answers_whoever_asked_and_learns_the_accounts_number(world: World) -> None:
    """Feature 3."""
    job = world.job("check", Lane.DISCOVER, run=None)
    assert world.work(job) == "done"
    assert [one["name"] for one in world.row(job).result["checks"]] == ["contact", "ec2:CreateSnapshots"]
    assert (account(world).number, account(world).state) == ("123456789012", AccountState.REACHABLE)


def test_a_check_of_an_account_that_cannot_be_entered_is_an_answer_too(world: World) -> None:
    world.cloud.fault("check", "credentials")
    job = world.job("check", Lane.DISCOVER, run=None)
    assert world.work(job) == "done"
    assert world.row(job).result["checks"][0]["outcome"] == "missing"
    assert account(world).state is AccountState.UNREACHABLE


def test_a_standing_look_is_put_off_for_nothing_in_each_of_its_rounds(world: World) -> None:
    """The day after which waiting costs attempts counts from the round's own beginning, not from the row's."""
    job = look(world)
    assert world.work(job) == "done"
    world.clock.advance(timedelta(days=30))
    with transaction():
        assert requeue_idle([job.id], world.clock.timer()) == 1
    world.cloud.fault("discover", "throttle")
    assert world.work(job) == "deferred"
    assert world.work(job) == "done"
