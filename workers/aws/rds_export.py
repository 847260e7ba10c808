"""Exports of RDS snapshots to S3: tables as Parquet, for reading and for the record. Never a snapshot to restore from.

"Exporting DB snapshot data to Amazon S3" (RDS user guide), StartExportTask and DescribeExportTasks (RDS API reference):
the task's identifier is the token, taken once in an account and region; a customer-managed key is needed; RDS works
as a role that export.rds.amazonaws.com may assume; the objects lie below PREFIX/IDENTIFIER/. Five tasks run at once for
an account. Objects carry no tags of ours: what is deleted is what lies below an identifier that our names make.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tasks.errors import CloudFailed, Gone, InUse, Invalid, NotReady, Refused, SnapfleetError
from tasks.states import OperationState
from workers.aws.errors import shorten, translate, translated
from workers.aws.rds_backup import Tools
from workers.aws.rds_calls import FILTER_MOST, Answer
from workers.aws.session import Client, Clients
from workers.aws.tags import name_for
from workers.driver import CopyRequest, Deleted, Found, Operation, Part, Point, Progress, Started
from workers.pace import Pace

EXPORT = "export"
ENGINES = ("mysql", "postgres", "mariadb")
_TAKEN = ("ExportTaskAlreadyExists", "ExportTaskAlreadyExistsFault")
_GOING = ("STARTING", "IN_PROGRESS", "CANCELING")
_LONGEST = 60  # ExportTaskIdentifier: at most 60 characters; name_for makes 50


def is_export(part: Part) -> bool:
    """Whether a part is an export in S3."""
    return part.attributes.get("way") == EXPORT


def start_export(tools: Tools, clients: Clients, point: Point, request: CopyRequest) -> Started:
    """Begin the export of a point's snapshot, or adopt what this key began. Raises Invalid for another engine."""
    options, part, name = request.options, point.parts[0], name_for(request.key)[:_LONGEST]
    engine = str(point.resource.attributes.get("engine", ""))
    if not engine.startswith(ENGINES):
        raise Invalid(f"RDS exports snapshots of MySQL, MariaDB and PostgreSQL, not of {engine}.", code="no-export")
    task = None if request.fresh else _tasks(clients, [name]).get(name)
    adopted = task is not None
    if task is None:
        task, adopted = _begin(tools, clients, part, name, request)
    where = {"bucket": options["export_bucket"], "prefix": _prefix(options), "task": name}
    made = Part(
        external_id=name,
        source_id=part.source_id,
        size_gib=part.size_gib,
        encrypted=True,
        kms_key_id=options["export_key"],
        attributes={"way": EXPORT, "engine": engine, "source_snapshot": part.external_id, **where},
    )
    operation = tools.operation(EXPORT, name, clients.account, clients.region, **where)
    return Started((operation,), (made,), adopted=adopted)


def _begin(tools: Tools, clients: Clients, part: Part, name: str, request: CopyRequest) -> tuple[Answer, bool]:
    options, client = request.options, clients.create("rds")
    request.proceed()
    prefix = {"S3Prefix": _prefix(options)} if _prefix(options) else {}
    with translated("StartExportTask", guard=tools.pace.guard):
        try:
            made: Answer = client.start_export_task(
                ExportTaskIdentifier=name,
                SourceArn=part.attributes["arn"],
                S3BucketName=options["export_bucket"],
                IamRoleArn=options["export_role"],
                KmsKeyId=options["export_key"],
                **prefix,
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _TAKEN:
                raise
            found = _tasks(clients, [name]).get(name)
            if found is None:
                raise NotReady(f"The export {name} exists and cannot be seen yet.", code="snapshot-unseen") from None
            return found, True
    return made, False


def _prefix(options: Mapping[str, str]) -> str:
    return options.get("export_prefix", "").strip("/")


def _tasks(clients: Clients, names: Sequence[str]) -> dict[str, Answer]:
    """Tasks by identifier; an unknown one is absent."""
    found: dict[str, Answer] = {}
    for start in range(0, len(names), FILTER_MOST):
        filters = [{"Name": "export-task-identifier", "Values": list(names[start : start + FILTER_MOST])}]
        for page in clients.read("rds").get_paginator("describe_export_tasks").paginate(Filters=filters):
            found |= {row["ExportTaskIdentifier"]: row for row in page["ExportTasks"]}
    return found


def find_export(clients: Clients, key: str) -> list[Found]:
    """The export that was begun under this key."""
    name = name_for(key)[:_LONGEST]
    return [Found(EXPORT, name, _state(task)) for name, task in _tasks(clients, [name]).items()]


def _state(task: Mapping[str, Any]) -> OperationState:
    state = str(task["Status"]).upper()
    if state == "COMPLETE":
        return OperationState.DONE
    return OperationState.RUNNING if state in _GOING else OperationState.FAILED


def export_progress(clients: Clients, operations: Sequence[Operation], pace: Pace) -> dict[str, Progress]:
    """The answers about exports, by identifier."""
    mine = [one for one in operations if one.kind == EXPORT]
    found = _tasks(clients, list(dict.fromkeys(one.external_id for one in mine))) if mine else {}
    return {one.external_id: _progress(one, found.get(one.external_id), pace) for one in mine}


def _progress(operation: Operation, task: Mapping[str, Any] | None, pace: Pace) -> Progress:
    name, age = operation.external_id, pace.age(operation.detail.get("started_at")) or timedelta(0)
    if task is None:
        if age < pace.grace:
            return Progress(name, OperationState.RUNNING, ask_again=pace.floor)
        return Progress(name, OperationState.GONE, error=Gone(f"RDS knows nothing of the export {name}."))
    state = _state(task)
    if state is OperationState.DONE:
        detail = {"warning": shorten(str(task["WarningMessage"]))} if task.get("WarningMessage") else {}
        return Progress(name, OperationState.DONE, 100, detail=detail)
    if state is OperationState.RUNNING:
        percent = min(99, int(task.get("PercentProgress") or 0))
        return Progress(name, OperationState.RUNNING, percent, pace.again(age))
    why = shorten(str(task.get("FailureCause") or "")) or "no reason given"
    error = CloudFailed(f"RDS ended the export {name} as {task['Status']}: {why}.")
    return Progress(name, OperationState.FAILED, error=error)


def head_of(part: Part) -> str:
    """What the keys of an export begin with. Raises Refused for what is no export of ours."""
    name, where = part.external_id, part.attributes
    if not name.startswith("snapfleet-") or where.get("task") != name:
        raise Refused(f"{name} is not the name of an export of ours, so it stays.", code="not-ours")
    return "/".join(piece for piece in (str(where.get("prefix", "")), name) if piece) + "/"


def delete_export(clients: Clients, part: Part) -> Deleted:
    """Delete the objects of an export, all versions of them; none left is success."""
    name, where = part.external_id, part.attributes
    try:
        head = head_of(part)
        if not clients.account.may_delete:
            text = f"{clients.account.name} may not delete: the export {name} is left to its own administrators."
            return Deleted(name, "kept", Refused(text, code="outdated"))
        gone = _empty(clients.read("s3"), str(where["bucket"]), head, clients.number())
    except SnapfleetError as error:
        return Deleted(name, "kept", error)
    except (BotoCoreError, ClientError) as error:
        refused = translate(error, operation="a deletion")
        missing = isinstance(refused, Gone)
        return Deleted(name, "already-gone" if missing else "kept", None if missing else refused)
    return Deleted(name, "deleted" if gone else "already-gone")


def _empty(s3: Client, bucket: str, head: str, owner: str) -> int:
    """How many versions below a prefix were deleted, in a bucket that is still its owner's. Raises InUse when some were
    not."""
    gone = 0
    mine = {"Bucket": bucket, "ExpectedBucketOwner": owner}
    for page in s3.get_paginator("list_object_versions").paginate(**mine, Prefix=head):
        rows = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if not rows:
            continue
        some = [{"Key": row["Key"], "VersionId": row["VersionId"]} for row in rows]
        answer = s3.delete_objects(**mine, Delete={"Objects": some, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise InUse(f"S3 kept {len(answer['Errors'])} objects: {shorten(str(first.get('Message', '')))}")
        gone += len(some)
    return gone
