"""What a restore from an archive costs at most, by the storage class that it lies in."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from admin.costs import BLOCKS_A_GIB, PACK_MIB, RATIO
from admin.queries import find_point
from tasks.catalog import Part, Repository, session
from tasks.catalog.archives import repository_of


def archived_sizes(text: str, generations: Collection[str] = ()) -> dict[str, int]:
    """GiB of an archive's volumes, or of these `generations` of it, by the storage class that they lie in; empty for a
    point that is none, or does not lie in S3. Raises Invalid."""
    with session():
        point = find_point(text)
        row = Repository.get_or_none(Repository.name == repository_of(point.destination))
        if row is None or not str(row.spec["url"]).startswith("s3:"):
            return {}
        found: dict[str, int] = {}
        for part in Part.select().where(Part.point == point.id):
            if generations and part.external_id not in generations:
                continue
            name = str(part.attributes.get("storage_class") or "STANDARD")
            found[name] = found.get(name, 0) + part.size_gib
    return found


def estimate_restore(
    sizes: Mapping[str, int], given: Mapping[str, Any], to_files: bool = False
) -> list[dict[str, Any]]:
    """Bringing volumes of so many GiB, by the storage class they lie in, back into snapshots: a row for each class.

    Reading is billed by request and, in cold classes, by the GiB; writing by the block, and files not at all.
    """
    found = []
    for name, size in sorted(sizes.items()):
        price, read_gib = given["classes"][name], size * RATIO
        blocks = 0 if to_files else size * BLOCKS_A_GIB
        gets = math.ceil(read_gib * 1024 / PACK_MIB)
        once = (blocks * given["ebs_put_per_1000_blocks"] + gets * price["get_per_1000"]) / 1000
        once += read_gib * price["gib_retrieved"]
        row = {"class": name, "ebs_requests": blocks, "s3_requests": gets, "read_gib": round(read_gib, 2)}
        found.append({**row, "once_usd": round(once, 4)})
    return found
