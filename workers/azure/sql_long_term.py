"""Long-term retention: Azure's own weekly backups of a database, taken up as recovery points.

Azure makes and deletes them by the policy of the database ("Long-term retention", Azure SQL documentation); none is
made on demand. With `retention: keep` that policy is set from ours (sql_retention). They carry no tags, so this product
deletes none: their point ends, and Azure's policy removes them.
"""

from datetime import datetime
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tasks.errors import Gone, Impossible
from tasks.states import OperationState
from workers.azure import sql_retention
from workers.azure.clients import Clients
from workers.azure.ids import normal
from workers.azure.sql_ids import read_sql
from workers.driver import BackupRequest, Operation, Part, Progress, Resource, Started
from workers.pace import Pace

MARK = "/longtermretentionbackups/"


def start_backup(
    clients: Clients, resource: Resource, request: BackupRequest, pace: Pace, warnings: list[str]
) -> Started:
    """Take up the newest long-term backup. Raises Impossible when the database has no such policy or backup."""
    parts = read_sql(resource.external_id)
    policy = resource.attributes.get("retention", {}).get("long_term", {})
    if "retention" in request.options:
        policy, changes = sql_retention.hold(clients, parts, request.options["retention"], policy, request.proceed)
        warnings = [*warnings, *changes]
    if all(str(policy.get(name, sql_retention.NONE)) == sql_retention.NONE for name in sql_retention.SPANS):
        advice = "Set its policy in Azure, or give its target the option retention: keep."
        raise Impossible(f"{resource.name} has no long-term retention.", code="no-long-term-policy", advice=advice)
    listed = clients.sql.long_term_retention_backups.list_by_database(
        resource.region, parts.server, parts.name, only_latest_per_database=True
    )
    found = max((item.as_dict() for item in listed), key=_made_at, default=None)
    if found is None:
        text = (
            f"Azure has made no long-term backup of {resource.name} yet: the first comes within a week of its policy."
        )
        raise Impossible(text, code="no-long-term-backup")
    backup_id, size = normal(found["id"]), int(resource.attributes.get("size_gib", 0))
    attributes = {"kind": "long-term", "backup_time": _made_at(found)}
    detail: dict[str, Any] = {"started_at": pace.clock.timer().isoformat(), "region": resource.region}
    told = f"This point is Azure's long-term backup of {_made_at(found)}, which Azure deletes by its own policy."
    captured = {**resource.attributes, "name": resource.name, "tags": dict(resource.attributes.get("own_tags", {}))}
    return Started(
        (Operation("azure-sql-long-term", backup_id, clients.account, resource.region, detail),),
        (Part(backup_id, source_id=resource.external_id, size_gib=size, attributes=attributes),),
        captured=captured,
        warnings=(*warnings, told),
        taken_at=datetime.fromisoformat(_made_at(found)),
    )


def _made_at(model: dict[str, Any]) -> str:
    return str(model.get("properties", {}).get("backupTime", ""))


def exists(clients: Clients, backup_id: str) -> bool:
    """Whether a long-term backup is there. Raises the SDK's errors."""
    words = backup_id.strip("/").split("/")
    try:
        clients.sql.long_term_retention_backups.get(words[-7], words[-5], words[-3], words[-1])
    except ResourceNotFoundError:
        return False
    return True


def progress(clients: Clients, operation: Operation) -> Progress:
    """Done while it is there: it was complete before it could be seen."""
    if exists(clients, operation.external_id):
        return Progress(operation.external_id, OperationState.DONE, percent=100)
    error = Gone("The long-term backup does not exist any more: its retention ended, or somebody deleted it.")
    return Progress(operation.external_id, OperationState.GONE, error=error)
