"""Restores of Redshift: a cluster under its own name at the end, a namespace with its workgroup, consent to replace."""

from typing import Any

import pytest

from coordinator.restore import RestoreRequest, plan_restore
from coordinator.restore_facts import PartFacts, PointFacts
from coordinator.restore_plan import RestorePlan
from tasks.errors import Invalid

pytestmark = pytest.mark.unit

CLUSTER = {
    "node_type": "ra3.large",
    "nodes": 2,
    "zone": "us-east-1a",
    "multi_az": False,
    "subnet_group": "private",
    "roles": ["arn:aws:iam::111111111111:role/load"],
    "automated_retention": 9,
    "manual_retention": 99,
    "kms_key_id": "arn:k",
    "serverless": False,
}
LAKE = {
    "serverless": True,
    "base_capacity": 32,
    "subnet_ids": ["subnet-1"],
    "parameters": [{"parameterKey": "a", "parameterValue": "b"}],
    "database": "shop",
    "kms_key_id": "arn:k",
    "managed_password": True,
}


def planned(attributes: dict[str, Any], word: str, region: str = "us-east-1", **settings: str) -> RestorePlan:
    point = PointFacts(
        id="rp-1",
        type="redshift",
        resource_id="guid",
        account="prod",
        region=region,
        parts=(PartFacts("snap"),),
        home_account="prod",
        home_region="us-east-1",
        attributes=attributes,
        tags={"team": "a"},
    )
    return plan_restore(point, RestoreRequest(word, settings=settings))


def test_a_cluster_is_made_as_it_was_and_then_named() -> None:
    """Feature 17."""
    made, named = planned(CLUSTER, "cluster", id="back", nodes="4").steps
    kept = {name: value for name, value in CLUSTER.items() if name not in ("kms_key_id", "serverless")}
    assert dict(made.params) == {**kept, "backup_id": "snap", "id": "back", "nodes": 4, "tags": {"team": "a"}}
    assert (named.kind, dict(named.params)) == ("name-cluster", {"cluster": {"$ref": "restore.cluster"}, "id": "back"})
    away = planned(CLUSTER, "cluster", "eu-west-1", id="back")
    assert not {"zone", "subnet_group", "roles"} & set(away.steps[0].params)
    assert len(away.warnings) == 3


def test_a_cluster_in_two_zones_gets_them_from_aws() -> None:
    made = planned({**CLUSTER, "multi_az": True}, "cluster", id="back").steps[0]
    assert ("zone" in made.params, made.params["multi_az"]) == (False, True)


def test_a_namespace_gets_a_workgroup_as_it_was_and_then_its_database() -> None:
    """Feature 17."""
    made, filled = planned(LAKE, "namespace", id="back").steps
    assert made.params["workgroup"] == "back-workgroup"
    assert (made.params["kms_key"], made.params["database"], made.params["subnets"]) == ("arn:k", "shop", ["subnet-1"])
    assert made.params["parameters"] == LAKE["parameters"]
    assert dict(filled.params) == {
        "backup_id": "snap",
        "namespace": {"$ref": "make.namespace"},
        "workgroup": {"$ref": "make.workgroup"},
        "managed_password": True,
    }
    away = planned(LAKE, "namespace", "eu-west-1", id="back").steps[0]
    assert "kms_key" not in away.params


def test_an_existing_namespace_is_replaced_with_consent_only() -> None:
    plan = planned(LAKE, "namespace", into="lake", replace="yes")
    assert [step.kind for step in plan.steps] == ["restore-namespace"]
    assert any("is lost" in warning for warning in plan.warnings)
    assert plan.estimate["interrupts"] is True


@pytest.mark.parametrize(
    ("attributes", "word", "settings", "says"),
    [
        (CLUSTER, "namespace", {"id": "back"}, "--to cluster"),
        (LAKE, "cluster", {"id": "back"}, "--to namespace"),
        (CLUSTER, "cluster", {}, "id="),
        (LAKE, "namespace", {}, "id="),
        (LAKE, "namespace", {"into": "lake"}, "replace=yes"),
        (LAKE, "namespace", {"into": "lake", "replace": "no"}, "takes yes"),
        (CLUSTER, "cluster", {"id": "back", "base_capacity": "8"}, "not for a cluster"),
        (LAKE, "namespace", {"id": "back", "nodes": "4"}, "not for a namespace"),
    ],
)
def test_what_does_not_fit_is_refused(attributes: Any, word: str, settings: Any, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        planned(attributes, word, **settings)
