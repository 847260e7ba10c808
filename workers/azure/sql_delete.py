"""Deleting what backups of databases made, and what a failed restore made. Gone already is success; what does not carry
our tag is kept.

Azure's long-term backups carry no tags and are Azure's to delete. A bacpac file is known by the name that its key made.
"""

from collections.abc import Sequence

from azure.core.exceptions import AzureError

from tasks.errors import Gone, NotReady, Refused
from workers.azure import lro, sql_describe, sql_long_term
from workers.azure.clients import Clients
from workers.azure.errors import translate
from workers.azure.sql_ids import OUR_NAMES, read_sql
from workers.azure.tags import is_made_by
from workers.driver import TAG_OUTDATED, Created, Deleted, Part, Point
from workers.pace import Pace


def delete(clients: Clients, point: Point, pace: Pace) -> list[Deleted]:
    """One answer for each part of the point."""
    return [_one(clients, part, point.account.may_delete, pace) for part in point.parts]


def _one(clients: Clients, part: Part, may_delete: bool, pace: Pace) -> Deleted:
    try:
        if sql_long_term.MARK in part.external_id:
            return _long_term(clients, part.external_id)
        if part.external_id.startswith("https://"):
            return _file(clients, part, may_delete, pace)
        return database(clients, part.external_id, may_delete, pace)
    except AzureError as error:
        told = translate(error, "a deletion")
        if isinstance(told, Gone):
            return Deleted(part.external_id, "already-gone")
        return Deleted(part.external_id, "kept", told)


def _long_term(clients: Clients, backup_id: str) -> Deleted:
    if not sql_long_term.exists(clients, backup_id):
        return Deleted(backup_id, "already-gone")
    told = "Azure deletes its long-term backups by the retention policy of the database."
    return Deleted(backup_id, "kept", Refused(told, code="outdated"))


def _file(clients: Clients, part: Part, may_delete: bool, pace: Pace) -> Deleted:
    """A bacpac file, and the staging copy that a broken-off attempt may have left."""
    staging = str(part.attributes.get("staging", ""))
    left = database(clients, staging, may_delete, pace) if staging else None
    if left is not None and left.outcome == "kept":
        return Deleted(part.external_id, "kept", left.error)
    if not part.external_id.rsplit("/", 1)[-1].startswith(OUR_NAMES):
        return Deleted(part.external_id, "kept", Refused("The file has no name of ours.", code="not-ours"))
    if not may_delete:
        told = "The account may not delete: the file stays, and a blob takes no tag without a right of its own."
        return Deleted(part.external_id, "kept", Refused(told, code="outdated"))
    return Deleted(part.external_id, "deleted" if clients.remove_blob(part.external_id) else "already-gone")


def database(clients: Clients, database_id: str, may_delete: bool, pace: Pace, keys: Sequence[str] = ()) -> Deleted:
    """Begin the deletion of a database that carries this installation's tag, and with `keys` that of one of these jobs;
    by the time of the next look it is over. Raises the SDK's errors."""
    parts = read_sql(database_id)
    model = sql_describe.get(clients, parts)
    if model is None:
        return Deleted(database_id, "already-gone")
    if not is_made_by(model.get("tags"), clients.account.installation, keys):
        told = f"The database {parts.name} does not carry our tags: it is not ours to delete."
        return Deleted(database_id, "kept", Refused(told, code="not-ours"))
    if not may_delete:
        tags = {**model["tags"], TAG_OUTDATED: "true"}
        lro.begin(clients.sql.databases.begin_update, *parts.place, {"tags": tags})
        told = "The account may not delete: the database is marked instead."
        return Deleted(database_id, "kept", Refused(told, code="outdated"))
    lro.begin(clients.sql.databases.begin_delete, *parts.place)
    error = NotReady(f"The deletion of {parts.name} is under way.", code="deleting", wait=2 * pace.floor)
    return Deleted(database_id, "kept", error)


def undo(clients: Clients, created: Sequence[Created], pace: Pace) -> list[Deleted]:
    """Remove the databases that a failed restore made, last made first."""
    answers = []
    for one in reversed(created):
        if one.kind != "azure-sql-database":
            told = Refused(f"Nothing undoes a {one.kind}.", code="unknown-kind")
            answers.append(Deleted(one.external_id, "kept", told))
            continue
        try:
            answers.append(database(clients, one.external_id, True, pace, one.keys))
        except AzureError as error:
            answers.append(Deleted(one.external_id, "kept", translate(error, "a removal")))
    return answers
