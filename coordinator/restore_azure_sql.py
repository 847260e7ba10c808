"""Restores of Azure SQL databases: a new database beside what is there, never over it. Pure.

Steps: azure-sql-create {from, source_id, server_id, name, sku, pool_id, redundancy, identity, tags} -> database_id;
azure-sql-settle {database_id, retention, server} -> differences. `from` is database (a copy), export (a bacpac file),
long-term, geo: Azure's own geo-replicated backup, with which a database comes back whose region is down; or moment,
with `at`: Azure's automatic backups of the database, or of one of its name that was dropped.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from coordinator.restore_draft import Draft
from coordinator.restore_plan import ref
from tasks.errors import Impossible, Invalid

# Characters that a database's name may not have, and its length (Azure resource naming rules, Microsoft.Sql).
_FORBIDDEN = re.compile(r"[<>*%&:\\/?\x00-\x1f]+")
_NAME_LENGTH = 128
_SERVER = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.sql/servers/[^/]+/?", re.IGNORECASE
)
_LIKE = ("zone_redundant", "license_type", "min_capacity", "auto_pause")


def plan_sql(draft: Draft, values: Mapping[str, Any], tags: Mapping[str, str]) -> None:
    """Add the steps of a restore of an azure-sql. Raises Invalid (an option) or Impossible (and why)."""
    name = str(values.get("name") or _name(f"{draft.point.resource_name}-{draft.point.id}"))
    if _name(name) != name:
        raise Invalid(
            f"--set name does not take {name!r}: 1 to {_NAME_LENGTH} characters, none of <>*%&:\\/? among them."
        )
    server = _server(draft, values)
    source = _source(draft, values)
    params = {
        **source,
        "server_id": server,
        "name": name,
        "pool_id": values.get("pool"),
        "sku": values.get("sku") or _sku(draft, values),
        "redundancy": values.get("redundancy"),
        **{key: draft.point.captured(key, None) for key in _LIKE},
        "maintenance": draft.point.captured("maintenance", None) if draft.point.here else None,
        "tags": tags,
    }
    place = server.rsplit("/", 1)[-1]
    draft.title = f"to a new database {name} on {place}"
    draft.add("database", "azure-sql-create", params, _why(draft, source, name, place), ("azure-sql-database",))
    settle = {
        "database_id": ref("database", "database_id"),
        "retention": draft.point.captured("retention", {}),
        "server": draft.point.captured("server", {}),
    }
    draft.add("settle", "azure-sql-settle", settle, "Set its retention as before, and compare its server with the old.")
    draft.notes.append("Nothing is overwritten: clients are pointed to the new database, or it is renamed, by hand.")
    draft.notes.append("Logins and firewall rules belong to the server: step settle tells what differs from before.")


def _name(text: str) -> str:
    return _FORBIDDEN.sub("-", text).strip(" .")[:_NAME_LENGTH]


def _server(draft: Draft, values: Mapping[str, Any]) -> str:
    """The server's id: as given, else that of the copy, else the old one where the point is at home."""
    given = str(values.get("server", ""))
    if values.get("at"):
        return _own_server(draft, given)
    if given:
        if not _SERVER.fullmatch(given):
            raise Invalid(
                f"--set server does not take {given!r}: it is the resource id of a server.", code="option-value"
            )
        return given.rstrip("/")
    part = draft.point.parts[0].snapshot_id
    if draft.request.kind == "database" and "/databases/" in part:
        return part.split("/databases/")[0]
    if draft.request.kind == "database" and draft.point.here:
        return str(draft.point.captured("server_id"))
    raise Invalid("--set server=... is needed: the id of the server that takes the database.", code="option-missing")


def _own_server(draft: Draft, given: str) -> str:
    """Automatic backups are restored on the database's own server (Azure SQL documentation, point-in-time restore)."""
    home = str(draft.point.captured("server_id"))
    if not draft.point.here:
        text = "Azure's automatic backups are on the database's own server: --set at=... takes a point that lies there."
        raise Impossible(text, code="moment-elsewhere")
    if given and given.rstrip("/").lower() != home.lower():
        text = f"--set at=... makes the database on its own server, {home.rsplit('/', 1)[-1]}: leave --set server out."
        raise Invalid(text, code="option-value")
    return home


def _moment(text: str) -> str:
    """A moment as the driver takes it, in UTC. Raises Invalid for what is none, or has no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        text = f"--set at does not take {text!r}: write a time with its zone, such as 2026-11-22T14:05:00Z."
        raise Invalid(text, code="option-value")
    return found.astimezone(UTC).isoformat()


def _source(draft: Draft, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the new database is made from, as the driver's step wants it."""
    part = draft.point.parts[0].snapshot_id
    if values.get("at"):
        if draft.request.kind != "database":
            raise Invalid("--set at=... goes with --to database.", code="option-value")
        at = _moment(str(values["at"]))
        draft.warnings.append(
            f"This is the database as it was at {at}, from Azure's automatic backups: not this point. Azure is asked "
            "whether they reach that moment before anything is made."
        )
        return {"from": "moment", "source_id": str(draft.point.captured("id", draft.point.resource_id)), "at": at}
    if draft.request.kind == "geo-database":
        if draft.point.captured("redundancy", "") not in ("", "Geo", "GeoZone"):
            raise Impossible(
                "The database's automatic backups are not geo-replicated: there is nothing in other regions."
            )
        draft.warnings.append(
            "This is Azure's newest geo-replicated backup, up to an hour older than the last change: not this point."
        )
        home = str(draft.point.captured("id", draft.point.resource_id))
        return {"from": "geo", "source_id": home.replace("/databases/", "/recoverableDatabases/")}
    if part.startswith("https://"):
        identity = values.get("identity") or draft.point.captured("export_identity", "")
        if not identity:
            raise Invalid(
                "--set identity=... is needed: the managed identity that reads the file.", code="option-missing"
            )
        return {"from": "export", "source_id": part, "identity": identity}
    return {"from": "long-term" if "/longtermretentionbackups/" in part.lower() else "database", "source_id": part}


def _sku(draft: Draft, values: Mapping[str, Any]) -> Any:
    """As it was, unless it was in an elastic pool: what a copy has there is its pool's."""
    sku = draft.point.captured("sku", {})
    if values.get("pool") or sku.get("name") == "ElasticPool":
        if not values.get("pool"):
            draft.warnings.append(
                "It was in an elastic pool: without --set pool=... or sku=... Azure chooses its size."
            )
        return None
    return sku


def _why(draft: Draft, source: Mapping[str, Any], name: str, place: str) -> str:
    words = {
        "database": "a copy of this point's database",
        "export": "this point's bacpac file",
        "long-term": "Azure's long-term backup",
        "geo": "Azure's geo-replicated backup",
        "moment": f"Azure's automatic backups, as of {source.get('at')}",
    }
    return f"Make the database {name} on {place} from {words[source['from']]}, as {draft.point.resource_name} was."
