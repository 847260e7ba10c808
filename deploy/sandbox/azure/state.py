"""Everything that exists in the emulated Azure: resources, operations under way, principals, faults, calls."""

import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from deploy.sandbox.blocks import BlockMap, BlockStore

DEFAULTS: dict[str, Any] = {
    "snapshot_seconds": 1.5,  # a recording of the real service shows 23 s
    "copy_seconds": 2.0,
    "disk_seconds": 0.3,
    "machine_seconds": 0.5,
    "delete_seconds": 0.2,
    "restore_points_per_hour": 3,  # virtual machine restore points: limits
    "script_seconds": 0.2,
    "access_seconds": 0.2,  # a recording of beginGetAccess
    "sql_copy_seconds": 1.0,
    "export_seconds": 1.0,
    "page": 50,
    "snapshots_per_disk_and_5_minutes": 7,  # managed disks documentation, incremental snapshots: limits
    # ARM's token buckets of a subscription: (size, refill a second); 0 meters nothing. 250 at 25 and 200 at 10 are
    # what ARM is said to have; benches set them.
    "subscription_reads": (0, 0.0),
    "subscription_writes": (0, 0.0),
    "writes_per_3_minutes": 1000,  # HighCostSnapshotCreateHydrate3Min as recordings of 2023 show it
}


class Refusal(Exception):
    """An error answer as ARM writes it: {"error": {"code", "message"}}."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass
class Thing:
    """A resource. `fields` are those beside `properties`; `ends` is when its provisioning is over (seconds, epoch)."""

    id: str
    kind: str
    location: str
    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    content: BlockMap | None = None
    begun: float = 0.0
    ends: float = 0.0
    failure: tuple[str, str] | None = None
    gone_at: float | None = None

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[1]

    @property
    def subscription(self) -> str:
        return self.id.split("/")[2]

    @property
    def group(self) -> str:
        return self.id.split("/")[4]

    def provisioning(self, now: float) -> str:
        if now < self.ends:
            return "Updating" if self.kind in ("disks", "snapshots") else "Creating"
        return "Failed" if self.failure else "Succeeded"


@dataclass
class Operation:
    """Something long-running: its state follows from the clock. `thing` is what it makes; a deletion makes nothing."""

    id: str
    family: str
    location: str
    subscription: str
    begun: float
    ends: float
    thing: Thing | None = None
    failure: tuple[str, str] | None = None
    answer: dict[str, Any] | None = None  # what its Location tells in the end, where that is no resource
    title: str = ""
    group: str = ""
    extra: dict[str, Any] | None = None


@dataclass
class Principal:
    """A service principal: who it is, and the subscriptions in which it is a contributor."""

    tenant: str
    client: str
    secret: str
    subscriptions: set[str]


class World:
    """The state, under one lock; `now()` may be moved forward by tests."""

    def __init__(self, settings: dict[str, Any] | None = None):
        self.settings = {**DEFAULTS, **(settings or {})}
        self.lock = threading.RLock()
        self.store = BlockStore()
        self.things: dict[str, Thing] = {}
        self.places: dict[tuple[str, str], dict[str, Thing]] = {}  # by kind and subscription
        self.operations: dict[str, Operation] = {}
        self.principals: dict[str, Principal] = {}
        self.tokens: dict[str, tuple[str, float]] = {}
        self.faults: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.writes: dict[tuple[str, str], list[float]] = {}
        self.buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self.bacpacs: dict[str, dict[str, str]] = {}
        self.skew = 0.0

    def now(self) -> float:
        return time.time() + self.skew

    def get(self, resource_id: str) -> Thing | None:
        """Ids are compared without regard to case, as ARM does; examples leave out the slash before them."""
        thing = self.things.get(f"/{resource_id.lower().lstrip('/')}")
        return None if thing is None or (thing.gone_at is not None and thing.gone_at <= self.now()) else thing

    def need(self, resource_id: str) -> Thing:
        thing = self.get(resource_id)
        if thing is None:
            kind, name = resource_id.rsplit("/", 2)[-2:]
            raise Refusal(404, "ResourceNotFound", f"The Resource '{kind}/{name}' was not found.")
        return thing

    def put(self, thing: Thing) -> Thing:
        self.things[thing.id.lower()] = thing
        self.places.setdefault((thing.kind, thing.subscription.lower()), {})[thing.id.lower()] = thing
        return thing

    def of_kind(self, kind: str, subscription: str = "") -> list[Thing]:
        now, wanted = self.now(), subscription.lower()
        return [
            one
            for (what, where), members in self.places.items()
            if what == kind and wanted in ("", where)
            for key, one in members.items()
            if self.things.get(key) is one and (one.gone_at is None or one.gone_at > now)
        ]

    def begin(self, family: str, thing: Thing | None, subscription: str, location: str, seconds: float) -> Operation:
        now = self.now()
        made = Operation(secrets.token_hex(16), family, location, subscription, now, now + seconds, thing)
        self.operations[made.id] = made
        return made

    def draw(self, subscription: str, what: str) -> int:
        """Take one of the subscription's 'reads' or 'writes'; what is left, -1 where nothing is metered."""
        size, per_second = self.settings[f"subscription_{what}"]
        if not size:
            return -1
        key, now = (subscription.lower(), what), self.now()
        left, at = self.buckets.get(key, (float(size), now))
        left = min(float(size), left + (now - at) * per_second)
        if left < 1:
            self.counts["metered", "throttled"] += 1
            raise Refusal(429, "SubscriptionRequestsThrottled", "Too many requests.", {"Retry-After": "5"})
        self.buckets[key] = (left - 1, now)
        return int(left - 1)

    def take_fault(self, method: str, kind: str, subscription: str, name: str = "") -> dict[str, Any] | None:
        """The first fault that fits, used up by one. `subscription`, `method`, `type` and `name` narrow it."""
        for fault in self.faults:
            narrow = (("method", method), ("type", kind), ("subscription", subscription.lower()))
            fits = all(str(fault.get(key) or value).lower() == value.lower() for key, value in narrow)
            if fits and str(fault.get("name") or "") in name and fault["count"] > 0:
                fault["count"] -= 1
                return fault
        return None


def stamp(seconds: float) -> str:
    """A time as ARM writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
