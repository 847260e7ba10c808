"""DynamoDB's backups. "CreateBackup", "RestoreTableFromBackup": DynamoDB API reference."""

from tests.deploy.estate import AWAY, HOME, PROD, VAULT, refused
from tests.deploy.vaulting import items, table


def test_a_backup_takes_time_and_its_name_is_not_unique(sandbox):
    """CreateBackup: "BackupName" names, the ARN identifies; DescribeBackup says CREATING, then AVAILABLE."""
    sandbox.configure(backup_seconds=100.0)
    dynamodb = sandbox.client(PROD, HOME, "dynamodb")
    table(sandbox)
    made = [dynamodb.create_backup(TableName="orders", BackupName="same")["BackupDetails"] for _ in range(2)]
    assert made[0]["BackupArn"] != made[1]["BackupArn"]
    assert made[0]["BackupStatus"] == "CREATING"
    refused("BackupInUseException", dynamodb.delete_backup, BackupArn=made[0]["BackupArn"])
    sandbox.advance(101)
    shown = dynamodb.describe_backup(BackupArn=made[0]["BackupArn"])["BackupDescription"]
    assert shown["BackupDetails"]["BackupStatus"] == "AVAILABLE"
    assert shown["SourceTableDetails"]["ItemCount"] == 3
    listed = dynamodb.list_backups(TableName="orders", BackupType="USER", Limit=1)
    rest = dynamodb.list_backups(TableName="orders", ExclusiveStartBackupArn=listed["LastEvaluatedBackupArn"])
    names = [one["BackupArn"] for one in listed["BackupSummaries"] + rest["BackupSummaries"]]
    assert names == [one["BackupArn"] for one in made]
    dynamodb.delete_backup(BackupArn=names[0])
    refused("BackupNotFoundException", dynamodb.describe_backup, BackupArn=names[0])
    refused("TableNotFoundException", dynamodb.create_backup, TableName="none", BackupName="same")


def test_a_restore_brings_items_and_keys_back_and_nothing_that_was_set_beside_them(sandbox):
    """ "Restoring a DynamoDB table": tags, time to live, streams, recovery settings and protection are set up again."""
    dynamodb = sandbox.client(PROD, HOME, "dynamodb")
    table(
        sandbox,
        Tags=[{"Key": "team", "Value": "a"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        DeletionProtectionEnabled=True,
    )
    dynamodb.update_table(TableName="orders", TableClass="STANDARD_INFREQUENT_ACCESS")
    lives = {"Enabled": True, "AttributeName": "until"}
    dynamodb.update_time_to_live(TableName="orders", TimeToLiveSpecification=lives)
    before = items(sandbox, "orders")
    arn = dynamodb.create_backup(TableName="orders", BackupName="one")["BackupDetails"]["BackupArn"]
    dynamodb.delete_item(TableName="orders", Key={"id": {"S": "0"}})
    sandbox.configure(backup_restore_seconds=100.0)
    made = dynamodb.restore_table_from_backup(TargetTableName="back", BackupArn=arn)["TableDescription"]
    assert (made["TableStatus"], made["RestoreSummary"]["RestoreInProgress"]) == ("CREATING", True)
    refused("ResourceInUseException", dynamodb.update_table, TableName="back", DeletionProtectionEnabled=True)
    refused("TableAlreadyExistsException", dynamodb.restore_table_from_backup, TargetTableName="back", BackupArn=arn)
    sandbox.advance(101)
    shown = dynamodb.describe_table(TableName="back")["Table"]
    assert shown["TableStatus"] == "ACTIVE"
    assert shown["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert items(sandbox, "back") == before
    assert "StreamSpecification" not in shown
    assert not shown["DeletionProtectionEnabled"]
    assert shown["TableClassSummary"]["TableClass"] == "STANDARD"
    assert dynamodb.list_tags_of_resource(ResourceArn=shown["TableArn"])["Tags"] == []
    assert dynamodb.describe_time_to_live(TableName="back")["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


def test_a_backup_is_restored_into_another_region_of_its_account_only(sandbox):
    """RestoreTableFromBackup is called in the region of the new table."""
    table(sandbox)
    dynamodb = sandbox.client(PROD, HOME, "dynamodb")
    arn = dynamodb.create_backup(TableName="orders", BackupName="one")["BackupDetails"]["BackupArn"]
    away = sandbox.client(PROD, AWAY, "dynamodb")
    away.restore_table_from_backup(TargetTableName="there", BackupArn=arn)
    assert items(sandbox, "there", region=AWAY) == items(sandbox, "orders")
    stranger = sandbox.client(VAULT, HOME, "dynamodb")
    refused("BackupNotFoundException", stranger.restore_table_from_backup, TargetTableName="there", BackupArn=arn)
