"""The service as one WSGI application: tokens, resources, long-running operations, faults, and the control plane.

Wire behaviour after recordings of DiskRP and ComputeRP: a PUT of a disk answers 202 with part of the resource and two
signed operation addresses of some 4 KB; the operation tells its state and, in the end, the whole resource; an operation
that failed is told with status 200.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, quote

from deploy.sandbox.azure import control, disks, entra, machines, pages, restore_points, scripts, sql_databases
from deploy.sandbox.azure.sql import Sql
from deploy.sandbox.azure.state import Operation, Refusal, Thing, World, stamp

Answer = tuple[int, dict[str, str], Any]
_PROVIDER = {
    "disks": "Microsoft.Compute",
    "snapshots": "Microsoft.Compute",
    "virtualMachines": "Microsoft.Compute",
    "networkInterfaces": "Microsoft.Network",
    "restorePointCollections": "Microsoft.Compute",
}
_KINDS = {name.lower(): name for name in _PROVIDER}
_PUT: dict[str, Callable[[World, str, dict[str, Any]], tuple[Thing, Operation]]] = {
    "disks": disks.put_disk,
    "snapshots": disks.put_snapshot,
    "virtualMachines": machines.put_machine,
    "networkInterfaces": machines.put_interface,
}
_ITEM = re.compile(
    r"^(/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/microsoft\.\w+/(\w+)/([^/]+))(?:/(\w+))?$", re.I
)
_LIST = re.compile(r"^/subscriptions/([^/]+)(?:/resourcegroups/([^/]+))?/providers/microsoft\.\w+/(\w+)$", re.I)
_OPERATION = re.compile(
    r"^/subscriptions/([^/]+)/providers/microsoft\.compute/locations/\w+/\w*operations/(\w+)$", re.I
)
_SIGNATURE = "c=" + "x" * 3800  # the real addresses carry a certificate chain of some 4 KB
_PARTIAL = ("location", "tags", "sku", "properties", "zones", "identity")
_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}


class Lost(Exception):
    """A request or an answer that is lost on purpose: the connection is to be cut."""


class Application:
    """Serves a world at `base`, the service's own address."""

    def __init__(self, world: World, base: str):
        self.world, self.base = world, base
        self.sql = Sql(world, base, self.admit)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = re.sub("/{2,}", "/", environ["PATH_INFO"])  # the SDK's lock operations send `//subscriptions`
        query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        raw = environ["wsgi.input"].read(length) if length else b""
        method = environ["REQUEST_METHOD"]
        with self.world.lock:
            try:
                status, headers, body = self._answer(method, path, query, raw, environ)
            except Refusal as refused:
                error = {"error": {"code": refused.code, "message": refused.message}}
                status, headers, body = refused.status, {**refused.headers, "x-ms-failure-cause": "gateway"}, error
                headers["x-ms-error-code"] = refused.code
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers, "Content-Length": str(len(data))}
        headers.setdefault("x-ms-request-id", secrets.token_hex(8))
        start_response(f"{status} {_REASONS.get(status, 'Answer')}", list(headers.items()))
        if headers.pop("x-lost", ""):
            raise Lost
        return [data]

    def _answer(self, method: str, path: str, query: dict[str, str], raw: bytes, environ: dict[str, Any]) -> Answer:
        if path.startswith("/sandbox/"):
            return control.handle(self.world, method, path, query, raw)
        if path.startswith("/pages/"):
            return pages.handle(self.world, method, path, query, environ, raw)
        if path.endswith("/.well-known/openid-configuration"):
            return 200, {}, entra.configuration(self.base, path.split("/")[1])
        if path.endswith("/oauth2/v2.0/token"):
            form = {key: values[0] for key, values in parse_qs(raw.decode()).items()}
            status, body = entra.token(self.world, path.split("/")[1], form)
            return status, {}, body
        if path.startswith(sql_databases.EXPORTS):
            return self._file(method, path, environ.get("HTTP_AUTHORIZATION", ""))
        self._authorise(path, environ.get("HTTP_AUTHORIZATION", ""))
        body = json.loads(raw) if raw else {}
        if "/providers/microsoft.sql/" in path.lower():
            return self.sql.answer(method, path, query, body)
        held = restore_points.PATH.match(path)
        if held:
            return self._restore_point(method, held[1], path, held[2] or "", body)
        command = scripts.PATH.match(path)
        if command:
            return self._script(method, command[1], path, command[2] or "", query, body)
        item, listing, operation = _ITEM.match(path), _LIST.match(path), _OPERATION.match(path)
        if operation:
            return self._operation(operation[2], monitored="monitor" in query)
        if item or listing:
            self.world.draw(path.split("/")[2], "reads" if method == "GET" else "writes")
        if item and item[4].lower() in _KINDS:
            return self._item(method, item, body)
        if listing and listing[3].lower() in _KINDS and method == "GET":
            return self._list(_KINDS[listing[3].lower()], listing[1], listing[2] or "", query)
        if re.fullmatch(r"/subscriptions/[^/]+", path, re.I) and method == "GET":
            return 200, {}, {"id": path, "subscriptionId": path.split("/")[2], "state": "Enabled"}
        raise Refusal(404, "InvalidResourceType", f"The resource type of {path} is not emulated.")

    def _authorise(self, path: str, header: str) -> None:
        client, until = self.world.tokens.get(header.removeprefix("Bearer "), ("", 0.0))
        if not client or until < self.world.now():
            code = "ExpiredAuthenticationToken" if client else "InvalidAuthenticationToken"
            raise Refusal(401, code, "The access token is missing, invalid or expired.", {"WWW-Authenticate": "Bearer"})
        subscription = path.split("/")[2].lower() if path.lower().startswith("/subscriptions/") else ""
        if subscription not in {one.lower() for one in self.world.principals[client].subscriptions}:
            known = any(subscription in {s.lower() for s in p.subscriptions} for p in self.world.principals.values())
            if not known:
                raise Refusal(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
            raise Refusal(403, "AuthorizationFailed", f"The client '{client}' does not have authorization.")

    def _file(self, method: str, path: str, header: str) -> Answer:
        """A bacpac file in its container: it can be deleted, and nothing else."""
        if header.removeprefix("Bearer ") not in self.world.tokens:
            raise Refusal(403, "AuthorizationPermissionMismatch", "This request is not authorized.")
        if method != "DELETE":
            raise Refusal(405, "UnsupportedHttpVerb", "Files of exports are only deleted here.")
        found = self.world.bacpacs.pop(f"{self.base}{path}", None)
        if found is None:
            raise Refusal(404, "BlobNotFound", "The specified blob does not exist.")
        return 202, {}, None

    def admit(
        self, method: str, kind: str, subscription: str, name: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Note a call, and raise the planted fault that stands before it; the fault that comes after, if any."""
        fault = self.world.take_fault(method, kind, subscription, name)
        self._note(method, kind, subscription, name, "", fault, body or {})
        if fault:
            _refuse(fault)
        return fault

    # --- resources ---

    def _item(self, method: str, item: re.Match[str], body: dict[str, Any]) -> Answer:
        resource_id, subscription, kind, action = item[1], item[2], _KINDS[item[4].lower()], item[6] or ""
        fault = self.world.take_fault(method, kind, subscription, f"{item[5]}/{action}" if action else item[5])
        self._note(method, kind, subscription, item[5], action, fault, body)
        if fault and fault.get("leaves_failed"):
            self._put(resource_id, kind, body)  # a limit that is met late (issues of users: SnapshotsLimitReached)
            left = self.world.need(resource_id)
            left.failure, left.ends = (fault["code"], "The limit was reached."), 0.0
        if fault:
            _refuse(fault)
        if action.lower() in ("begingetaccess", "endgetaccess") and kind in ("disks", "snapshots") and method == "POST":
            return self._access(self.world.need(resource_id), action.lower() == "begingetaccess", body, fault)
        if action and kind != "virtualMachines":
            raise Refusal(404, "InvalidResourceType", f"The action {action} is not emulated.")
        if action:
            answer = self._machine_action(method, resource_id, action.lower(), body, fault)
        else:
            verbs = {"GET": self._get, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete}
            answer = verbs[method](resource_id, kind, body)
        if fault and fault["kind"] == "fail_operation":
            made = self.world.need(resource_id)
            made.failure = (fault.get("code", "InternalExecutionError"), fault.get("message", "An internal error."))
            for one in self.world.operations.values():
                one.failure = made.failure if one.thing is made else one.failure
        if fault and fault["kind"] == "drop_after":
            return answer[0], {**answer[1], "x-lost": "yes"}, answer[2]
        return answer

    def _machine_action(
        self, method: str, resource_id: str, action: str, body: dict[str, Any], fault: dict[str, Any] | None
    ) -> Answer:
        machine = self.world.need(resource_id)
        if (method, action) == ("GET", "instanceview"):
            return 200, self._rates(resource_id), machines.power_view(self.world, machine)
        machine.failure = None  # what comes next decides
        if fault and fault["kind"] == "fail_operation":  # and nothing changes
            return self._accepted(
                self.world.begin("operations", machine, machine.subscription, machine.location, 0), None
            )
        if (method, action) == ("POST", "attachdetachdatadisks"):
            return self._accepted(machines.attach_detach(self.world, machine, body), None)
        if method == "POST" and action in ("start", "deallocate"):
            return self._accepted(machines.set_power(self.world, machine, action == "start"), None)
        raise Refusal(404, "InvalidResourceType", f"The action {action} is not emulated.")

    def _access(self, thing: Thing, given: bool, body: dict[str, Any], fault: dict[str, Any] | None) -> Answer:
        made = pages.grant(self.world, thing, body, self.base) if given else pages.revoke(self.world, thing)
        answer = self._accepted(made, None)
        return (answer[0], {**answer[1], "x-lost": "yes"}, None) if fault else answer

    def _restore_point(self, method: str, holder: str, path: str, name: str, body: dict[str, Any]) -> Answer:
        kind = restore_points.POINTS if name else restore_points.COLLECTIONS
        fault = self.admit(method, kind, path.split("/")[2], path.rsplit("/", 1)[1], body)
        if method == "DELETE":
            thing = self.world.get(path)
            return (204, {}, None) if thing is None else self._accepted(restore_points.delete(self.world, thing), None)
        if method == "GET":
            return 200, {}, self.view(self.world.need(path))
        if not name:
            made, fresh = restore_points.put_collection(self.world, path, body)
            return 201 if fresh else 200, {}, self.view(made)
        point, operation = restore_points.put_point(self.world, self.world.need(holder), path, body)
        answer = self._accepted(operation, self.view(point), status=201)
        return (answer[0], {**answer[1], "x-lost": "yes"}, answer[2]) if fault else answer

    def _script(
        self, method: str, machine: str, path: str, name: str, query: dict[str, str], body: dict[str, Any]
    ) -> Answer:
        fault = self.admit(method if name else "LIST", scripts.COMMANDS, path.split("/")[2], name, body)
        expanded = "instanceview" in query.get("$expand", "").lower()
        if not name:
            inside = f"{path.lower()}/"
            here = [one for one in self.world.of_kind(scripts.COMMANDS) if one.id.lower().startswith(inside)]
            return 200, {}, {"value": [scripts.view(self.world, one, expanded) for one in here]}
        if method in ("PUT", "PATCH"):
            failure = str(fault.get("message", "It failed.")) if fault and fault["kind"] == "fail_operation" else ""
            wish = {**scripts.wish_of(self.world.get(path)), **body} if method == "PATCH" else body
            made, operation = scripts.put(self.world, self.world.need(machine), path, wish, failure)
            answer = self._accepted(operation, scripts.view(self.world, made, False), status=201)
            lost = {"x-lost": "yes"} if fault and fault["kind"] == "drop_after" else {}
            return 200 if method == "PATCH" else 201, {**answer[1], **lost}, answer[2]
        if method == "DELETE":
            thing = self.world.things.pop(path.lower(), None)
            return (204, {}, None) if thing is None else (200, {}, None)
        return 200, {}, scripts.view(self.world, self.world.need(path), expanded)

    def _get(self, resource_id: str, kind: str, _: dict[str, Any]) -> Answer:
        return 200, self._rates(resource_id), self.view(self.world.need(resource_id))

    def _put(self, resource_id: str, kind: str, body: dict[str, Any]) -> Answer:
        if kind not in _PUT:
            raise Refusal(404, "InvalidResourceType", f"Making {kind} is not emulated.")
        if not body.get("location"):
            raise Refusal(400, "LocationRequired", "The location property is required for this definition.")
        self._meter(resource_id, disks.region(body))
        thing, operation = _PUT[kind](self.world, resource_id, body)
        if kind in ("virtualMachines", "networkInterfaces"):
            return self._accepted(operation, self.view(thing), status=201)
        partial = {key: value for key, value in self.view(thing).items() if key in _PARTIAL}
        partial["properties"] = {**partial["properties"], "provisioningState": "Updating"}
        return self._accepted(operation, partial, Retry="2")

    def _patch(self, resource_id: str, kind: str, body: dict[str, Any]) -> Answer:
        thing = self.world.need(resource_id)
        thing.tags = dict(body.get("tags", thing.tags))
        wish = (body.get("properties") or {}).get("storageProfile", {}).get("osDisk", {})
        if kind == "virtualMachines" and (wish.get("managedDisk") or {}).get("id"):
            return self._accepted(machines.swap_os(self.world, thing, wish), self.view(thing), status=200)
        return 200, {}, self.view(thing)

    def _delete(self, resource_id: str, kind: str, _: dict[str, Any]) -> Answer:
        thing = self.world.get(resource_id)
        if thing is None:
            return 204, {}, None
        if thing.fields.get("_locked"):
            text = f"The scope '{thing.id}' cannot perform delete operation because following scope(s) are locked."
            raise Refusal(409, "ScopeLocked", text)
        if pages.is_active(self.world, thing):
            text = f"There is an active shared access signature outstanding for {thing.name}. Call EndGetAccess first."
            raise Refusal(409, "OperationNotAllowed", text)
        if thing.fields.get("managedBy"):
            raise Refusal(
                409, "OperationNotAllowed", f"Disk {thing.name} is attached to VM {thing.fields['managedBy']}."
            )
        owner = thing.properties.get("virtualMachine", {}).get("id", "")
        if owner and self.world.get(owner) is not None:
            raise Refusal(400, "NicInUse", f"Network Interface {thing.name} is used by existing resource {owner}.")
        seconds = self.world.settings["delete_seconds"]
        if thing.gone_at is None:
            thing.gone_at = self.world.now() + seconds
            if kind == "virtualMachines":
                machines.release(self.world, thing, thing.gone_at)
            if kind == "snapshots":
                disks.break_copies(self.world, thing.id)
        family = "operations" if kind == "virtualMachines" else "DiskOperations"
        return self._accepted(self.world.begin(family, None, thing.subscription, thing.location, seconds), None)

    def _list(self, kind: str, subscription: str, group: str, query: dict[str, str]) -> Answer:
        fault = self.world.take_fault("LIST", kind, subscription)
        self._note("LIST", kind, subscription, "", "", fault, {})
        if fault:
            _refuse(fault)
        found = [one for one in self.world.of_kind(kind, subscription) if group.lower() in ("", one.group.lower())]
        start, size = int(query.get("$skiptoken", 0)), int(self.world.settings["page"])
        page: dict[str, Any] = {"value": [self.view(one) for one in found[start : start + size]]}
        if start + size < len(found):
            inside = f"/resourceGroups/{group}" if group else ""
            page["nextLink"] = (
                f"{self.base}/subscriptions/{subscription}{inside}/providers/{_PROVIDER[kind]}/{kind}"
                f"?api-version={query.get('api-version', '')}&$skiptoken={start + size}"
            )
        return 200, self._rates(f"/subscriptions/{subscription}"), page

    def view(self, thing: Thing) -> dict[str, Any]:
        """A resource as the service shows it; nothing of the emulator's own."""
        kept = {key: value for key, value in thing.fields.items() if not key.startswith("_")}
        pages.refresh(self.world, thing)
        properties = {**thing.properties, "provisioningState": thing.provisioning(self.world.now())}
        if thing.kind == "snapshots":
            properties["completionPercent"] = disks.percent(self.world, thing)
        if thing.kind == restore_points.COLLECTIONS:
            properties["restorePoints"] = [self.view(one) for one in restore_points.points_of(self.world, thing)]
        return {
            "id": thing.id,
            "name": thing.name,
            "type": f"{_PROVIDER.get(thing.kind, 'Microsoft.Network')}/{thing.kind}",
            "location": thing.location,
            "tags": thing.tags,
            **kept,
            "properties": properties,
        }

    # --- operations ---

    def _accepted(self, operation: Operation, body: Any, status: int = 202, Retry: str = "") -> Answer:
        signed = f"p={operation.id[:8]}&api-version=2026-03-02&t=1&{_SIGNATURE}&s={operation.id}&h=1"
        address = (
            f"{self.base}/subscriptions/{operation.subscription}/providers/Microsoft.Compute/locations/"
            f"{quote(operation.location)}/{operation.family}/{operation.id}?{signed}"
        )
        headers = {"Azure-AsyncOperation": address, "Location": f"{address}&monitor=true"}
        if Retry:
            headers["Retry-After"] = Retry
        return status, {**headers, **self._rates(f"/subscriptions/{operation.subscription}")}, body

    def _operation(self, number: str, monitored: bool) -> Answer:
        operation = self.world.operations.get(number)
        if operation is None:
            raise Refusal(404, "NotFound", "The operation was not found.")
        fault = self.world.take_fault("POLL", "operations", operation.subscription)
        if fault:
            _refuse(fault)
        self.world.counts["OPERATION", "ok"] += 1
        now = self.world.now()
        over = now >= operation.ends
        if monitored:
            if not over:
                return 202, {"Location": "", "Retry-After": "10"}, None
            if operation.answer is not None:
                return 200, {}, operation.answer
            return 200, {}, self.view(operation.thing) if operation.thing else None
        body: dict[str, Any] = {"startTime": stamp(operation.begun), "name": operation.id, "status": "InProgress"}
        if over:
            body |= {"status": "Failed" if operation.failure else "Succeeded", "endTime": stamp(operation.ends)}
            if operation.failure:
                body["error"] = {"code": operation.failure[0], "message": operation.failure[1]}
            elif operation.thing is not None:
                body["properties"] = {"output": self.view(operation.thing)}
        return 200, {} if over else {"Retry-After": "10"}, body

    # --- limits and notes ---

    def _meter(self, resource_id: str, location: str) -> None:
        """At most so many writes in three minutes for each subscription and region."""
        key, now = (resource_id.split("/")[2].lower(), location), self.world.now()
        recent = [at for at in self.world.writes.get(key, []) if at > now - 180]
        if len(recent) >= self.world.settings["writes_per_3_minutes"]:
            wait = max(1, round(recent[0] + 180 - now))
            self.world.counts["metered", "throttled"] += 1
            raise Refusal(429, "TooManyRequests", "The request is being throttled.", {"Retry-After": str(wait)})
        self.world.writes[key] = [*recent, now]

    def _rates(self, resource_id: str) -> dict[str, str]:
        subscription = resource_id.split("/")[2].lower()
        used = max((len(at) for key, at in self.world.writes.items() if key[0] == subscription), default=0)
        left = self.world.settings["writes_per_3_minutes"] - used
        told = {"x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/HighCostSnapshotCreateHydrate3Min;{left}"}
        for what in ("reads", "writes"):
            known = self.world.buckets.get((subscription, what))
            told |= {f"x-ms-ratelimit-remaining-subscription-{what}": str(int(known[0]))} if known else {}
        return told

    def _note(
        self, method: str, kind: str, subscription: str, name: str, action: str, fault: Any, body: dict[str, Any]
    ) -> None:
        call = {"method": method, "type": kind, "subscription": subscription, "name": name, "action": action}
        self.world.calls.append({**call, "fault": fault["kind"] if fault else "", "body": body})
        del self.world.calls[:-5000]
        self.world.counts[f"{method} {kind}", fault["kind"] if fault else "ok"] += 1


def _refuse(fault: dict[str, Any]) -> None:
    """Raise what a fault that stands before the work says."""
    kind = fault["kind"]
    if kind == "throttle":
        after = str(fault.get("retry_after", 5))
        raise Refusal(429, "TooManyRequests", "The request is being throttled.", {"Retry-After": after})
    if kind == "denied":
        raise Refusal(403, "AuthorizationFailed", "The client does not have authorization to perform the action.")
    if kind == "internal":
        raise Refusal(500, "InternalServerError", "An internal error occurred.")
    if kind == "error":
        raise Refusal(int(fault.get("status", 409)), fault["code"], fault.get("message", "A planted error."))
    if kind == "drop_before":
        raise Lost
