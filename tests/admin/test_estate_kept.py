"""What lies where a policy does not keep things any more stays as long as it was to stay."""

from datetime import UTC, datetime, timedelta

import pytest

from admin.estate_catalog import apply_estate
from admin.estate_plan import EstatePlan
from coordinator.judge import judge
from coordinator.retention import ExpiryPlan
from tasks.catalog import Account, Point, Policy, Resource, session, transaction
from tasks.clock import FixedClock
from tasks.secrets import MasterKey
from tasks.states import PointState
from tests.admin.estates import ENVIRONMENT, SMALL

START = datetime(2026, 11, 10, 12, tzinfo=UTC)
COLD, AWAY = "repository:cold", "vault/eu-central-1"
STORES = """
repositories:
  - {name: cold, account: prod, url: 's3://b/cold', region: us-east-1}
  - {name: colder, account: prod, url: 's3://b/colder', region: us-east-1}
"""
BLOCK = "    repository: {name: cold, every: 7, keep: 7y}\n"
WHOLE = SMALL + BLOCK
WITHOUT_COPIES = SMALL[: SMALL.index("    dr:")]


class Estate:
    """A policy with 20 weekly archives, and 20 copies in another account, of one volume."""

    def __init__(self, key: MasterKey) -> None:
        self.key = key
        self.apply(WHOLE)
        with transaction():
            account, policy = Account.get(Account.name == "prod"), Policy.get()
            seen = {"found_at": START, "seen_at": START}
            volume = Resource.create(account=account, region="us-east-1", type="volume", external_id="vol-1", **seen)
            for weeks in range(20):
                at = START - timedelta(weeks=weeks)
                made = {"resource": volume, "policy": policy, "account": account, "region": "us-east-1"}
                made |= {"state": PointState.GOOD, "taken_at": at, "completed_at": at}
                Point.create(**made, destination=COLD, kind="archive")
                Point.create(**made, destination=AWAY)

    def apply(self, policies: str, **options: bool) -> EstatePlan:
        clock = FixedClock(START)
        text = policies + STORES
        return apply_estate(text, name="e", key=self.key, clock=clock, who="t", environment=ENVIRONMENT, **options)

    def plan(self) -> ExpiryPlan:
        with session():
            return judge(Policy.get(), START).plan

    def going(self) -> list[str]:
        plan = self.plan()
        return [plan.facts[point].destination for point in plan.expire]


@pytest.fixture
def estate(catalog: str, tmp_path_factory: pytest.TempPathFactory) -> Estate:
    return Estate(MasterKey.create(tmp_path_factory.mktemp("keys") / "master.key"))


def test_archives_and_copies_keep_their_rule_when_the_policy_names_their_place_no_more(estate: Estate) -> None:
    """A renamed repository let go of archives that were to stay for seven years, under the policy's 14 generations."""
    assert estate.going() == []
    renamed = WITHOUT_COPIES + BLOCK.replace("cold", "colder")
    dry = estate.apply(renamed, dry_run=True)
    assert [(one["policy"], one["destination"], one["points"], one["rule"]) for one in dry.kept] == [
        ("web", COLD, 20, "2562 days"),
        ("web", AWAY, 20, "generations 30, daily 7"),
    ]
    assert estate.apply(renamed).kept == dry.kept
    assert estate.apply(renamed.replace("daily: 7", "daily: 3")).kept == ()
    assert estate.apply(WITHOUT_COPIES).kept == ()
    plan = estate.plan()
    assert plan.expire == ()
    oldest = next(point for point, fact in plan.facts.items() if fact.destination == COLD)
    assert [reason.code for reason in plan.verdicts[oldest].reasons] == ["keep_for", "former_rule"]
    assert COLD in plan.verdicts[oldest].reasons[1].text


def test_a_place_that_is_named_again_has_the_rule_that_is_written_there(estate: Estate) -> None:
    estate.apply(WITHOUT_COPIES)
    estate.apply(WITHOUT_COPIES + BLOCK.replace("keep: 7y", "generations: 2"))
    assert estate.going() == [COLD] * 18
    estate.apply(SMALL)
    assert estate.going() == [COLD] * 18


def test_a_policy_that_is_removed_and_written_anew_without_a_place_forgets_no_rule(estate: Estate) -> None:
    rest = SMALL[: SMALL.index("policies:")]
    estate.apply(rest, prune=True)
    assert estate.going() == []
    estate.apply(WITHOUT_COPIES)
    assert estate.going() == []
