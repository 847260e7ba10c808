"""Databases of the emulated AWS behave as the RDS, Aurora and DocumentDB documents say."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.databases import make_aurora, make_cluster, make_documentdb, make_instance
from tests.contract.rig import AWAY, HOME, PROD, VAULT
from tests.deploy.estate import key
from tests.sandbox import Sandbox

Rds = Any


@pytest.fixture
def rds(sandbox: Sandbox) -> Rds:
    return sandbox.client(PROD, HOME, "rds")


def refusal(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


def snapshot(rds: Rds, name: str = "one", database: str = "orders-0", **more: Any) -> dict[str, Any]:
    made = rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=database, **more)
    return dict(made["DBSnapshot"])


def test_a_snapshot_is_creating_for_a_while_and_its_database_is_backing_up(sandbox: Sandbox, rds: Rds) -> None:
    """CreateDBSnapshot: "The source DB instance must be in the available or storage-optimization state"."""
    make_instance(sandbox)
    sandbox.configure(backup_seconds=100.0)
    snapshot(rds)
    sandbox.advance(50)
    held = rds.describe_db_snapshots(DBSnapshotIdentifier="one")["DBSnapshots"][0]
    assert held["Status"] == "creating"
    assert 40 <= held["PercentProgress"] <= 60
    busy = rds.describe_db_instances(DBInstanceIdentifier="orders-0")["DBInstances"][0]
    assert busy["DBInstanceStatus"] == "backing-up"
    assert refusal(snapshot, rds=rds, name="two") == "InvalidDBInstanceState"
    sandbox.advance(60)
    assert rds.describe_db_snapshots(DBSnapshotIdentifier="one")["DBSnapshots"][0]["Status"] == "available"


def test_an_identifier_is_given_once_and_knows_no_case(sandbox: Sandbox, rds: Rds) -> None:
    """CreateDBSnapshot, DBSnapshotIdentifier: letters, digits, hyphens; DBSnapshotAlreadyExists."""
    make_instance(sandbox)
    snapshot(rds, "Mine")
    assert refusal(snapshot, rds=rds, name="mine") == "DBSnapshotAlreadyExists"
    for wrong in ("1st", "two--hyphens", "ends-", "under_score"):
        assert refusal(snapshot, rds=rds, name=wrong) == "InvalidParameterValue"
    make_aurora(sandbox, name="web")
    long = {"DBClusterSnapshotIdentifier": "a" * 64, "DBClusterIdentifier": "web"}
    assert refusal(rds.create_db_cluster_snapshot, **long) == "InvalidParameterValue"


def test_an_unknown_name_is_refused_by_parameter_and_absent_by_filter(sandbox: Sandbox, rds: Rds) -> None:
    """DescribeDBSnapshots: DBSnapshotNotFound for DBSnapshotIdentifier; Filters only narrow."""
    assert refusal(rds.describe_db_snapshots, DBSnapshotIdentifier="none") == "DBSnapshotNotFound"
    filters = [{"Name": "db-snapshot-id", "Values": ["none"]}]
    assert rds.describe_db_snapshots(Filters=filters)["DBSnapshots"] == []
    assert refusal(rds.describe_db_snapshots, Filters=[{"Name": "colour", "Values": ["x"]}]) == "InvalidParameterValue"


def test_pages_hold_twenty_to_a_hundred(sandbox: Sandbox, rds: Rds) -> None:
    """MaxRecords: minimum 20, maximum 100."""
    for n in range(25):
        make_instance(sandbox, f"db-{n}")
    first = rds.describe_db_instances(MaxRecords=20)
    rest = rds.describe_db_instances(MaxRecords=20, Marker=first["Marker"])
    assert (len(first["DBInstances"]), len(rest["DBInstances"]), rest.get("Marker")) == (20, 5, None)
    assert refusal(rds.describe_db_instances, MaxRecords=5) == "InvalidParameterValue"


def test_clusters_of_all_engines_are_answered_and_their_members_too(sandbox: Sandbox, rds: Rds) -> None:
    """DescribeDBClusters: "This operation can also return information for Amazon Neptune and Amazon DocumentDB"."""
    make_aurora(sandbox, name="web")
    make_documentdb(sandbox, name="papers")
    make_cluster(sandbox, "neptune", name="graph")
    engines = {one["Engine"] for one in rds.describe_db_clusters()["DBClusters"]}
    assert engines == {"aurora-postgresql", "docdb", "neptune"}
    members = rds.describe_db_instances()["DBInstances"]
    assert {one["DBClusterIdentifier"] for one in members} == {"web", "papers", "graph"}


def test_tags_hold_the_characters_that_rds_allows(sandbox: Sandbox, rds: Rds) -> None:
    """Tagging Amazon RDS resources: letters, digits, whitespace and _ . : / = + - @."""
    make_instance(sandbox)
    assert refusal(snapshot, rds=rds, Tags=[{"Key": "a<b", "Value": "x"}]) == "InvalidParameterValue"
    assert refusal(snapshot, rds=rds, Tags=[{"Key": "aws:x", "Value": "x"}]) == "InvalidParameterValue"
    held = snapshot(rds, Tags=[{"Key": "snapfleet:job", "Value": "a/b@c"}])
    assert held["TagList"] == [{"Key": "snapfleet:job", "Value": "a/b@c"}]


def test_manual_snapshots_have_a_quota(sandbox: Sandbox, rds: Rds) -> None:
    """Quotas for Amazon RDS: manual DB instance snapshots; SnapshotQuotaExceeded."""
    make_instance(sandbox)
    sandbox.configure(db_snapshots_per_region=1)
    snapshot(rds)
    assert refusal(snapshot, rds=rds, name="two") == "SnapshotQuotaExceeded"


def copied(sandbox: Sandbox, source: str, name: str = "two", region: str = AWAY, **more: Any) -> dict[str, Any]:
    rds = sandbox.client(more.pop("account", PROD), region, "rds")
    from_ = source.split(":")[3]
    asked = {"SourceDBSnapshotIdentifier": source, "TargetDBSnapshotIdentifier": name, **more}
    if from_ != region:
        asked.setdefault("SourceRegion", from_)
    return dict(rds.copy_db_snapshot(**asked)["DBSnapshot"])


def test_a_copy_from_another_region_needs_its_presigned_url(sandbox: Sandbox, rds: Rds) -> None:
    """CopyDBSnapshot, PreSignedUrl: made by the SDK when SourceRegion is given; tags travel by CopyTags only."""
    make_instance(sandbox)
    arn = snapshot(rds, Tags=[{"Key": "a", "Value": "b"}])["DBSnapshotArn"]
    there = sandbox.client(PROD, AWAY, "rds")
    asked = {"SourceDBSnapshotIdentifier": arn, "TargetDBSnapshotIdentifier": "two"}
    assert refusal(there.copy_db_snapshot, **asked) == "InvalidParameterValue"
    made = copied(sandbox, arn)
    assert (made["SourceRegion"], made["SourceDBSnapshotIdentifier"], made["TagList"]) == (HOME, arn, [])
    assert copied(sandbox, arn, "three", CopyTags=True)["TagList"] == [{"Key": "a", "Value": "b"}]
    assert sandbox.rows(PROD, AWAY, "two") == {"orders": "rows of orders-0"}


def test_an_encrypted_copy_that_moves_names_a_key_that_can_be_used(sandbox: Sandbox, rds: Rds) -> None:
    """CopyDBSnapshot, KmsKeyId: required to copy an encrypted snapshot to another region; KMSKeyNotAccessibleFault."""
    make_instance(sandbox, StorageEncrypted=True)
    arn = snapshot(rds)["DBSnapshotArn"]
    assert refusal(copied, sandbox=sandbox, source=arn) == "InvalidParameterValue"
    strange = f"arn:aws:kms:{AWAY}:{PROD}:key/00000000-0000-0000-0000-000000000000"
    assert refusal(copied, sandbox=sandbox, source=arn, KmsKeyId=strange) == "KMSKeyNotAccessibleFault"
    mine = key(sandbox, PROD, AWAY)
    assert copied(sandbox, arn, KmsKeyId=mine)["KmsKeyId"] == mine


def test_a_key_encrypts_a_plain_instance_snapshot_and_is_an_error_for_a_plain_clusters(
    sandbox: Sandbox, rds: Rds
) -> None:
    """CopyDBClusterSnapshot, KmsKeyId: "If you copy an unencrypted DB cluster snapshot and specify a value for the
    KmsKeyId parameter, an error is returned"; CopyDBSnapshot encrypts."""
    make_instance(sandbox)
    make_aurora(sandbox, name="web")
    mine = key(sandbox, PROD, AWAY)
    assert copied(sandbox, snapshot(rds)["DBSnapshotArn"], KmsKeyId=mine)["Encrypted"] is True
    asked = {"DBClusterSnapshotIdentifier": "one", "DBClusterIdentifier": "web"}
    arn = rds.create_db_cluster_snapshot(**asked)["DBClusterSnapshot"]["DBClusterSnapshotArn"]
    there = sandbox.client(PROD, AWAY, "rds")
    wish = {"SourceDBClusterSnapshotIdentifier": arn, "TargetDBClusterSnapshotIdentifier": "two", "SourceRegion": HOME}
    assert refusal(there.copy_db_cluster_snapshot, **wish, KmsKeyId=mine) == "InvalidParameterCombination"
    assert there.copy_db_cluster_snapshot(**wish)["DBClusterSnapshot"]["StorageEncrypted"] is False


def share(rds: Rds, name: str = "one", *accounts: str) -> None:
    rds.modify_db_snapshot_attribute(
        DBSnapshotIdentifier=name, AttributeName="restore", ValuesToAdd=list(accounts or [VAULT])
    )


def test_only_what_was_shared_is_seen_and_copied_by_another_account(sandbox: Sandbox, rds: Rds) -> None:
    """Sharing a DB snapshot (RDS user guide): at most 20 accounts; copied by ARN."""
    make_instance(sandbox)
    arn = snapshot(rds)["DBSnapshotArn"]
    ask = {"sandbox": sandbox, "source": arn, "region": HOME, "account": VAULT}
    assert refusal(copied, **ask) == "DBSnapshotNotFound"
    share(rds)
    assert copied(**ask)["DBSnapshotArn"].startswith(f"arn:aws:rds:{HOME}:{VAULT}:snapshot:")
    many = [f"{number:012d}" for number in range(1, 21)]
    assert refusal(lambda: share(rds, "one", *many)) == "SharedSnapshotQuotaExceeded"


def test_a_snapshot_under_the_default_key_or_with_a_permanent_option_cannot_be_shared(
    sandbox: Sandbox, rds: Rds
) -> None:
    """Sharing encrypted snapshots: not under the default key; Limitations: not with TDE's option."""
    make_instance(sandbox, "sealed", StorageEncrypted=True)
    rds.create_option_group(
        OptionGroupName="tde", EngineName="oracle", MajorEngineVersion="19", OptionGroupDescription="TDE"
    )
    make_instance(sandbox, "vaulted", OptionGroupName="tde")
    for database in ("sealed", "vaulted"):
        snapshot(rds, database, database)
        assert refusal(lambda name=database: share(rds, name)) == "InvalidParameterValue"


def test_a_shared_encrypted_instance_snapshot_is_copied_before_it_is_restored(sandbox: Sandbox, rds: Rds) -> None:
    """Restoring to a DB instance: "You can't restore a DB instance from a DB snapshot that is both shared and
    encrypted. Instead, you can make a copy"."""
    make_instance(sandbox, StorageEncrypted=True, KmsKeyId=key(sandbox, PROD, HOME, VAULT))
    arn = snapshot(rds)["DBSnapshotArn"]
    share(rds)
    there = sandbox.client(VAULT, HOME, "rds")
    asked = {"DBInstanceIdentifier": "again", "DBSnapshotIdentifier": arn}
    assert refusal(there.restore_db_instance_from_db_snapshot, **asked) == "InvalidParameterValue"
    copied(sandbox, arn, region=HOME, account=VAULT, KmsKeyId=key(sandbox, VAULT, HOME))
    there.restore_db_instance_from_db_snapshot(**{**asked, "DBSnapshotIdentifier": "two"})
    assert sandbox.rows(VAULT, HOME, "again") == {"orders": "rows of orders-0"}


def test_a_shared_documentdb_snapshot_is_copied_in_its_region_only(sandbox: Sandbox) -> None:
    """Copying shared cluster snapshots (DocumentDB developer guide): "in the same AWS Region as the source"."""
    make_documentdb(sandbox, name="papers")
    docdb = sandbox.client(PROD, HOME, "docdb")
    asked = {"DBClusterSnapshotIdentifier": "one", "DBClusterIdentifier": "papers"}
    arn = docdb.create_db_cluster_snapshot(**asked)["DBClusterSnapshot"]["DBClusterSnapshotArn"]
    docdb.modify_db_cluster_snapshot_attribute(
        DBClusterSnapshotIdentifier="one", AttributeName="restore", ValuesToAdd=[VAULT]
    )
    wish = {"SourceDBClusterSnapshotIdentifier": arn, "TargetDBClusterSnapshotIdentifier": "two"}
    far = sandbox.client(VAULT, AWAY, "docdb")
    assert refusal(far.copy_db_cluster_snapshot, **wish, SourceRegion=HOME) == "InvalidParameterValue"
    near = sandbox.client(VAULT, HOME, "docdb")
    assert near.copy_db_cluster_snapshot(**wish)["DBClusterSnapshot"]["Status"] == "available"


def test_so_many_copies_run_into_a_region_at_once(sandbox: Sandbox, rds: Rds) -> None:
    """Copying a DB snapshot: "up to 20 ... in progress to a single destination Region per account"."""
    make_instance(sandbox)
    arn = snapshot(rds)["DBSnapshotArn"]
    sandbox.configure(backup_copy_seconds=100.0, db_copies_per_destination=2)
    for name in ("two", "three"):
        assert copied(sandbox, arn, name)["Status"] == "copying"
    assert refusal(copied, sandbox=sandbox, source=arn, name="four") == "SnapshotQuotaExceeded"
    sandbox.advance(101)
    copied(sandbox, arn, "four")


def test_a_restored_cluster_has_no_instances_until_they_are_made(sandbox: Sandbox, rds: Rds) -> None:
    """RestoreDBClusterFromSnapshot: "This operation only restores the DB cluster, not the DB instances for that DB
    cluster. You must invoke the CreateDBInstance operation"."""
    make_aurora(sandbox, name="web")
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="one", DBClusterIdentifier="web")
    asked = {"DBClusterIdentifier": "again", "SnapshotIdentifier": "one", "Engine": "aurora-postgresql"}
    assert refusal(rds.restore_db_cluster_from_snapshot, **{**asked, "Engine": "aurora-mysql"}) == "InvalidRestoreFault"
    sandbox.configure(database_seconds=50.0)
    rds.restore_db_cluster_from_snapshot(**asked)
    held = rds.describe_db_clusters(DBClusterIdentifier="again")["DBClusters"][0]
    assert (held["Status"], held["DBClusterMembers"]) == ("creating", [])
    member = {"DBInstanceIdentifier": "again-1", "DBInstanceClass": "db.serverless", "Engine": "aurora-postgresql"}
    assert refusal(rds.create_db_instance, **member, DBClusterIdentifier="again") == "InvalidDBClusterStateFault"
    sandbox.advance(60)
    rds.create_db_instance(**member, DBClusterIdentifier="again")
    assert refusal(rds.delete_db_cluster, DBClusterIdentifier="again", SkipFinalSnapshot=True) == (
        "InvalidDBClusterStateFault"
    )


def test_groups_that_a_restore_names_must_exist(sandbox: Sandbox, rds: Rds) -> None:
    """RestoreDBInstanceFromDBSnapshot, errors: DBSubnetGroupNotFoundFault, DBParameterGroupNotFound."""
    make_instance(sandbox)
    snapshot(rds)
    asked = {"DBInstanceIdentifier": "again", "DBSnapshotIdentifier": "one"}
    restore = rds.restore_db_instance_from_db_snapshot
    assert refusal(restore, **asked, DBSubnetGroupName="none") == "DBSubnetGroupNotFoundFault"
    assert refusal(restore, **asked, DBParameterGroupName="none") == "DBParameterGroupNotFound"
    assert refusal(restore, **asked, MultiAZ=True, AvailabilityZone=f"{HOME}a") == "InvalidParameterCombination"


def test_what_is_protected_is_deleted_only_after_its_protection_is_off(sandbox: Sandbox, rds: Rds) -> None:
    """DeleteDBInstance: not with deletion protection; SkipFinalSnapshot or a name for the last one."""
    make_instance(sandbox, DeletionProtection=True)
    delete = rds.delete_db_instance
    asked = {"DBInstanceIdentifier": "orders-0"}
    assert refusal(delete, **asked, SkipFinalSnapshot=True) == "InvalidParameterCombination"
    rds.modify_db_instance(**asked, DeletionProtection=False)
    assert refusal(delete, **asked) == "InvalidParameterCombination"
    delete(**asked, SkipFinalSnapshot=True)
    assert refusal(rds.describe_db_instances, **asked) == "DBInstanceNotFound"


def test_a_snapshot_that_is_being_made_cannot_be_deleted(sandbox: Sandbox, rds: Rds) -> None:
    """DeleteDBSnapshot: "The DB snapshot must be in the available state to be deleted"."""
    make_instance(sandbox)
    sandbox.configure(backup_seconds=100.0)
    snapshot(rds)
    assert refusal(rds.delete_db_snapshot, DBSnapshotIdentifier="one") == "InvalidDBSnapshotState"
