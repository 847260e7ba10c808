"""What a sandbox can be filled with: `demo`, or a large estate in memory (`accounts`, `regions`, `instances` ...)."""

from typing import Any

from deploy.sandbox import bulk, demo
from deploy.sandbox.baseline import lay


def plant(cloud: Any, wanted: dict) -> dict:
    """Fill the cloud: {"kind": "demo"} or {"kind": "bulk", "accounts": 20, "regions": 3, "instances": 10000 ...}."""
    settings = dict(wanted)
    kind = settings.pop("kind", "bulk" if settings else "demo")
    if kind == "none":
        return {}
    if kind not in ("demo", "bulk"):
        raise ValueError(f"no such seed: {kind}; there are demo, bulk and none")
    with cloud.world.lock:
        lay(cloud)
        return demo.plant(cloud) if kind == "demo" else bulk.plant(cloud, **settings)
