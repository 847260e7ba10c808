"""Restore plans of databases: as they were, members again, and what Serverless v1 becomes."""

from typing import Any

import pytest

from coordinator.restore import RestorePlan, RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts

pytestmark = pytest.mark.unit

INSTANCE = {
    "instance_class": "db.m6g.large",
    "subnet_group": "private",
    "security_group_ids": ["sg-1"],
    "zone": "us-east-1a",
    "multi_az": False,
    "port": 5432,
    "storage_type": "gp3",
    "iops": 3000,
    "storage_throughput": 125,
    "maintenance_window": "sun:05:00-sun:06:00",
    "max_storage": 500,
    "deletion_protection": True,
}
CLUSTER = {
    "engine": "aurora-postgresql",
    "engine_mode": "provisioned",
    "subnet_group": "private",
    "members": [
        {"identifier": "w", "class": "db.r6g.large", "writer": True, "tier": 0, "zone": "us-east-1a", "public": False},
        {"identifier": "r", "class": "db.r6g.xlarge", "tier": 1, "zone": "us-east-1b", "parameter_group": "tuned"},
    ],
    "roles": ["arn:aws:iam::111111111111:role/load"],
}


def plan(
    kind: str, attributes: Any, word: str, *, size: int = 20, region: str = "us-east-1", **settings: str
) -> RestorePlan:
    point = PointFacts(
        id="rp-1",
        type=kind,
        resource_id="db-ABC",
        account="prod",
        region=region,
        parts=(PartFacts("snapfleet-1", size_gib=size),),
        resource_name="orders",
        home_account="prod",
        home_region="us-east-1",
        attributes=attributes,
        tags={"team": "a"},
    )
    return plan_restore(point, RestoreRequest(word, settings={"id": "again", **settings}))


def test_an_instance_comes_back_as_it_was_and_then_gets_what_a_restore_does_not_take() -> None:
    """Feature 15: every captured attribute is in the plan."""
    made = plan("rds", INSTANCE, "database", size=500)
    first, then = made.steps
    assert (first.kind, first.creates) == ("restore-database", ("database",))
    assert dict(first.params) == {
        "backup_id": "snapfleet-1",
        "id": "again",
        "class": "db.m6g.large",
        "subnet_group": "private",
        "security_groups": ["sg-1"],
        "zone": "us-east-1a",
        "multi_az": False,
        "port": 5432,
        "storage_type": "gp3",
        "iops": 3000,
        "storage_throughput": 125,
        "deletion_protection": True,
        "tags": {"team": "a"},
    }
    assert (then.kind, then.params["max_storage"]) == ("settle-database", 500)
    assert made.estimate == {"volumes": 0, "size_gib": 500, "interrupts": False}


def test_speeds_that_small_gp3_storage_does_not_take_are_left_out() -> None:
    """RDS refuses iops for gp3 under 400 GiB; what the operator gives is sent all the same."""
    assert "iops" not in plan("rds", INSTANCE, "database").steps[0].params
    assert plan("rds", INSTANCE, "database", iops="4000").steps[0].params["iops"] == 4000


def test_a_standby_elsewhere_leaves_the_zone_to_aws() -> None:
    assert "zone" not in plan("rds", INSTANCE, "database", multi_az="yes").steps[0].params


def test_a_cluster_gets_its_members_when_it_is_there() -> None:
    """Feature 16: RestoreDBClusterFromSnapshot makes no instances."""
    made = plan("aurora", CLUSTER, "cluster")
    assert [step.kind for step in made.steps] == ["restore-cluster", "create-member", "create-member"]
    assert made.steps[0].params["engine"] == "aurora-postgresql"
    assert [(step.params["id"], step.params["class"]) for step in made.steps[1:]] == [
        ("again-1", "db.r6g.large"),
        ("again-2", "db.r6g.xlarge"),
    ]
    assert made.steps[2].params["cluster_id"] == {"$ref": "restore.cluster_id"}
    assert made.steps[2].params["parameter_group"] == "tuned"
    assert any("role/load" in note for note in made.notes)


def test_members_can_be_fewer_more_or_of_another_class() -> None:
    assert len(plan("aurora", CLUSTER, "cluster", members="1").steps) == 2
    three = plan("documentdb", {**CLUSTER, "engine": "docdb"}, "cluster", members="3", **{"class": "db.r5.large"})
    assert [step.params["class"] for step in three.steps[1:]] == ["db.r5.large"] * 3
    assert "zone" not in three.steps[3].params
    assert any("no instance" in warning for warning in plan("aurora", CLUSTER, "cluster", members="0").warnings)


def test_elsewhere_members_lose_what_exists_only_at_home() -> None:
    made = plan("aurora", CLUSTER, "cluster", region="eu-west-1")
    assert not {"zone", "parameter_group"} & set(made.steps[2].params)
    assert any("tuned" in warning for warning in made.warnings)


SERVERLESS = {"engine": "aurora-mysql", "engine_mode": "serverless", "min_capacity": "1", "max_capacity": "8",
              "scaling": {"MinCapacity": 1, "MaxCapacity": 8, "AutoPause": True}, "members": []}  # fmt: skip


def test_what_was_serverless_v1_comes_back_as_v2_with_a_warning() -> None:
    """Feature 16: AWS has ended v1."""
    made = plan("aurora", SERVERLESS, "cluster")
    assert [step.kind for step in made.steps] == ["restore-cluster", "create-member"]
    assert "engine_mode" not in made.steps[0].params
    assert (made.steps[0].params["min_capacity"], made.steps[0].params["max_capacity"]) == ("1", "8")
    assert made.steps[1].params["class"] == "db.serverless"
    assert any("Serverless v1" in warning for warning in made.warnings)


def test_serverless_v1_can_be_made_again_where_aws_still_lets_one() -> None:
    made = plan("aurora", SERVERLESS, "cluster", serverless_v1="yes")
    assert [step.kind for step in made.steps] == ["restore-cluster"]
    assert (made.steps[0].params["engine_mode"], made.steps[0].params["scaling"]["AutoPause"]) == ("serverless", True)


def test_a_multi_az_cluster_makes_its_instances_itself() -> None:
    """They are of one class, and nobody can add one by CreateDBInstance."""
    held = {
        "engine": "postgres",
        "cluster_class": "db.m6gd.large",
        "iops": 3000,
        "members": [{"class": "db.m6gd.large"}] * 3,
    }
    made = plan("aurora", held, "cluster")
    assert [step.kind for step in made.steps] == ["restore-cluster"]
    assert (made.steps[0].params["cluster_class"], made.steps[0].params["iops"]) == ("db.m6gd.large", 3000)
    larger = plan("aurora", held, "cluster", **{"class": "db.m6gd.xlarge"})
    assert larger.steps[0].params["cluster_class"] == "db.m6gd.xlarge"
