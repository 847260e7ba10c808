"""A synthetic map of a large volume: what an incremental on it costs in memory and bytes."""

import random
import shutil
import tempfile
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workers.repository.archive import archive_slice, commit_archive, start_archive
from workers.repository.folder import FolderStore
from workers.repository.generations import read_index
from workers.repository.keys import KeyFile
from workers.repository.lease import OPEN, Lease
from workers.repository.manifest import Generation
from workers.repository.mapwriter import MapWriter
from workers.repository.names import MAPS, Pack, generation_name
from workers.repository.repository import create
from workers.repository.segment import BLOCKS, Place, Segment
from workers.repository.source import BLOCK_BYTES, Ref

FRAMES = 165  # in a pack of 40 MiB, of blocks that compress to half


class Scattered:
    """A volume of which one block in 50 000 has changed."""

    block_bytes, readers, incremental = BLOCK_BYTES, 1, True

    def __init__(self, size: int) -> None:
        self.size = size

    def blocks(self, start: int, stop: int) -> Any:
        yield from (Ref(block) for block in range(start, stop) if block % 50_000 == 7)

    def read(self, ref: Ref, into: memoryview) -> tuple[int, bytes | None]:
        into[:8] = ref.index.to_bytes(8, "little")
        return BLOCK_BYTES, None


def _neighbours() -> tuple["array[int]", "array[int]"]:
    """Columns as compute threads fill them that share one pack: nearly in order, as who is first is chance."""
    source = random.Random(4)
    order = sorted(range(BLOCKS), key=lambda block: block + source.uniform(0, 4))
    packs, frames = array("H", bytes(2 * BLOCKS)), array("H", bytes(2 * BLOCKS))
    for place, block in enumerate(order):
        packs[block], frames[block] = divmod(place, FRAMES)
    return packs, frames


def whole_volume(tib: int) -> dict[str, Any]:
    """Build the map of a full volume, archive changes on it; sizes in bytes."""
    store = FolderStore(Path(tempfile.mkdtemp()))
    repo = create(store, KeyFile(bytes(32)))
    size = tib << 40
    now = datetime(2026, 1, 1, tzinfo=UTC)
    job, run = "ab" * 16, "cd" * 8
    lease = repo.leases.open(Lease(job, "full", "big", OPEN, repo.clock(), repo.clock()))
    maps = MapWriter(repo, job)
    packs, frames = _neighbours()
    count = size // BLOCK_BYTES // BLOCKS
    for number in range(count):
        segment = Segment(number * BLOCKS, packs, frames)
        for pack in range(max(packs) + 1):
            segment.table.number(Place(Pack(job, run, number * 200 + pack), 33_000_000 + pack * 7919 % 600_000, 6300))
        maps.add(number, segment)
    refs = maps.finish()
    base = Generation(job, "big", size, BLOCK_BYTES, now, now, job, tuple(refs[n] for n in range(count)))
    identity = repo.write_manifest(base)
    repo.leases.commit(lease, (generation_name(repo.sealer.label("big"), identity),))
    map_bytes = sum(stat.size for stat in store.list(MAPS))
    started = start_archive(repo, "big", Scattered(size), read_index(repo).generations[0])
    done = archive_slice(repo, started, Scattered(size), inline=True)
    generation = commit_archive(repo, started, now, done.parts)
    shutil.rmtree(store.root)
    return {"segments": len(generation.segments), "map_bytes": map_bytes, "changed_blocks": done.figures.blocks}
