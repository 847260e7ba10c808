"""The control plane: what guests, other people and tests do. It asks for no token: the service is loopback only."""

import base64
import json
from typing import Any

from deploy.sandbox.azure import machines, pages, seed, seed_sql, sql_databases
from deploy.sandbox.azure.state import Principal, World


def handle(world: World, method: str, path: str, query: dict[str, str], raw: bytes) -> tuple[int, dict[str, str], Any]:
    """One request under /sandbox/."""
    name, body = path.removeprefix("/sandbox/"), json.loads(raw) if raw else {}
    if (method, name) not in _ACTIONS:
        return 404, {}, {"error": {"code": "NotFound", "message": f"no {method} {name}"}}
    return 200, {}, _ACTIONS[method, name](world, {**query, **body})


def _principal(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    made = Principal(wish["tenant"], wish["client"], wish["secret"], set(wish["subscriptions"]))
    world.principals[made.client.lower()] = made
    return {}


def _fault(world: World, wish: dict[str, Any]) -> list[dict[str, Any]]:
    world.faults.append({"count": 1, **wish})
    return world.faults


def _forgive(world: World, _: dict[str, Any]) -> list[dict[str, Any]]:
    world.faults.clear()
    return []


def _write(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    content = world.need(wish["id"]).content
    if content is not None:
        content.write(int(wish["offset"]), base64.b64decode(wish["data"]))
    return {}


def _sha256(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    content = world.need(wish["id"]).content
    return {"sha256": content.sha256() if content is not None else ""}


def _write_rows(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    sql_databases.write_rows(world, world.need(wish["id"]), wish["rows"])
    return {}


def _rows(world: World, wish: dict[str, Any]) -> dict[str, str]:
    return sql_databases.rows_of(world.need(wish["id"]))


def _bacpacs(world: World, _: dict[str, Any]) -> dict[str, dict[str, str]]:
    for one in world.of_kind("databases"):
        sql_databases.transfers(world, one)
    return world.bacpacs


def _power(world: World, wish: dict[str, Any]) -> dict[str, str]:
    return {"power": machines.power_view(world, world.need(wish["id"]))["statuses"][1]["code"].split("/")[1]}


def _held(world: World, wish: dict[str, Any]) -> dict[str, list[str]]:
    """The disks of a machine, the system's first."""
    storage = world.need(wish["id"]).properties["storageProfile"]
    held = [storage["osDisk"], *sorted(storage.get("dataDisks", []), key=lambda one: int(one["lun"]))]
    return {"disks": [str(one["managedDisk"]["id"]).lower() for one in held]}


def _destroy(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    for one in wish["ids"]:
        world.things.pop(one.lower(), None)
    return {}


def _change(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    """Change a resource behind everybody's back: tags, `failure`, `locked`, an older `time_created`."""
    thing = world.need(wish["id"])
    thing.tags = wish.get("tags", thing.tags)
    if "failure" in wish:
        thing.failure = tuple(wish["failure"])
    if "locked" in wish:
        thing.fields["_locked"] = wish["locked"]
    if "status" in wish:
        thing.fields["_status"] = wish["status"]
    thing.fields |= wish.get("fields", {})
    thing.properties |= wish.get("properties", {})
    return {}


def _calls(world: World, _: dict[str, Any]) -> dict[str, Any]:
    counts = [{"operation": name, "outcome": how, "count": n} for (name, how), n in world.counts.items()]
    return {"counts": counts, "recent": world.calls}


def _things(world: World, wish: dict[str, Any]) -> list[dict[str, Any]]:
    found = world.of_kind(wish["kind"], wish.get("subscription", ""))
    return [
        {
            "id": one.id,
            "location": one.location,
            "tags": one.tags,
            "state": one.provisioning(world.now()),
            "open": pages.is_active(world, one),
        }
        for one in found
    ]


def _configure(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    world.settings |= wish
    return world.settings


def _reset(world: World, _: dict[str, Any]) -> dict[str, Any]:
    world.__init__(world.settings)  # type: ignore[misc]
    return {}


def _advance(world: World, wish: dict[str, Any]) -> dict[str, Any]:
    world.skew += float(wish["seconds"])
    return {}


def _forget_operations(world: World, _: dict[str, Any]) -> dict[str, Any]:
    world.operations.clear()
    return {}


_ACTIONS = {
    ("GET", "ready"): lambda world, _: {"ready": True},
    ("POST", "principals"): _principal,
    ("POST", "faults"): _fault,
    ("DELETE", "faults"): _forgive,
    ("POST", "write"): _write,
    ("GET", "sha256"): _sha256,
    ("POST", "rows"): _write_rows,
    ("GET", "rows"): _rows,
    ("GET", "bacpacs"): _bacpacs,
    ("POST", "long-term"): seed_sql.long_term,
    ("GET", "power"): _power,
    ("GET", "held"): _held,
    ("POST", "destroy"): _destroy,
    ("POST", "change"): _change,
    ("GET", "calls"): _calls,
    ("GET", "things"): _things,
    ("POST", "config"): _configure,
    ("POST", "reset"): _reset,
    ("POST", "advance"): _advance,
    ("POST", "forget-operations"): _forget_operations,
    ("POST", "seed"): lambda world, wish: seed.plant(world, wish),
}
