"""`make bench-estate`: 10,000 instances in 20 accounts and 3 regions through a cold and a steady night.

The product runs as it is run in a fleet: coordinators and workers as processes, its own AWS drivers over HTTP against
the sandbox, whose request limits and error codes are AWS's, one nightly policy by tag. Each night's snapshots are then
compared with the catalog, one by one. A smaller estate in the same accounts and regions runs first, to show what the
number of describe calls grows with: places (account and region) and time, not snapshots. Then comes what admission is
asked for (tests.bench.limits), and a night of 20,000 disks in Azure (tests.bench.azure_estate). Progress goes to
standard error; the last line of standard output is one JSON object.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from tests.bench import azure_estate, limits, watch
from tests.bench.answers import compare
from tests.bench.house import House, Servers, Size, moved_in

ATTRIBUTES = "DescribeInstanceAttribute"  # asked once for each launch, and not on a steady night
NIGHTS = ("cold", "steady")
A_DAY = 86_400.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; 0 when every instance was protected exactly once each night, 1 otherwise."""
    size, scales, asked, disks = _asked_for(arguments)
    began = time.monotonic()
    servers = Servers()
    try:
        results = [measure(servers, replace(size, instances=count)) for count in scales]
        admitted = limits.measure(servers, asked)
        if disks:
            admitted["azure"] = azure_estate.measure(servers, azure_estate.AzureSize(disks=disks))
    finally:
        servers.close()
    nights = summary(results) if results else {"bench": "estate"}
    report = {**nights, **admitted, "wall_s": round(time.monotonic() - began, 1), **_circumstances(size)}
    print(json.dumps(report), flush=True)
    return 0 if all(one["lost"] == one["doubled"] == 0 for one in results) else 1


def _asked_for(arguments: Sequence[str] | None) -> tuple[Size, list[int], limits.Asked, int]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.estate", description="protect a large estate")
    default = Size()
    parser.add_argument(
        "--scale", default="2500,10000", help="instances, comma-separated; the last counts; 0: no nights"
    )
    for name in ("accounts", "regions", "coordinators", "workers", "threads"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("snapshot_seconds", "poll_floor", "head_start"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(default, name))
    usual = limits.Asked()
    parser.add_argument("--snapshots", type=int, default=usual.snapshots, help="against a request bucket; 0: none")
    parser.add_argument("--copies", type=int, default=usual.copies, help="into twenty slots; 0: none")
    parser.add_argument("--copy-seconds", type=float, default=usual.copy_seconds)
    parser.add_argument("--lease", type=float, default=usual.lease, help="of a killed worker's copies; 0: as it ships")
    parser.add_argument("--azure", type=int, default=20_000, help="disks in 100 subscriptions of Azure; 0: none")
    parser.add_argument("--crowds", default="1,8", help="workers for the snapshots, comma-separated")
    given = vars(parser.parse_args(arguments))
    scales = [int(part) for part in given.pop("scale").split(",") if int(part)]
    crowds = tuple(int(part) for part in given.pop("crowds").split(","))
    disks = given.pop("azure")
    asked = limits.Asked(
        given.pop("snapshots"), given.pop("copies"), given.pop("copy_seconds"), crowds, given.pop("lease")
    )
    return replace(default, instances=scales[-1] if scales else 0, **given), scales, asked, disks


def measure(servers: Servers, size: Size) -> dict[str, Any]:
    """One estate through both nights; figures of each, and the verdict over all."""
    _say(f"{size.instances} instances in {size.places} places: moving in")
    with moved_in(servers, size) as house:
        nights = {name: _night(house, number, name) for number, name in enumerate(NIGHTS, start=1)}
        verdict = compare(house.cloud, size.volumes)
    _say(f"{size.instances} instances: {verdict}")
    return {"instances": size.instances, "nights": nights, **asdict(verdict)}


def _night(house: House, number: int, name: str) -> dict[str, Any]:
    house.cloud.clear_calls()
    if number > 1:
        house.cloud.advance(A_DAY)  # what the cloud remembers of the night before is a day old, as it would be
    used = watch.cpu_seconds(house)["sandbox"]
    house.open_night(number)
    try:
        times = watch.follow(house, number)
        cpu, memory = watch.cpu_seconds(house), watch.memory(house)
        cpu["sandbox"] = round(cpu["sandbox"] - used, 1)
    finally:
        house.close_night()
    figures = {**times, **calls_of(house), "cpu_s": cpu, "peak_rss_mib": memory}
    minutes = figures["seconds"] / 60
    figures["describes_per_place_and_minute"] = round(figures["describe_calls"] / house.size.places / minutes, 1)
    _say(f"{house.size.instances} instances, {name} night: {figures}")
    return figures


def calls_of(house: House) -> dict[str, Any]:
    """What the cloud was asked since its log was cleared."""
    operations: Counter[str] = Counter()
    throttled = failed = 0
    for row in house.cloud.ask("GET", "calls", recent=0)["counts"]:
        operations[row["operation"]] += row["count"]
        throttled += row["count"] if row["outcome"] == "RequestLimitExceeded" else 0
        failed += row["count"] if row["outcome"] not in ("ok", "RequestLimitExceeded") else 0
    describes = {name: n for name, n in operations.items() if name.startswith("Describe") and name != ATTRIBUTES}
    return {
        "api_calls": sum(operations.values()),
        "describe_calls": sum(describes.values()),
        "attribute_calls": operations[ATTRIBUTES],
        "throttled": throttled,
        "refused": failed,
        "calls": dict(sorted(operations.items())),
    }


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that matter, of the largest estate; all scales beside each other under `growth`."""
    last = results[-1]
    both = list(last["nights"].values())
    steady = last["nights"]["steady"]
    return {
        "bench": "estate",
        "resources": last["instances"],
        "night_s": {name: figures["seconds"] for name, figures in last["nights"].items()},
        "jobs_per_s": {name: figures["jobs_per_s"] for name, figures in last["nights"].items()},
        **{name: sum(one[name] for one in both) for name in ("api_calls", "describe_calls", "attribute_calls")},
        "throttled": sum(one["throttled"] for one in both),
        "describe_calls_steady": steady["describe_calls"],
        "threads_waiting": sum(one["threads_waiting"] for one in both),
        **{name: last[name] for name in ("lost", "doubled", "orphans")},
        "growth": [_growth(one) for one in results],
        "nights": last["nights"],
    }


def _growth(one: dict[str, Any]) -> dict[str, Any]:
    steady = one["nights"]["steady"]
    names = ("seconds", "describe_calls", "describes_per_place_and_minute", "throttled")
    return {
        "resources": one["instances"],
        "lost": one["lost"],
        "doubled": one["doubled"],
        **{name: steady[name] for name in names},
        "describes_per_snapshot_set": round(steady["describe_calls"] / one["instances"], 3),
    }


def _circumstances(size: Size) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": watch.machine(),
        "settings": asdict(size),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
