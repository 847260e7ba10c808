"""How the jobs of AWS Backup get on: one list a kind answers about all of them. Only COMPLETED means good.

States (AWS Backup API reference): backup jobs CREATED, PENDING, RUNNING, ABORTING, ABORTED, COMPLETED, FAILED, EXPIRED,
PARTIAL; copy jobs CREATED, RUNNING, COMPLETED, FAILED, PARTIAL; restore jobs PENDING, RUNNING, COMPLETED, ABORTED,
FAILED. CREATED may last for hours: a job waits for a slot.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks.errors import CloudFailed, Gone, Invalid, SnapfleetError
from tasks.states import OperationState
from workers.aws.aws_backup import BACKUP_JOB, COPY_JOB, RESTORE_JOB
from workers.aws.errors import shorten
from workers.aws.session import Client, Clients
from workers.driver import Operation, Progress
from workers.pace import Pace

JOB_KINDS = frozenset({BACKUP_JOB, COPY_JOB, RESTORE_JOB})
Job = Mapping[str, Any]
_LISTS = {BACKUP_JOB: "BackupJobs", COPY_JOB: "CopyJobs", RESTORE_JOB: "RestoreJobs"}
_PAGINATORS = {BACKUP_JOB: "list_backup_jobs", COPY_JOB: "list_copy_jobs", RESTORE_JOB: "list_restore_jobs"}
_IDS = {BACKUP_JOB: "BackupJobId", COPY_JOB: "CopyJobId", RESTORE_JOB: "RestoreJobId"}
_RUNNING = frozenset({"CREATED", "PENDING", "RUNNING", "ABORTING"})
_LONELY = 3  # so few are asked about one by one: their lists could be long and old
_GIB = 1 << 30
# What no second try cures: the words of the jobs' own messages.
_PERMANENT = re.compile(
    r"\bkms\b|\bkey\b|\bkeys\b|organization|not supported|access denied|not authorized|not enabled", re.IGNORECASE
)


def job_progress(clients: Clients, operations: Sequence[Operation], kind: str, pace: Pace) -> dict[str, Progress]:
    """The answers about jobs by id; `kind` is AWS Backup's name of the resource type. Others are passed over."""
    answers: dict[str, Progress] = {}
    for job_kind in sorted(JOB_KINDS):
        mine = [one for one in operations if one.kind == job_kind]
        found = _jobs(clients.read("backup"), job_kind, mine, kind) if mine else {}
        for one in mine:
            answers[one.external_id] = _progress(one, found.get(one.external_id), pace)
    return answers


def _jobs(backup: Client, job_kind: str, operations: Sequence[Operation], kind: str) -> dict[str, Job]:
    """Jobs by id: since the oldest that is asked about, or one by one."""
    since = [str(one.detail["created_at"]) for one in operations if one.detail.get("created_at")]
    if len(operations) <= _LONELY or len(since) < len(operations):
        return _one_by_one(backup, job_kind, operations)
    after = min(datetime.fromisoformat(one) for one in since) - timedelta(seconds=1)
    name, member = _LISTS[job_kind], _IDS[job_kind]
    found: dict[str, Job] = {}
    pages = backup.get_paginator(_PAGINATORS[job_kind])
    for page in pages.paginate(ByResourceType=kind, ByCreatedAfter=after, PaginationConfig={"PageSize": 1000}):
        found |= {str(job[member]): job for job in page[name]}
    return found


def _one_by_one(backup: Client, job_kind: str, operations: Sequence[Operation]) -> dict[str, Job]:
    describe: Callable[[str], Job] = {
        BACKUP_JOB: lambda name: backup.describe_backup_job(BackupJobId=name),
        COPY_JOB: lambda name: backup.describe_copy_job(CopyJobId=name)["CopyJob"],
        RESTORE_JOB: lambda name: backup.describe_restore_job(RestoreJobId=name),
    }[job_kind]
    found: dict[str, Job] = {}
    for one in operations:
        try:
            found[one.external_id] = describe(one.external_id)
        except backup.exceptions.ResourceNotFoundException:
            continue
    return found


def _progress(operation: Operation, job: Job | None, pace: Pace) -> Progress:
    age, name = pace.age(operation.detail.get("started_at")), operation.external_id
    again = pace.again(age or timedelta(0))
    if job is None:
        if age is None or age < pace.grace:
            seen = {} if age is not None else {"started_at": pace.clock.timer().isoformat()}
            return Progress(name, OperationState.RUNNING, ask_again=pace.floor, detail=seen)
        return Progress(name, OperationState.GONE, error=Gone(f"AWS Backup knows no {operation.kind} {name} any more."))
    state = str(job.get("State") or job.get("Status"))
    if state == "COMPLETED":
        return Progress(name, OperationState.DONE, 100, detail=_learnt(operation, job))
    if state in _RUNNING:
        return Progress(name, OperationState.RUNNING, percent=_percent(job), ask_again=again)
    return Progress(name, OperationState.FAILED, error=_failure(operation, job, state), detail={"state": state})


def _learnt(operation: Operation, job: Job) -> dict[str, Any]:
    """What is known only at the end: the recovery point, or what a restore made."""
    if operation.kind == RESTORE_JOB:
        arn = str(job.get("CreatedResourceArn", ""))
        return {"resource_arn": arn, "resource_id": re.split(r"[/:]", arn)[-1]}
    known: Mapping[str, Any] = operation.detail.get("part", {})
    arn = str(job.get("DestinationRecoveryPointArn") or job.get("RecoveryPointArn", ""))
    size = -(-int(job.get("BackupSizeInBytes") or 0) // _GIB) or int(known.get("size_gib", 0))
    vault = {"way": "vault", "vault": operation.detail.get("vault", "")}
    part = {
        "external_id": arn,
        "source_id": str(known.get("source_id", "")),
        "size_gib": size,
        "encrypted": True,
        "kms_key_id": str(job.get("DestinationEncryptionKeyArn") or job.get("EncryptionKeyArn", "")),
        "attributes": {**known.get("attributes", {}), **vault},
    }
    return {"parts": [part]}


def _failure(operation: Operation, job: Job, state: str) -> SnapfleetError:
    message = shorten(str(job.get("StatusMessage") or ""))
    text = f"AWS Backup ended the {operation.kind} {operation.external_id} as {state}: {message or 'no reason given'}."
    if _PERMANENT.search(message):
        code = "kms-key" if re.search(r"\bkms\b|\bkeys?\b", message, re.IGNORECASE) else "backup-refused"
        return Invalid(text, code=code, advice="See what AWS Backup needs for this copy in the type's page.")
    return CloudFailed(text)


def _percent(job: Job) -> int:
    try:
        return min(99, int(float(str(job.get("PercentDone") or 0).rstrip("%"))))
    except ValueError:
        return 0
