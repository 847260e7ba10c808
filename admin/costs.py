"""What archiving would cost: requests, bytes and dollars by storage class, from a file of prices.

An upper bound: every block of a volume counts as written and as unlike any other, and RATIO of
its bytes as stored. Azure's price lists know no price for reading a snapshot's pages inside its region,
so that only the requests for blocks of EBS cost something to read.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCKS_A_GIB = 2048  # blocks of 512 KiB, as the EBS direct APIs read them
PACK_MIB = 40  # the repository's packs
LISTED_A_REQUEST = 10_000  # blocks in a page of ListSnapshotBlocks, the most that EBS gives
RATIO = 0.56  # measured 2026-11 with zstd level 1 on an image of a system disk
CHANGED = 0.02  # of a volume between two archives: a daily change of a few percent is usual


def prices(path: Path | None = None) -> Mapping[str, Any]:
    """The prices, as the file says."""
    found: Mapping[str, Any] = json.loads((path or Path(__file__).with_name("prices.json")).read_text())
    return found


@dataclass(frozen=True)
class Load:
    """What is archived: volumes and GiB in all, those of them that are Azure's, and whether into Azure Blob."""

    volumes: int
    size_gib: int
    azure_volumes: int = 0
    azure_gib: int = 0
    into_azure: bool = False


def snapshots_month(load: Load, given: Mapping[str, Any]) -> float:
    """Dollars a month for one snapshot of each volume, at most: both clouds bill what is used of it."""
    ebs = (load.size_gib - load.azure_gib) * given["snapshot_gib_month"]
    return float(round(ebs + load.azure_gib * given["azure"]["snapshot_gib_month"], 4))


def estimate(load: Load, share: float, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One archive of `share` (0 to 1) of the volumes: a row for each storage class of the place it goes to.

    Dollars: `once` for reading and writing, `month` for keeping what this archive adds.
    """
    ebs = load.volumes - load.azure_volumes
    blocks = math.ceil((load.size_gib - load.azure_gib) * BLOCKS_A_GIB * share)
    lists = max(ebs, math.ceil(blocks / LISTED_A_REQUEST)) if ebs else 0
    stored_gib = load.size_gib * share * RATIO
    puts = math.ceil(stored_gib * 1024 / PACK_MIB) + 4 * load.volumes  # packs, and each generation's map and manifest
    classes = (given["azure"] if load.into_azure else given)["classes"]
    reading = blocks / 1000 * given["ebs_get_per_1000_blocks"] + lists / 1000 * given["ebs_list_per_1000_requests"]
    return [
        {
            "class": name,
            "ebs_requests": blocks + lists,
            "s3_requests": puts,
            "stored_gib": round(stored_gib, 2),
            "once_usd": round(reading + puts / 1000 * price["put_per_1000"], 4),
            "month_usd": round(stored_gib * price["gib_month"], 4),
        }
        for name, price in classes.items()
    ]


def estimate_import(found: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Taking in snapshots of others (`volume`, `size_gib`), oldest first: the first of a volume whole, later ones by
    changed blocks; one row for each storage class."""
    sizes: dict[str, int] = {}
    later = 0
    for one in found:
        if one["volume"] in sizes:
            later += int(one["size_gib"])
        else:
            sizes[one["volume"]] = int(one["size_gib"])
    whole = estimate(Load(len(sizes), sum(sizes.values())), 1.0, given)
    changes = estimate(Load(len(found) - len(sizes), later), CHANGED, given)
    numbers = ("ebs_requests", "s3_requests", "stored_gib", "once_usd", "month_usd")
    return [
        {"class": one["class"], **{name: round(one[name] + two[name], 4) for name in numbers}}
        for one, two in zip(whole, changes, strict=True)
    ]
