"""Which copies of databases are there: those that carry our tag, and those that somebody asks for by id."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.errors import Invalid
from workers.azure import sql_copies, sql_describe
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.ids import normal
from workers.azure.sql_ids import is_copy_of_ours, read_sql
from workers.azure.tags import OURS
from workers.driver import TAG_INSTALLATION, TAG_SOURCE, Part, Presence, Tagged, untold


def tagged(clients: Clients, region: str, installation: str) -> list[Tagged]:
    """Copies and staging copies on the servers of a region that carry an installation's tag; what a restore made has a
    name of its own and is none. Raises the SDK's errors."""
    found = []
    for server in clients.sql.servers.list():
        if region_of(server.as_dict()) != region:
            continue
        parts = read_sql(server.id)
        for item in clients.sql.databases.list_by_server(parts.group, parts.server):
            model = item.as_dict()
            tags = model.get("tags") or {}
            if is_copy_of_ours(model["name"], tags) and tags.get(TAG_INSTALLATION) == installation:
                found.append(_tagged(model, tags))
    return found


def _tagged(model: Mapping[str, Any], tags: Mapping[str, str]) -> Tagged:
    """A copy. Which database of its source's name it was taken of is not told any more."""
    properties, source = model.get("properties", {}), normal(tags.get(TAG_SOURCE, ""))
    users = {name: value for name, value in tags.items() if not name.startswith(OURS)}
    known = {"kind": "database", "pool_id": properties.get("elasticPoolId"), "tags": users}
    return Tagged(
        "snapshot",
        normal(model["id"]),
        datetime.fromisoformat(str(properties["creationDate"])),
        tags,
        source,
        sql_describe.size_gib(properties),
        complete=properties.get("status") in sql_copies.WHOLE,
        attributes={name: value for name, value in known.items() if value},
        type="azure-sql",
    )


def present(clients: Clients, parts: Sequence[Part]) -> Presence:
    """Those copies that are there; nothing is told of exports, which are files, and of long-term backups, which Azure
    deletes by a policy of its own. Raises the SDK's errors."""
    wanted = {part.external_id for part in parts if _is_database(part.external_id)}
    found = sql_copies.models(clients, sorted(wanted))
    # A list may leave out what this role has no rights in: each of the others is asked for, and refused if so.
    found |= {one: model for one in wanted - found.keys() if (model := sql_describe.get(clients, read_sql(one)))}
    others = untold(part for part in parts if part.external_id not in wanted)
    return {**others, **{one: dict(found[one].get("tags") or {}) for one in wanted & found.keys()}}


def _is_database(external_id: str) -> bool:
    try:
        return bool(read_sql(external_id).name)
    except Invalid:
        return False
