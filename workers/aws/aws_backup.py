"""AWS Backup, for what AWS copies between accounts only through its vaults: DynamoDB, EFS and FSx.

Sources: AWS Backup API reference (StartBackupJob, StartCopyJob, StartRestoreJob: the same IdempotencyToken is answered
with what the first call began) and developer guide ("Creating backup copies across AWS accounts"). A copy is begun in
the account and region of its source and follows there; the destination's account owns and deletes it.

A vault is made where it is missing, and opened to the source's account by one statement in its access policy.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from tasks.errors import Impossible
from workers.aws.ec2_copy import partition
from workers.aws.errors import translated
from workers.aws.session import Clients
from workers.aws.tags import TAG_SOURCE_SNAPSHOT, fit_tags, read_tags, token_for
from workers.driver import TAG_INSTALLATION, BackupRequest, CopyRequest, Destination, Operation, Part, Point
from workers.pace import Pace

VAULT = "snapfleet"  # where the estate names none
_DEFAULT_ROLE = "service-role/AWSBackupDefaultServiceRole"  # AWS Backup developer guide, "IAM service roles"
BACKUP_JOB, COPY_JOB, RESTORE_JOB = "backup-job", "copy-job", "restore-job"
# The API's longest: without one a copy takes over its source's end of life, and retention is decided here alone.
FOR_EVER = {"DeleteAfterDays": 36500}
# Hours until a job that finds no free slot expires: AWS's own default, said so that it does not move.
_START_MINUTES = 480
_COPY_ACTION = "backup:CopyIntoBackupVault"


@dataclass(frozen=True)
class Began:
    """What a start answered. `point` is the recovery point's ARN where AWS tells it at once (EFS, DynamoDB)."""

    job: str
    point: str
    adopted: bool
    detail: Mapping[str, Any]


def vault_of(clients: Clients) -> str:
    """The vault of an account that this product uses."""
    return clients.account.backup_vault or VAULT


def role_of(clients: Clients) -> str:
    """The role that AWS Backup works as: as the estate says, else the one that AWS's console makes for it."""
    named = clients.account.backup_role_arn
    return named or f"arn:{partition(clients.region)}:iam::{clients.number()}:role/{_DEFAULT_ROLE}"


def vault_arn(clients: Clients) -> str:
    """The ARN of the vault, known without a call."""
    where = f"{partition(clients.region)}:backup:{clients.region}:{clients.number()}"
    return f"arn:{where}:backup-vault:{vault_of(clients)}"


def start_backup(
    clients: Clients, resource_arn: str, request: BackupRequest, users: Mapping[str, str], pace: Pace
) -> tuple[Began, list[str]]:
    """Begin the backup of a resource into the account's vault, or adopt the one that this key began."""
    _open(clients, "", "", request.tags)
    tags, lost = fit_tags(request.key, request.tags, users)
    backup = clients.read("backup")
    known = set() if request.fresh else _jobs_of(backup.list_backup_jobs(ByResourceArn=resource_arn), "BackupJobs")
    request.proceed()
    with translated("StartBackupJob"):
        answer = backup.start_backup_job(
            BackupVaultName=vault_of(clients),
            ResourceArn=resource_arn,
            IamRoleArn=role_of(clients),
            IdempotencyToken=token_for(request.key),
            StartWindowMinutes=_START_MINUTES,
            RecoveryPointTags=tags,
        )
    job = str(answer["BackupJobId"])
    detail = {**_started(answer, pace), "vault": vault_of(clients)}
    return Began(job, str(answer.get("RecoveryPointArn", "")), job in known, detail), lost


def _jobs_of(answer: Mapping[str, Any], name: str) -> set[str]:
    """The ids of listed jobs: what was there before a call that may only repeat an older one."""
    return {str(one.get("BackupJobId") or one.get("CopyJobId")) for one in answer.get(name, [])}


def _started(answer: Mapping[str, Any], pace: Pace) -> dict[str, str]:
    """From when absence is judged (ours), and from when AWS lists the job (AWS's)."""
    created = answer.get("CreationDate")
    seen = {"created_at": created.isoformat()} if created is not None else {}
    return {"started_at": pace.clock.timer().isoformat(), **seen}


@dataclass(frozen=True)
class VaultCopy:
    """One copy between vaults: the clients of both ends, and the wish."""

    source: Clients
    target: Clients
    destination: Destination
    request: CopyRequest
    pace: Pace


def start_copy(copying: VaultCopy, part: Part) -> tuple[Operation, list[str], bool]:
    """Begin the copy of one recovery point: its operation (in the source), warnings, whether it was there before."""
    source, request = copying.source, copying.request
    across = source.number() != copying.target.number()
    tags = {**request.tags, TAG_SOURCE_SNAPSHOT: part.external_id}
    wanted = _key_arn(copying.target, copying.destination.kms_key)
    key = _open(copying.target, wanted, source.number() if across else "", tags)
    lost = []
    if wanted and key and key != wanted:
        where = f"{copying.target.account.name}, {copying.target.region}"
        lost = [f"The vault {vault_of(copying.target)} in {where} has its own key, {key}: the copy lies under that."]
    backup = source.read("backup")
    known = (
        set()
        if request.fresh
        else _jobs_of(backup.list_copy_jobs(BySourceRecoveryPointArn=part.external_id), "CopyJobs")
    )
    request.proceed()
    with translated("StartCopyJob"):
        answer = backup.start_copy_job(
            RecoveryPointArn=part.external_id,
            SourceBackupVaultName=str(part.attributes.get("vault") or vault_of(source)),
            DestinationBackupVaultArn=vault_arn(copying.target),
            IamRoleArn=role_of(source),
            IdempotencyToken=token_for(request.key),
            Lifecycle=FOR_EVER,
        )
    job = str(answer["CopyJobId"])
    attributes = {name: value for name, value in part.attributes.items() if name != "default_key"}
    detail = {
        **_started(answer, copying.pace),
        "vault": vault_of(copying.target),
        "part": {"source_id": part.source_id, "size_gib": part.size_gib, "attributes": attributes},
    }
    return Operation(COPY_JOB, job, source.account, source.region, detail), lost, job in known


def start_restore(
    clients: Clients, point_arn: str, kind: str, metadata: Mapping[str, str], token: str, pace: Pace
) -> Operation:
    """Begin a restore job, once for a token."""
    with translated("StartRestoreJob"):
        answer = clients.read("backup").start_restore_job(
            RecoveryPointArn=point_arn,
            Metadata=dict(metadata),
            IamRoleArn=role_of(clients),
            IdempotencyToken=token,
            ResourceType=kind,
        )
    started = {"started_at": pace.clock.timer().isoformat()}
    return Operation(RESTORE_JOB, str(answer["RestoreJobId"]), clients.account, clients.region, started)


def plan_problem(point: Point, destination: Destination) -> str:
    """'' or why a vault's point can never go there, from what is known of both ends; no call."""
    if partition(point.region) != partition(destination.region):
        return f"AWS copies nothing between {point.region} and {destination.region}: they belong to separate clouds."
    return ""


def refuse(problem: str) -> None:
    """Raises Impossible when there is a problem."""
    if problem:
        raise Impossible(problem, code="copy-impossible")


def _key_arn(clients: Clients, key: str) -> str:
    """A key's ARN: vaults take no aliases."""
    if not key or ":key/" in key:
        return key
    return str(clients.read("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"])


def _open(clients: Clients, key: str, source_number: str, tags: Mapping[str, str]) -> str:
    """Make the vault where it is missing, and let another account copy into it. Its key's ARN, '' where unknown.

    CreateBackupVault comes first: a vault that is missing cannot be told from one that may not be described.
    """
    backup, name = clients.read("backup"), vault_of(clients)
    asked = {"EncryptionKeyArn": key} if key else {}
    mark = {TAG_INSTALLATION: tags[TAG_INSTALLATION]} if tags.get(TAG_INSTALLATION) else {}
    try:
        backup.create_backup_vault(
            BackupVaultName=name, BackupVaultTags=mark, CreatorRequestId=token_for(f"{name}/{key}")[:50], **asked
        )
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in ("AlreadyExistsException", "AccessDeniedException"):
            raise
    if source_number:
        _let_in(clients, source_number)
    with suppress(ClientError):
        return str(backup.describe_backup_vault(BackupVaultName=name).get("EncryptionKeyArn", ""))
    return ""


def _let_in(clients: Clients, number: str) -> None:
    """Add the statement that lets an account copy into the vault, unless some statement names it already."""
    backup, name = clients.read("backup"), vault_of(clients)
    policy: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}
    try:
        policy = json.loads(backup.get_backup_vault_access_policy(BackupVaultName=name)["Policy"])
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            raise
    if _lets_in(policy, number):
        return
    arn = f"arn:{partition(clients.region)}:iam::{number}:root"
    policy["Statement"].append(
        {
            "Sid": f"SnapfleetCopies{number}",
            "Effect": "Allow",
            "Principal": {"AWS": arn},
            "Action": _COPY_ACTION,
            "Resource": "*",
        }
    )
    backup.put_backup_vault_access_policy(BackupVaultName=name, Policy=json.dumps(policy))


def _lets_in(policy: Mapping[str, Any], number: str) -> bool:
    """Whether a statement allows it to this account by name; conditions are for the administrators who wrote them."""
    for statement in policy["Statement"]:
        actions = statement.get("Action", [])
        actions = [actions] if isinstance(actions, str) else actions
        who = statement.get("Principal", {})
        names = who.get("AWS", []) if isinstance(who, dict) else who
        names = [names] if isinstance(names, str) else names
        allowed = {_COPY_ACTION, "backup:*", "*"} & set(actions) and statement.get("Effect") == "Allow"
        if allowed and any(name == "*" or number in name.split(":") for name in names):
            return True
    return False


def tags_of(clients: Clients, arn: str) -> dict[str, str]:
    """A recovery point's tags; FSx keeps those of its points itself."""
    if ":fsx:" in arn:
        return read_tags(clients.read("fsx").list_tags_for_resource(ResourceARN=arn).get("Tags"))
    return dict(clients.read("backup").list_tags(ResourceArn=arn).get("Tags", {}))  # at most 50: one page
