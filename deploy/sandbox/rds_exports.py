"""Exports of RDS snapshots to S3. "StartExportTask", "DescribeExportTasks" (RDS API reference); "Exporting DB snapshot
data to Amazon S3" (RDS user guide): MySQL, MariaDB and PostgreSQL; a customer-managed key; five tasks at once; objects
below PREFIX/IDENTIFIER/, a file that tells what was exported beside them.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.sandbox import kms, relational
from deploy.sandbox.call import Call, operation
from deploy.sandbox.errors import AwsError, required
from deploy.sandbox.rds_snapshots import visible
from deploy.sandbox.relational import DbSnapshot

ENGINES = ("mysql", "mariadb", "postgres")
MOST = 5  # "You can have up to five concurrent DB snapshot export tasks in progress per AWS account"


@dataclass(eq=False)
class Task:
    """One export. `failure` is why it ended badly."""

    spec: dict[str, Any]
    source: DbSnapshot
    created_at: datetime
    ready_at: datetime
    failure: str = ""
    written: bool = False

    @property
    def name(self) -> str:
        return str(self.spec["ExportTaskIdentifier"])

    def state(self, now: datetime) -> str:
        if self.failure:
            return "FAILED"
        return "COMPLETE" if now >= self.ready_at else "IN_PROGRESS"


@dataclass
class Exports:
    """The tasks of an account in a region, by identifier."""

    tasks: dict[str, Task] = field(default_factory=dict)


def _held(call: Call) -> dict[str, Task]:
    return call.here.kept(Exports).tasks


def _bucket(call: Call, name: str) -> Any:
    """The account's bucket in this region. InvalidS3BucketFault for any other."""
    from moto.s3.models import s3_backends

    held = s3_backends[call.account]["aws"].buckets.get(name)
    if held is None or (held.region_name or "us-east-1") != call.region:
        raise AwsError("InvalidS3BucketFault", f"The bucket {name} is not in {call.region}.")
    return s3_backends[call.account]["aws"]


@operation("rds", "StartExportTask")
def start_export_task(call: Call, parameters: dict) -> dict:
    name, tasks = required(parameters, "ExportTaskIdentifier"), _held(call)
    if name in tasks:
        raise AwsError("ExportTaskAlreadyExists", f"The export task {name} already exists.")
    source = visible(call, required(parameters, "SourceArn"), cluster=":cluster-snapshot:" in parameters["SourceArn"])
    if source.state(call.now) != "available":
        raise AwsError("InvalidExportSourceState", f"{source.name} is {source.state(call.now)}.")
    if not str(source.spec["Engine"]).startswith(ENGINES):
        raise AwsError("InvalidParameterValue", f"Export is not supported for the engine {source.spec['Engine']}.")
    _bucket(call, required(parameters, "S3BucketName"))
    if required(parameters, "IamRoleArn") not in call.world.directory.roles:
        raise AwsError("IamRoleNotFound", f"The role {parameters['IamRoleArn']} is missing or cannot be assumed.", 404)
    key = relational.new_key(call, required(parameters, "KmsKeyId"), encrypted=True)
    if kms.is_default(key):
        raise AwsError("KMSKeyNotAccessibleFault", "An export needs a customer managed key.")
    if sum(one.state(call.now) == "IN_PROGRESS" for one in tasks.values()) >= MOST:
        raise AwsError("ExportTaskLimitReachedFault", "You have reached the limit of concurrent export tasks.")
    spec = {one: parameters[one] for one in ("SourceArn", "S3Prefix", "IamRoleArn") if one in parameters}
    spec |= {"ExportTaskIdentifier": name, "S3Bucket": parameters["S3BucketName"], "KmsKeyId": key}
    made = Task(spec, source, call.now, call.now + relational.seconds(call, "backup_seconds"))
    fault = call.spoiled(name)
    if fault is not None and fault.kind == "snapshot_error":
        made.failure = fault.message
    tasks[name] = made
    return _view(made, call.now)


def _view(task: Task, now: datetime) -> dict[str, Any]:
    state = task.state(now)
    return {
        **task.spec,
        "SourceType": "SNAPSHOT",
        "SnapshotTime": task.source.created_at,
        "TaskStartTime": task.created_at,
        "TaskEndTime": task.ready_at if state == "COMPLETE" else None,
        "Status": state,
        "PercentProgress": 100 if state == "COMPLETE" else 50,
        "TotalExtractedDataInGB": 1 if state == "COMPLETE" else 0,
        "FailureCause": task.failure or None,
    }


def _write(call: Call, task: Task) -> None:
    """What RDS leaves in the bucket once a task is complete; rows stand for Parquet here."""
    if task.written or task.state(call.now) != "COMPLETE":
        return
    s3, name = _bucket(call, task.spec["S3Bucket"]), task.spec["ExportTaskIdentifier"]
    head = "/".join(piece for piece in (task.spec.get("S3Prefix", "").strip("/"), name) if piece)
    about = json.dumps({"exportTaskIdentifier": name, "sourceArn": task.spec["SourceArn"], "status": "COMPLETE"})
    s3.put_object(task.spec["S3Bucket"], f"{head}/export_info_{name}.json", about.encode())
    for table, text in task.source.rows.items():
        s3.put_object(task.spec["S3Bucket"], f"{head}/db/public.{table}/1/part-00000.gz.parquet", text.encode())
    task.written = True


@operation("rds", "DescribeExportTasks")
def describe_export_tasks(call: Call, parameters: dict) -> dict:
    fields = {
        "export-task-identifier": lambda one: one.spec["ExportTaskIdentifier"],
        "s3-bucket": lambda one: one.spec["S3Bucket"],
        "source-arn": lambda one: one.spec["SourceArn"],
        "status": lambda one: one.state(call.now).lower(),
    }
    rows = list(_held(call).values())
    if parameters.get("ExportTaskIdentifier"):
        rows = [one for one in rows if one.spec["ExportTaskIdentifier"] == parameters["ExportTaskIdentifier"]]
        if not rows:
            raise AwsError("ExportTaskNotFound", "The export task doesn't exist.", 404)
    for one in rows:
        _write(call, one)
    some, marker = relational.paged(relational.filtered(call, rows, parameters, fields), parameters)
    return {"ExportTasks": [_view(one, call.now) for one in some], "Marker": marker}
