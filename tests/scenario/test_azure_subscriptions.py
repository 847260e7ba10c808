"""Three subscriptions under one policy: one is throttled for five minutes, one cannot be entered, one is well."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl
from tests.azure import QUICK, start_azure
from tests.scenario.installation import Installation

DISKS = 40
THREADS = 8  # of one process, all of which may be in a call when the first refusal comes
LIMIT = 60.0  # seconds, a fifth of the throttle
SECRETS = {"GOOD": seed.SECRET, "BAD": "not-the-secret-of-anybody"}


@dataclass
class Story:
    """What there is to look at afterwards."""

    cloud: AzureControl
    here: Installation
    subscriptions: list[str]
    took: float = 0.0

    def points(self, account: str) -> list[dict[str, Any]]:
        return [one for one in self.here.type("points", "--limit", "200") if one["account"] == account]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    process, cloud = start_azure(tmp_path_factory.mktemp("azure"))
    cloud.ask("POST", "config", QUICK)
    made = cloud.seed(kind="bulk", subscriptions=3, disks=DISKS)["subscriptions"]
    home = tmp_path_factory.mktemp("subscriptions") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "threads": str(THREADS)}
    told = Story(cloud, Installation(home, {**cloud.environment(), **SECRETS}, **settings), made)
    try:
        _set_up(told)
        cloud.fault("throttle", method="PUT", subscription=made[0], retry_after=300, count=10_000)
        began = time.monotonic()
        told.here.type("run", "all")
        told.here.until("the well subscription is protected", lambda: _good(told, "well") == DISKS, LIMIT)
        told.took = time.monotonic() - began
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _set_up(story: Story) -> None:
    names = {"throttled": "GOOD", "refused": "BAD", "well": "GOOD"}
    accounts = [
        {
            "name": name, "cloud": "azure", "subscription_id": number, "tenant_id": seed.TENANT,
            "client_id": seed.CLIENT, "client_secret": f"env:{secret}", "regions": [seed.HOME],
        }
        for (name, secret), number in zip(names.items(), story.subscriptions, strict=True)
    ]  # fmt: skip
    target = {"tag": {"backup": "gold"}, "types": ["azure-disk"]}
    policy = {"name": "all", "targets": [target], "generations": 3}
    path = story.here.home.parent / "estate.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "accounts": accounts, "policies": [policy]}))
    story.here.type("init", "--yes")
    story.here.type("apply", "-f", str(path))
    story.here.up()


def _good(story: Story, account: str) -> int:
    return len([one for one in story.points(account) if one["state"] == "good"])


def test_a_throttle_of_five_minutes_on_one_subscription_delays_no_other(story: Story) -> None:
    """Feature 31: every disk of the other subscription is protected within a fifth of the throttle."""
    assert story.took < LIMIT
    assert _good(story, "throttled") == 0


def test_a_throttled_subscription_is_not_stormed_with_calls(story: Story) -> None:
    refused = story.cloud.count("PUT snapshots", "throttle")
    assert 0 < refused <= THREADS + 3, f"{refused} refusals of {DISKS} wishes"


def test_a_wrong_secret_isolates_its_own_account_and_is_shown_nowhere(story: Story) -> None:
    assert story.points("refused") == []
    checked = story.here.type("accounts")
    assert SECRETS["BAD"] not in "".join([*story.here.said, story.here.log.read_text()])
    assert {one["name"] for one in checked} == {"throttled", "refused", "well"}


def test_what_was_put_off_is_taken_when_the_throttle_is_over_without_having_cost_an_attempt(story: Story) -> None:
    jobs = [one for one in story.here.type("run-show", "run-1")["jobs"] if one["account"] == "throttled"]
    assert len(jobs) == DISKS
    assert {one["attempt"] for one in jobs} <= {0, 1}, jobs[0]
