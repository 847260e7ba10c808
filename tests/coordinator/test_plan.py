"""Which jobs a run has, and which copies follow."""

from dataclasses import replace

import pytest

from coordinator.plan import (
    MANUAL_PRIORITY,
    PolicyFacts,
    destinations_due,
    plan_copy,
    plan_snapshots,
)
from coordinator.routes import Refusal, SourceFacts
from coordinator.targets import ResourceFact, Target
from tasks.chains import IN_ORDER

pytestmark = pytest.mark.unit

ACCOUNTS = {"prod": 1, "vault": 2}
SOURCE = SourceFacts(7, 70, "instance", "prod", "us-east-1", parts=3)


def policy(**spec: object) -> PolicyFacts:
    return PolicyFacts(5, "web", 50, spec, "install")


def target(number: int = 1, kind: str = "instance", exclude: tuple[str, ...] = ()) -> Target:
    return Target(ResourceFact(number, "prod", "us-east-1", kind, f"x-{number}"), exclude)


def planned(
    facts: PolicyFacts, targets: list[Target], manual: bool = False, imaged: frozenset[int] = frozenset()
) -> list:
    return plan_snapshots(facts, 9, "2026-11-02T06:30:00+00:00", manual, targets, ACCOUNTS, imaged)


def test_each_target_becomes_one_job_in_its_own_account_and_region() -> None:
    rows = planned(policy(), [target(1), target(2, "volume")])
    assert [(row["resource"], row["account"], row["region"], row["lane"]) for row in rows] == [
        (1, 1, "us-east-1", "snapshot"),
        (2, 1, "us-east-1", "snapshot"),
    ]


def test_planning_the_same_slot_twice_gives_the_same_keys_and_another_slot_others() -> None:
    first, again = (planned(policy(), [target(1)])[0]["key"] for _ in range(2))
    other = plan_snapshots(policy(), 9, "2026-11-03T06:30:00+00:00", False, [target(1)], ACCOUNTS, frozenset())
    elsewhere = plan_snapshots(
        PolicyFacts(5, "web", 50, {}, "other-install"),
        9,
        "2026-11-02T06:30:00+00:00",
        False,
        [target(1)],
        ACCOUNTS,
        frozenset(),
    )
    assert first == again
    assert len({first, other[0]["key"], elsewhere[0]["key"]}) == 3


def test_retries_of_the_policy_become_attempts_and_seconds() -> None:
    """feature 31"""
    row = planned(policy(retries={"attempts": 5, "wait": "15m"}), [target()])[0]
    assert (row["max_attempts"], row["retry_wait_s"]) == (5, 900)


def test_a_run_asked_for_now_goes_before_everything_scheduled() -> None:
    """feature 12"""
    assert planned(policy(), [target()], manual=True)[0]["priority"] == MANUAL_PRIORITY
    assert planned(policy(), [target()])[0]["priority"] == 50


def test_image_once_makes_an_image_first_and_snapshots_ever_after() -> None:
    facts = policy(mode="image-once")
    assert planned(facts, [target(1)])[0]["spec"]["mode"] == "image"
    assert planned(facts, [target(1)], imaged=frozenset({1}))[0]["spec"]["mode"] == "snapshots"
    assert planned(facts, [target(1, "volume")])[0]["spec"]["mode"] == "snapshots"


def test_images_never_reboot_unless_asked() -> None:
    assert planned(policy(mode="image"), [target()])[0]["spec"]["reboot"] is False
    assert planned(policy(mode="image", reboot=True), [target()])[0]["spec"]["reboot"] is True


def test_the_first_successful_run_copies_and_then_every_nth() -> None:
    """feature 9, feature 11"""
    facts = policy(dr=[{"region": "eu-west-1", "every": 3}, {"region": "eu-central-1"}])
    due = [[entry["region"] for entry in destinations_due(facts, ordinal)] for ordinal in range(1, 6)]
    assert due == [
        ["eu-west-1", "eu-central-1"],
        ["eu-central-1"],
        ["eu-central-1"],
        ["eu-west-1", "eu-central-1"],
        ["eu-central-1"],
    ]


def test_a_copy_job_lies_in_its_destination_and_fills_a_slot_for_each_part() -> None:
    row = plan_copy(
        policy(), 9, SOURCE, {"account": "vault", "region": "eu-central-1", "kms_key": "alias/dr"}, ACCOUNTS, 50
    )
    assert isinstance(row, dict)
    assert (row["account"], row["region"], row["slots"]) == (2, "eu-central-1", 3)
    assert row["spec"] == {"point": 7, "destination": "vault/eu-central-1", "kms_key": "alias/dr", "role": "copy"}


def test_copies_of_one_resource_to_one_place_share_a_chain() -> None:
    entry = {"region": "eu-west-1"}
    first = plan_copy(policy(), 9, SOURCE, entry, ACCOUNTS, 50)
    second = plan_copy(policy(), 10, SourceFacts(8, 70, "instance", "prod", "us-east-1", 3), entry, ACCOUNTS, 50)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["chain"] == second["chain"]
    assert first["key"] != second["key"]


def test_copies_that_the_cloud_makes_in_order_have_a_chain_that_keeps_it() -> None:
    """feature 47"""
    source = SourceFacts(7, 70, "azure-vm", "prod", "westeurope", 3)
    row = plan_copy(policy(), 9, source, {"region": "northeurope"}, ACCOUNTS, 50)
    assert isinstance(row, dict)
    assert row["chain"].startswith(IN_ORDER)


def test_a_default_key_snapshot_is_refused_for_another_account_with_the_reason() -> None:
    """feature 44"""
    source = SourceFacts(7, 70, "volume", "prod", "us-east-1", 1, default_key=True)
    refusal = plan_copy(policy(), 9, source, {"account": "vault", "region": "eu-central-1"}, ACCOUNTS, 50)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "default-key"
    assert "reencrypt_key" in refusal.text


def test_a_default_key_snapshot_is_encrypted_anew_first_where_the_policy_allows_it() -> None:
    """feature 44"""
    source = SourceFacts(7, 70, "volume", "prod", "us-east-1", 1, default_key=True)
    entry = {"account": "vault", "region": "eu-central-1", "reencrypt_key": "alias/share"}
    row = plan_copy(policy(), 9, source, entry, ACCOUNTS, 50)
    assert isinstance(row, dict)
    assert row["spec"] == {
        "point": 7,
        "destination": "prod/us-east-1",
        "kms_key": "alias/share",
        "role": "intermediate",
        "onward": "vault/eu-central-1",
    }


def test_a_default_key_snapshot_goes_to_another_region_of_its_own_account() -> None:
    source = SourceFacts(7, 70, "volume", "prod", "us-east-1", 1, default_key=True)
    assert isinstance(plan_copy(policy(), 9, source, {"region": "eu-west-1"}, ACCOUNTS, 50), dict)


@pytest.mark.parametrize(
    ("entry", "code"),
    [({"account": "nobody", "region": "eu-west-1"}, "unknown-account"), ({"region": "us-east-1"}, "same-place")],
)
def test_a_destination_that_cannot_be_is_refused(entry: dict[str, str], code: str) -> None:
    refusal = plan_copy(policy(), 9, SOURCE, entry, ACCOUNTS, 50)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


def test_a_clouds_own_retention_follows_the_policys_keep_where_the_target_asks() -> None:
    """Feature 27: Azure keeps its long-term backups by it."""
    asking = replace(target(1, "azure-sql"), options={"way": "long-term", "retention": "keep"})
    spec = planned(policy(keep={"weekly": 4, "yearly": 5}), [asking])[0]["spec"]
    assert spec["options"] == {"way": "long-term", "retention": "weekly=4,yearly=5"}


def test_where_the_cloud_carries_backups_to_goes_with_the_backup_if_the_policy_consents() -> None:
    """Feature 42: Redshift copies nothing that is there before the setting is."""
    consent = {"region": "eu-west-1", "kms_key": "alias/dr", "options": {"cluster_copy": "yes"}}
    near = {"account": "vault", "region": "us-east-1", "options": {"mode": "share-only"}}
    spec = planned(policy(dr=[near, consent]), [target(1, "redshift")])[0]["spec"]
    assert spec["options"] == {"copy_region": "eu-west-1", "copy_key": "alias/dr"}
    for entries in ([], [near], [{"region": "eu-west-1"}], [{**consent, "region": "us-east-1"}]):
        assert "options" not in planned(policy(dr=entries), [target(1, "redshift")])[0]["spec"]
    assert "options" not in planned(policy(dr=[consent]), [target(1, "rds")])[0]["spec"]
