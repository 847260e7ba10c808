"""What is done with repositories by itself: which verbs, how often, and for which of them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.alerts import evaluate
from coordinator.expiry import Rule
from coordinator.repositories import SHARES, ask_repository, look_after_repositories
from coordinator.rules import rule_of_archives
from tasks.catalog import Account, Job, Point, Repository, Resource, session, transaction
from tasks.errors import Refused
from tasks.states import JobState, PointState
from tests.coordinator.house import DAY, HOME, House

pytestmark = pytest.mark.unit


def keep(house: House, name: str, archives: bool = True, **spec: Any) -> None:
    """A repository of the estate, with a good archive or without any."""
    with session():
        known = Account.get_or_none(Account.name == "vault")
    account = known or house.account("vault")
    at = house.clock.now()
    with transaction():
        where = {"account": "vault", "region": HOME, "url": f"s3://b/{name}", **spec}
        Repository.create(name=name, spec=where, created_at=at)
        if not archives:
            return
        volume = Resource.create(
            account=account.id, region=HOME, type="volume", external_id=f"vol-{name}", found_at=at, seen_at=at
        )
    policy = house.policy(f"of-{name}")
    columns = {"resource": volume.id, "policy": policy.id, "account": account.id, "region": HOME, "taken_at": at}
    with transaction():
        Point.create(kind="archive", destination=f"repository:{name}", state=PointState.GOOD, **columns)


def woken(house: House) -> dict[str, dict[str, Any]]:
    """A look now: what was asked of each repository, as 'NAME VERB'; all of it is then done."""
    with session():
        look_after_repositories(house.clock.now(), house.clock.timer())
        asked = {
            f"{job.spec['repository']} {job.spec['verb']}": job.spec
            for job in Job.select().where(Job.kind == "repository", Job.state == JobState.PENDING)
        }
    with transaction():
        Job.update(state=JobState.DONE, finished_at=house.clock.timer()).where(Job.state == JobState.PENDING).execute()
    return asked


def test_what_holds_archives_is_pruned_counted_and_scrubbed_a_share_a_day_until_all_was_read(
    embedded_catalog: str, tmp_path: Path
) -> None:
    """feature C13: every byte is verified once in thirty days, whoever forgets to ask."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")
    keep(house, "empty", archives=False)
    shares = []
    for _ in range(SHARES):
        asked = woken(house)
        assert set(asked) - {"cold compact"} == {"cold prune", "cold verify", "cold stats"}
        shares.append(tuple(asked["cold verify"]["share"]))
        read(house, shares[-1][0])
        assert woken(house) == {}
        house.clock.advance(1.5 * DAY)
    assert sorted(shares) == [(number, SHARES) for number in range(SHARES)]


def read(house: House, number: int) -> None:
    """A worker has read that share."""
    with transaction():
        Repository.update(facts={"scrub": {"next": (number + 1) % SHARES}}).where(Repository.name == "cold").execute()


def test_a_share_that_could_not_be_read_is_the_next_days_again(embedded_catalog: str, tmp_path: Path) -> None:
    """feature C13: a store that was away for a day leaves no pack unread."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")
    read(house, 4)
    assert woken(house)["cold verify"]["share"] == [5, SHARES]
    house.clock.advance(DAY)
    assert woken(house)["cold verify"]["share"] == [5, SHARES]


def test_damage_and_standing_work_that_fails_are_told_until_they_are_over(
    embedded_catalog: str, tmp_path: Path
) -> None:
    """feature C13: one share's damage is told however clean the next one is, and a verification that never ran too."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")

    def alerts(**facts: Any) -> list[tuple[str, str]]:
        with transaction():
            Repository.update(facts=facts).where(Repository.name == "cold").execute()
        evaluate(house.clock)
        return [(alert.key, alert.text) for alert in house.alerts("repository-") if alert.open_key]

    assert alerts() == []
    bad = {"verify": {"problems": 1, "told": ["packs/a: damaged: truncated"]}}
    ((key, text),) = alerts(**bad)
    assert (key, "packs/a" in text) == ("repository-damaged:cold", True)
    clean = {"problems": 0, "told": []}
    ((key, text),) = alerts(verify=clean, scrub={"next": 6, "found": {"5/30": ["packs/a: damaged: truncated"]}})
    assert (key, "packs/a" in text) == ("repository-damaged:cold", True)
    assert alerts(verify=clean, scrub={"next": 6, "found": {}}) == []
    woken(house)
    with transaction():
        columns = {"state": JobState.FAILED, "error_code": "prune-refused", "error_text": "1 object."}
        Job.update(**columns).where(Job.key.startswith("repository-prune:")).execute()
    assert alerts() == [("repository-failing:cold", "The last prune ended with prune-refused: 1 object.")]
    with transaction():
        Job.update(state=JobState.DONE).where(Job.key.startswith("repository-prune:")).execute()
    assert alerts() == []


def test_a_whole_verification_is_never_answered_by_the_days_share(embedded_catalog: str, tmp_path: Path) -> None:
    """feature C13: it takes the place of one that has not begun; nor is a prune answered by a dry run. What is
    under way with the same options is joined."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")
    at = house.clock.timer()
    with session():
        look_after_repositories(house.clock.now(), at)
    with transaction():
        job = Job.get(Job.key.startswith("repository-verify:"))
        Job.update(state=JobState.RUNNING).where(Job.id == job.id).execute()
    with transaction(), pytest.raises(Refused, match=r"Another verify of cold is under way.*share"):
        ask_repository("cold", "verify", {"full": True}, at)
    with transaction():
        Job.update(state=JobState.PENDING).where(Job.id == job.id).execute()
        assert ask_repository("cold", "verify", {"full": True}, at) == job.id
    assert "share" not in woken(house)["cold verify"]
    house.clock.advance(DAY)
    with session():
        look_after_repositories(house.clock.now(), house.clock.timer())
    with transaction(), pytest.raises(Refused, match="without options"):
        ask_repository("cold", "prune", {"dry_run": True}, at)
    with transaction():
        job = Job.get(Job.key.startswith("repository-prune:"))
        Job.update(spec={**job.spec, "going": {"next": 1}}).where(Job.id == job.id).execute()
        assert ask_repository("cold", "prune", {}, at) == job.id
    woken(house)
    with transaction():
        assert ask_repository("cold", "verify", {"full": True}, at)


def test_locks_are_extended_once_a_week_and_reach_over_the_week(embedded_catalog: str, tmp_path: Path) -> None:
    """feature C20: what the estate says is the least that is ever left."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold", lock="30d")
    weeks = []
    for day in range(15):
        asked = woken(house)
        if "cold lock" in asked:
            weeks.append((day, asked["cold lock"]["lock_days"]))
        house.clock.advance(DAY + timedelta(minutes=1))
    assert weeks == [(0, 37), (7, 37), (14, 37)]


def test_sparse_packs_are_looked_for_once_a_week_also_where_packs_are_locked(
    embedded_catalog: str, tmp_path: Path
) -> None:
    """feature 82: compaction comes by itself; what is written anew is locked as long as any archive (feature C20)."""
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")
    keep(house, "held", lock="30d")
    days = []
    for day in range(15):
        asked = woken(house)
        assert ("held compact" in asked) == ("cold compact" in asked)
        days += [day] if "cold compact" in asked else []
        if "held compact" in asked:
            assert asked["held compact"]["lock_days"] == 37
            assert "lock_days" not in asked["cold compact"]
        house.clock.advance(DAY + timedelta(minutes=1))
    assert days == [0, 7, 14]


def test_a_repository_whose_account_was_removed_is_left_alone(embedded_catalog: str, tmp_path: Path) -> None:
    assert embedded_catalog
    house = House(tmp_path)
    keep(house, "cold")
    with transaction():
        Account.update(enabled=False).execute()
    assert woken(house) == {}


@pytest.mark.parametrize(("block", "rule"), [
    ({}, None),
    ({"generations": 12}, Rule(generations=12)),
    ({"keep": "90d"}, Rule(keep_for=90 * DAY)),
    ({"keep": {"weekly": 8, "monthly": 12}}, Rule(keep={"weekly": 8, "monthly": 12})),
    ({"generations": 2, "keep": {"yearly": 7}}, Rule(generations=2, keep={"yearly": 7})),
    ({"keep": {"weekly": 8}, "archive": {"after": "30d", "keep": "400d"}}, Rule(keep_for=400 * DAY)),
])  # fmt: skip
def test_archives_age_by_generations_by_time_or_by_periods(block: dict[str, Any], rule: Rule | None) -> None:
    """feature 82: a repository's own retention; without one the policy's counts."""
    assert rule_of_archives({"name": "cold", **block}, "UTC") == rule
