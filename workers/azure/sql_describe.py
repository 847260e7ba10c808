"""What SQL databases exist, and what of them and of their server a restore needs or compares.

A server's settings are captured without any secret: Azure never shows the administrator's password.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from workers.azure.clients import Clients
from workers.azure.describe import region_of
from workers.azure.errors import translate
from workers.azure.ids import normal
from workers.azure.sql_ids import DatabaseId, is_copy_of_ours, read_sql
from workers.driver import Account, Resource, ResourcePage, Scope

# Servers whose databases are listed for one page: with the list of servers that is 21 calls, a few seconds.
_SERVERS_A_PAGE = 20
_POLICIES = {
    "short_term": ("backup_short_term_retention_policies", ("retentionDays", "diffBackupIntervalInHours")),
    "long_term": (
        "long_term_retention_policies",
        ("weeklyRetention", "monthlyRetention", "yearlyRetention", "weekOfYear"),
    ),
}
# Ours: theirs, of a database that a restore makes again.
KEPT = {
    "collation": "collation",
    "max_size_bytes": "maxSizeBytes",
    "zone_redundant": "zoneRedundant",
    "redundancy": "requestedBackupStorageRedundancy",
    "license_type": "licenseType",
    "min_capacity": "minCapacity",
    "auto_pause": "autoPauseDelay",
    "maintenance": "maintenanceConfigurationId",
    "pool_id": "elasticPoolId",
    "read_scale": "readScale",
    "replicas": "highAvailabilityReplicaCount",
    "status": "status",
    "unique_id": "databaseId",
    "created_at": "creationDate",
}
_OF_SERVER = (
    "administratorLogin", "version", "minimalTlsVersion", "publicNetworkAccess", "restrictOutboundNetworkAccess",
)  # fmt: skip


def discover(clients: Clients, scope: Scope, page: str | None) -> ResourcePage:
    """The databases of the next servers of the scope's region; `page` is the id of the last server that was read."""
    servers = [item.as_dict() for item in clients.sql.servers.list()]
    here = sorted((one for one in servers if region_of(one) == scope.region), key=lambda one: normal(one["id"]))
    left = [one for one in here if normal(one["id"]) > (page or "")]
    found: list[Resource] = []
    for server in left[:_SERVERS_A_PAGE]:
        parts = read_sql(server["id"])
        listed = (item.as_dict() for item in clients.sql.databases.list_by_server(parts.group, parts.server))
        found += [database(scope.account, server, item) for item in listed if _counts(item)]
    more = len(left) > _SERVERS_A_PAGE
    return ResourcePage(tuple(found), normal(left[_SERVERS_A_PAGE - 1]["id"]) if more else None)


def _counts(item: Mapping[str, Any]) -> bool:
    """Neither the system's own database nor a copy that a backup made."""
    return str(item.get("name", "")).lower() != "master" and not is_copy_of_ours(item["name"], item.get("tags"))


def database(account: Account, server: Mapping[str, Any], item: Mapping[str, Any]) -> Resource:
    """A database from its model and its server's. The server's tags count for it, its own go before them."""
    own = dict(item.get("tags") or {})
    properties, sku = item.get("properties", {}), dict(item.get("sku") or {})
    kept = {ours: properties.get(theirs) for ours, theirs in KEPT.items()}
    attributes = {
        **{name: value for name, value in kept.items() if value not in (None, "")},
        "id": normal(item["id"]),
        "server_id": normal(server["id"]),
        "server": server_settings(server),
        "sku": {name: value for name, value in sku.items() if value is not None},
        "own_tags": own,
        "size_gib": size_gib(properties),
    }
    tags = {**dict(server.get("tags") or {}), **own}
    name = str(item["name"])
    return Resource(
        "azure-sql", normal(item["id"]), account, region_of(item), name, tags, attributes, normal(server["id"])
    )


def size_gib(properties: Mapping[str, Any]) -> int:
    """The most that the database may hold: what it does hold is not told here."""
    return -(-int(properties.get("maxSizeBytes") or 0) // (1 << 30))


def server_settings(server: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared after a restore; the administrator by name only."""
    properties = server.get("properties", {})
    found = {name: properties.get(name) for name in _OF_SERVER}
    directory = properties.get("administrators") or {}
    found |= {"directoryLogin": directory.get("login"), "directoryOnly": directory.get("azureADOnlyAuthentication")}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "tags": dict(server.get("tags") or {}),
    }


def get(clients: Clients, parts: DatabaseId) -> dict[str, Any] | None:
    """A database's model, None when there is none. Raises the SDK's other errors."""
    try:
        found: dict[str, Any] = clients.sql.databases.get(*parts.place).as_dict()
    except ResourceNotFoundError:
        return None
    return found


def now(clients: Clients, database_id: str) -> Resource:
    """A database and its server at this moment. Raises the SDK's errors."""
    parts = read_sql(database_id)
    item = clients.sql.databases.get(*parts.place).as_dict()
    return database(clients.account, clients.sql.servers.get(parts.group, parts.server).as_dict(), item)


def beside(clients: Clients, resource: Resource) -> tuple[dict[str, Any], list[str]]:
    """What a look at the estate leaves out: the server's rules and the database's retention, and a warning for what
    could not be read."""
    parts = read_sql(resource.external_id)
    warnings: list[str] = []

    def read(what: str, ask: Callable[[], Any], empty: Any) -> Any:
        try:
            return ask()
        except AzureError as error:
            warnings.append(f"The {what} were not captured. {translate(error, 'a look at them').text}")
            return empty

    server = {**resource.attributes["server"], **rules(clients, parts, read)}
    policies = read("retention policies", lambda: retention(clients, parts), {})
    return {"server": server, "retention": policies}, warnings


def rules(clients: Clients, parts: DatabaseId, read: Callable[[str, Callable[[], Any], Any], Any]) -> dict[str, Any]:
    """The server's firewall and network rules by name."""
    place = (parts.group, parts.server)
    firewall = read("firewall rules", lambda: _named(clients.sql.firewall_rules.list_by_server(*place), _addresses), {})
    network = read(
        "network rules", lambda: _named(clients.sql.virtual_network_rules.list_by_server(*place), _subnet), {}
    )
    return {"firewall": firewall, "network": network}


def _named(items: Iterable[Any], value: Callable[[Mapping[str, Any]], str]) -> dict[str, str]:
    return {str(one["name"]): value(one.get("properties", {})) for one in (item.as_dict() for item in items)}


def _addresses(properties: Mapping[str, Any]) -> str:
    return f"{properties.get('startIpAddress')}-{properties.get('endIpAddress')}"


def _subnet(properties: Mapping[str, Any]) -> str:
    return normal(str(properties.get("virtualNetworkSubnetId", "")))


def retention(clients: Clients, parts: DatabaseId) -> dict[str, dict[str, Any]]:
    """How long Azure keeps its own backups of a database: {"short_term": ..., "long_term": ...}."""
    found = {}
    for name, (collection, fields) in _POLICIES.items():
        properties = getattr(clients.sql, collection).get(*parts.place, "default").as_dict().get("properties", {})
        found[name] = {field: properties[field] for field in fields if properties.get(field) is not None}
    return found
