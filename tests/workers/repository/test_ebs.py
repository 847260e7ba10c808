"""EBS snapshots as source and sink, against the thin stand-in with its tokens, checksums, limits and latency."""

import os
import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.bench.thin_server import BLOCK, Snapshot, World
from tests.workers.repository.servers import CREDENTIALS
from tests.workers.repository.volumes import repository
from workers.repository.archive import archive
from workers.repository.ebs import EbsClient, EbsSink, EbsSource, start_snapshot
from workers.repository.errors import AccessRefused, Missing, Unrelated, Unsuitable
from workers.repository.pace import Pace
from workers.repository.pipeline import Tuning
from workers.repository.restore import restore
from workers.repository.source import MemorySink

TUNING = Tuning(pack_bytes=8 << 20, compute=1, uploads=1)


@pytest.fixture
def estate(thin: tuple[World, str], tmp_path: Path) -> tuple[World, EbsClient, Callable[[str, dict[int, int]], bytes]]:
    """The stand-in, a client of it, and a maker of 1 GiB snapshots out of {block: seed}."""
    world, endpoint = thin

    def make(name: str, blocks: dict[int, int]) -> bytes:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(1 << 30)
            for block, seed in blocks.items():
                file.seek(block * BLOCK)
                file.write(random.Random(seed).randbytes(BLOCK // 4) * 4)
        world.snapshots[name] = Snapshot(str(path))
        world.snapshots[name].sums = {}
        for block in blocks:
            world.snapshots[name].hash_one(block)
        return os.pread(world.snapshots[name].handle, (max(blocks) + 1) * BLOCK, 0)

    return world, EbsClient(endpoint, "us-east-1", lambda: CREDENTIALS, pace=Pace(100_000)), make


def restored(repo: Any, generation: Any, length: int) -> bytes:
    sink = MemorySink(generation.size)
    restore(repo, generation, sink, TUNING)
    assert not any(sink.content[length : length + BLOCK])
    return bytes(sink.content[:length])


def test_a_snapshot_is_archived_with_one_read_a_block_and_its_successor_by_what_changed(estate: Any) -> None:
    """feature 82: the first archive is full, the next reads changed blocks only."""
    world, client, make = estate
    first = make("snap-1", {0: 1, 3: 2, 40: 3, 41: 3})
    second = make("snap-2", {0: 1, 3: 9, 41: 3})
    repo = repository()
    base = archive(repo, "vol-1", EbsSource(client, "snap-1", readers=4), repo.clock(), tuning=TUNING)
    assert world.counts["GetSnapshotBlock"] == 4
    assert restored(repo, base, len(first)) == first
    world.counts.clear()
    changes = EbsSource(client, "snap-2", "snap-1", readers=4)
    generation = archive(repo, "vol-1", changes, repo.clock(), base, tuning=TUNING)
    assert world.counts["GetSnapshotBlock"] == 1
    assert restored(repo, generation, len(second)) == second


def test_a_generation_becomes_a_snapshot_again_with_the_aggregate_checksum(estate: Any) -> None:
    world, client, make = estate
    content = make("snap-1", {0: 1, 7: 2, 8: 5})
    repo = repository()
    generation = archive(repo, "vol-1", EbsSource(client, "snap-1", readers=4), repo.clock(), tuning=TUNING)
    name = start_snapshot(client, generation.size, "token-1", {"snapfleet:job": "1"})
    assert start_snapshot(client, generation.size, "token-1", {}) == name
    restore(repo, generation, EbsSink(client, name, generation.size), TUNING)
    made = world.snapshots[name]
    assert not made.pending
    assert os.pread(made.handle, len(content), 0) == content
    assert world.counts["PutSnapshotBlock"] == 3


def test_throttling_and_lost_answers_only_cost_time(estate: Any) -> None:
    world, client, make = estate
    content = make("snap-1", {block: block for block in range(12)})
    world.limit = 8
    repo = repository()
    generation = archive(repo, "vol-1", EbsSource(client, "snap-1", readers=4), repo.clock(), tuning=TUNING)
    world.limit = 0
    assert restored(repo, generation, len(content)) == content
    assert world.counts["GetSnapshotBlock"] > 12


def test_a_block_token_that_has_expired_is_fetched_anew(estate: Any) -> None:
    world, client, make = estate
    make("snap-1", {2: 1, 5: 2})
    source = EbsSource(client, "snap-1", readers=4)
    refs = list(source.blocks(0, 2048))
    world.salt = "a week later"
    buffer = memoryview(bytearray(BLOCK))
    assert [source.read(ref, buffer)[0] for ref in refs] == [BLOCK, BLOCK]


def test_listing_begins_anywhere_and_ends_where_it_is_told(estate: Any) -> None:
    _, client, make = estate
    make("snap-1", {2: 1, 5: 2, 9: 3})
    source = EbsSource(client, "snap-1", readers=4)
    assert [ref.index for ref in source.blocks(3, 9)] == [5]


def test_the_page_that_tells_the_size_is_listed_from_once(estate: Any) -> None:
    world, client, make = estate
    make("snap-1", {0: 1})
    world.snapshots["snap-1"].sums = dict.fromkeys(range(250), "sum")  # looked at by nobody here
    source = EbsSource(client, "snap-1", readers=4)
    for requests in (2, 3):  # the first 100 came with the size; then all of them on one page
        assert [ref.index for ref in source.blocks(0, 2048)] == list(range(250))
        assert world.counts["ListSnapshotBlocks"] == requests


def test_snapshots_without_common_history_are_told_apart_from_missing_ones(estate: Any, tmp_path: Path) -> None:
    world, client, make = estate
    make("snap-1", {0: 1})
    path = tmp_path / "other"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    world.snapshots["snap-9"] = Snapshot(str(path))
    with pytest.raises(Unrelated):
        EbsSource(client, "snap-1", "snap-9")
    with pytest.raises(Missing, match="snap-404"):
        EbsSource(client, "snap-404")


def test_a_refusal_names_the_rights_that_are_missing(estate: Any) -> None:
    world, client, make = estate
    make("snap-1", {0: 1})
    world.refused.add("snap-1")
    with pytest.raises(AccessRefused, match="kms:Decrypt"):
        EbsSource(client, "snap-1", readers=4)


class Refusing(BaseHTTPRequestHandler):
    """Answers as EBS does with the kinds of refusal in turn, the last one for ever."""

    kinds: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("x-amzn-ErrorType", self.kinds.pop(0) if len(self.kinds) > 1 else self.kinds[0])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        return


def test_a_clock_that_is_off_and_a_session_that_ran_out_are_no_missing_rights() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = EbsClient(f"http://127.0.0.1:{server.server_port}", "us-east-1", lambda: CREDENTIALS, pace=Pace(100_000))
    Refusing.kinds = ["ExpiredTokenException", "InvalidSignatureException"]
    with pytest.raises(Unsuitable, match="clock"):
        EbsSource(client, "snap-1")
    server.shutdown()
    server.server_close()
