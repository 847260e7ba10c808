"""20,000 disks in 100 subscriptions through a night, as `make bench-estate` runs it beside the AWS estate.

The product runs as in a fleet, with its own Azure drivers over HTTPS against the emulated Azure, whose request buckets,
limits and error codes are Azure's. What is looked for is a storm of refusals: how many calls were refused because there
were too many, of how many that were sent. `python -m tests.bench.azure_estate` runs it alone.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.sandbox.azure import seed
from deploy.sandbox.azure.client import AzureControl
from tasks.catalog import Account, Part, Point, close_catalog, open_catalog, rows, session
from tasks.states import PointState
from tests.azure import start_azure
from tests.bench import watch
from tests.bench.house import FIRST_NIGHT, ROOT, House, Servers, Size

# Beside the limits with which the emulator ships: the token buckets of a subscription, which are a working value
# (250 reads refilled by 25 a second, 200 writes by 10).
LONGEST = 2400.0  # seconds for the night; some ten minutes are usual on two cores
CLOUD: dict[str, Any] = {"page": 200, "subscription_reads": (250, 25.0), "subscription_writes": (200, 10.0)}


@dataclass(frozen=True)
class AzureSize:
    """How large the estate and the fleet are; times as for the AWS estate."""

    disks: int = 20_000
    subscriptions: int = 100
    coordinators: int = 1
    workers: int = 2
    threads: int = 8
    snapshot_seconds: float = 20.0
    poll_floor: float = 15.0
    head_start: float = 6.0

    @property
    def fleet(self) -> Size:
        """As the house wants it."""
        return Size(
            instances=self.disks, accounts=self.subscriptions, regions=1, volumes=1, coordinators=self.coordinators,
            workers=self.workers, threads=self.threads, snapshot_seconds=self.snapshot_seconds,
            poll_floor=self.poll_floor, head_start=self.head_start,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it alone; 0 when every disk was protected exactly once and no storm was met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.azure_estate")
    usual = AzureSize()
    for name, value in asdict(usual).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    size = replace(usual, **vars(parser.parse_args(arguments)))
    servers = Servers()
    try:
        report = measure(servers, size)
    finally:
        servers.close()
    print(json.dumps(report), flush=True)
    return 0 if report["lost"] == report["doubled"] == 0 and report["refused_share"] < 0.01 else 1


def measure(servers: Servers, size: AzureSize) -> dict[str, Any]:
    """One cold night; its figures, and whether every disk has exactly one good snapshot."""
    with _moved_in(servers, size) as (house, cloud):
        house.open_night(1)
        try:
            times = watch.follow(house, 1, LONGEST)
            used, memory = watch.cpu_seconds(house), watch.memory(house)
        finally:
            house.close_night()
        return {
            "disks": size.disks, "subscriptions": size.subscriptions, **times, **_calls(cloud), **_verdict(cloud, size),
            "cpu_s": used, "peak_rss_mib": memory, "date": datetime.now(UTC).date().isoformat(),
            "machine": watch.machine(), "settings": asdict(size),
        }  # fmt: skip


def _calls(cloud: AzureControl) -> dict[str, Any]:
    """What Azure was asked, and what of it was refused for being too much."""
    counted: Counter[str] = Counter()
    refused = 0
    for row in cloud.ask("GET", "calls")["counts"]:
        if row["operation"] == "metered":
            refused += row["count"]
        else:
            counted[row["operation"]] += row["count"]
    total = counted.total()
    return {
        "api_calls": total,
        "throttled": refused,
        "refused_share": round(refused / max(1, total), 5),
        "calls": dict(sorted(counted.items())),
    }


def _verdict(cloud: AzureControl, size: AzureSize) -> dict[str, int]:
    """Disks without a good point whose snapshot is there (`lost`), and snapshots beyond one a disk (`doubled`)."""
    there = Counter(str(one["tags"].get("snapfleet:source", "")) for one in cloud.things("snapshots"))
    ids = {str(one["id"]).lower() for one in cloud.things("snapshots")}
    with session():
        good = rows(Part.select(Part.source_id, Part.external_id).join(Point).where(Point.state == PointState.GOOD))
        accounts = Account.select().count()
    kept = {source for source, snapshot in good if snapshot in ids}
    doubled = sum(count - 1 for count in there.values() if count > 1)
    return {"lost": size.disks - len(kept), "doubled": doubled, "accounts": accounts}


@contextlib.contextmanager
def _moved_in(servers: Servers, size: AzureSize) -> Iterator[tuple[House, AzureControl]]:
    """The fleet's house beside an emulated Azure, its estate applied, nothing running yet."""
    folder = Path(tempfile.mkdtemp(prefix="snapfleet-azure-bench-"))
    vhost, database = servers.rabbit.new_vhost(), servers.postgres.new_database()
    process, cloud = start_azure(folder)
    try:
        cloud.ask("POST", "config", {**CLOUD, "snapshot_seconds": size.snapshot_seconds})
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAPFLEET_"))},
            **cloud.environment(),
            "SNAPFLEET_HOME": str(folder / "home"),
            "SNAPFLEET_CATALOG_URL": servers.postgres.url(database),
            "SNAPFLEET_BROKER_URL": servers.rabbit.url(vhost),
            "SNAPFLEET_THREADS": str(size.threads),
            "SNAPFLEET_POLL_FLOOR_SECONDS": str(size.poll_floor),
            "SNAPFLEET_ADMIN_PASSWORD": "only-for-the-bench",
            "PYTHONPATH": str(ROOT),
            "AZURE_SECRET": seed.SECRET,
        }
        house = House(size.fleet, folder, env, cloud, process.pid)  # type: ignore[arg-type]
        _settle_in(house, cloud, size)
        open_catalog(servers.postgres.url(database))
        yield house, cloud
    finally:
        close_catalog()
        process.kill()
        process.wait()
        servers.postgres.drop_database(database)
        servers.rabbit.delete_vhost(vhost)
        shutil.rmtree(folder, ignore_errors=True)


def _settle_in(house: House, cloud: AzureControl, size: AzureSize) -> None:
    facts = cloud.seed(kind="bulk", subscriptions=size.subscriptions, disks=size.disks // size.subscriptions)
    accounts = [
        {
            "name": f"subscription-{number:03d}", "cloud": "azure", "subscription_id": one,
            "tenant_id": facts["tenant"], "client_id": facts["client"],
            "client_secret": "env:AZURE_SECRET", "regions": facts["regions"],
        }
        for number, one in enumerate(facts["subscriptions"])
    ]  # fmt: skip
    nightly = {"name": "nightly", "every": "1d", "starts_at": f"{FIRST_NIGHT:%Y-%m-%dT%H:%M}", "time_zone": "UTC"}
    policy = {
        "name": "gold",
        "schedules": ["nightly"],
        "targets": [{"tag": {"backup": "gold"}, "types": ["azure-disk"]}],
        "generations": 30,
        "retries": {"attempts": 3, "wait": "1m"},
    }
    path = house.folder / "estate.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "accounts": accounts, "schedules": [nightly], "policies": [policy]}))
    house.command("init", "--yes")
    house.command("apply", "-f", str(path))


if __name__ == "__main__":
    sys.exit(main())
