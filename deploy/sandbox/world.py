"""Everything the emulated clouds hold: accounts by region, the resources in them, shares between them.

One lock covers it all. Operations, guests' writes and the control plane take it, which is what makes a multi-volume
snapshot one instant. Work that takes time is a moment in the future: states are computed from it when asked for, and
side effects wait in `later` until somebody looks.
"""

import heapq
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from deploy.sandbox.blocks import BlockStore
from deploy.sandbox.clock import Clock
from deploy.sandbox.config import Config
from deploy.sandbox.tagindex import TagIndex

Kept = TypeVar("Kept")
SWEEP_AFTER = 500  # deletions between two sweeps of the block store


class Region:
    """What one account owns in one region; dictionaries are by id, in order of creation."""

    def __init__(self, account: str, name: str):
        self.account, self.name = account, name
        self.volumes: dict[str, Any] = {}
        self.snapshots: dict[str, Any] = {}
        self.images: dict[str, Any] = {}
        self.instances: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.copies: list[Any] = []  # snapshots being copied into here
        self.lineage: dict[str, dict[str, Any]] = defaultdict(dict)  # volume first copied from: copies held here
        self.addresses: dict[str, dict[str, str]] = defaultdict(dict)  # subnet: private address: instance
        self.tokens: dict[tuple[str, str], tuple[str, dict]] = {}  # (operation, client token): request, answer
        self.tags = TagIndex()
        self._kept: dict[type, Any] = {}

    def kept(self, kind: type[Kept]) -> Kept:
        """What one service keeps here: an object of its own class, made when first asked for."""
        if kind not in self._kept:
            self._kept[kind] = kind()
        return self._kept[kind]

    def kind_of(self, identifier: str) -> dict[str, Any] | None:
        """The dictionary in which an id of this shape would be, None for what moto keeps."""
        kinds = {
            "vol": self.volumes,
            "snap": self.snapshots,
            "ami": self.images,
            "i": self.instances,
            "replacevol": self.tasks,
        }
        return kinds.get(identifier.split("-", 1)[0])


class World:
    """All accounts. Hold `lock` around anything that reads or changes resources."""

    def __init__(self, config: Config):
        self.lock = threading.RLock()
        self.config, self.clock, self.store = config, Clock(), BlockStore()
        self.sequence = count(1)
        self.regions: dict[tuple[str, str], Region] = {}
        self.clear()

    def clear(self) -> None:
        self.regions.clear()
        self.shares: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)  # (region, account or all): snapshots
        self.image_shares: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        self._later: list[tuple[datetime, int, Callable[[], None]]] = []
        self._deleted = 0
        self.dice = random.Random()
        self.store.sweep([])
        self.clock.offset = timedelta(0)

    def region(self, account: str, name: str) -> Region:
        key = (account, name)
        if key not in self.regions:
            self.regions[key] = Region(account, name)
        return self.regions[key]

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-0{self.dice.getrandbits(64):016x}"

    def at(self, when: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (when, next(self.sequence), action))

    def settle(self) -> datetime:
        """Do what has become due; the present moment."""
        now = self.clock.now()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        return now

    def block_gone(self) -> None:
        """Called after each deletion of a volume or snapshot: now and then frees unused blocks."""
        self._deleted += 1
        if self._deleted % SWEEP_AFTER == 0:
            every = [r.blocks for g in self.regions.values() for k in (g.volumes, g.snapshots) for r in k.values()]
            self.store.sweep(every)
