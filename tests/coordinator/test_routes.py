"""The way of a copy: hops, keys and refusals by the type's rules."""

from typing import Any

import pytest

from coordinator.routes import Hop, Refusal, SourceFacts, plan_route
from tasks.resources import TABLE

pytestmark = pytest.mark.unit


def source(kind: str, region: str = "us-east-1", **more: Any) -> SourceFacts:
    return SourceFacts(7, 70, kind, "prod", region, 1, **more)


def route(kind: str, destination: str, *, apart: bool = False, found: Any = None, **entry: Any) -> Any:
    facts = {"default_key": False, "encrypted": False, **(found or {})}
    keys = {name: facts.pop(name) for name in ("default_key", "encrypted")}
    where = source(kind, facts.pop("region", "us-east-1"), found=facts, **keys)
    return plan_route(TABLE[kind], where, destination, entry, apart=apart)


@pytest.mark.parametrize("kind", ["instance", "volume", "rds", "aurora"])
def test_account_and_region_are_crossed_in_one_hop_where_the_cloud_can(kind: str) -> None:
    assert route(kind, "vault/eu-west-1", kms_key="alias/dr") == (Hop("vault", "eu-west-1", "copy", "alias/dr"),)


def test_documentdb_crosses_the_region_first_and_then_the_account() -> None:
    """Feature 42: a shared DocumentDB snapshot can be copied inside its region only."""
    hops = route(
        "documentdb", "vault/eu-west-1", found={"encrypted": True}, reencrypt_key="alias/share", kms_key="alias/dr"
    )
    assert hops == (
        Hop("prod", "eu-west-1", "intermediate", "alias/share"),
        Hop("vault", "eu-west-1", "copy", "alias/dr"),
    )
    rest = plan_route(TABLE["documentdb"], source("documentdb", "eu-west-1"), "vault/eu-west-1", {})
    assert rest == (Hop("vault", "eu-west-1"),)
    assert route("documentdb", "prod/eu-west-1") == (Hop("prod", "eu-west-1"),)


def test_an_encrypted_first_hop_needs_a_key_that_can_be_shared() -> None:
    refused = route("documentdb", "vault/eu-west-1", found={"encrypted": True})
    assert isinstance(refused, Refusal)
    assert refused.code == "halfway-key"
    assert "reencrypt_key" in refused.text
    assert route("documentdb", "vault/eu-west-1") == (
        Hop("prod", "eu-west-1", "intermediate"),
        Hop("vault", "eu-west-1"),
    )


def test_what_the_cloud_refused_in_one_step_goes_by_two_hops() -> None:
    hops = route("rds", "vault/eu-west-1", apart=True, found={"encrypted": True}, reencrypt_key="alias/share")
    assert [hop.place for hop in hops] == ["prod/eu-west-1", "vault/eu-west-1"]
    assert route("rds", "vault/us-east-1", apart=True) == (Hop("vault", "us-east-1"),)


@pytest.mark.parametrize("kind", ["volume", "rds", "aurora", "documentdb"])
def test_nothing_under_a_default_key_crosses_accounts_without_another_key(kind: str) -> None:
    """Feature 44: default keys are never shared."""
    default = {"default_key": True, "encrypted": True}
    refused = route(kind, "vault/us-east-1", found=default)
    assert isinstance(refused, Refusal)
    assert refused.code == "default-key"
    hops = route(kind, "vault/us-east-1", found=default, reencrypt_key="alias/share")
    assert hops[0] == Hop("prod", "us-east-1", "intermediate", "alias/share")


@pytest.mark.parametrize(
    ("kind", "destination", "found", "entry", "code"),
    [
        ("fsx-lustre", "prod/eu-west-1", {"deployment_type": "SCRATCH_2"}, {}, "lustre-scratch"),
        ("fsx-lustre", "prod/eu-west-1", {"data_repository": True}, {}, "lustre-data-repository"),
        ("fsx-windows", "vault/us-east-1", {"default_key": True}, {"kms_key": "alias/dr"}, "customer-key"),
        ("fsx-windows", "vault/us-east-1", {}, {}, "vault-key"),
        ("fsx-openzfs", "prod/eu-west-1", {"storage_type": "INTELLIGENT_TIERING"}, {}, "openzfs-intelligent-tiering"),
        ("redshift", "vault/us-east-1", {}, {}, "redshift-mode"),
        ("redshift", "prod/eu-west-1", {}, {}, "cluster-copy"),
        ("redshift", "vault/eu-west-1", {}, {"options": {"mode": "materialise"}}, "account-and-region"),
        (
            "redshift",
            "vault/us-east-1",
            {"default_key": True, "encrypted": True},
            {"options": {"mode": "share-only"}},
            "redshift-default-key",
        ),
        (
            "redshift",
            "vault/us-east-1",
            {"encrypted": True},
            {"options": {"mode": "materialise"}},
            "redshift-copy-key",
        ),
        ("rds", "vault/us-east-1", {"persistent_options": True}, {}, "option-group"),
        ("rds", "prod/us-east-1", {}, {}, "same-place"),
    ],
)
def test_a_footnote_refuses_the_copy_with_its_reason(
    kind: str, destination: str, found: Any, entry: Any, code: str
) -> None:
    """Feature 42, feature 43, feature 45 and feature 46: the table's footnotes hold at planning."""
    refused = route(kind, destination, found=found, **entry)
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert len(refused.text) > 30


@pytest.mark.parametrize(
    ("kind", "destination", "found", "entry"),
    [
        ("fsx-lustre", "prod/eu-west-1", {"deployment_type": "PERSISTENT_2"}, {}),
        ("fsx-windows", "vault/us-east-1", {}, {"kms_key": "alias/dr"}),
        ("fsx-openzfs", "vault/us-east-1", {"storage_type": "INTELLIGENT_TIERING"}, {"kms_key": "alias/dr"}),
        ("redshift", "vault/us-east-1", {}, {"options": {"mode": "share-only"}}),
        ("redshift", "prod/eu-west-1", {}, {"options": {"cluster_copy": "yes"}}),
        ("efs", "vault/eu-west-1", {}, {}),
    ],
)
def test_what_no_footnote_refuses_goes_in_one_hop(kind: str, destination: str, found: Any, entry: Any) -> None:
    hops = route(kind, destination, found=found, **entry)
    assert [(hop.place, hop.role) for hop in hops] == [(destination, "copy")]


@pytest.mark.parametrize("serverless", [False, True])
def test_a_materialised_copy_goes_through_something_temporary_in_the_other_account(serverless: bool) -> None:
    """Feature 43: two hops, both there; the first is an intermediate, which is removed when the second has ended."""
    entry = {"options": {"mode": "materialise"}, "kms_key": "alias/dr"}
    hops = route("redshift", "vault/us-east-1", found={"encrypted": True, "serverless": serverless}, **entry)
    assert hops == (
        Hop("vault", "us-east-1", "intermediate", "alias/dr"),
        Hop("vault", "us-east-1", "copy", "alias/dr"),
    )
    there = SourceFacts(8, 70, "redshift", "vault", "us-east-1", 1, halfway=True)
    assert plan_route(TABLE["redshift"], there, "vault/us-east-1", entry) == hops[1:]
