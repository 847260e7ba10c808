"""Microsoft.Sql of the emulated Azure: servers, databases and what belongs to them, by a table of paths.

Sources: the swagger files of Microsoft.Sql (2023-08-01-preview) and their examples; recordings for its dialect of
long-running operations: a PUT answers 202 with an operation object, and two addresses below a resource group.
"""

import re
from collections.abc import Callable
from typing import Any

from deploy.sandbox.azure import sql_databases as databases
from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

Answer = tuple[int, dict[str, str], Any]
_LIST = r"/subscriptions/(?P<sub>[^/]+)(?:/resourcegroups/(?P<group>[^/]+))?/providers/microsoft\.sql/servers"
_SERVER = (
    r"(/subscriptions/(?P<sub>[^/]+)/resourcegroups/(?P<group>[^/]+)/providers/microsoft\.sql"
    r"/servers/(?P<server>[^/]+))"
)
_LTR = (
    r"/subscriptions/(?P<sub>[^/]+)(?:/resourcegroups/(?P<group>[^/]+))?/providers/microsoft\.sql"
    r"/locations/(?P<place>[^/]+)/longtermretentionservers/(?P<server>[^/]+)/longtermretentiondatabases/(?P<name>[^/]+)/longtermretentionbackups"
)
_KINDS = {
    "firewallrules": "firewallRules",
    "virtualnetworkrules": "virtualNetworkRules",
    "backupshorttermretentionpolicies": "backupShortTermRetentionPolicies",
    "backuplongtermretentionpolicies": "backupLongTermRetentionPolicies",
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "backupShortTermRetentionPolicies": {"retentionDays": 7, "diffBackupIntervalInHours": 12},
    "backupLongTermRetentionPolicies": {
        "weeklyRetention": "PT0S", "monthlyRetention": "PT0S", "yearlyRetention": "PT0S", "weekOfYear": 0,
    },
}  # fmt: skip
_SECRET = ("administratorLoginPassword",)


def view(world: World, thing: Thing) -> dict[str, Any]:
    """A resource of Microsoft.Sql as it is shown; no password, nothing that is written once only."""
    kept = {key: value for key, value in thing.fields.items() if not key.startswith("_")}
    properties = {key: value for key, value in thing.properties.items() if key not in _SECRET}
    path = thing.id.split("/providers/Microsoft.Sql/", 1)[-1].split("/")
    shown = {"id": thing.id, "name": thing.name, "type": "/".join(["Microsoft.Sql", *path[::2]])}
    if thing.kind in ("servers", "databases", "restorableDroppedDatabases"):
        shown |= {"location": thing.location, **({} if thing.kind.startswith("rest") else {"tags": thing.tags})}
    if thing.kind == "databases":
        properties["status"] = databases.status(world, thing)
    return {**shown, **kept, "properties": properties}


class Sql:
    """Answers for a world; `base` is the service's own address. `admit` notes a call and raises planted faults."""

    def __init__(self, world: World, base: str, admit: Callable[..., dict[str, Any] | None]):
        self.world, self.base, self._admit = world, base, admit

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        """One request below /providers/Microsoft.Sql."""
        for pattern, handle in self._table():
            found = re.fullmatch(pattern, path, re.I)
            if found:
                return handle(method, found, query, body)
        raise Refusal(404, "InvalidResourceType", f"The resource type of {path} is not emulated.")

    def _table(self) -> list[tuple[str, Callable[..., Answer]]]:
        data = _SERVER + r"/databases/(?P<name>[^/]+)"
        kinds = "|".join(_KINDS)
        return [
            (_LIST, self._servers),
            (_SERVER, self._server),
            (_SERVER + "/databases", self._databases),
            (data, self._database),
            (data + "/export", self._export),
            (data + "/import", self._import),
            (data + "/extensions", self._extensions),
            (_SERVER + r"/recoverabledatabases(?:/(?P<name>[^/]+))?", self._recoverable),
            (_SERVER + r"/restorabledroppeddatabases(?:/(?P<name>[^/]+))?", self._dropped),
            (rf"(?P<parent>{_SERVER})/(?P<kind>{kinds})(?:/(?P<child>[^/]+))?", self._child),
            (rf"(?P<parent>{data})/(?P<kind>{kinds})(?:/(?P<child>[^/]+))?", self._child),
            (_LTR + r"(?:/(?P<backup>[^/]+))?", self._long_term),
            (
                r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.sql/locations/[^/]+/"
                r"(?P<family>databaseazureasyncoperation|databaseoperationresults|importexportoperationresults)/(?P<id>\w+)",
                self._operation,
            ),
        ]  # fmt: skip

    # --- servers ---

    def _servers(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit("LIST", "servers", found["sub"], "")
        group = (found["group"] or "").lower()
        here = [one for one in self.world.of_kind("servers", found["sub"]) if group in ("", one.group.lower())]
        return self._page(here, query, found[0])

    def _server(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit(method, "servers", found["sub"], found["server"], body)
        if method == "PUT":
            return self._put_server(found[0], body)
        server = self.world.need(found[0])
        if method == "PATCH":
            server.tags = dict(body.get("tags", server.tags))
            server.properties |= {k: v for k, v in (body.get("properties") or {}).items() if k not in _SECRET}
        if method == "DELETE":
            for one in self.world.of_kind("databases"):
                if one.id.lower().startswith(server.id.lower() + "/"):
                    one.gone_at = self.world.now()
            server.gone_at = self.world.now()
            return 204, {}, None
        return 200, {}, view(self.world, server)

    def _put_server(self, resource_id: str, body: dict[str, Any]) -> Answer:
        properties = {key: value for key, value in (body.get("properties") or {}).items() if key not in _SECRET}
        made = self.world.get(resource_id)
        if made is None:
            name = resource_id.rsplit("/", 1)[1]
            made = Thing(resource_id, "servers", str(body["location"]).replace(" ", "").lower())
            made.fields = {"kind": "v12.0"}
            made.properties = {
                "fullyQualifiedDomainName": f"{name}.database.windows.net", "version": "12.0", "state": "Ready",
                "publicNetworkAccess": "Enabled", "minimalTlsVersion": "1.2",
                "restrictOutboundNetworkAccess": "Disabled",
            }  # fmt: skip
            self.world.put(made)
        made.tags = dict(body.get("tags") or made.tags)
        made.properties |= properties
        return 200, {}, view(self.world, made)

    # --- databases ---

    def _databases(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit("LIST", "databases", found["sub"], found["server"])
        server = self.world.need(found[1])
        inside = f"{server.id.lower()}/databases/"
        here = [one for one in self.world.of_kind("databases") if one.id.lower().startswith(inside)]
        return self._page(here, query, found[0])

    def _database(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        fault = self._admit(method, "databases", found["sub"], found["name"], body)
        if method == "PUT":
            made, operation = databases.put_database(self.world, found[0], self.world.need(found[1]), body)
            if fault and fault["kind"] == "fail_operation":
                operation.failure = (fault.get("code", "InternalServerError"), fault.get("message", "It failed."))
                made.gone_at = made.ends
            answer = self._accepted(operation)
            lost = {"x-lost": "yes"} if fault and fault["kind"] == "drop_after" else {}
            return answer[0], {**answer[1], **lost}, answer[2]
        thing = self.world.get(found[0])
        if method == "DELETE":
            return self._drop(thing)
        if thing is None:
            raise Refusal(404, "ResourceNotFound", f"The Resource 'databases/{found['name']}' was not found.")
        if method == "PATCH":
            thing.tags = dict(body.get("tags", thing.tags))
            thing.properties |= {k: v for k, v in (body.get("properties") or {}).items() if k not in databases._ONCE}
            return self._accepted(databases.begin(self.world, thing, "UpdateLogicalDatabase", 0.0))
        return 200, {}, view(self.world, thing)

    def _drop(self, thing: Thing | None) -> Answer:
        if thing is None:
            return 204, {}, None
        if thing.fields.get("_locked"):
            text = f"The scope '{thing.id}' cannot perform delete operation because following scope(s) are locked."
            raise Refusal(409, "ScopeLocked", text)
        seconds = self.world.settings["delete_seconds"]
        if thing.gone_at is None:
            thing.gone_at = self.world.now() + seconds
            databases.keep_dropped(self.world, thing)
        return self._accepted(databases.begin(self.world, None, "DropLogicalDatabase", seconds, at=thing))

    def _export(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        fault = self._admit("POST", "export", found["sub"], found["name"], body)
        database = self.world.need(found[0].rsplit("/", 1)[0])
        if fault and fault["kind"] == "fail_operation":
            database.fields["_next_export"] = fault.get("message", "The export failed.")
        answer = self._accepted(databases.export(self.world, database, body))
        lost = {"x-lost": "yes"} if fault and fault["kind"] == "drop_after" else {}
        return answer[0], {**answer[1], **lost}, answer[2]

    def _import(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        fault = self._admit("POST", "import", found["sub"], found["name"], body)
        database = self.world.need(found[0].rsplit("/", 1)[0])
        if fault and fault["kind"] == "fail_operation":
            database.fields["_next_export"] = fault.get("message", "The import failed.")
        return self._accepted(databases.import_into(self.world, database, body))

    def _extensions(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit("LIST", "extensions", found["sub"], found["name"])
        database = self.world.need(found[0].split("/extensions")[0])
        rows = databases.transfers(self.world, database)
        return 200, {}, {"value": [databases.transfer_view(self.world, database, one, "extensions") for one in rows]}

    def _recoverable(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit("GET", "recoverableDatabases", found["sub"], found["name"] or "")
        inside = f"{found[1].lower()}/databases/"
        here = [one for key, one in self.world.things.items() if key.startswith(inside) and one.kind == "databases"]
        shown = [
            {
                "id": one.id.replace("/databases/", "/recoverableDatabases/"),
                "name": one.name,
                "type": "Microsoft.Sql/servers/recoverableDatabases",
                "properties": {
                    "edition": one.fields["sku"].get("tier", "GeneralPurpose"),
                    "serviceLevelObjective": one.fields["sku"]["name"],
                    "lastAvailableBackupDate": stamp(self.world.now()),
                },
            }
            for one in here
            if one.properties.get("currentBackupStorageRedundancy") in ("Geo", "GeoZone")
            and (found["name"] or one.name).lower() == one.name.lower()
        ]
        if not found["name"]:
            return 200, {}, {"value": shown}
        if not shown:
            raise Refusal(404, "ResourceNotFound", "There is no geo-replicated backup of this database.")
        return 200, {}, shown[0]

    def _dropped(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit("GET", "restorableDroppedDatabases", found["sub"], found["name"] or "")
        server = self.world.need(found[1])
        inside = f"{server.id.lower()}/"
        here = [one for one in self.world.of_kind("restorableDroppedDatabases") if one.id.lower().startswith(inside)]
        if not found["name"]:
            return 200, {}, {"value": [view(self.world, one) for one in here]}
        return 200, {}, view(self.world, self.world.need(found[0]))

    # --- what belongs to servers and databases ---

    def _child(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        kind = _KINDS[found["kind"].lower()]
        self._admit(method, kind, found["sub"], found["child"] or "", body)
        parent = self.world.need(found["parent"])
        if kind in _DEFAULTS and self.world.get(f"{parent.id}/{kind}/default") is None:
            usual = Thing(f"{parent.id}/{kind}/default", kind, parent.location)
            usual.properties = dict(_DEFAULTS[kind])
            self.world.put(usual)
        if not found["child"]:
            if method != "GET":
                raise Refusal(404, "InvalidResourceType", f"Replacing all {kind} is not emulated.")
            inside = f"{parent.id.lower()}/{kind.lower()}/"
            here = [one for one in self.world.of_kind(kind) if one.id.lower().startswith(inside)]
            return 200, {}, {"value": [view(self.world, one) for one in here]}
        place = f"{parent.id}/{kind}/{found['child']}"
        if method in ("PUT", "PATCH"):
            made = self.world.get(place) or self.world.put(Thing(place, kind, parent.location))
            made.properties |= body.get("properties") or {}
            return 200, {}, view(self.world, made)
        if method == "DELETE":
            self.world.things.pop(place.lower(), None)
            return 200, {}, None
        return 200, {}, view(self.world, self.world.need(place))

    def _long_term(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        self._admit(method, "longTermRetentionBackups", found["sub"], found["name"])
        if found["backup"]:
            backup = self.world.need(found[0])
            if method == "DELETE":
                self.world.things.pop(backup.id.lower(), None)
                return 200, {}, None
            return 200, {}, view(self.world, backup)
        inside = found[0].lower() + "/"
        here = [one for one in self.world.of_kind("longTermRetentionBackups") if one.id.lower().startswith(inside)]
        if query.get("onlyLatestPerDatabase") == "true":
            here = sorted(here, key=lambda one: str(one.properties["backupTime"]))[-1:]
        return 200, {}, {"value": [view(self.world, one) for one in here]}

    # --- operations and pages ---

    def _accepted(self, operation: Operation) -> Answer:
        where = (
            f"{self.base}/subscriptions/{operation.subscription}/resourceGroups/{operation.group}"
            f"/providers/Microsoft.Sql/locations/{operation.location}"
        )
        rest = f"{operation.id}?api-version=2025-01-01"
        results = "databaseOperationResults"
        headers = {"Azure-AsyncOperation": f"{where}/databaseAzureAsyncOperation/{rest}"}
        if operation.family == "importExportOperationResults":
            results, headers = operation.family, {}
        headers |= {"Location": f"{where}/{results}/{rest}", "x-ms-ratelimit-remaining-subscription-writes": "1199"}
        return 202, headers, {"operation": operation.title, "startTime": stamp(operation.begun)}

    def _operation(self, method: str, found: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> Answer:
        operation = self.world.operations.get(found["id"])
        if operation is None:
            raise Refusal(404, "OperationIdNotFound", "The operation was not found.")
        self.world.counts["OPERATION", "ok"] += 1
        over, thing = self.world.now() >= operation.ends, operation.thing
        if found["family"].lower() == "databaseazureasyncoperation":
            state = "InProgress" if not over else "Failed" if operation.failure else "Succeeded"
            shown: dict[str, Any] = {"name": operation.id, "status": state, "startTime": stamp(operation.begun)}
            if state == "Failed" and operation.failure:
                shown["error"] = {"code": operation.failure[0], "message": operation.failure[1]}
            return 200, {}, shown
        if not over:
            return 202, {"Location": f"{self.base}{found[0]}?api-version=2025-01-01"}, None
        if operation.extra and thing:
            return 200, {}, databases.transfer_view(self.world, thing, operation.extra, operation.family)
        return 200, {}, view(self.world, thing) if thing else None

    def _page(self, here: list[Thing], query: dict[str, str], path: str) -> Answer:
        start, size = int(query.get("$skiptoken", 0)), int(self.world.settings["page"])
        page: dict[str, Any] = {"value": [view(self.world, one) for one in here[start : start + size]]}
        if start + size < len(here):
            page["nextLink"] = f"{self.base}{path}?api-version=2025-01-01&$skiptoken={start + size}"
        return 200, {}, page
