"""Exports: a bacpac file in a blob container, written from a staging copy that is removed whatever happens.

A bacpac of a live database is not consistent ("Export to a BACPAC file": copy the database first), so three stages
follow each other, each begun by the poll that sees the one before it end: the staging copy, the export, the removal.
An operation is over only when the staging copy is gone. An export has no name of its own: one that an earlier attempt
began is found by its file among the database's imports and exports. Both ends are entered by a managed identity of the
server, so that no password and no storage key is ever sent or kept.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError

from tasks.errors import CloudFailed, Denied, Invalid, Retry, SnapfleetError
from tasks.states import OperationState
from workers.azure import lro, sql_copies, sql_describe
from workers.azure.clients import Clients
from workers.azure.errors import shorten, translate
from workers.azure.ids import name_for
from workers.azure.sql_copies import Wish
from workers.azure.sql_ids import read_sql
from workers.azure.tags import is_ours
from workers.driver import TAG_JOB, BackupRequest, Operation, Part, Progress, Resource, Started
from workers.pace import Pace

KIND = "azure-sql-export"
COPYING, EXPORTING, REMOVING = "copying", "exporting", "removing"
# An export that the service refuses for so long is given up; large databases export for a day, which is no refusal.
_PATIENCE = timedelta(hours=6)


def start_backup(
    clients: Clients, resource: Resource, request: BackupRequest, wish: Wish, pace: Pace, warnings: list[str]
) -> Started:
    """Begin the staging copy, or adopt the one of this key. Raises Invalid for options that are missing or unsafe."""
    container, identity = request.options.get("container", "").rstrip("/"), request.options.get("identity", "")
    place = urlsplit(container)
    if place.scheme != "https" or place.query or len(place.path) < 2:
        raise Invalid("The option container is https://ACCOUNT.blob.core.windows.net/CONTAINER, without a signature.")
    if not identity:
        raise Invalid("The option identity names the server's managed identity that writes the file.")
    detail, there, lost = sql_copies.begin(clients, wish, pace, request.proceed)
    blob = f"{container}/{name_for(request.key)}.bacpac"
    staging = wish.place.database(wish.place.name)
    detail |= {"stage": COPYING, "database": staging, "identity": identity}
    attributes = {"kind": "export", "staging": staging, "identity": identity}
    size = int(resource.attributes.get("size_gib", 0))
    captured = {
        **resource.attributes,
        "export_identity": identity,
        "name": resource.name,
        "tags": dict(resource.attributes.get("own_tags", {})),
    }
    return Started(
        (Operation(KIND, blob, clients.account, resource.region, detail),),
        (Part(blob, source_id=resource.external_id, size_gib=size, attributes=attributes),),
        captured=captured,
        warnings=(*warnings, *lost),
        adopted=there,
    )


def progress(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """One step of the three, as far as it goes now. Raises the SDK's errors of looks, which change nothing."""
    staging = sql_describe.get(clients, read_sql(operation.detail["database"]))
    stage = operation.detail.get("stage")
    if stage == COPYING:
        answer = sql_copies.progress(clients, operation, staging, pace)
        if answer.state is OperationState.RUNNING:
            return answer
        if answer.error is not None:
            return _remove(clients, operation, staging, pace, answer.error)
        return _export(clients, operation, staging, pace)
    if stage == EXPORTING:
        return _follow(clients, operation, staging, pace)
    return _remove(clients, operation, staging, pace, None)


def _export(clients: Clients, operation: Operation, staging: Mapping[str, Any] | None, pace: Pace) -> Progress:
    """Begin the export, unless one of this file is under way."""
    if transfer(clients, operation.detail["database"], operation.external_id) is None:
        body = credentials(operation.detail["identity"], operation.external_id)
        parts = read_sql(operation.detail["database"])
        try:
            lro.begin(clients.sql.databases.begin_export, *parts.place, body)
        except AzureError as error:
            told = translate(error, "an export")
            age = pace.age(operation.detail.get("started_at")) or timedelta(0)
            if told.retry is Retry.NEVER or age > _PATIENCE:
                return _remove(clients, operation, staging, pace, told)
            return Progress(operation.external_id, OperationState.RUNNING, ask_again=max(told.wait, pace.floor))
    detail = {"stage": EXPORTING, "export_at": pace.clock.timer().isoformat()}
    return Progress(operation.external_id, OperationState.RUNNING, 50, pace.floor, detail=detail)


def credentials(identity: str, blob: str) -> dict[str, str]:
    """Both ends by the server's managed identity (Databases - Export, 2025-01-01: no password is given then)."""
    return {
        "storageKeyType": "ManagedIdentity",
        "storageKey": identity,
        "storageUri": blob,
        "administratorLogin": identity,
        "authenticationType": "ManagedIdentity",
    }


def transfer(clients: Clients, database_id: str, blob: str) -> dict[str, Any] | None:
    """The newest import or export of this file, as the database tells it; None when there is none."""
    listed = clients.sql.database_extensions.list_by_database(*read_sql(database_id).place)
    rows = [item.as_dict().get("properties", {}) for item in listed]
    mine = [one for one in rows if str(one.get("blobUri", "")).split("?")[0].lower() == blob.lower()]
    return mine[-1] if mine else None


def _follow(clients: Clients, operation: Operation, staging: Mapping[str, Any] | None, pace: Pace) -> Progress:
    if staging is None:
        error = CloudFailed("The staging copy was deleted by somebody before its export was over.")
        return _remove(clients, operation, None, pace, error)
    found = transfer(clients, operation.detail["database"], operation.external_id)
    age = pace.age(operation.detail.get("export_at")) or timedelta(0)
    if found is None and age > pace.grace:
        return _export(clients, operation, staging, pace)  # its answer was lost, and it never began
    state = str((found or {}).get("status", ""))
    if state == "Completed":
        return _remove(clients, operation, staging, pace, None)
    if state == "Failed":
        reason = shorten(str((found or {}).get("errorMessage", ""))) or "no reason given."
        return _remove(clients, operation, staging, pace, CloudFailed(f"Azure failed the export: {reason}"))
    return Progress(operation.external_id, OperationState.RUNNING, 50, pace.again(age))


def _remove(
    clients: Clients, operation: Operation, staging: Mapping[str, Any] | None, pace: Pace, why: SnapfleetError | None
) -> Progress:
    """Remove the staging copy; when it is gone the operation ends as it deserves."""
    known = operation.detail.get("failed") or ([why.code, str(why)] if why else None)
    if staging is None:
        return _ended(operation, known)
    detail: dict[str, Any] = {"stage": REMOVING, "token": "", **({"failed": known} if known else {})}
    since = operation.detail.get("removal_at") or pace.clock.timer().isoformat()
    error = drop(clients, operation.detail["database"], str(operation.detail["key"]), staging)
    if isinstance(error, Denied):
        left = f"The staging copy {read_sql(operation.detail['database']).name} is left behind. {error}"
        told = Denied(f"{known[1]} {left}" if known else left, code=error.code)
        return Progress(operation.external_id, OperationState.FAILED, error=told, detail=detail)
    wait = max(error.wait, pace.floor) if error else pace.again(pace.age(since) or timedelta(0))
    return Progress(operation.external_id, OperationState.RUNNING, 90, wait, detail={**detail, "removal_at": since})


def _ended(operation: Operation, known: list[str] | None) -> Progress:
    if known:
        error = CloudFailed(known[1], code=known[0])
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
    return Progress(operation.external_id, OperationState.DONE, percent=100, detail={"token": ""})


def drop(clients: Clients, database_id: str, key: str, model: Mapping[str, Any]) -> SnapfleetError | None:
    """Begin to delete a staging copy of this key, or of any of this installation's for ''; why it could not be begun,
    if so."""
    tags = model.get("tags") or {}
    if not is_ours(tags, clients.account.installation) or (key and tags.get(TAG_JOB) != key):
        return Denied(f"The database {read_sql(database_id).name} is not this job's: it is kept.", code="not-ours")
    try:
        lro.begin(clients.sql.databases.begin_delete, *read_sql(database_id).place)
    except AzureError as error:
        return translate(error, "the removal of a staging copy")
    return None
