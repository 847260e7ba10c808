"""Databases come back as they were: planned from what was captured, made by the driver, and discovered again."""

from typing import Any

import pytest

from tests.contract.databases import DatabaseRig, make_aurora, make_cluster, make_documentdb, make_instance, rig_of
from tests.contract.planning import restore_by_plan
from tests.contract.rig import HOME, PROD, TAGS
from tests.contract.test_database_drivers import FULL, groups
from tests.sandbox import Sandbox
from workers.driver import TAG_INSTALLATION, FindsTagged, Point, Scope

# What is another database's own, and what a restore has no say in.
OWN = {"identifier", "state", "engine_version", "kms_key_id", "zones"}


def restored(rig: DatabaseRig, point: Point, word: str, **settings: str) -> dict[str, Any]:
    """Every step of the plan through the driver; the attributes of what came of it, as discovery sees them."""
    restore_by_plan(rig, point, word, id="again", **settings)
    found = rig.driver.discover(Scope(rig.production, HOME, (rig.type,)), None).resources
    return dict(next(one for one in found if one.name == "again").attributes)


def point_of(rig: DatabaseRig, made: str) -> Point:
    resource = rig.found(made)
    return rig.point(resource, rig.finished(rig.backup(resource)))


def comparable(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what is its own; members without their names."""
    members = [{k: v for k, v in one.items() if k != "identifier"} for one in attributes.get("members", [])]
    tags = {key: value for key, value in attributes.get("own_tags", {}).items() if not key.startswith("snapfleet:")}
    left = {name: value for name, value in attributes.items() if name not in {*OWN, "name", "tags"}}
    return {**left, "members": members, "own_tags": tags}


def test_every_captured_attribute_of_an_instance_comes_back(cloud: Sandbox) -> None:
    """Feature 15: subnet and security groups, parameters, options, storage, logins, protection, windows, tags."""
    groups(cloud)
    rig = rig_of(cloud, "rds")
    point = point_of(rig, make_instance(cloud, **FULL))
    after = restored(rig, point, "database")
    before = {**point.resource.attributes, "persistent_options": False}
    assert comparable({**after, "persistent_options": False}) == comparable(before)
    asked = rig.parameters("RestoreDBInstanceFromDBSnapshot")
    assert (asked["MultiAZ"], "AvailabilityZone" in asked, asked["BackupRetentionPeriod"]) == (True, False, 9)
    assert {one["Key"] for one in asked["Tags"]} >= {*TAGS, "team"}
    settled = rig.parameters("ModifyDBInstance")
    assert (settled["MaxAllocatedStorage"], settled["ApplyImmediately"]) == (500, True)


CLUSTER: dict[str, Any] = {
    "DBSubnetGroupName": "private",
    "DBClusterParameterGroupName": "tuned",
    "VpcSecurityGroupIds": ["sg-1", "sg-2"],
    "Port": 6000,
    "DeletionProtection": True,
    "StorageType": "aurora-iopt1",
    "EnableCloudwatchLogsExports": ["postgresql"],
    "BackupRetentionPeriod": 9,
    "PreferredBackupWindow": "02:00-03:00",
    "EnableIAMDatabaseAuthentication": True,
    "CopyTagsToSnapshot": True,
    "ServerlessV2ScalingConfiguration": {"MinCapacity": 0.5, "MaxCapacity": 12},
}


def test_every_captured_attribute_of_an_aurora_cluster_comes_back_with_its_members(cloud: Sandbox) -> None:
    """Feature 16: capacity by halves, members in their order and tiers."""
    groups(cloud)
    rig = rig_of(cloud, "aurora")
    point = point_of(rig, make_aurora(cloud, name="web", members=3, **CLUSTER))
    after = restored(rig, point, "cluster")
    assert comparable(after) == comparable(dict(point.resource.attributes))
    assert len(after["members"]) == 3
    assert (after["min_capacity"], after["max_capacity"]) == ("0.5", "12")


def test_serverless_v1_comes_back_as_v2_with_one_member(cloud: Sandbox) -> None:
    rig = rig_of(cloud, "aurora")
    scaling = {"MinCapacity": 2, "MaxCapacity": 8, "AutoPause": True}
    point = point_of(rig, make_aurora(cloud, members=0, EngineMode="serverless", ScalingConfiguration=scaling))
    after = restored(rig, point, "cluster")
    assert (after["engine_mode"], after["min_capacity"], after["max_capacity"]) == ("provisioned", "2", "8")
    assert [one["class"] for one in after["members"]] == ["db.serverless"]
    assert rig.rows("again") == {"orders": "rows of orders-0"}


def test_serverless_v1_can_be_asked_for_again(cloud: Sandbox) -> None:
    rig = rig_of(cloud, "aurora")
    scaling = {"MinCapacity": 2, "MaxCapacity": 8, "AutoPause": True}
    point = point_of(rig, make_aurora(cloud, members=0, EngineMode="serverless", ScalingConfiguration=scaling))
    after = restored(rig, point, "cluster", serverless_v1="yes")
    assert (after["engine_mode"], after["scaling"]["AutoPause"], after["members"]) == ("serverless", True, [])


def test_a_multi_az_cluster_comes_back_with_its_class(cloud: Sandbox) -> None:
    """Its instances are AWS's to make: none is added."""
    rig = rig_of(cloud, "aurora")
    asked = {"DBClusterInstanceClass": "db.m6gd.large", "StorageType": "io1", "Iops": 3000, "AllocatedStorage": 100}
    point = point_of(rig, make_cluster(cloud, "postgres", members=0, **asked))
    after = restored(rig, point, "cluster")
    assert (after["cluster_class"], after["iops"], after["storage_type"]) == ("db.m6gd.large", 3000, "io1")
    assert rig.sandbox.count("CreateDBInstance") == 0


@pytest.mark.parametrize("members", [1, 2])
def test_every_captured_attribute_of_a_documentdb_cluster_comes_back(cloud: Sandbox, members: int) -> None:
    """Feature 18."""
    groups(cloud)
    left_out = ("EnableIAMDatabaseAuthentication", "BackupRetentionPeriod", "PreferredBackupWindow", "StorageType")
    asked = {name: value for name, value in CLUSTER.items() if name not in {*left_out, "CopyTagsToSnapshot"}}
    asked["EnableCloudwatchLogsExports"] = ["audit"]
    rig = rig_of(cloud, "documentdb")
    point = point_of(rig, make_documentdb(cloud, name="papers", members=members, **asked, StorageType="iopt1"))
    after = restored(rig, point, "cluster")
    assert comparable(after) == comparable(dict(point.resource.attributes))
    assert rig.rows("again") == {"orders": "rows of papers"}
    assert cloud.client(PROD, HOME, "docdb").describe_db_clusters(DBClusterIdentifier="again")["DBClusters"]


def test_what_people_take_of_a_restored_database_is_not_ours_though_it_carries_our_tags(cloud: Sandbox) -> None:
    """feature C11: CopyTagsToSnapshot. As an orphan it would be listed, and might be deleted one day."""
    rig = rig_of(cloud, "rds")
    point = rig.taken()
    name = rig.restored(point, "again", tags=TAGS)["DBInstanceIdentifier"]
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    rig.client().create_db_snapshot(DBSnapshotIdentifier="before-the-move", DBInstanceIdentifier=name, Tags=tags)
    assert isinstance(rig.driver, FindsTagged)
    found = rig.driver.tagged(rig.production, HOME, TAGS[TAG_INSTALLATION])
    assert [one.external_id for one in found] == [part.external_id for part in point.parts]
