"""AWS Backup's jobs: backups, copies between vaults, accounts and regions, restores; each takes its time.

"StartBackupJob", "StartCopyJob", "StartRestoreJob" (AWS Backup API reference); "Creating backup copies across AWS
accounts" (developer guide) for what a copy needs: one organization, cross-account backup switched on, a vault other
than Default that lets the source in, and customer managed keys for kinds that AWS Backup does not manage fully.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from deploy.sandbox import kms, rest
from deploy.sandbox.call import Call, operation
from deploy.sandbox.describing import unseen
from deploy.sandbox.errors import AwsError
from deploy.sandbox.vaults import (
    KINDS,
    PAGE,
    Kept,
    Kind,
    Point,
    Vault,
    copying_allowed,
    global_settings,
    invalid,
    missing,
    point_of,
    vault_of,
)

QUEUED = 0.25  # share of a job's time in which it shows CREATED


def once(function: Callable[[Call, dict], dict]) -> Callable[[Call, dict], dict]:
    """IdempotencyToken: "Retrying a successful request with the same token results in a success message with no
    action taken"."""

    @wraps(function)
    def wrapped(call: Call, parameters: dict) -> dict:
        token, held = parameters.get("IdempotencyToken"), call.here.kept(Kept).tokens
        if not token:
            return function(call, parameters)
        if (call.operation, token) not in held:
            held[call.operation, token] = function(call, parameters)
        return held[call.operation, token]

    return wrapped


def kind_of(arn: str) -> Kind:
    parts = arn.split(":")
    if len(parts) < 6 or parts[2] not in KINDS:
        raise invalid(f"Unsupported resource type: {arn}")
    return KINDS[parts[2]]


def _role(call: Call, arn: str | None) -> str:
    """The role that AWS Backup works as: of this account, passed by the caller, and there."""
    if not arn or arn.split(":")[4] != call.account or arn not in call.world.directory.roles:
        raise invalid(f"The IAM role {arn} cannot be assumed by AWS Backup.")
    if not call.principal.allows("iam:PassRole"):
        raise AwsError("AccessDeniedException", f"User: {call.principal.arn} is not authorized: iam:PassRole", 403)
    return arn


def _number(call: Call) -> str:
    return str(UUID(int=call.world.dice.getrandbits(128))).upper()


def state(job: dict[str, Any], now: datetime) -> str:
    """CREATED, RUNNING, then COMPLETED or FAILED."""
    if now >= job["ready_at"]:
        return "FAILED" if job["failure"] else "COMPLETED"
    whole = (job["ready_at"] - job["CreationDate"]).total_seconds()
    return "CREATED" if (now - job["CreationDate"]).total_seconds() < QUEUED * whole else "RUNNING"


def _percent(job: dict[str, Any], now: datetime) -> str:
    whole = (job["ready_at"] - job["CreationDate"]).total_seconds() or 1.0
    return f"{min(100.0, 100 * (now - job['CreationDate']).total_seconds() / whole):.2f}"


def _lifecycle(parameters: dict) -> dict[str, Any]:
    """DeleteAfterDays is at least 90 days after the move to cold storage."""
    asked = parameters.get("Lifecycle") or {}
    cold, end = asked.get("MoveToColdStorageAfterDays"), asked.get("DeleteAfterDays")
    if cold is not None and end is not None and 0 < end < cold + 90:
        raise invalid("DeleteAfterDays must be at least 90 days after MoveToColdStorageAfterDays.")
    return asked


@operation("backup", "StartBackupJob")
@once
def start_backup_job(call: Call, parameters: dict) -> dict:
    vault, arn = vault_of(call, parameters["BackupVaultName"]), parameters["ResourceArn"]
    role, kind = _role(call, parameters.get("IamRoleArn")), kind_of(arn)
    window = parameters.get("StartWindowMinutes")
    if window is not None and window < 60:
        raise invalid("StartWindowMinutes must be at least 60.")
    jobs, tags = call.here.kept(Kept).jobs["backup"], parameters.get("RecoveryPointTags") or {}
    if any(one["ResourceArn"] == arn and state(one, call.now) in ("CREATED", "RUNNING") for one in jobs.values()):
        raise AwsError("LimitExceededException", f"A backup job of {arn} is running.")
    frozen = kind.freeze(call, arn, tags)
    advanced = kind.managed and call.here.kept(Kept).management.get(kind.type, True)
    ready = frozen.ready_at or call.now + timedelta(seconds=call.config.backup_seconds)
    point = Point(
        arn=frozen.arn or f"arn:aws:backup:{call.region}:{call.account}:recovery-point:{_number(call).lower()}",
        vault=vault,
        resource=arn,
        kind=kind,
        frozen=frozen,
        key=vault.key if kind.managed else frozen.key,
        role=role,
        created_at=call.now,
        ready_at=ready,
        tags=tags,
        lifecycle=_lifecycle(parameters),
        copyable=advanced or not kind.managed,
    )
    fault = call.spoiled(arn)
    job = _job(call, "BackupJobId", point, ready, fault.message if fault else "")
    if fault is None:
        vault.points[point.arn] = point
    jobs[job["BackupJobId"]] = job
    answer = {"BackupJobId": job["BackupJobId"], "CreationDate": call.now}
    return {**answer, "RecoveryPointArn": point.arn} if kind.managed else answer


def _job(call: Call, name: str, point: Point, ready: datetime, failure: str, **more: Any) -> dict[str, Any]:
    return {
        name: _number(call),
        "AccountId": call.account,
        "ResourceArn": point.resource,
        "ResourceType": point.kind.type,
        "CreationDate": call.now,
        "BackupSizeInBytes": point.frozen.size,
        "IamRoleArn": point.role,
        "point": point,
        "ready_at": ready,
        "failure": failure,
        **more,
    }


def _backup_view(job: dict[str, Any], now: datetime) -> dict[str, Any]:
    point, how = job["point"], state(job, now)
    return {
        **_plain(job, now),
        "State": how,
        "PercentDone": _percent(job, now),
        "BackupVaultName": point.vault.name,
        "BackupVaultArn": point.vault.arn,
        "RecoveryPointArn": point.arn if how == "COMPLETED" or point.kind.managed else None,
        "EncryptionKeyArn": point.key or None,
        "IsEncrypted": True,
        "MessageCategory": {"COMPLETED": "SUCCESS", "FAILED": "FAILURE"}.get(how),
    }


def _plain(job: dict[str, Any], now: datetime) -> dict[str, Any]:
    over = now >= job["ready_at"]
    told = {k: v for k, v in job.items() if k not in ("point", "ready_at", "failure", "made", "target")}
    message = job["failure"] if over else None
    return {**told, "StatusMessage": message or None, "CompletionDate": job["ready_at"] if over else None}


def _found(call: Call, kind: str, identifier: str) -> dict[str, Any]:
    job = call.here.kept(Kept).jobs[kind].get(identifier)
    if job is None:
        raise missing(f"Job {identifier}")
    return job


def _listed(call: Call, kind: str, parameters: dict, view: Callable[[dict, datetime], dict]) -> tuple[list, Any]:
    """Newest first, by resource, type and time of creation (both bounds belong to the range)."""
    held = reversed(call.here.kept(Kept).jobs[kind].values())
    rows = [view(one, call.now) for one in held if not unseen(call, one["CreationDate"])]
    tests = {
        "ByResourceArn": lambda row, v: row.get("ResourceArn") == v,
        "ByResourceType": lambda row, v: row["ResourceType"] == v,
        "BySourceRecoveryPointArn": lambda row, v: row.get("SourceRecoveryPointArn") == v,
        "ByState": lambda row, v: row["State"] == v,
        "ByCreatedAfter": lambda row, v: row["CreationDate"].timestamp() >= v,
        "ByCreatedBefore": lambda row, v: row["CreationDate"].timestamp() <= v,
    }
    for name, value in parameters.items():
        if name in tests:
            rows = [row for row in rows if tests[name](row, value)]
    return rest.paged(rows, parameters, PAGE)


@operation("backup", "DescribeBackupJob")
def describe_backup_job(call: Call, parameters: dict) -> dict:
    return _backup_view(_found(call, "backup", parameters["BackupJobId"]), call.now)


@operation("backup", "ListBackupJobs")
def list_backup_jobs(call: Call, parameters: dict) -> dict:
    rows, token = _listed(call, "backup", parameters, _backup_view)
    return {"BackupJobs": rows, "NextToken": token}


def _target(call: Call, arn: str) -> tuple[str, str, Vault]:
    """(account, region, vault) that a vault's ARN names."""
    parts = arn.split(":")
    if len(parts) != 7 or parts[5] != "backup-vault":
        raise invalid(f"Not an ARN of a backup vault: {arn}")
    found = call.world.region(parts[4], parts[3]).kept(Kept).vaults.get(parts[6])
    if found is None:
        raise missing(f"Backup vault {arn}")
    return parts[4], parts[3], found


def _refusal(call: Call, point: Point, account: str, vault: Vault) -> str:
    """Why a copy will fail, as the job's message says; '' when it works."""
    config = call.config
    if account != call.account:
        members = config.organization
        if members and not {call.account, account} <= set(members):
            return "Both source and destination account must be a member of the same organization."
        if global_settings(call).cross_account != "true":
            return "Cross-account backup is not enabled for the organization."
        if vault.name == "Default":
            return "The Default vault cannot take copies of other accounts."
        if not copying_allowed(vault, call.account):
            return "Access Denied trying to call AWS Backup service"
        if not point.kind.managed:
            if kms.is_default(point.key) or kms.is_default(vault.key):
                return "Cross-account copies need customer managed keys at the source and at the destination."
            key = kms.find(account, point.key.split(":")[3], point.key)
            if key is None or not kms.policy_allows(key, account):
                return f"The source KMS key {point.key} is not accessible to the destination account."
    return ""


@operation("backup", "StartCopyJob")
@once
def start_copy_job(call: Call, parameters: dict) -> dict:
    point = point_of(call, parameters["RecoveryPointArn"], parameters["SourceBackupVaultName"])
    account, region, vault = _target(call, parameters["DestinationBackupVaultArn"])
    role = _role(call, parameters.get("IamRoleArn"))
    if call.now < point.ready_at:
        raise AwsError("InvalidRequestException", "The recovery point is not completed.")
    if not point.copyable or point.kind.copy is None:
        raise AwsError("InvalidRequestException", f"Copies of this recovery point are not supported: {point.arn}")
    jobs = call.here.kept(Kept).jobs["copy"]
    running = [one for one in jobs.values() if call.now < one["ready_at"]]
    if any(one["ResourceArn"] == point.resource and one["target"] is vault for one in running):
        raise AwsError("LimitExceededException", f"A copy job of {point.resource} to this vault is running.")
    fault = call.spoiled(point.arn, point.resource)
    failure = fault.message if fault else _refusal(call, point, account, vault)
    ready, made = call.now + timedelta(seconds=call.config.backup_copy_seconds), None
    if not failure:
        frozen = point.kind.copy(call, point, account, region, vault.key)
        arn = frozen.arn or f"arn:aws:backup:{region}:{account}:recovery-point:{_number(call).lower()}"
        made = Point(
            arn=arn,
            vault=vault,
            resource=point.resource,
            kind=point.kind,
            frozen=frozen,
            key=vault.key,
            role=role,
            created_at=call.now,
            ready_at=ready,
            tags=dict(point.tags),
            lifecycle=_lifecycle(parameters) or point.lifecycle,
            source_vault=point.vault.arn,
        )
        vault.points[made.arn] = made
    extra = {
        "SourceBackupVaultArn": point.vault.arn,
        "SourceRecoveryPointArn": point.arn,
        "DestinationBackupVaultArn": vault.arn,
        "DestinationEncryptionKeyArn": vault.key,
        "target": vault,
        "made": made,
    }
    job = _job(call, "CopyJobId", point, ready, failure, **extra)
    jobs[job["CopyJobId"]] = job
    return {"CopyJobId": job["CopyJobId"], "CreationDate": call.now}


def _copy_view(job: dict[str, Any], now: datetime) -> dict[str, Any]:
    how = state(job, now)
    arn = job["made"].arn if job["made"] is not None and how == "COMPLETED" else None
    return {**_plain(job, now), "State": how, "DestinationRecoveryPointArn": arn}


@operation("backup", "DescribeCopyJob")
def describe_copy_job(call: Call, parameters: dict) -> dict:
    return {"CopyJob": _copy_view(_found(call, "copy", parameters["CopyJobId"]), call.now)}


@operation("backup", "ListCopyJobs")
def list_copy_jobs(call: Call, parameters: dict) -> dict:
    rows, token = _listed(call, "copy", parameters, _copy_view)
    return {"CopyJobs": rows, "NextToken": token}


@operation("backup", "StartRestoreJob")
@once
def start_restore_job(call: Call, parameters: dict) -> dict:
    point = point_of(call, parameters["RecoveryPointArn"])
    role = _role(call, parameters.get("IamRoleArn"))
    if call.now < point.ready_at:
        raise AwsError("InvalidRequestException", "The recovery point is not completed.")
    if point.kind.restore is None:
        raise AwsError("InvalidRequestException", f"Restores of {point.kind.type} go through its own service.")
    tags = point.tags if parameters.get("CopySourceTagsToRestoredResource") else {}
    fault, created, ready = call.spoiled(point.arn, point.resource), "", call.now
    if fault is None:
        created, ready = point.kind.restore(call, point, parameters.get("Metadata") or {}, tags)
    job = _job(call, "RestoreJobId", point, ready, fault.message if fault else "", made=created)
    job |= {"RecoveryPointArn": point.arn, "SourceResourceArn": point.resource, "IamRoleArn": role}
    call.here.kept(Kept).jobs["restore"][job["RestoreJobId"]] = job
    return {"RestoreJobId": job["RestoreJobId"]}


def _restore_view(job: dict[str, Any], now: datetime) -> dict[str, Any]:
    how = state(job, now)
    how = "PENDING" if how == "CREATED" else how
    plain = {k: v for k, v in _plain(job, now).items() if k != "ResourceArn"}
    done = job["made"] if how == "COMPLETED" else None
    return {**plain, "Status": how, "PercentDone": _percent(job, now), "CreatedResourceArn": done, "State": how}


def _without_state(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "State"}


@operation("backup", "DescribeRestoreJob")
def describe_restore_job(call: Call, parameters: dict) -> dict:
    return _without_state(_restore_view(_found(call, "restore", parameters["RestoreJobId"]), call.now))


@operation("backup", "ListRestoreJobs")
def list_restore_jobs(call: Call, parameters: dict) -> dict:
    rows, token = _listed(call, "restore", parameters, _restore_view)
    return {"RestoreJobs": [_without_state(row) for row in rows], "NextToken": token}
