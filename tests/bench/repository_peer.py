"""One step of the engine in a process of its own, as the bench measures it; prints one JSON line.

python -m tests.bench.repository_peer create|full|changes|restore|verify|zstd|map ENDPOINT [PATH]
"""

import json
import os
import resource
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from workers.repository.archive import archive
from workers.repository.ebs import EbsClient, EbsSource
from workers.repository.generations import read_index
from workers.repository.keys import KeyFile
from workers.repository.pace import Pace
from workers.repository.repository import Repository, create, open_repository
from workers.repository.restore import restore
from workers.repository.s3 import S3Store, s3_client
from workers.repository.s3wire import Wire
from workers.repository.sigv4 import Credentials
from workers.repository.source import FileSink
from workers.repository.verify import verify

BLOCK, BUCKET, LINEAGE = 512 << 10, "ours", "vol-1"
KEY = KeyFile(b"0123456789abcdef0123456789abcdef")
LOGIN = Credentials("AKIATESTTESTTESTTEST", "test-secret")


def store(endpoint: str) -> S3Store:
    """The SDK's settings come from the environment, as a worker's do."""
    wire = Wire(endpoint, BUCKET, "us-east-1", lambda: LOGIN)
    return S3Store(s3_client(endpoint, "us-east-1"), BUCKET, wire=wire)


def ebs(endpoint: str) -> EbsClient:
    return EbsClient(endpoint, "us-east-1", lambda: LOGIN, pace=Pace(100_000))


def full(repo: Repository, endpoint: str, options: str) -> dict[str, Any]:
    """`options`: how many readers, and which snapshot."""
    readers, snapshot = [*(options or "4").split(), "snap-1"][:2]
    source = EbsSource(ebs(endpoint), snapshot, readers=int(readers))
    return archive(repo, LINEAGE, source, datetime(2026, 1, 1, tzinfo=UTC)).figures


def changes(repo: Repository, endpoint: str, _: str) -> dict[str, Any]:
    base = read_index(repo, LINEAGE).generations[-1]
    source = EbsSource(ebs(endpoint), "snap-2", "snap-1", readers=8)
    return archive(repo, LINEAGE, source, datetime(2026, 1, 2, tzinfo=UTC), base).figures


def back(repo: Repository, _: str, path: str) -> dict[str, Any]:
    generation = read_index(repo, LINEAGE).generations[-1]
    return vars(restore(repo, generation, FileSink(Path(path), generation.size, sync=False)))


def check(repo: Repository, _: str, __: str) -> dict[str, Any]:
    done = verify(repo, full=True)
    return {"sound": done.sound, "packs": done.read_packs}


def compress(path: str) -> dict[str, Any]:
    """What zstd level 1 alone reaches on all cores, block by block."""
    handle = os.open(path, os.O_RDONLY)
    blocks = iter(range(os.fstat(handle).st_size // BLOCK))
    turn, totals = threading.Lock(), {"in": 0, "out": 0}
    zero = bytes(BLOCK)

    def work() -> None:
        compressor = zstandard.ZstdCompressor(level=1)
        while True:
            with turn:
                block = next(blocks, None)
            if block is None:
                return
            data = os.pread(handle, BLOCK, block * BLOCK)
            if data != zero:
                out = len(compressor.compress(data))
                with turn:
                    totals["in"] += BLOCK
                    totals["out"] += out

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return totals


def main() -> None:
    step, endpoint, path = (*sys.argv[1:], "")[:3]
    started = time.perf_counter()
    if step == "zstd":
        result = compress(path)
    elif step == "create":
        s3_client(endpoint, "us-east-1").create_bucket(Bucket=BUCKET)
        create(store(endpoint), KEY)
        result = {}
    elif step == "map":
        from tests.bench.repository_map import whole_volume

        result = whole_volume(int(path))
    else:
        repo = open_repository(store(endpoint), KEY)
        result = {"full": full, "changes": changes, "restore": back, "verify": check}[step](repo, endpoint, path)
    facts = {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time(),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps({**result, **facts}))


if __name__ == "__main__":
    main()
