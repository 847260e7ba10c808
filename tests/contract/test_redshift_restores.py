"""Warehouses come back as they were, under the names chosen, once; and a failed restore is taken back."""

import json
from typing import Any

import pytest

from tasks import errors
from tests.contract.planning import restore_by_plan
from tests.contract.rig import HOME, PROD, TAGS, VAULT
from tests.contract.warehouses import LEND, WarehouseRig, clusters, copied, make_namespace, make_warehouse, namespaces
from tests.sandbox import Sandbox
from workers.driver import Created, Destination, Point, RestoreStep, Scope


@pytest.fixture
def rig(cloud: Sandbox) -> WarehouseRig:
    return clusters(cloud)


FULL: dict[str, Any] = {
    "ClusterSubnetGroupName": "private",
    "ClusterParameterGroupName": "tuned",
    "VpcSecurityGroupIds": ["sg-1", "sg-2"],
    "AvailabilityZone": f"{HOME}b",
    "Port": 6000,
    "PubliclyAccessible": True,
    "EnhancedVpcRouting": True,
    "IamRoles": [f"arn:aws:iam::{PROD}:role/load"],
    "DefaultIamRoleArn": f"arn:aws:iam::{PROD}:role/load",
    "PreferredMaintenanceWindow": "sun:04:00-sun:04:30",
    "MaintenanceTrackName": "trailing",
    "AllowVersionUpgrade": False,
    "AutomatedSnapshotRetentionPeriod": 9,
    "ManualSnapshotRetentionPeriod": 99,
    "AvailabilityZoneRelocation": True,
    "SnapshotScheduleIdentifier": "nightly",
    "ManageMasterPassword": True,
    "IpAddressType": "ipv4",
}
# What is another warehouse's own, and what a restore has no say in.
OWN = {"identifier", "arn", "state", "name", "tags", "own_tags", "workgroup", "workgroup_tags", "copy_region"}


def comparable(attributes: Any) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in OWN and value != ""}


@pytest.mark.parametrize("more", [{}, {"MultiAZ": True}])
def test_every_captured_attribute_of_a_cluster_comes_back(rig: WarehouseRig, more: dict[str, Any]) -> None:
    """Feature 17: nodes, network, parameters, roles, windows, retention, key, password, tags."""
    redshift = rig.client()
    redshift.create_cluster_subnet_group(ClusterSubnetGroupName="private", Description="x", SubnetIds=["subnet-1"])
    redshift.create_cluster_parameter_group(
        ParameterGroupName="tuned", ParameterGroupFamily="redshift-2.0", Description="x"
    )
    key = rig.shared_key(PROD, HOME)
    zone = {} if more else {"AvailabilityZone": FULL["AvailabilityZone"]}
    asked = {**{k: v for k, v in FULL.items() if k != "AvailabilityZone"}, **zone, **more}
    resource = rig.found(make_warehouse(rig.sandbox, "web", Encrypted=True, KmsKeyId=key, **asked))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    rig.drop(rig.sandbox, resource.external_id)
    restore_by_plan(rig, point, "cluster", id="again")
    found = rig.driver.discover(Scope(rig.production, HOME, ("redshift",)), None).resources
    (again,) = [one for one in found if one.name == "again"]
    assert comparable(again.attributes) == comparable(point.resource.attributes)
    assert again.tags.items() >= {"team": "a", **TAGS}.items()
    assert rig.rows("again") == {"orders": "rows of web"}
    assert "Tags" not in rig.parameters("RestoreFromClusterSnapshot")


def test_every_captured_attribute_of_a_namespace_comes_back_with_its_workgroup(cloud: Sandbox) -> None:
    """Feature 17: capacity, network, parameters, roles, logs, key, password, tags."""
    rig = namespaces(cloud)
    group = {
        "baseCapacity": 32, "maxCapacity": 64, "subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"], "port": 6000,
        "publiclyAccessible": True, "enhancedVpcRouting": True, "trackName": "trailing", "ipAddressType": "ipv4",
        "configParameters": [{"parameterKey": "require_ssl", "parameterValue": "true"}],
        "pricePerformanceTarget": {"level": 50, "status": "ENABLED"},
    }  # fmt: skip
    role = f"arn:aws:iam::{PROD}:role/load"
    more = {"dbName": "shop", "iamRoles": [role], "defaultIamRoleArn": role, "logExports": ["userlog"]}
    key = rig.shared_key(PROD, HOME)
    made = make_namespace(cloud, "web", group, kmsKeyId=key, manageAdminPassword=True, **more)
    resource = rig.found(made)
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    restore_by_plan(rig, point, "namespace", id="again")
    found = rig.driver.discover(Scope(rig.production, HOME, ("redshift",)), "serverless:").resources
    (again,) = [one for one in found if one.name == "again"]
    # whoever administers a namespace comes with the snapshot
    assert comparable({**again.attributes, "admin": "admin1"}) == comparable(point.resource.attributes)
    assert again.tags.items() >= {"team": "a", **TAGS}.items()
    assert rig.rows("again") == {"orders": "rows of web"}


def test_a_restore_into_an_existing_namespace_asks_for_consent_and_replaces_its_database(cloud: Sandbox) -> None:
    rig = namespaces(cloud)
    point = rig.taken()
    make_namespace(cloud, "other")
    with pytest.raises(errors.Invalid, match="replace=yes"):
        restore_by_plan(rig, point, "namespace", into="other")
    restore_by_plan(rig, point, "namespace", into="other", replace="yes")
    assert rig.rows("other") == {"orders": "rows of lake-0"}
    assert rig.parameters("RestoreFromSnapshot")["workgroupName"] == "other-group"


def test_a_lent_snapshot_is_restored_by_the_other_account(cloud: Sandbox) -> None:
    """Feature 43: share-only, both houses, by the snapshot's ARN."""
    for rig, word in ((clusters(cloud), "cluster"), (namespaces(cloud), "namespace")):
        point = rig.taken(f"job-{word}")
        there = copied(rig, point, Destination(rig.vault, HOME), f"copy-{word}", **LEND)
        restore_by_plan(rig, there, word, id="again")
        assert rig.rows("again", rig.vault) == {"orders": f"rows of {point.resource.name}"}
        rig.sandbox.destroy(VAULT, HOME, "again")


def test_a_serverless_policy_that_others_have_written_keeps_its_readers(cloud: Sandbox) -> None:
    rig = namespaces(cloud)
    point, other = rig.taken(), "999999999999"
    arn = point.parts[0].attributes["arn"]
    allow = {"Effect": "Allow", "Principal": {"AWS": other}, "Action": ["redshift-serverless:RestoreFromSnapshot"]}
    rig.client().put_resource_policy(resourceArn=arn, policy=json.dumps({"Statement": [allow]}))
    there = copied(rig, point, Destination(rig.vault, HOME), **LEND)
    rig.driver.delete([there])
    left = json.loads(rig.client().get_resource_policy(resourceArn=arn)["resourcePolicy"]["policy"])
    assert left["Statement"][0]["Principal"]["AWS"] == [other]


def step(rig: WarehouseRig, point: Point, kind: str, **params: Any) -> Any:
    return rig.driver.start_restore(point, RestoreStep(kind, params), "restore-1", TAGS)


def test_a_restore_whose_answer_was_lost_makes_one_cluster_and_names_it_once(rig: WarehouseRig) -> None:
    """Feature 31: no tags in the call, so the name is the step's own until the cluster is there."""
    point = rig.taken()
    params = {"backup_id": point.parts[0].external_id, "id": "again", "tags": {"team": "a"}}
    rig.sandbox.fault("drop_after", operation="RestoreFromClusterSnapshot", count=1)
    with pytest.raises(errors.Transient):
        step(rig, point, "restore-cluster", **params)
    made = step(rig, point, "restore-cluster", **params)
    assert rig.sandbox.count("RestoreFromClusterSnapshot") == 1
    assert made.created == (Created("cluster", made.outputs["cluster"]),)
    rig.followed(made)
    for _ in range(2):
        named = step(rig, point, "name-cluster", cluster=made.outputs["cluster"], id="again")
        rig.followed(named)
    assert rig.sandbox.count("ModifyCluster") == 1
    assert named.removed == (made.outputs["cluster"],)
    assert [one["ClusterIdentifier"] for one in rig.client().describe_clusters()["Clusters"]] == ["sales-0", "again"]


def test_a_name_that_is_taken_is_refused_before_anything_is_restored(cloud: Sandbox) -> None:
    rig = clusters(cloud)
    point = rig.taken()
    with pytest.raises(errors.Invalid) as caught:
        step(rig, point, "restore-cluster", backup_id=point.parts[0].external_id, id="SALES-0")
    assert caught.value.code == "identifier-taken"
    assert rig.sandbox.count("RestoreFromClusterSnapshot") == 0
    other = namespaces(cloud)
    point = other.taken("job-2")
    with pytest.raises(errors.Invalid) as caught:
        step(other, point, "make-namespace", id="lake-0", workgroup="w")
    assert caught.value.code == "identifier-taken"


def test_a_failed_restore_is_taken_back_twice_and_nothing_that_is_not_ours(cloud: Sandbox) -> None:
    rig = clusters(cloud)
    point = rig.taken()
    made = step(rig, point, "restore-cluster", backup_id=point.parts[0].external_id, id="again")
    assert [rig.undone(rig.production, *made.created)[0].outcome for _ in range(2)] == ["deleted", "already-gone"]
    kept = rig.undone(rig.production, Created("cluster", "sales-0"))
    assert [(one.outcome, one.error and one.error.code) for one in kept] == [("kept", "not-ours")]
    other = namespaces(cloud)
    point = other.taken("job-2")
    made = step(other, point, "make-namespace", id="again", workgroup="again-group", tags={})
    again = step(other, point, "make-namespace", id="again", workgroup="again-group", tags={})
    assert again.created == made.created
    outcomes = [[one.outcome for one in other.undone(other.production, *made.created)] for _ in range(2)]
    assert outcomes == [["deleted", "deleted"], ["already-gone", "already-gone"]]
    kept = other.undone(other.production, Created("namespace", "lake-0"))
    assert [(one.outcome, one.error and one.error.code) for one in kept] == [("kept", "not-ours")]


def test_an_unknown_step_is_refused(rig: WarehouseRig) -> None:
    with pytest.raises(errors.Invalid):
        step(rig, rig.taken(), "dance", id="x")
