"""Two SQL servers for a try and for tests: one with databases and rules at home, an empty one in the other region."""

from typing import Any

from deploy.sandbox.azure import sql_databases
from deploy.sandbox.azure.state import Thing, World, stamp

HOME_SERVER, AWAY_SERVER = "sql-home", "sql-away"
DATABASES = ("orders", "ledger")


def server_id(subscription: str, group: str, name: str) -> str:
    """The id of a planted server."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Sql/servers/{name}"


def plant(world: World, subscription: str, group: str, home: str, away: str) -> dict[str, Any]:
    """Plant both servers; their ids and those of the databases by name."""
    made = {name: _server(world, server_id(subscription, group, name), region) for name, region in (
        (HOME_SERVER, home), (AWAY_SERVER, away),
    )}  # fmt: skip
    server = made[HOME_SERVER]
    server.tags = {"backup": "sql", "team": "shop"}
    for number, rule in enumerate(("office", "vpn"), 1):
        thing = Thing(f"{server.id}/firewallRules/{rule}", "firewallRules", home)
        thing.properties = {"startIpAddress": f"10.0.0.{number}", "endIpAddress": f"10.0.0.{number}"}
        world.put(thing)
    found = {}
    for name in DATABASES:
        body = {"location": home, "tags": {"owner": name}, "sku": {"name": "S0", "tier": "Standard"}}
        database, _ = sql_databases.put_database(world, f"{server.id}/databases/{name}", server, body)
        database.ends = database.begun
        sql_databases.write_rows(world, database, {"first": f"rows of {name}"})
        found[name] = database.id
    master = Thing(f"{server.id}/databases/master", "databases", home)
    master.fields = {"sku": {"name": "System", "tier": "System"}, "kind": "v12.0,system"}
    master.properties = {"collation": "SQL_Latin1_General_CP1_CI_AS", "maxSizeBytes": 32 << 30}
    world.put(master)
    return {"servers": {name: one.id for name, one in made.items()}, "databases": found}


def long_term(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """What Azure does by itself once a week where a policy asks for it: a long-term retention backup of `id`, now."""
    database = world.need(str(wish["id"]))
    words, now = database.id.split("/"), world.now()
    place = (
        f"/subscriptions/{words[2]}/providers/Microsoft.Sql/locations/{database.location}"
        f"/longTermRetentionServers/{words[8]}/longTermRetentionDatabases/{database.name}/longTermRetentionBackups"
    )
    made = Thing(
        f"{place}/{database.properties['databaseId']};{int(now)};Hot", "longTermRetentionBackups", database.location
    )
    made.fields |= {"_rows": dict(sql_databases.rows_of(database)), "_database": database.id}
    made.properties = {
        "serverName": words[8], "databaseName": database.name, "backupTime": stamp(now),
        "backupExpirationTime": stamp(now + 84 * 86_400), "backupStorageRedundancy": "Geo",
    }  # fmt: skip
    return {"id": world.put(made).id}


def _server(world: World, resource_id: str, region: str) -> Thing:
    made = Thing(resource_id, "servers", region)
    made.fields = {"kind": "v12.0"}
    made.properties = {
        "fullyQualifiedDomainName": f"{resource_id.rsplit('/', 1)[1]}.database.windows.net",
        "administratorLogin": "dba",
        "version": "12.0",
        "state": "Ready",
        "publicNetworkAccess": "Enabled",
        "minimalTlsVersion": "1.2",
        "restrictOutboundNetworkAccess": "Disabled",
    }
    return world.put(made)
