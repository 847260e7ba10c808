"""AWS Backup. "StartBackupJob", "StartCopyJob", "DeleteRecoveryPoint": API reference; developer guide."""

from typing import Any

from tests.deploy import test_fsx
from tests.deploy.estate import AWAY, HOME, PROD, VAULT, key, refused
from tests.deploy.vaulting import (
    MANAGEMENT,
    advanced_tables,
    cross_account,
    file_system,
    items,
    role,
    table,
    vault,
)


def start(sandbox, arn: str, **more: Any) -> dict[str, Any]:
    asked = {"BackupVaultName": "ours", "ResourceArn": arn, "IamRoleArn": f"arn:aws:iam::{PROD}:role/snapfleet-backup"}
    return dict(sandbox.client(PROD, HOME, "backup").start_backup_job(**asked, **more))


def copy(sandbox, point: str, to: str, **more: Any) -> dict[str, Any]:
    """A copy begun and followed: its job."""
    backup = sandbox.client(PROD, HOME, "backup")
    made = backup.start_copy_job(
        RecoveryPointArn=point,
        SourceBackupVaultName="ours",
        DestinationBackupVaultArn=to,
        IamRoleArn=f"arn:aws:iam::{PROD}:role/snapfleet-backup",
        **more,
    )
    return dict(backup.describe_copy_job(CopyJobId=made["CopyJobId"])["CopyJob"])


def test_a_job_is_created_then_running_then_completed_and_one_at_a_time_for_a_resource(sandbox):
    """BackupJobState; "1 concurrent backup job per resource" (quotas); the token repeats the answer."""
    role(sandbox)
    vault(sandbox)
    arn = file_system(sandbox)["FileSystemArn"]
    sandbox.configure(backup_seconds=100.0)
    backup = sandbox.client(PROD, HOME, "backup")
    made = start(sandbox, arn, IdempotencyToken="t", RecoveryPointTags={"k": "v"})
    assert start(sandbox, arn, IdempotencyToken="t", RecoveryPointTags={"k": "v"})["BackupJobId"] == made["BackupJobId"]
    refused("LimitExceededException", start, sandbox=sandbox, arn=arn)
    seen = []
    for seconds in (0, 50, 51):
        sandbox.advance(seconds)
        seen.append(backup.describe_backup_job(BackupJobId=made["BackupJobId"])["State"])
    assert seen == ["CREATED", "RUNNING", "COMPLETED"]
    assert backup.list_tags(ResourceArn=made["RecoveryPointArn"])["Tags"] == {"k": "v"}
    listed = backup.list_backup_jobs(ByResourceType="EFS", ByCreatedAfter=made["CreationDate"])["BackupJobs"]
    assert [(one["BackupJobId"], one["State"]) for one in listed] == [(made["BackupJobId"], "COMPLETED")]
    shown = backup.describe_recovery_point(BackupVaultName="ours", RecoveryPointArn=made["RecoveryPointArn"])
    assert shown["Status"] == "COMPLETED"


def test_a_job_needs_a_role_of_the_account_that_may_be_passed_and_a_vault_that_is_there(sandbox):
    """ "IAM role cannot be assumed by AWS Backup"; a vault that is not there cannot be described either."""
    arn = file_system(sandbox)["FileSystemArn"]
    backup = sandbox.client(PROD, HOME, "backup")
    refused("ResourceNotFoundException", start, sandbox=sandbox, arn=arn)
    refused("AccessDeniedException", backup.describe_backup_vault, BackupVaultName="ours")
    vault(sandbox)
    refused("AlreadyExistsException", backup.create_backup_vault, BackupVaultName="ours")
    refused("InvalidParameterValueException", start, sandbox=sandbox, arn=arn)
    role(sandbox)
    refused("InvalidParameterValueException", start, sandbox=sandbox, arn=arn, StartWindowMinutes=59)
    early = {"MoveToColdStorageAfterDays": 10, "DeleteAfterDays": 99}
    refused("InvalidParameterValueException", start, sandbox=sandbox, arn=arn, Lifecycle=early)


def test_a_copy_to_another_account_needs_the_organization_the_switch_and_an_open_vault(sandbox):
    """ "Creating backup copies across AWS accounts": each refusal is a failed job with its message."""
    role(sandbox)
    vault(sandbox)
    there = vault(sandbox, VAULT, AWAY)
    point = start(sandbox, file_system(sandbox)["FileSystemArn"])["RecoveryPointArn"]
    sandbox.configure(organization=[PROD])
    assert "same organization" in copy(sandbox, point, there)["StatusMessage"]
    sandbox.configure(organization=[])
    assert "not enabled" in copy(sandbox, point, there)["StatusMessage"]
    ours = sandbox.client(PROD, HOME, "backup")
    refused("InvalidRequestException", ours.update_global_settings, GlobalSettings={})
    cross_account(sandbox)
    assert sandbox.client(MANAGEMENT, HOME, "backup").describe_global_settings()["GlobalSettings"]
    assert "Access Denied" in copy(sandbox, point, there)["StatusMessage"]
    sandbox.client(VAULT, AWAY, "backup").delete_backup_vault(BackupVaultName="ours")
    done = copy(sandbox, point, vault(sandbox, VAULT, AWAY, (PROD,)))
    assert (done["State"], done["DestinationRecoveryPointArn"].split(":")[3:5]) == ("COMPLETED", [AWAY, VAULT])


def test_a_kind_that_is_not_fully_managed_needs_customer_keys_across_accounts(sandbox):
    """The same page, "Encryption": FSx under the default key cannot leave its account."""
    role(sandbox)
    vault(sandbox)
    cross_account(sandbox)
    plain = test_fsx.make(sandbox, "OPENZFS")
    prefix = f"arn:aws:fsx:{HOME}:{PROD}:file-system/"
    points = sandbox.client(PROD, HOME, "backup").list_recovery_points_by_backup_vault
    assert "RecoveryPointArn" not in start(sandbox, prefix + plain)
    there = vault(sandbox, VAULT, AWAY, (PROD,), EncryptionKeyArn=key(sandbox, VAULT, AWAY))
    first = points(BackupVaultName="ours")["RecoveryPoints"][0]["RecoveryPointArn"]
    assert ":backup/backup-" in first
    assert "customer managed" in copy(sandbox, first, there)["StatusMessage"]
    shared = test_fsx.make(sandbox, "OPENZFS", KmsKeyId=key(sandbox, PROD, HOME, VAULT))
    start(sandbox, prefix + shared)
    second = points(BackupVaultName="ours", ByResourceArn=prefix + shared)["RecoveryPoints"][0]["RecoveryPointArn"]
    done = copy(sandbox, second, there)
    fsx = sandbox.client(VAULT, AWAY, "fsx")
    backup = fsx.describe_backups(BackupIds=[done["DestinationRecoveryPointArn"].rsplit("/", 1)[-1]])["Backups"][0]
    assert backup["Type"] == "AWS_BACKUP"
    refused("BadRequest", fsx.delete_backup, BackupId=backup["BackupId"])
    there_too = sandbox.client(VAULT, AWAY, "backup")
    there_too.delete_recovery_point(BackupVaultName="ours", RecoveryPointArn=done["DestinationRecoveryPointArn"])
    refused("BackupNotFound", fsx.describe_backups, BackupIds=[backup["BackupId"]])


def test_tables_are_copied_with_advanced_features_only(sandbox):
    """ "Advanced DynamoDB backup": without it a point is DynamoDB's own, and stays where it is."""
    role(sandbox)
    vault(sandbox)
    away = vault(sandbox, PROD, AWAY)
    arn = table(sandbox)
    plain = start(sandbox, arn)["RecoveryPointArn"]
    assert ":dynamodb:" in plain
    refused("ValidationException", sandbox.client(PROD, HOME, "dynamodb").delete_backup, BackupArn=plain)
    refused("InvalidRequestException", copy, sandbox=sandbox, point=plain, to=away)
    advanced_tables(sandbox)
    done = copy(sandbox, start(sandbox, arn)["RecoveryPointArn"], away)
    there = sandbox.client(PROD, AWAY, "backup")
    job = there.start_restore_job(
        RecoveryPointArn=done["DestinationRecoveryPointArn"],
        IamRoleArn=f"arn:aws:iam::{PROD}:role/snapfleet-backup",
        Metadata={"targetTableName": "back", "encryptionType": "Default"},
    )["RestoreJobId"]
    shown = there.describe_restore_job(RestoreJobId=job)
    assert (shown["Status"], shown["CreatedResourceArn"].rsplit("/", 1)[-1]) == ("COMPLETED", "back")
    assert items(sandbox, "back", region=AWAY) == items(sandbox, "orders")


def test_files_come_back_in_a_folder_of_their_own(sandbox):
    """ "Restore an Amazon EFS file system": never over what is there; items by path, or all of it."""
    arn = role(sandbox)
    vault(sandbox)
    made = file_system(sandbox)
    point = start(sandbox, made["FileSystemArn"])["RecoveryPointArn"]
    backup = sandbox.client(PROD, HOME, "backup")
    asked = {"RecoveryPointArn": point, "IamRoleArn": arn}
    one = {"file-system-id": made["FileSystemId"], "newFileSystem": "false", "ItemsToRestore": '["/deep"]'}
    backup.start_restore_job(Metadata=one, **asked)
    files = sandbox.files(PROD, HOME, made["FileSystemId"])
    assert len(files) == 3
    assert any(path.startswith("aws-backup-restore_") and path.endswith("/deep/b.txt") for path in files)
    new = {"newFileSystem": "true", "Encrypted": "false", "PerformanceMode": "generalPurpose", "CreationToken": "n"}
    job = backup.start_restore_job(Metadata=new, **asked)["RestoreJobId"]
    created = backup.describe_restore_job(RestoreJobId=job)["CreatedResourceArn"]
    assert {path.split("/", 1)[1] for path in sandbox.files(PROD, HOME, created.rsplit("/", 1)[-1])} == {
        "a.txt", "deep/b.txt"
    }  # fmt: skip
    refused("InvalidParameterValueException", backup.start_restore_job, Metadata={"newFileSystem": "true"}, **asked)


def test_a_deletion_may_be_answered_with_success_and_not_happen(sandbox):
    """DeleteRecoveryPoint: with too few permissions of its role the point becomes EXPIRED instead."""
    role(sandbox, denied=["backup:DeleteRecoveryPoint"])
    vault(sandbox)
    point = start(sandbox, file_system(sandbox)["FileSystemArn"])["RecoveryPointArn"]
    backup, one = sandbox.client(PROD, HOME, "backup"), {"BackupVaultName": "ours", "RecoveryPointArn": point}
    backup.delete_recovery_point(**one)
    assert backup.describe_recovery_point(**one)["Status"] == "EXPIRED"
    role(sandbox)
    backup.delete_recovery_point(**one)
    refused("ResourceNotFoundException", backup.describe_recovery_point, **one)
    assert backup.list_recovery_points_by_backup_vault(BackupVaultName="ours")["RecoveryPoints"] == []
