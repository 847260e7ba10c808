"""Databases are protected, lost and restored by one `snapfleet up`: RDS, Aurora, DocumentDB and Redshift, each from
every place.

The story is told once for the module; each test looks at one type. Rows that were written into a database are compared
with those of what is restored from its snapshot, from the copy in another region and from the one in another account.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.contract.databases import make_aurora, make_documentdb, make_instance
from tests.contract.warehouses import make_namespace, make_warehouse
from tests.sandbox import FAST, SOON, Sandbox, start
from tests.scenario.installation import Installation

PROD, VAULT, HOME, AWAY, FAR = "111111111111", "222222222222", "us-east-1", "eu-west-1", "eu-central-1"
ALIAS = "alias/estate"
WORDS = {"rds": "database", "aurora": "cluster", "documentdb": "cluster"}
PLACES = {"": (PROD, HOME), f"prod/{AWAY}": (PROD, AWAY), f"vault/{FAR}": (VAULT, FAR)}
# Redshift crosses accounts inside its region only. By policy: what it is restored as, its name, where it lies.
SHARED = f"vault/{HOME}"
WAREHOUSES = {
    "warehouses": ("cluster", "sales", ("", f"prod/{AWAY}", SHARED)),
    "lakes": ("namespace", "lake", ("", SHARED)),
    "ponds": ("namespace", "pond", ("", SHARED)),
}
POLICIES = ("data", *WAREHOUSES)
NAMES = ("shop", "ledger", "papers", "sales", "lake", "pond")
ESTATE = {
    "version": 1,
    "accounts": [
        {"name": "prod", "role_arn": f"arn:aws:iam::{PROD}:role/snapfleet", "regions": [HOME, AWAY, FAR]},
        {"name": "vault", "kind": "dr", "role_arn": f"arn:aws:iam::{VAULT}:role/snapfleet-dr", "regions": [FAR, HOME]},
    ],
    "policies": [
        {
            "name": "data",
            "targets": [{"tag": {"backup": "gold"}, "types": list(WORDS), "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [
                {"region": AWAY},
                {"account": "vault", "region": FAR, "kms_key": ALIAS, "reencrypt_key": ALIAS},
            ],
        },
        {
            "name": "warehouses",
            "targets": [{"tag": {"backup": "silver"}, "types": ["redshift"], "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [
                {"region": AWAY, "options": {"cluster_copy": "yes"}},
                {"account": "vault", "region": HOME, "kms_key": ALIAS, "options": {"mode": "materialise"}},
            ],
        },
        {
            "name": "lakes",
            "targets": [{"tag": {"backup": "bronze"}, "types": ["redshift"], "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [{"account": "vault", "region": HOME, "options": {"mode": "share-only"}}],
        },
        {
            "name": "ponds",
            "targets": [{"tag": {"backup": "tin"}, "types": ["redshift"], "accounts": ["prod"], "regions": [HOME]}],
            "generations": 1,
            "dr": [{"account": "vault", "region": HOME, "options": {"mode": "materialise"}}],
        },
    ],
}


@dataclass
class Story:
    """What there is to look at afterwards."""

    sandbox: Sandbox
    here: Installation
    first: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    restored: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    made: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    costs: list[dict[str, Any]] = field(default_factory=list)


def _key(sandbox: Sandbox, account: str, region: str) -> str:
    """A customer key that both accounts may use, behind the alias."""
    who = [f"arn:aws:iam::{one}:root" for one in (PROD, VAULT)]
    allow = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "kms:*", "Resource": "*"}
    kms = sandbox.client(account, region, "kms")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    made = kms.create_key(Policy=policy)["KeyMetadata"]
    kms.create_alias(AliasName=ALIAS, TargetKeyId=made["KeyId"])
    return str(made["Arn"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Set up, back up twice, lose everything, restore."""
    process, url = start(**FAST, **SOON, metering=False)
    sandbox = Sandbox(url, FAST)
    for number, role in ((PROD, "snapfleet"), (VAULT, "snapfleet-dr")):
        sandbox.role(f"arn:aws:iam::{number}:role/{role}")
    key = _key(sandbox, PROD, HOME)
    for account, region in ((PROD, FAR), (VAULT, FAR), (VAULT, HOME)):
        _key(sandbox, account, region)
    more = {"StorageEncrypted": True, "KmsKeyId": key, "Tags": [{"Key": "backup", "Value": "gold"}]}
    make_instance(sandbox, "shop", **more)
    make_aurora(sandbox, name="ledger", members=2, **more)
    make_documentdb(sandbox, name="papers", **more)
    make_warehouse(sandbox, "sales", Encrypted=True, KmsKeyId=key, Tags=[{"Key": "backup", "Value": "silver"}])
    make_namespace(sandbox, "lake", tags=[{"key": "backup", "value": "bronze"}])
    make_namespace(sandbox, "pond", tags=[{"key": "backup", "value": "tin"}])
    home = tmp_path_factory.mktemp("databases") / "home"
    settings = {"poll_floor_seconds": "0.2", "tick_seconds": "0.2", "retention_seconds": "1"}
    told = Story(sandbox, Installation(home, sandbox.environment, **settings))
    try:
        _protect(told)
        _lose_and_restore(told)
        yield told
    finally:
        told.here.kill()
        process.kill()
        process.wait()


def _protect(story: Story) -> None:
    here = story.here
    here.type("init", "--yes")
    file = here.home.parent / "estate.yaml"
    file.write_text(yaml.safe_dump(ESTATE))
    story.costs = here.type("apply", "-f", str(file))["costs"]
    here.up()
    for policy in POLICIES:
        assert here.type("run", policy, "--wait")["state"] == "done"
    story.first = here.type("points")
    for name in NAMES:
        story.sandbox.write_rows(PROD, HOME, name, "later", f"second rows of {name}")
    for policy in POLICIES:
        assert here.type("run", policy, "--wait")["state"] == "done"

    def only_the_second() -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = here.type("points")
        old = {point["id"] for point in story.first}
        good = [point for point in points if point["state"] == "good" and point["kind"] != "intermediate"]
        return [] if old & {point["id"] for point in good} or len(good) < 16 else good

    story.points = here.until("the first points are gone", only_the_second, 90)


def _lose_and_restore(story: Story) -> None:
    for name in NAMES:
        story.sandbox.destroy(PROD, HOME, name)
    for point in story.points:
        place, warehouse = point["destination"], WAREHOUSES.get(point["policy"])
        kind = point["policy"] if warehouse else point["type"]
        word = warehouse[0] if warehouse else WORDS[kind]
        name = f"back-{kind}-{len(story.restored)}"
        done = story.here.type("restore", point["id"], "--to", word, "--set", f"id={name}", "--wait")
        account, region = {**PLACES, SHARED: (VAULT, HOME)}[place]
        story.restored[kind, place] = story.sandbox.rows(account, region, name)
        story.made[kind, place] = [item["kind"] for item in done["made"]]


@pytest.mark.parametrize(("kind", "name"), [("rds", "shop"), ("aurora", "ledger"), ("documentdb", "papers")])
def test_what_is_restored_from_each_place_holds_the_rows_of_the_last_backup(story: Story, kind: str, name: str) -> None:
    """Feature 15, feature 16, feature 18, feature 42: backed up, copied twice, lost, restored from each copy."""
    rows = {"orders": f"rows of {name}", "later": f"second rows of {name}"}
    assert {place: found for (one, place), found in story.restored.items() if one == kind} == dict.fromkeys(
        PLACES, rows
    )


def test_members_of_a_cluster_are_made_again(story: Story) -> None:
    """Feature 16: a restored cluster without instances would be of no use to anybody."""
    assert {tuple(kinds) for (one, _), kinds in story.made.items() if one == "aurora"} == {
        ("cluster", "member", "member")
    }


def test_the_first_generation_is_gone_from_the_cloud_in_every_place(story: Story) -> None:
    for account, region in PLACES.values():
        rds = story.sandbox.client(account, region, "rds")
        assert len(rds.describe_db_snapshots()["DBSnapshots"]) == 1
        left = story.here.until(
            "intermediates are gone",
            lambda rds=rds: len(rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]) == 2,
        )
        assert left


def test_documentdb_left_no_stray_copy_on_its_way(story: Story) -> None:
    """Routes: the first of two hops is removed when the second is good."""
    docdb = story.sandbox.client(PROD, FAR, "rds")
    story.here.until(
        "the halfway copies are gone",
        lambda: not docdb.describe_db_cluster_snapshots()["DBClusterSnapshots"],
    )
    assert {one["account"] for one in story.sandbox.calls("DeleteDBClusterSnapshot")} >= {PROD, VAULT}


def test_copies_lie_under_the_keys_that_the_policy_names(story: Story) -> None:
    rds = story.sandbox.client(VAULT, FAR, "rds")
    key = story.sandbox.client(VAULT, FAR, "kms").describe_key(KeyId=ALIAS)["KeyMetadata"]["Arn"]
    snapshots = [
        *rds.describe_db_snapshots()["DBSnapshots"],
        *rds.describe_db_cluster_snapshots()["DBClusterSnapshots"],
    ]
    assert {one["KmsKeyId"] for one in snapshots} == {key}


@pytest.mark.parametrize("policy", list(WAREHOUSES))
def test_warehouses_are_restored_from_each_place_with_the_rows_of_the_last_backup(story: Story, policy: str) -> None:
    """Feature 17, feature 42, feature 43: carried by the cluster, materialised, lent; lost, restored from each."""
    _, name, places = WAREHOUSES[policy]
    rows = {"orders": f"rows of {name}", "later": f"second rows of {name}"}
    assert {place: found for (one, place), found in story.restored.items() if one == policy} == dict.fromkeys(
        places, rows
    )


def test_temporary_clusters_are_gone_and_one_snapshot_is_left_in_each_place(story: Story) -> None:
    """Feature 43: what a materialised copy went through is taken away when the copy is there."""
    vault = story.sandbox.client(VAULT, HOME, "redshift")
    story.here.until(
        "the temporary clusters are gone",
        lambda: all(one["ClusterIdentifier"].startswith("back-") for one in vault.describe_clusters()["Clusters"]),
    )
    for account, region in ((PROD, HOME), (PROD, AWAY), (VAULT, HOME)):
        held = story.sandbox.client(account, region, "redshift").describe_cluster_snapshots()["Snapshots"]
        assert len(held) == 1, (account, region)
        assert {tag["Key"] for tag in held[0]["Tags"]} >= {"snapfleet:installation", "snapfleet:job"}
    lent = story.sandbox.client(PROD, HOME, "redshift-serverless").list_snapshots()["snapshots"]
    assert [one["accountsWithRestoreAccess"] for one in lent] == [[VAULT], [VAULT]]


def test_a_temporary_namespace_is_gone_and_its_copy_belongs_to_the_other_account(story: Story) -> None:
    """Feature 43: Serverless is materialised too; nothing of the way is left, neither namespace nor workgroup."""
    vault = story.sandbox.client(VAULT, HOME, "redshift-serverless")
    story.here.until(
        "the temporary namespaces are gone",
        lambda: all(one["namespaceName"].startswith("back-") for one in vault.list_namespaces()["namespaces"]),
    )
    assert all(one["workgroupName"].startswith("back-") for one in vault.list_workgroups()["workgroups"])
    (kept,) = vault.list_snapshots()["snapshots"]
    assert (kept["ownerAccount"], kept["namespaceName"].startswith("snapfleet-")) == (VAULT, True)


def test_what_copies_of_warehouses_cost_was_said_when_the_estate_was_applied(story: Story) -> None:
    """Feature 43: told before anything ran; the materialised copy as full."""
    assert [(one["policy"], one["destination"], one["full"]) for one in story.costs] == [
        ("ponds", SHARED, True),
        ("warehouses", AWAY, False),
        ("warehouses", SHARED, True),
    ]
