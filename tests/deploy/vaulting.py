"""What the tests of file systems, tables and AWS Backup share: things to protect, vaults, roles."""

import json
from typing import Any

from tests.deploy.estate import HOME, PROD, VAULT
from tests.sandbox import Sandbox

MANAGEMENT = "100000000000"  # the sandbox's management account of the organization


def role(sandbox: Sandbox, account: str = PROD, **more: Any) -> str:
    """The role that AWS Backup works as."""
    arn = f"arn:aws:iam::{account}:role/snapfleet-backup"
    sandbox.role(arn, **more)
    return arn


def vault(sandbox: Sandbox, account: str = PROD, region: str = HOME, opened: tuple[str, ...] = (), **more: Any) -> str:
    """A vault `ours`, open to copies from some accounts; its ARN."""
    backup = sandbox.client(account, region, "backup")
    arn = backup.create_backup_vault(BackupVaultName="ours", **more)["BackupVaultArn"]
    if opened:
        who = [f"arn:aws:iam::{one}:root" for one in opened]
        let = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": "backup:CopyIntoBackupVault", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [let]})
        backup.put_backup_vault_access_policy(BackupVaultName="ours", Policy=policy)
    return str(arn)


def cross_account(sandbox: Sandbox) -> None:
    """Switched on for the organization, by its management account."""
    there = sandbox.client(MANAGEMENT, HOME, "backup")
    there.update_global_settings(GlobalSettings={"isCrossAccountBackupEnabled": "true"})


def advanced_tables(sandbox: Sandbox, account: str = PROD, region: str = HOME) -> None:
    """Advanced features for DynamoDB."""
    backup = sandbox.client(account, region, "backup")
    backup.update_region_settings(ResourceTypeManagementPreference={"DynamoDB": True})


def file_system(sandbox: Sandbox, account: str = PROD, region: str = HOME, **more: Any) -> dict[str, Any]:
    """An EFS file system with two files."""
    made = sandbox.client(account, region, "efs").create_file_system(CreationToken=f"t{len(more)}", **more)
    for name in ("a.txt", "deep/b.txt"):
        sandbox.write_file(account, region, made["FileSystemId"], name, f"{name} of efs".encode())
    return dict(made)


def table(sandbox: Sandbox, name: str = "orders", items: int = 3, account: str = PROD, **more: Any) -> str:
    """A table with items; its ARN."""
    dynamodb = sandbox.client(account, HOME, "dynamodb")
    made = dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        **{"BillingMode": "PAY_PER_REQUEST", **more},
    )
    for n in range(items):
        dynamodb.put_item(TableName=name, Item={"id": {"S": str(n)}, "n": {"N": str(n)}})
    return str(made["TableDescription"]["TableArn"])


def items(sandbox: Sandbox, name: str, account: str = PROD, region: str = HOME) -> list[dict[str, Any]]:
    """All items, in the order of their ids."""
    found = sandbox.client(account, region, "dynamodb").scan(TableName=name)["Items"]
    return sorted(found, key=lambda one: one["id"]["S"])


def subnet(sandbox: Sandbox, account: str = PROD, region: str = HOME) -> str:
    """A subnet of the default network."""
    return str(sandbox.client(account, region).describe_subnets()["Subnets"][0]["SubnetId"])


__all__ = ["HOME", "MANAGEMENT", "PROD", "VAULT"]
