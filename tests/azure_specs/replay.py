"""Replaying the official examples against an emulated Azure in this process: what each needs is made first."""

import io
import json
import re
from typing import Any

from deploy.sandbox.azure.app import Application
from deploy.sandbox.azure.state import Principal, Thing, World
from tests.azure_specs.swagger import Operation, answer_errors, request_errors

BASE = "https://management.azure.com"
_INSTANTS = ("snapshot", "copy", "disk", "machine", "delete", "sql_copy", "export", "access")
QUICK = {f"{name}_seconds": 0.0 for name in _INSTANTS}
_ID = re.compile(
    r"/?subscriptions/[^/]+/resourcegroups/[^/]+/providers/[^/]+/\w+/[^/]+(?:/(?:databases|firewallrules|"
    r"virtualnetworkrules|recoverabledatabases|restorabledroppeddatabases|runcommands)/[^/]+)?",
    re.I,
)
_LONG_TERM = re.compile(r".*/longtermretentionbackups/[^/]+$", re.I)
_MADE = (
    "disks", "snapshots", "virtualmachines", "networkinterfaces", "subnets", "servers", "databases", "firewallrules",
    "virtualnetworkrules", "recoverabledatabases", "restorabledroppeddatabases", "runcommands",
)  # fmt: skip
_RULES: dict[str, dict[str, str]] = {
    "firewallrules": {"startIpAddress": "10.0.0.1", "endIpAddress": "10.0.0.1"},
    "virtualnetworkrules": {"virtualNetworkSubnetId": "/subscriptions/s/subnets/one"},
}
_DISK = {"properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 8}}


class Stage:
    """An emulated Azure with one principal, on which one example is played."""

    def __init__(self, subscriptions: set[str]):
        self.world = World(QUICK)
        self.world.principals["c"] = Principal("t", "c", "s", subscriptions)
        self.world.tokens["t"] = ("c", self.world.now() + 3600)
        self.app = Application(self.world, BASE)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of one request."""
        raw = json.dumps(body).encode() if body is not None else b""
        told: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]]) -> None:
            told.update(status=int(status.split()[0]), headers=dict(headers))

        environ = {
            "REQUEST_METHOD": method.upper(), "PATH_INFO": path, "QUERY_STRING": "", "CONTENT_LENGTH": str(len(raw)),
            "wsgi.input": io.BytesIO(raw), "HTTP_AUTHORIZATION": "Bearer t",
        }  # fmt: skip
        data = b"".join(self.app(environ, start))
        return told["status"], told["headers"], json.loads(data) if data else None

    def plant(self, resource_id: str, location: str) -> None:
        """Make a resource and what it stands on, in the way in which it is made there."""
        if self.world.get(resource_id) is not None:
            return
        base, kind = resource_id.split("/providers/")[0], resource_id.rsplit("/", 2)[1].lower()
        if kind == "recoverabledatabases":
            self.plant(re.sub("/recoverabledatabases/", "/databases/", resource_id, flags=re.I), location)
        elif kind == "runcommands":
            self.plant(resource_id.rsplit("/", 2)[0], location)
            self._put(resource_id, {"location": location, "properties": {"source": {"script": "true"}}})
        elif kind == "restorabledroppeddatabases":
            name = resource_id.rsplit("/", 1)[1]
            self.plant(resource_id.rsplit("/", 2)[0], location)
            dropped = self.world.put(Thing(resource_id, "restorableDroppedDatabases", location))
            dropped.fields["sku"] = {"name": "S0", "tier": "Standard"}
            dropped.properties = {"databaseName": name.split(",")[0], "deletionDate": "2026-01-01T00:00:00Z"}
        elif kind in ("firewallrules", "virtualnetworkrules"):
            self.plant(resource_id.rsplit("/", 2)[0], location)
            self._put(resource_id, {"properties": _RULES[kind]})
        elif kind == "databases":
            self.plant(resource_id.rsplit("/", 2)[0], location)
            self._put(resource_id, {"location": location, "sku": {"name": "S0", "tier": "Standard"}})
            self.world.need(resource_id).properties["earliestRestoreDate"] = "2014-01-01T00:00:00Z"
        elif kind == "servers":
            self._put(resource_id, {"location": location, "properties": {"administratorLogin": "dba"}})
        elif kind == "snapshots":
            disk = f"{base}/providers/Microsoft.Compute/disks/of-{resource_id.rsplit('/', 1)[1]}"
            self.plant(disk, location)
            creation = {"createOption": "Copy", "sourceResourceId": disk}
            self._put(
                resource_id, {"location": location, "properties": {"creationData": creation, "incremental": True}}
            )
        elif kind == "virtualmachines":
            self._machine(resource_id, base, location)
        elif kind == "disks":
            self._put(resource_id, {**_DISK, "location": location})
        else:
            thing = self.world.put(Thing(resource_id, kind, location))
            thing.properties["addressPrefix"] = "10.0.0.0/24"

    def _machine(self, resource_id: str, base: str, location: str) -> None:
        nic = f"{base}/providers/Microsoft.Network/networkInterfaces/planted"
        self.plant(nic, location)
        properties = {
            "hardwareProfile": {"vmSize": "Standard_D1_v2"},
            "storageProfile": {"osDisk": {"createOption": "FromImage", "osType": "Linux"}},
            "networkProfile": {"networkInterfaces": [{"id": nic}]},
        }
        self._put(resource_id, {"location": location, "properties": properties})

    def _put(self, path: str, body: dict[str, Any]) -> None:
        status, _, answer = self.call("put", path, body)
        if status >= 300:
            raise ValueError(f"{path} cannot be planted: {answer}")


def play(operation: Operation, example: dict[str, Any]) -> tuple[list[str], str]:
    """What is wrong with the request and its answer, and the code of a refusal ('' for none)."""
    given = example["parameters"]
    path = re.sub(r"\{(\w+)\}", lambda found: str(given.get(found[1], "x")), operation.path)
    wanted = [one["name"] for one in operation.parameters if one.get("in") == "body"]
    body = next((given[name] for name in wanted if name in given), None)
    subscription = path.split("/", 3)[2]
    text = json.dumps(body or {}).replace("{subscriptionId}", subscription).replace("{subscription-id}", subscription)
    body = json.loads(text) if body is not None else None
    stage = Stage({subscription, *re.findall(r"/subscriptions/([^/\"]+)/", text)})
    _prepare(stage, operation, path, body)
    wrong = [f"request {one}" for one in request_errors(operation, body)]
    status, headers, answer = stage.call(operation.method, path, body)
    if status >= 400:
        return wrong, str((answer or {}).get("error", {}).get("code", status))
    return wrong + [f"answer {one}" for one in answer_errors(operation, status, headers, answer)], ""


def _prepare(stage: Stage, operation: Operation, path: str, body: Any) -> None:
    """Plant what the path and the body name: for a PUT what it stands on, for all else the thing itself too."""
    location = str((body or {}).get("location", "West US")).replace(" ", "").lower()
    copied = (body or {}).get("properties", {}).get("creationData", {}).get("createOption") == "CopyStart"
    creating = operation.method == "put"
    if _LONG_TERM.match(path):
        backup = stage.world.put(Thing(path, "longTermRetentionBackups", "japaneast"))
        backup.properties = {"serverName": "s", "databaseName": "d", "backupTime": "2026-01-01T00:00:00Z"}
    if "storageUri" in (body or {}):
        stage.world.bacpacs[body["storageUri"]] = {"a": "row"}
        if operation.id != "Databases_Import":
            stage.world.bacpacs.clear()
    for found in _ID.findall(path):
        whole = found.lower() == path.lower()
        stands_on = found.rsplit("/", 2)[0] if creating and whole else found
        if _kind(stands_on) in _MADE:
            stage.plant(stands_on, location)
    for found in _ID.findall(json.dumps(body or {}).replace('\\"', "").replace('"', " ").replace(",", " ")):
        one = "/" + found.split(" ")[0].lstrip("/")
        if _kind(one) in _MADE and one.lower() != path.lower():
            stage.plant(one, "elsewhere" if copied else location)


def _kind(resource_id: str) -> str:
    words = resource_id.lower().split("/")
    return words[-2] if len(words) >= 9 and "providers" in words else ""
