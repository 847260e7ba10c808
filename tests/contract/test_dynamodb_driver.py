"""The contract, kept by tables in both ways; and what only tables have."""

from typing import Any

import pytest

from tasks import errors
from tests.contract.rig import AWAY, HOME, PROD, TAGS, VAULT
from tests.contract.service_rig import ServiceRig
from tests.contract.service_suite import ServiceContract, VaultContract
from tests.deploy.vaulting import items, table
from tests.sandbox import Sandbox
from workers.aws.dynamodb_describe import describe, settings
from workers.driver import CopyRequest, Created, Destination, RestoreStep

STRANGE = f"arn:aws:dynamodb:{HOME}:{PROD}:table/none/backup/00000000000000000-00000000"


def make_table(cloud: Sandbox) -> str:
    held = cloud.client(PROD, HOME, "dynamodb").list_tables()["TableNames"]
    return table(cloud, f"orders-{len(held)}").rsplit("/", 1)[-1]


def drop_table(cloud: Sandbox, name: str) -> None:
    cloud.client(PROD, HOME, "dynamodb").delete_table(TableName=name)


def native(cloud: Sandbox) -> ServiceRig:
    ways = {"create": "CreateBackup", "read": "ListBackups", "delete": "DeleteBackup", "strange": STRANGE}
    return ServiceRig(cloud, "dynamodb", make_table, ways=ways, drop=drop_table, tokened=False)


def vaulted(cloud: Sandbox) -> ServiceRig:
    ways = {
        "create": "StartBackupJob", "read": "ListBackupJobs", "delete": "DeleteRecoveryPoint", "strange": "NO-JOB"
    }  # fmt: skip
    return ServiceRig(cloud, "dynamodb", make_table, mode="vault", ways=ways, drop=drop_table)


class TestNative(ServiceContract):
    """Feature 19: DynamoDB's own backups."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return native(cloud)


class TestVault(VaultContract):
    """Features 19, 42: tables through AWS Backup."""

    @pytest.fixture
    def rig(self, cloud: Sandbox) -> ServiceRig:
        return vaulted(cloud)


@pytest.fixture
def rig(cloud: Sandbox) -> ServiceRig:
    return native(cloud)


def full_table(cloud: Sandbox) -> str:
    """A table with everything that a restore leaves out."""
    table(
        cloud,
        "full",
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        Tags=[{"Key": "team", "Value": "a"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        DeletionProtectionEnabled=True,
    )
    dynamodb = cloud.client(PROD, HOME, "dynamodb")
    lives = {"Enabled": True, "AttributeName": "until"}
    dynamodb.update_time_to_live(TableName="full", TimeToLiveSpecification=lives)
    on = {"PointInTimeRecoveryEnabled": True}
    dynamodb.update_continuous_backups(TableName="full", PointInTimeRecoverySpecification=on)
    dynamodb.update_table(TableName="full", TableClass="STANDARD_INFREQUENT_ACCESS")
    scaling = cloud.client(PROD, HOME, "application-autoscaling")
    where = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/full",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    scaling.register_scalable_target(MinCapacity=2, MaxCapacity=20, **where)
    rule = {
        "TargetValue": 70.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "DynamoDBReadCapacityUtilization"},
    }
    scaling.put_scaling_policy(
        PolicyName="reads", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=rule, **where
    )
    return "full"


def beside(rig: ServiceRig, name: str, account: str = PROD, region: str = HOME) -> dict[str, Any]:
    """What stands beside a table, as another backup of it would capture it."""
    owner = rig.production if account == PROD else rig.vault
    clients = rig.sessions.at(owner, region)
    found = describe(clients, name)
    more, warnings = settings(clients, name, [])
    assert warnings == []
    left = ("arn", "size_bytes", "state")
    kept = {k: v for k, v in {**found.attributes, **more}.items() if k not in left}
    users = {k: v for k, v in found.tags.items() if not k.startswith("snapfleet:")}
    return {**kept, "tags": users}


SETTINGS = ("ttl", "pitr", "scaling", "stream", "deletion_protection", "table_class")


@pytest.mark.parametrize("mode", ["snapshots", "vault"])
def test_everything_captured_is_on_the_restored_table(cloud: Sandbox, mode: str) -> None:
    """Feature 19: items, tags, time to live, stream, scaling, recovery, protection and class come back."""
    rig = native(cloud) if mode == "snapshots" else vaulted(cloud)
    resource = rig.found(full_table(cloud))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    before, held = beside(rig, "full"), items(cloud, "full")
    drop = cloud.client(PROD, HOME, "dynamodb")
    drop.update_table(TableName="full", DeletionProtectionEnabled=False)
    drop.delete_table(TableName="full")
    captured = point.resource.attributes
    rig.step(point, "restore-table", backup_id=point.parts[0].external_id, name="full")
    wanted = {name: captured[name] for name in SETTINGS}
    rig.step(point, "configure-table", "restore-2", table="full", tags={"team": "a"}, **wanted)
    again = {name: captured[name] for name in SETTINGS}
    rig.step(point, "configure-table", "restore-2", table="full", tags={"team": "a"}, **again)
    assert items(cloud, "full") == held
    assert beside(rig, "full") == before


def test_a_create_goes_out_once_with_the_table_and_a_name_of_the_key(rig: ServiceRig) -> None:
    resource = rig.resource()
    part = rig.backup(resource).parts[0]
    sent = rig.parameters("CreateBackup")
    assert sent == {"TableName": resource.external_id, "BackupName": part.attributes["name"]}
    assert sent["BackupName"].startswith("snapfleet-")


def test_a_create_that_times_out_is_not_sent_again_by_the_sdk(rig: ServiceRig) -> None:
    """Feature 31: names are not unique, so a second one would be a second backup."""
    resource = rig.resource()
    rig.sandbox.fault("timeout_after", operation="CreateBackup", count=1)
    with pytest.raises(errors.Transient) as caught:
        rig.backup(resource)
    assert (caught.value.code, rig.sandbox.count("CreateBackup")) == ("unknown-effect", 1)


def test_a_native_backup_is_refused_as_a_copy_before_any_call(rig: ServiceRig) -> None:
    """Feature 42."""
    point = rig.taken()
    for to in (rig.away(), Destination(rig.vault, HOME)):
        assert "AWS Backup" in rig.driver.plan_copy_problem(point, to)
        with pytest.raises(errors.Impossible):
            rig.driver.start_copy(point, to, CopyRequest("copy-1", TAGS))


def test_without_advanced_features_a_vault_backup_is_refused_with_what_to_do(cloud: Sandbox) -> None:
    rig = vaulted(cloud)
    settings = cloud.client(PROD, HOME, "backup").update_region_settings
    settings(ResourceTypeManagementPreference={"DynamoDB": False})
    with pytest.raises(errors.Invalid) as caught:
        rig.backup(rig.resource())
    assert caught.value.code == "advanced-features"
    assert rig.sandbox.count("StartBackupJob") == 0


def test_a_vault_job_carries_vault_role_token_and_tags(cloud: Sandbox) -> None:
    rig = vaulted(cloud)
    resource = rig.resource()
    rig.backup(resource)
    sent = rig.parameters("StartBackupJob")
    assert sent["ResourceArn"] == resource.attributes["arn"]
    assert sent["BackupVaultName"] == "snapfleet"
    assert sent["IamRoleArn"] == f"arn:aws:iam::{PROD}:role/service-role/AWSBackupDefaultServiceRole"
    assert sent["StartWindowMinutes"] >= 60
    assert len(sent["IdempotencyToken"]) == 64
    assert sent["RecoveryPointTags"].items() >= {**TAGS, "snapfleet:job": "job-1"}.items()


def test_a_copy_is_restored_in_the_other_account_and_region(cloud: Sandbox) -> None:
    """Feature 42: the point lives on when its source is gone."""
    rig = vaulted(cloud)
    point = rig.taken()
    name = point.resource.external_id
    held = items(cloud, name)
    there = rig.copied(point, Destination(rig.vault, AWAY, rig.shared_key(VAULT, AWAY)))
    rig.driver.delete([point])
    drop_table(cloud, name)
    rig.step(there, "restore-table", backup_id=there.parts[0].external_id, name="back")
    assert items(cloud, "back", VAULT, AWAY) == held


def test_a_restore_is_made_once_and_takes_no_other_table_for_its_own(rig: ServiceRig) -> None:
    point = rig.taken()
    backup = point.parts[0].external_id
    for _ in range(2):
        rig.step(point, "restore-table", backup_id=backup, name="back")
    assert rig.sandbox.count("RestoreTableFromBackup") == 1
    step = RestoreStep("restore-table", {"backup_id": backup, "name": point.resource.external_id})
    with pytest.raises(errors.Invalid) as caught:
        rig.driver.start_restore(point, step, "restore-2", TAGS)
    assert caught.value.code == "name-taken"


def test_an_undo_takes_restored_tables_away_and_no_others(rig: ServiceRig) -> None:
    point = rig.taken()
    rig.step(point, "restore-table", backup_id=point.parts[0].external_id, name="back")
    first = rig.undone(rig.production, Created("table", "back"))
    second = rig.undone(rig.production, Created("table", "back"))
    assert [one.outcome for one in first + second] == ["deleted", "already-gone"]
    kept = rig.undone(rig.production, Created("table", point.resource.external_id))
    assert [(one.outcome, one.error and one.error.code) for one in kept] == [("kept", "not-ours")]


def test_without_the_right_to_read_a_setting_the_backup_is_taken_with_a_warning(rig: ServiceRig) -> None:
    resource = rig.resource()
    rig.sandbox.fault("denied", operation="DescribeTimeToLive")
    started = rig.backup(resource)
    assert "ttl" not in started.captured
    assert any("ttl" in warning for warning in started.warnings)


def test_discovery_walks_all_pages(rig: ServiceRig) -> None:
    names = {make_table(rig.sandbox) for _ in range(30)}
    assert rig.found(max(names)).attributes["billing_mode"] == "PAY_PER_REQUEST"
    assert rig.sandbox.count("ListTables", account=PROD) >= 2


def test_a_restore_goes_out_once_and_its_settings_in_one_change_of_the_table(cloud: Sandbox) -> None:
    """The wire: RestoreTableFromBackup has no token, and UpdateTable refuses a second change while it works."""
    rig = native(cloud)
    resource = rig.found(full_table(cloud))
    point = rig.point(resource, rig.finished(rig.backup(resource)))
    backup, captured = point.parts[0].external_id, point.resource.attributes
    rig.sandbox.fault("timeout_after", operation="RestoreTableFromBackup", count=1)
    step = RestoreStep("restore-table", {"backup_id": backup, "name": "back", "billing_mode": "PAY_PER_REQUEST"})
    with pytest.raises(errors.Transient) as caught:
        rig.driver.start_restore(point, step, "restore-1", TAGS)
    assert caught.value.code == "unknown-effect"
    rig.followed(rig.driver.start_restore(point, step, "restore-1", TAGS))
    assert rig.sandbox.count("RestoreTableFromBackup") == 1
    assert rig.parameters("RestoreTableFromBackup") == {
        "TargetTableName": "back", "BackupArn": backup, "BillingModeOverride": "PAY_PER_REQUEST"
    }  # fmt: skip
    rig.sandbox.clear_calls()
    rig.step(point, "configure-table", "restore-2", table="back", **{name: captured[name] for name in SETTINGS})
    assert rig.parameters("UpdateTable") == {
        "TableName": "back",
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        "DeletionProtectionEnabled": True,
        "TableClass": "STANDARD_INFREQUENT_ACCESS",
    }
    assert rig.sandbox.count("UpdateTable") == 1
    assert rig.parameters("RegisterScalableTarget")["ResourceId"] == "table/back"
    assert rig.parameters("PutScalingPolicy")["ResourceId"] == "table/back"
    rig.driver.delete([point])
    assert rig.parameters("DeleteBackup") == {"BackupArn": backup}
