"""What AWS Backup freezes, copies and restores of each service in this sandbox.

EFS: "Restore an Amazon EFS file system" (AWS Backup developer guide): into a new file system or an existing one,
always in a folder `aws-backup-restore_<time>`. DynamoDB: "Restore a DynamoDB table"; FSx keeps AWS Backup's points as
backups of type AWS_BACKUP, which its own calls restore.
"""

import json
from datetime import datetime, timedelta

from deploy.sandbox import efs, fsx, fsx_backups, tables
from deploy.sandbox.call import Call
from deploy.sandbox.errors import AwsError
from deploy.sandbox.files import Files, size_of
from deploy.sandbox.vaults import KINDS, Frozen, Kept, Kind, Point, invalid, missing


def _freeze_files(call: Call, arn: str, tags: dict[str, str]) -> Frozen:
    try:
        found = efs.find(call, arn)
    except AwsError:
        raise missing(arn) from None
    return Frozen(dict(found.files), size_of(found.files), found.key or "", name=found.tags.get("Name", ""))


def _copy_plain(call: Call, point: Point, account: str, region: str, key: str) -> Frozen:
    """Points of AWS Backup's own hold their content; a copy lies under the key of its vault."""
    return Frozen(point.frozen.content, point.frozen.size, key, name=point.frozen.name)


def _restore_files(call: Call, point: Point, metadata: dict[str, str], tags: dict[str, str]) -> tuple[str, datetime]:
    files: Files = point.frozen.content
    wanted = json.loads(metadata.get("ItemsToRestore") or metadata.get("itemsToRestore") or "[]")
    files = {path: data for path, data in files.items() if not wanted or _under(path, wanted)}
    if metadata.get("newFileSystem") == "true":
        encrypted = str(metadata.get("Encrypted", "")).lower()
        if encrypted not in ("true", "false") or not metadata.get("PerformanceMode"):
            raise invalid("newFileSystem needs Encrypted, PerformanceMode and CreationToken.")
        asked = {
            "CreationToken": metadata.get("CreationToken"),
            "PerformanceMode": metadata["PerformanceMode"],
            "Encrypted": encrypted == "true",
            "KmsKeyId": metadata.get("KmsKeyId"),
            "Tags": [{"Key": k, "Value": v} for k, v in tags.items()],
        }
        target = efs.make(call, asked)
    else:
        if not metadata.get("file-system-id"):
            raise invalid("file-system-id is needed.")
        target = efs.find(call, metadata["file-system-id"])
    folder = f"aws-backup-restore_{call.now:%Y-%m-%dT%H-%M-%S-%fZ}"
    target.files.update({f"{folder}/{path}": data for path, data in files.items()})
    ready = call.now + timedelta(seconds=call.config.backup_restore_seconds)
    return target.arn, ready


def _under(path: str, wanted: list[str]) -> bool:
    names = [one.strip("/") for one in wanted]
    return any(path == name or path.startswith(name + "/") for name in names)


def _freeze_table(call: Call, arn: str, tags: dict[str, str]) -> Frozen:
    """A point of its own with advanced features; without, a backup of DynamoDB's that only AWS Backup deletes."""
    try:
        table, features = tables.freeze(call.world, call.account, call.region, arn)
    except AwsError:
        raise missing(arn) from None
    own = ""
    if not call.here.kept(Kept).management.get("DynamoDB"):
        own = f"{arn}/backup/{int(call.now.timestamp() * 1000):017d}-{call.world.dice.getrandbits(32):08x}"
        held = call.here.kept(tables.Kept).backups
        ready = call.now + timedelta(seconds=call.config.backup_seconds)
        held[own] = tables.TableBackup(own, "AWSBackup", "AWS_BACKUP", table, features, call.now, ready)
    return Frozen(table, tables.size_of(table), "", arn=own, name=table.name)


def _restore_table(call: Call, point: Point, metadata: dict[str, str], tags: dict[str, str]) -> tuple[str, datetime]:
    target = metadata.get("targetTableName")
    if not target:
        raise invalid("targetTableName is needed.")
    ready = call.now + timedelta(seconds=call.config.backup_restore_seconds)
    sse = None
    if metadata.get("encryptionType") == "KMS":
        sse = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": metadata.get("kmsMasterKeyArn")}
    try:
        made = tables.revive(call.here, point.frozen.content, target, ready, point.arn, sse)
    except AwsError as error:
        raise invalid(error.message) from None
    made.tags = [{"Key": k, "Value": v} for k, v in tags.items()]
    return made.table_arn, ready


def _freeze_fsx(call: Call, arn: str, tags: dict[str, str]) -> Frozen:
    kept, name = call.here.kept(fsx.Kept), arn.rsplit("/", 1)[-1]
    source = kept.systems.get(name) or kept.volumes.get(name)
    if source is None:
        raise missing(arn)
    made = fsx_backups.freeze(call, source, "AWS_BACKUP", dict(tags))
    return Frozen(made, size_of(made.files), made.key, arn=made.arn, ready_at=made.ready_at)


def _copy_fsx(call: Call, point: Point, account: str, region: str, key: str) -> Frozen:
    """The copy is a backup of FSx there."""
    source: fsx_backups.Backup = point.frozen.content
    there = call.world.region(account, region).kept(fsx.Kept)
    identifier = call.world.new_id("backup")
    made = fsx_backups.Backup(
        id=identifier,
        arn=f"arn:aws:fsx:{region}:{account}:backup/{identifier}",
        kind="AWS_BACKUP",
        created_at=call.now,
        ready_at=call.now + timedelta(seconds=call.config.backup_copy_seconds),
        key=key,
        files=dict(source.files),
        system=source.system,
        volume=source.volume,
        tags=dict(source.tags),
        source=(source.id, call.region),
    )
    there.backups[identifier] = made
    return Frozen(made, point.frozen.size, key, arn=made.arn)


KINDS["elasticfilesystem"] = Kind("EFS", True, _freeze_files, _copy_plain, _restore_files)
KINDS["dynamodb"] = Kind("DynamoDB", True, _freeze_table, _copy_plain, _restore_table)
KINDS["fsx"] = Kind("FSx", False, _freeze_fsx, _copy_fsx)
