"""A moment of a database in Azure's automatic backups, of one that exists or of one of its name that was dropped.

"Recover using automated backups" (Azure SQL documentation): a point-in-time restore makes a new database on the same
server, from `earliestRestoreDate` until now, or until a dropped database's deletion while its backups are kept.
Create modes: Microsoft.Sql swagger, DatabaseProperties.createMode.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.errors import Gone, Invalid
from workers.azure import sql_describe
from workers.azure.clients import Clients
from workers.azure.ids import normal
from workers.azure.sql_ids import DatabaseId, read_sql


@dataclass(frozen=True)
class _Window:
    """What one database's automatic backups reach over, and how a restore names it."""

    source_id: str
    mode: str
    earliest_at: datetime
    latest_at: datetime

    def told(self) -> str:
        what = "it" if self.mode == "PointInTimeRestore" else "a dropped one of its name"
        return f"{what} from {_text(self.earliest_at)} to {_text(self.latest_at)}"


def properties_at(clients: Clients, database_id: str, at: datetime, now: datetime) -> dict[str, Any]:
    """What a new database is to be made with to be as the database was at `at`. Raises the SDK's errors; Gone when
    Azure has automatic backups of neither it nor a dropped one of its name, Invalid when none reaches to `at`."""
    parts = read_sql(database_id)
    windows = [*_of_live(clients, parts, now), *_of_dropped(clients, parts)]
    if not windows:
        raise Gone(f"Azure has no automatic backup of {parts.name}, nor of a dropped database of its name.")
    found = next((one for one in windows if one.earliest_at <= at <= one.latest_at), None)
    if found is None:
        kept = "; ".join(one.told() for one in windows)
        text = f"Azure's automatic backups of {parts.name} do not reach {_text(at)}: they hold {kept}."
        raise Invalid(text, code="moment-outside", advice="Choose a moment in between with --set at=...")
    return {"createMode": found.mode, "sourceDatabaseId": found.source_id, "restorePointInTime": _text(at)}


def _of_live(clients: Clients, parts: DatabaseId, now: datetime) -> Iterator[_Window]:
    model = sql_describe.get(clients, parts)
    earliest = _instant(model or {}, "earliestRestoreDate")
    if model is not None and earliest is not None:
        yield _Window(parts.database(parts.name), "PointInTimeRestore", earliest, now)


def _of_dropped(clients: Clients, parts: DatabaseId) -> Iterator[_Window]:
    """Dropped databases of this name, newest first: a name may have been used several times."""
    listed = clients.sql.restorable_dropped_databases.list_by_server(parts.group, parts.server)
    found = []
    for item in listed:
        model = item.as_dict()
        name = str(model.get("properties", {}).get("databaseName", ""))
        earliest = _instant(model, "earliestRestoreDate") or _instant(model, "creationDate")
        dropped = _instant(model, "deletionDate")
        if name.lower() == parts.name and earliest is not None and dropped is not None:
            found.append(_Window(normal(str(model["id"])), "Restore", earliest, dropped))
    yield from sorted(found, key=lambda one: one.latest_at, reverse=True)


def _instant(model: Mapping[str, Any], name: str) -> datetime | None:
    text = str(model.get("properties", {}).get(name) or "")
    return datetime.fromisoformat(text) if text else None


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
