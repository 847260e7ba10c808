"""The control plane: JSON over HTTP under /sandbox/, for seeds, tests and demonstrations.

GET    ready | config | calls[?recent=N&operation=O] | faults | roles
POST   config | faults | roles | seed | reset | destroy | fail | clock | expire
DELETE calls | faults | faults/<id>
GET    volumes/<account>/<region>/<id>[/data[?offset=&length=] | /sha256 | /fingerprint]     likewise snapshots/
PUT    volumes/<account>/<region>/<id>/data?offset=N     the guest writes
GET    instances/<account>/<region>/<id>     boots, and volumes by device
GET    files/<account>/<region>/<file system or volume>     SHA-256 of each file, by path
PUT    files/<account>/<region>/<file system or volume>/<path>     a guest writes a file
GET    rows/<account>/<region>/<database, cluster or snapshot>     what a database holds, by table
PUT    rows/<account>/<region>/<database or cluster>/<table>     a client writes a table
GET    s3                                    requests by operation and storage class, and what is stored
DELETE s3                                    forgets the requests counted so far
GET    state/<account>/<region>              ids of everything there
GET    snapshots/<account>/<region>          id, volume, state, tags and times of every snapshot there
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from deploy.sandbox import efs, fsx, relational
from deploy.sandbox.baseline import lay
from deploy.sandbox.blocks import GIB
from deploy.sandbox.dispatch import Cloud
from deploy.sandbox.files import digests
from deploy.sandbox.http import Request, Response
from deploy.sandbox.images import drop_image
from deploy.sandbox.instances import forget, release
from deploy.sandbox.s3_usage import stored
from deploy.sandbox.seeds import plant
from deploy.sandbox.snapshots import drop_snapshot
from deploy.sandbox.volumes import drop_volume


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value, default=str).encode())


class Control:
    """Answers /sandbox/. Errors are JSON with `error`: 400 for a bad request, 404 for what is not there."""

    def __init__(self, cloud: Cloud, initial: dict):
        self.cloud, self.world, self._initial = cloud, cloud.world, initial
        self._simple: dict[tuple[str, str], Callable[[dict, dict], Any]] = {
            ("GET", "ready"): lambda q, b: {"ready": True},
            ("GET", "config"): lambda q, b: self.world.config.as_dict(),
            ("POST", "config"): self._configure,
            ("GET", "calls"): self._calls,
            ("DELETE", "calls"): lambda q, b: self.cloud.calls.clear(),
            ("GET", "faults"): lambda q, b: self.cloud.faults.listed(),
            ("POST", "faults"): lambda q, b: vars(self.cloud.faults.add(b)),
            ("DELETE", "faults"): lambda q, b: self.cloud.faults.remove(),
            ("GET", "s3"): lambda q, b: {"requests": self.cloud.s3_usage.listed(), "stored": stored()},
            ("DELETE", "s3"): lambda q, b: self.cloud.s3_usage.clear(),
            ("GET", "roles"): lambda q, b: [vars(r) for r in self.cloud.directory.roles.values()],
            ("POST", "roles"): lambda q, b: vars(self.cloud.directory.put_role(b)),
            ("POST", "seed"): lambda q, b: plant(self.cloud, b),
            ("POST", "reset"): lambda q, b: self.reset(),
            ("POST", "destroy"): self._destroy,
            ("POST", "fail"): self._fail,
            ("POST", "clock"): self._clock,
            ("POST", "expire"): lambda q, b: self.cloud.directory.expire_all(),
        }

    def handle(self, request: Request) -> Response:
        parts = request.path.removeprefix("/sandbox/").strip("/").split("/")
        try:
            if len(parts) == 1 and (request.method, parts[0]) in self._simple:
                body = json.loads(request.body) if request.body else {}
                return _json(self._simple[request.method, parts[0]](request.query, body))
            if parts[0] == "faults" and request.method == "DELETE":
                self.cloud.faults.remove(int(parts[1]))
                return _json(None)
            if parts[0] in ("volumes", "snapshots") and len(parts) in (4, 5):
                return self._disk(request, *parts)
            if parts[0] == "files" and len(parts) >= 4:
                return _json(self._files(request, *parts[1:4], "/".join(parts[4:])))
            if parts[0] == "rows" and len(parts) in (4, 5):
                return _json(self._rows(request, *parts[1:]))
            if parts[0] == "instances" and len(parts) == 4:
                return _json(self._instance(*parts[1:]))
            if parts[0] == "snapshots" and len(parts) == 3:
                return _json(self._snapshots(*parts[1:]))
            if parts[0] == "state" and len(parts) == 3:
                return _json(self._state(*parts[1:]))
        except (KeyError, IndexError) as error:
            return _json({"error": f"not found: {error}"}, 404)
        except (ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"error": f"no such path: {request.method} {request.path}"}, 404)

    def _configure(self, query: dict, body: dict) -> dict:
        self.world.config.update(body)
        self.cloud.meter.clear()
        return self.world.config.as_dict()

    def _calls(self, query: dict, body: dict) -> dict:
        recent = self.cloud.calls.recent(int(query.get("recent", 100)), query.get("operation"))
        return {"counts": self.cloud.calls.counts(), "recent": recent}

    def reset(self) -> None:
        """Back to an empty cloud with the settings of the start."""
        with self.world.lock:
            self.world.config.update(type(self.world.config)().as_dict())
            self.world.config.update(self._initial)
            self.world.clear()
            self.cloud.faults.remove()
            self.cloud.calls.clear()
            self.cloud.s3_usage.clear()
            self.cloud.meter.clear()
            self.cloud.directory.clear()
            self.cloud.moto.reset()
            lay(self.cloud)

    def _destroy(self, query: dict, body: dict) -> dict:
        """Resources vanish behind everybody's back: {"account", "region", "ids": [...]}."""
        world = self.world
        with world.lock:
            world.settle()
            here, gone = world.region(body["account"], body["region"]), []
            for identifier in body["ids"]:
                if relational.vanish(here, identifier):
                    gone.append(identifier)
                    continue
                resource = (here.kind_of(identifier) or {})[identifier]
                if identifier.startswith("i-"):
                    release(world, here, resource)
                    forget(here, resource)
                elif identifier.startswith("snap-"):
                    drop_snapshot(world, here, resource)
                elif identifier.startswith("ami-"):
                    drop_image(world, here, resource)
                else:
                    drop_volume(world, here, resource)
                gone.append(identifier)
        return {"destroyed": gone}

    def _fail(self, query: dict, body: dict) -> dict:
        """Snapshots end in `error`: {"account", "region", "ids", "message"}; at once when they were completed."""
        with self.world.lock:
            here = self.world.region(body["account"], body["region"])
            for identifier in body["ids"]:
                message = body.get("message", "Client.InternalError")
                if not relational.fail(here, identifier, message):
                    here.snapshots[identifier].failure = message
        return {"failing": body["ids"]}

    def _clock(self, query: dict, body: dict) -> dict:
        """Move time on: {"advance": seconds}."""
        with self.world.lock:
            self.world.clock.offset += timedelta(seconds=float(body["advance"]))
            return {"now": self.world.settle().isoformat()}

    def _disk(
        self, request: Request, kind: str, account: str, region: str, identifier: str, what: str = ""
    ) -> Response:
        with self.world.lock:
            now = self.world.settle()
            resource = getattr(self.world.region(account, region), kind)[identifier]
            if request.method == "PUT" and what == "data" and kind == "volumes":
                resource.blocks.write(int(request.query.get("offset", 0)), request.body)
                return _json({"written": len(request.body)})
            if not what:
                extra = {"blocks": len(resource.blocks.cells), "transferred": getattr(resource, "transferred", None)}
                return _json({**resource.view(now), **extra})
            content = resource.blocks.frozen()
        if what == "sha256":
            return _json({"sha256": content.sha256(), "gib": content.gib})
        if what == "fingerprint":
            return _json({"fingerprint": content.fingerprint(), "blocks": len(content.cells)})
        offset = int(request.query.get("offset", 0))
        length = min(int(request.query.get("length", content.gib * GIB)), content.gib * GIB - offset)
        headers = {"Content-Type": "application/octet-stream"}
        return Response(200, headers, stream=content.read(offset, length), length=max(0, length))

    def _files(self, request: Request, account: str, region: str, identifier: str, path: str) -> dict[str, str]:
        with self.world.lock:
            here = self.world.region(account, region)
            held = {**here.kept(efs.Kept).systems, **here.kept(fsx.Kept).systems, **here.kept(fsx.Kept).volumes}
            if request.method == "PUT":
                held[identifier].files[path] = request.body
            return digests(held[identifier].files)

    def _rows(self, request: Request, account: str, region: str, name: str, table: str = "") -> dict[str, str]:
        with self.world.lock:
            held = relational.rows_of(self.world.region(account, region), name)
            if request.method == "PUT":
                held[table] = request.body.decode()
            return dict(held)

    def _instance(self, account: str, region: str, identifier: str) -> dict:
        with self.world.lock:
            now = self.world.settle()
            instance = self.world.region(account, region).instances[identifier]
            devices = {d: v.id for d, v in instance.volumes.items()}
            boots = instance.boots
            return {"state": instance.state(now), "boots": len(boots), "reasons": boots, "volumes": devices}

    def _snapshots(self, account: str, region: str) -> list[dict]:
        with self.world.lock:
            now = self.world.settle()
            held = self.world.region(account, region).snapshots.values()
            return [
                {
                    "id": s.id,
                    "volume": s.volume_id,
                    "state": s.state(now),
                    "tags": s.tags,
                    "began_at": s.created_at,
                    "ends_at": s.ready_at,
                }
                for s in held
            ]

    def _state(self, account: str, region: str) -> dict:
        with self.world.lock:
            self.world.settle()
            here = self.world.region(account, region)
            kinds = ("instances", "volumes", "snapshots", "images", "tasks")
            return {kind: list(getattr(here, kind)) for kind in kinds}
