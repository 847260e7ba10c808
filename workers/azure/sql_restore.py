"""Steps of a restore of a database: a new database from a copy, a bacpac file, a long-term or a geo-replicated backup,
or as of a moment in Azure's automatic backups (sql_moments); then its retention, and a comparison of its server with
what was captured.

A new database carries the key of its job as a tag, so a repeated step adopts it; a name that something else has is
never written to. A bacpac file goes into an empty database that is made first, because an import takes no tags.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError

from tasks.errors import CloudFailed, Invalid, NotReady, Retry
from tasks.states import OperationState
from workers.azure import lro, sql_copies, sql_describe, sql_export, sql_moments
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.errors import shorten, translate
from workers.azure.sql_copies import Wish
from workers.azure.sql_ids import read_sql
from workers.driver import Created, Operation, Point, Progress, RestoreStep, StepStarted
from workers.pace import Pace

KIND = "azure-sql-database"
_IMPORTING = "importing"
_MODES: Mapping[str, tuple[str, str]] = {
    "database": ("Copy", "sourceDatabaseId"),
    "long-term": ("RestoreLongTermRetentionBackup", "longTermRetentionBackupResourceId"),
    "geo": ("Recovery", "sourceDatabaseId"),
    "export": ("Default", ""),
}
# Ours: theirs, of what the new database is to be like.
_LIKE = {
    name: sql_describe.KEPT[name]
    for name in (
        "pool_id", "zone_redundant", "redundancy", "license_type", "min_capacity", "auto_pause", "maintenance",
    )
}  # fmt: skip


def start_step(
    clients: Clients, point: Point, step: RestoreStep, key: str, tags: Mapping[str, str], pace: Pace
) -> StepStarted:
    """Begin one step, or adopt what this key has made. Raises the SDK's errors, Invalid, NotReady."""
    if step.kind == "azure-sql-create":
        return _create(clients, point, step.params, key, tags, pace)
    if step.kind == "azure-sql-settle":
        return _settle(clients, step.params)
    raise Invalid(f"This version knows no restore step {step.kind!r}.", code="unknown-step")


def _create(
    clients: Clients, point: Point, params: Mapping[str, Any], key: str, tags: Mapping[str, str], pace: Pace
) -> StepStarted:
    server = read_sql(str(params["server_id"]))
    model = clients.sql.servers.get(server.group, server.server).as_dict()
    properties = {theirs: params.get(ours) for ours, theirs in _LIKE.items()}
    properties |= _source(clients, params, pace)
    sku = params.get("sku") if not params.get("pool_id") else None
    wish = Wish(key, server, region_of(model), properties, tags, params.get("tags", {}), _sku(sku), str(params["name"]))
    made = wish.place.database(wish.place.name)
    try:
        detail, _, _ = sql_copies.begin(clients, wish, pace, _nobody)
    except NotReady as error:
        raise Invalid(error.text, code=error.code, advice="Choose another with --set name=...") from None
    if params["from"] == "export":
        detail |= {"file": params["source_id"], "identity": params["identity"]}
    operation = Operation(KIND, made, clients.account, point.region, {**detail, "database_id": made})
    return StepStarted((operation,), (Created(KIND, made),), {"database_id": made, "server_id": wish.server.server_id})


def _source(clients: Clients, params: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """What the new database is made from. A step that is repeated later asks for the same moment."""
    if params["from"] == "moment":
        at = datetime.fromisoformat(str(params["at"]))
        return sql_moments.properties_at(clients, str(params["source_id"]), at, pace.clock.timer())
    mode, source = _MODES[str(params["from"])]
    return {"createMode": mode, **({source: params["source_id"]} if source else {})}


def _nobody() -> None:
    """A step's name is its own: a worker that was overtaken makes what the other adopts."""


def _sku(wish: Any) -> dict[str, Any]:
    return {"name": wish} if isinstance(wish, str) else dict(wish or {})


def progress(clients: Clients, operation: Operation, model: Mapping[str, Any] | None, pace: Pace) -> Progress:
    """How far a new database is; one that comes from a file is done when its import is. Raises the SDK's errors."""
    answer = sql_copies.progress(clients, operation, model, pace)
    if answer.state is not OperationState.DONE or not operation.detail.get("file"):
        return answer
    found = sql_export.transfer(clients, operation.external_id, operation.detail["file"])
    if found is None:
        return _import(clients, operation, pace)
    state = str(found.get("status", ""))
    if state == "Completed":
        return answer
    if state == "Failed":
        reason = shorten(str(found.get("errorMessage", ""))) or "no reason given."
        error = CloudFailed(f"Azure failed the import: {reason}")
        return Progress(operation.external_id, OperationState.FAILED, error=error, detail={"token": ""})
    age = pace.age(operation.detail.get("started_at")) or timedelta(0)
    return Progress(operation.external_id, OperationState.RUNNING, 50, pace.again(age))


def _import(clients: Clients, operation: Operation, pace: Pace) -> Progress:
    """Begin the import into the empty database; a second beginning is refused by the service, and found next time."""
    body = sql_export.credentials(operation.detail["identity"], operation.detail["file"])
    try:
        lro.begin(clients.sql.databases.begin_import_method, *read_sql(operation.external_id).place, body)
    except AzureError as error:
        told = translate(error, "an import")
        if told.retry is Retry.NEVER:
            return Progress(operation.external_id, OperationState.FAILED, error=told, detail={"token": ""})
    return Progress(operation.external_id, OperationState.RUNNING, 50, pace.floor, detail={"stage": _IMPORTING})


def _settle(clients: Clients, params: Mapping[str, Any]) -> StepStarted:
    """Give the new database the old one's retention, and tell what of its server is not as captured."""
    parts, wished = read_sql(str(params["database_id"])), params.get("retention", {})
    now = sql_describe.retention(clients, parts) if wished else {}
    if wished.get("short_term", now.get("short_term")) != now.get("short_term"):
        method = clients.sql.backup_short_term_retention_policies.begin_create_or_update
        lro.begin(method, *parts.place, "default", {"properties": dict(wished["short_term"])})
    if wished.get("long_term", now.get("long_term")) != now.get("long_term"):
        method = clients.sql.long_term_retention_policies.begin_create_or_update
        lro.begin(method, *parts.place, "default", {"properties": dict(wished["long_term"])})
    return StepStarted(outputs={"differences": differences(clients, str(params["database_id"]), params["server"])})


def differences(clients: Clients, database_id: str, captured: Mapping[str, Any]) -> list[str]:
    """What of the database's server is not as it was captured, one sentence each. Raises the SDK's errors."""
    parts = read_sql(database_id)
    server = clients.sql.servers.get(parts.group, parts.server).as_dict()
    now = {
        **sql_describe.server_settings(server),
        **sql_describe.rules(clients, parts, lambda _what, ask, _empty: ask()),
    }
    found = []
    for name in sorted({*captured, *now}):
        before, after = captured.get(name), now.get(name)
        if isinstance(before or after, Mapping):
            found += _entries(name, before or {}, after or {})
        elif before != after:
            found.append(f"{name} was {before!r} and is {after!r}.")
    return found


def _entries(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {key!r} was {before.get(key, 'absent')!r} and is {after.get(key, 'absent')!r}."
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
