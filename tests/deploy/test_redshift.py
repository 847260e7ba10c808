"""Redshift of the emulated AWS behaves as its management guide and API references say."""

import json
from typing import Any

import pytest

from tests.contract.warehouses import make_namespace, make_warehouse
from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused
from tests.sandbox import Sandbox


@pytest.fixture
def redshift(sandbox: Sandbox) -> Any:
    return sandbox.client(PROD, HOME, "redshift")


@pytest.fixture
def serverless(sandbox: Sandbox) -> Any:
    return sandbox.client(PROD, HOME, "redshift-serverless")


def snapshot(redshift: Any, name: str = "one", cluster: str = "sales-0", **more: Any) -> dict[str, Any]:
    made = redshift.create_cluster_snapshot(SnapshotIdentifier=name, ClusterIdentifier=cluster, **more)
    return dict(made["Snapshot"])


def test_a_snapshot_is_creating_for_a_while_and_its_name_is_given_once(sandbox: Sandbox, redshift: Any) -> None:
    """CreateClusterSnapshot: ClusterSnapshotAlreadyExists; the identifier is stored in lower case."""
    make_warehouse(sandbox)
    sandbox.configure(backup_seconds=100.0)
    made = snapshot(redshift, "One", Tags=[{"Key": "a", "Value": "b"}], ManualSnapshotRetentionPeriod=30)
    assert (made["Status"], made["Tags"], made["SnapshotType"]) == ("creating", [{"Key": "a", "Value": "b"}], "manual")
    refused("ClusterSnapshotAlreadyExists", snapshot, redshift=redshift, name="one")
    refused("InvalidClusterSnapshotState", redshift.delete_cluster_snapshot, SnapshotIdentifier="one")
    sandbox.advance(101)
    shown = redshift.describe_cluster_snapshots(SnapshotIdentifier="one")["Snapshots"][0]
    assert (shown["Status"], shown["ManualSnapshotRetentionPeriod"]) == ("available", 30)


def test_what_redshift_refuses_of_a_snapshot(sandbox: Sandbox, redshift: Any) -> None:
    """CreateClusterSnapshot's errors: quota of user snapshots, retention of -1 or 1 to 3,653 days, unknown cluster."""
    make_warehouse(sandbox)
    refused("InvalidRetentionPeriodFault", snapshot, redshift=redshift, ManualSnapshotRetentionPeriod=4000)
    refused("ClusterNotFound", snapshot, redshift=redshift, cluster="other")
    sandbox.configure(redshift_snapshots_per_region=0)
    refused("ClusterSnapshotQuotaExceeded", snapshot, redshift=redshift)


def test_pages_and_start_times_narrow_what_is_described(sandbox: Sandbox, redshift: Any) -> None:
    """DescribeClusterSnapshots: MaxRecords 20 to 100 and Marker; StartTime is "at or after"."""
    make_warehouse(sandbox)
    sandbox.configure(redshift_snapshots_per_region=50)
    for n in range(25):
        snapshot(redshift, f"s-{n}")
    first = redshift.describe_cluster_snapshots(MaxRecords=20)
    rest = redshift.describe_cluster_snapshots(MaxRecords=20, Marker=first["Marker"])
    assert (len(first["Snapshots"]), len(rest["Snapshots"])) == (20, 5)
    sandbox.advance(3600)
    last = snapshot(redshift, "last")
    late = redshift.describe_cluster_snapshots(SnapshotType="manual", StartTime=last["SnapshotCreateTime"])
    assert [one["SnapshotIdentifier"] for one in late["Snapshots"]] == ["last"]


def test_a_shared_snapshot_is_restored_by_the_other_account_and_seen_by_naming_its_owner(
    sandbox: Sandbox, redshift: Any
) -> None:
    """Sharing snapshots: AuthorizeSnapshotAccess, at most 20 accounts; the other account restores, in this region."""
    make_warehouse(sandbox)
    snapshot(redshift)
    there = sandbox.client(VAULT, HOME, "redshift")
    restore = {"ClusterIdentifier": "again", "SnapshotIdentifier": "one", "OwnerAccount": PROD}
    refused("AccessToSnapshotDenied", there.restore_from_cluster_snapshot, **restore)
    share = {"SnapshotIdentifier": "one", "AccountWithRestoreAccess": VAULT}
    redshift.authorize_snapshot_access(**share)
    refused("AuthorizationAlreadyExists", redshift.authorize_snapshot_access, **share)
    assert there.describe_cluster_snapshots()["Snapshots"] == []
    assert len(there.describe_cluster_snapshots(OwnerAccount=PROD)["Snapshots"]) == 1
    there.restore_from_cluster_snapshot(**restore)
    assert sandbox.rows(VAULT, HOME, "again") == {"orders": "rows of sales-0"}
    away = sandbox.client(VAULT, AWAY, "redshift")
    refused("ClusterSnapshotNotFound", away.restore_from_cluster_snapshot, **restore)
    for n in range(19):
        redshift.authorize_snapshot_access(SnapshotIdentifier="one", AccountWithRestoreAccess=f"{n:012}")
    share["AccountWithRestoreAccess"] = "999999999999"
    refused("AuthorizationQuotaExceeded", redshift.authorize_snapshot_access, **share)


def test_a_snapshot_that_others_may_restore_is_not_deleted(sandbox: Sandbox, redshift: Any) -> None:
    """DeleteClusterSnapshot: "If other accounts are authorized to access the snapshot, you must revoke all of the
    authorizations before you can delete the snapshot"; other accounts can never delete it."""
    make_warehouse(sandbox)
    snapshot(redshift)
    redshift.authorize_snapshot_access(SnapshotIdentifier="one", AccountWithRestoreAccess=VAULT)
    there = sandbox.client(VAULT, HOME, "redshift")
    refused("ClusterSnapshotNotFound", there.delete_cluster_snapshot, SnapshotIdentifier="one")
    refused("InvalidClusterSnapshotState", redshift.delete_cluster_snapshot, SnapshotIdentifier="one")
    redshift.revoke_snapshot_access(SnapshotIdentifier="one", AccountWithRestoreAccess=VAULT)
    redshift.delete_cluster_snapshot(SnapshotIdentifier="one")
    refused("ClusterSnapshotNotFound", redshift.delete_cluster_snapshot, SnapshotIdentifier="one")


def test_an_encrypted_snapshot_is_restored_elsewhere_only_with_the_use_of_its_key(
    sandbox: Sandbox, redshift: Any
) -> None:
    """Sharing snapshots: "to share an encrypted snapshot, share the customer managed key too"; not the default one."""
    there, share = sandbox.client(VAULT, HOME, "redshift"), {"AccountWithRestoreAccess": VAULT}
    keys = {"closed": None, "own": key(sandbox, PROD, HOME), "open": key(sandbox, PROD, HOME, VAULT)}
    for name, one in keys.items():
        make_warehouse(sandbox, name, Encrypted=True, **({"KmsKeyId": one} if one else {}))
        assert snapshot(redshift, f"of-{name}", name)["Encrypted"] is True
        redshift.authorize_snapshot_access(SnapshotIdentifier=f"of-{name}", **share)
    asked = {"OwnerAccount": PROD, "ClusterIdentifier": "again"}
    for name in ("closed", "own"):
        refused("AccessToSnapshotDenied", there.restore_from_cluster_snapshot, SnapshotIdentifier=f"of-{name}", **asked)
    mine = key(sandbox, VAULT, HOME)
    made = there.restore_from_cluster_snapshot(SnapshotIdentifier="of-open", KmsKeyId=mine, **asked)["Cluster"]
    assert (made["KmsKeyId"], made["Encrypted"]) == (mine, True)


def test_the_clusters_own_copying_takes_what_comes_later_and_not_what_is_there(sandbox: Sandbox, redshift: Any) -> None:
    """EnableSnapshotCopy: one region for a cluster; snapshots are copied from then on, none that exist already."""
    make_warehouse(sandbox)
    snapshot(redshift)
    setting = {"ClusterIdentifier": "sales-0", "DestinationRegion": AWAY, "ManualSnapshotRetentionPeriod": 3653}
    redshift.enable_snapshot_copy(RetentionPeriod=1, **setting)
    refused("SnapshotCopyAlreadyEnabledFault", redshift.enable_snapshot_copy, **setting)
    shown = redshift.describe_clusters()["Clusters"][0]["ClusterSnapshotCopyStatus"]
    assert (shown["DestinationRegion"], shown["RetentionPeriod"]) == (AWAY, 1)
    snapshot(redshift, "two")
    held = sandbox.client(PROD, AWAY, "redshift").describe_cluster_snapshots()["Snapshots"]
    assert [(one["SnapshotIdentifier"], one["SourceRegion"]) for one in held] == [("two", HOME)]
    assert sandbox.rows(PROD, AWAY, "two") == {"orders": "rows of sales-0"}


def test_an_encrypted_cluster_copies_under_a_grant_of_the_other_region(sandbox: Sandbox, redshift: Any) -> None:
    """CreateSnapshotCopyGrant: made in the destination region; EnableSnapshotCopy, SnapshotCopyGrantName."""
    make_warehouse(sandbox, Encrypted=True)
    setting = {"ClusterIdentifier": "sales-0", "DestinationRegion": AWAY}
    refused("SnapshotCopyGrantNotFoundFault", redshift.enable_snapshot_copy, **setting)
    there, mine = sandbox.client(PROD, AWAY, "redshift"), key(sandbox, PROD, AWAY)
    there.create_snapshot_copy_grant(SnapshotCopyGrantName="grant", KmsKeyId=mine)
    grant = {"SnapshotCopyGrantName": "grant"}
    refused("SnapshotCopyGrantAlreadyExistsFault", there.create_snapshot_copy_grant, **grant)
    redshift.enable_snapshot_copy(**setting, **grant)
    snapshot(redshift)
    assert there.describe_cluster_snapshots()["Snapshots"][0]["KmsKeyId"] == mine


def test_a_restored_cluster_has_what_was_asked_for_and_no_tags_until_they_are_given(
    sandbox: Sandbox, redshift: Any
) -> None:
    """RestoreFromClusterSnapshot has no Tags; node type and count are the snapshot's, groups are the defaults."""
    make_warehouse(sandbox, VpcSecurityGroupIds=["sg-1"])
    snapshot(redshift)
    sandbox.configure(backup_restore_seconds=100.0)
    made = redshift.restore_from_cluster_snapshot(ClusterIdentifier="again", SnapshotIdentifier="one")["Cluster"]
    assert (made["NumberOfNodes"], made["VpcSecurityGroups"][0]["VpcSecurityGroupId"]) == (2, "sg-default")
    assert (made["ClusterStatus"], made["RestoreStatus"]["Status"], made["Tags"]) == ("creating", "restoring", [])
    again = {"ClusterIdentifier": "again", "SnapshotIdentifier": "one"}
    refused("ClusterAlreadyExists", redshift.restore_from_cluster_snapshot, **again)
    rename = {"ClusterIdentifier": "again", "NewClusterIdentifier": "better"}
    refused("InvalidClusterState", redshift.modify_cluster, **rename)
    sandbox.advance(101)
    redshift.modify_cluster(**rename)
    arn = f"arn:aws:redshift:{HOME}:{PROD}:cluster:better"
    redshift.create_tags(ResourceName=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert redshift.describe_clusters(ClusterIdentifier="better")["Clusters"][0]["Tags"] == [{"Key": "a", "Value": "b"}]
    refused("InvalidParameterCombination", redshift.delete_cluster, ClusterIdentifier="better")
    redshift.delete_cluster(ClusterIdentifier="better", SkipFinalClusterSnapshot=True)
    refused("ClusterNotFound", redshift.describe_clusters, ClusterIdentifier="better")


def taken(serverless: Any, name: str = "one", namespace: str = "lake-0", **more: Any) -> dict[str, Any]:
    return dict(serverless.create_snapshot(snapshotName=name, namespaceName=namespace, **more)["snapshot"])


def test_a_namespace_is_backed_up_only_with_a_workgroup(sandbox: Sandbox, serverless: Any) -> None:
    """Snapshots and recovery points: the namespace must be available and have a workgroup; names are given once."""
    make_namespace(sandbox, group=False)
    refused("ConflictException", taken, serverless=serverless)
    serverless.create_workgroup(workgroupName="group", namespaceName="lake-0")
    sandbox.configure(backup_seconds=100.0)
    made = taken(serverless, tags=[{"key": "a", "value": "b"}])
    assert made["status"] == "CREATING"
    assert serverless.list_tags_for_resource(resourceArn=made["snapshotArn"])["tags"] == [{"key": "a", "value": "b"}]
    refused("ConflictException", taken, serverless=serverless)
    refused("ConflictException", serverless.delete_snapshot, snapshotName="one")
    sandbox.advance(101)
    assert serverless.get_snapshot(snapshotName="one")["snapshot"]["status"] == "AVAILABLE"
    sandbox.configure(redshift_snapshots_per_region=0)
    refused("ServiceQuotaExceededException", taken, serverless=serverless, name="two")


def test_a_serverless_snapshot_is_shared_by_a_resource_policy(sandbox: Sandbox, serverless: Any) -> None:
    """PutResourcePolicy: "you can use policies to share snapshots across accounts"; RestoreFromSnapshot replaces."""
    make_namespace(sandbox)
    arn = taken(serverless)["snapshotArn"]
    refused("ResourceNotFoundException", serverless.get_resource_policy, resourceArn=arn)
    there = sandbox.client(VAULT, HOME, "redshift-serverless")
    there.create_namespace(namespaceName="back")
    there.create_workgroup(workgroupName="back", namespaceName="back")
    sandbox.write_rows(VAULT, HOME, "back", "mine", "old")
    restore = {"namespaceName": "back", "workgroupName": "back", "snapshotArn": arn}
    refused("ResourceNotFoundException", there.restore_from_snapshot, **restore)
    allow = {"Effect": "Allow", "Principal": {"AWS": [VAULT]}, "Action": ["redshift-serverless:RestoreFromSnapshot"]}
    serverless.put_resource_policy(resourceArn=arn, policy=json.dumps({"Statement": [allow]}))
    assert len(there.list_snapshots(ownerAccount=PROD)["snapshots"]) == 1
    there.restore_from_snapshot(**restore)
    assert sandbox.rows(VAULT, HOME, "back") == {"orders": "rows of lake-0"}
    serverless.delete_resource_policy(resourceArn=arn)
    assert there.list_snapshots(ownerAccount=PROD)["snapshots"] == []


def test_a_namespaces_own_copying_takes_what_comes_later(sandbox: Sandbox, serverless: Any) -> None:
    """CreateSnapshotCopyConfiguration: one destination region for a namespace."""
    make_namespace(sandbox)
    taken(serverless)
    setting = {"namespaceName": "lake-0", "destinationRegion": AWAY}
    serverless.create_snapshot_copy_configuration(**setting)
    refused("ConflictException", serverless.create_snapshot_copy_configuration, **setting)
    shown = serverless.list_snapshot_copy_configurations(namespaceName="lake-0")["snapshotCopyConfigurations"]
    assert [one["destinationRegion"] for one in shown] == [AWAY]
    taken(serverless, "two")
    held = sandbox.client(PROD, AWAY, "redshift-serverless").list_snapshots()["snapshots"]
    assert [one["snapshotName"] for one in held] == ["two"]
