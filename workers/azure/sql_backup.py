"""Backups of SQL databases, and their copies in other regions.

The usual way is a copy of the database on its own server. `way: export` writes a bacpac file from a staging copy
(sql_export), `way: long-term` takes up what Azure's own long-term retention has made (sql_long_term).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.errors import Gone, Impossible, Invalid
from workers.azure import sql_describe, sql_export, sql_long_term
from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.errors import translated
from workers.azure.ids import name_for, normal
from workers.azure.sql_copies import Wish, begin
from workers.azure.sql_ids import read_sql
from workers.driver import BackupRequest, CopyRequest, Destination, Operation, Part, Point, Resource, Started
from workers.pace import Pace

_SAME_SUBSCRIPTION = "Azure copies databases inside one subscription only: {source} belongs to another than {target}."
_OTHER_REGION = "The copy lies in {region} already: a copy for DR goes to a server in another region."
_ONLY_COPIES = (
    "Only a backup that is a database is copied by Azure SQL: an export is copied by its storage account, and "
    "long-term retention by the redundancy of the server's backup storage."
)


def start_backup(clients: Clients, resource: Resource, request: BackupRequest, pace: Pace) -> Started:
    """Begin a backup of a database in the way that its options name, or adopt what this key began."""
    if request.mode != "snapshots":
        raise Invalid(f"There is no backup mode {request.mode!r} for azure-sql: see its options.")
    way = request.options.get("way", "copy")
    if "retention" in request.options and way != "long-term":
        raise Invalid("The option retention is for way: long-term; other backups are kept by the policy itself.")
    now, warnings = _as_it_is(clients, resource, request)
    if way == "long-term":
        return sql_long_term.start_backup(clients, now, request, pace, warnings)
    if str(now.attributes.get("sku", {}).get("tier", "")) == "DataWarehouse":
        raise Impossible("A dedicated SQL pool is not copied by Azure SQL: it has restore points of its own.")
    wish = _wish(now, request)
    if way == "export":
        return sql_export.start_backup(clients, now, request, wish, pace, warnings)
    detail, there, lost = begin(clients, wish, pace, request.proceed)
    made = wish.place.database(wish.place.name)
    part = Part(made, source_id=now.external_id, size_gib=size_of(now), attributes=part_attributes(now, wish))
    operation = Operation("azure-sql-copy", made, clients.account, now.region, detail)
    return Started((operation,), (part,), captured=captured(now), warnings=(*warnings, *lost), adopted=there)


def _as_it_is(clients: Clients, resource: Resource, request: BackupRequest) -> tuple[Resource, list[str]]:
    """The database now, with its server's rules and its retention. What vanished after an earlier attempt had begun to
    copy it is taken all the same."""
    try:
        with translated("a description"):
            now = resource if request.fresh else sql_describe.now(clients, resource.external_id)
    except Gone:
        made = replace(read_sql(resource.external_id), name=name_for(request.key))
        if sql_describe.get(clients, made) is None:
            raise
        return resource, [f"{resource.name} was deleted after this backup of it had begun."]
    beside, warnings = sql_describe.beside(clients, now)
    return replace(now, attributes={**now.attributes, **beside}), warnings


def _wish(resource: Resource, request: BackupRequest) -> Wish:
    """A copy beside its source. What is in an elastic pool stays there, unless the options name a size."""
    properties: dict[str, Any] = {"createMode": "Copy", "sourceDatabaseId": resource.external_id}
    sku = {"name": request.options["sku"]} if request.options.get("sku") else {}
    if not sku:
        properties["elasticPoolId"] = resource.attributes.get("pool_id")
    own = resource.attributes.get("own_tags", resource.tags)
    server = read_sql(str(resource.attributes["server_id"]))
    return Wish(request.key, server, resource.region, properties, request.tags, own, sku, fresh=request.fresh)


def size_of(resource: Resource) -> int:
    return int(resource.attributes.get("size_gib", 0))


def captured(resource: Resource) -> dict[str, Any]:
    """What the point knows of the database and its server."""
    return {**resource.attributes, "name": resource.name, "tags": dict(resource.attributes.get("own_tags", {}))}


def part_attributes(resource: Resource, wish: Wish) -> dict[str, Any]:
    found = {
        "kind": "database",
        "source_unique_id": resource.attributes.get("unique_id"),
        "pool_id": wish.properties.get("elasticPoolId"),
        "tags": dict(wish.user_tags),
    }
    return {name: value for name, value in found.items() if value}


def plan_copy_problem(point: Point, destination: Destination) -> str:
    """'' or why Azure can never make this copy, from what is known of both ends; no call."""
    if normal(point.account.number) != normal(destination.account.number):
        return _SAME_SUBSCRIPTION.format(source=point.account.name, target=destination.account.name)
    if point.region == destination.region:
        return _OTHER_REGION.format(region=point.region)
    return _ONLY_COPIES if any("/databases/" not in part.external_id for part in point.parts) else ""


def start_copy(clients: Clients, point: Point, destination: Destination, request: CopyRequest, pace: Pace) -> Started:
    """Begin copying the point's database to the server in the other region that the DR entry names."""
    problem = plan_copy_problem(point, destination)
    if problem:
        raise Impossible(problem, code="copy-impossible")
    if not request.options.get("server"):
        raise Invalid("The DR entry names no server: options: {server: ID}.", code="option-missing")
    target = read_sql(request.options["server"])
    model = clients.sql.servers.get(target.group, target.server).as_dict()
    if region_of(model) != destination.region:
        raise Invalid(f"The server {target.server} lies in {region_of(model)}, not in {destination.region}.")
    (source,) = point.parts
    sku, pool = request.options.get("sku", ""), request.options.get("pool", "")
    if source.attributes.get("pool_id") and not sku and not pool:
        text = "The database is in an elastic pool, which exists on its own server only."
        raise Impossible(f"{text} Name sku or pool in the DR entry's options.", code="pool-elsewhere")
    properties = {"createMode": "Copy", "sourceDatabaseId": source.external_id, "elasticPoolId": pool}
    users: Mapping[str, str] = source.attributes.get("tags", {})
    chosen = {"name": sku} if sku and not pool else {}
    wish = Wish(request.key, target, destination.region, properties, request.tags, users, chosen, fresh=request.fresh)
    detail, there, lost = begin(clients, wish, pace, request.proceed)
    made = wish.place.database(wish.place.name)
    attributes = {name: value for name, value in source.attributes.items() if name != "pool_id"}
    part = replace(source, external_id=made, attributes={**attributes, **({"pool_id": pool} if pool else {})})
    operation = Operation("azure-sql-copy", made, clients.account, destination.region, detail)
    return Started((operation,), (part,), warnings=tuple(lost), adopted=there)
