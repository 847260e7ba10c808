"""`make bench-repository`: the engine beside restic, on the same data and the same S3 stand-in, in one run.

The stand-in (thin_server.py) burns little of the two cores that everybody shares; both peers are separate processes,
whose CPU seconds and peak memory are taken from the kernel. Repetitions are interleaved, as runs on a shared host
differ by half; medians count. Before each step the files it reads are brought into memory, and as much memory as it
fills is touched (`warm`): the host of a virtual machine takes back what lies idle, and whoever came next would pay for
it. Neither peer syncs what it restores to the disk. Every peer's restored bytes are compared with the disk's by their
digest. The engine reads the disk through the EBS direct stand-in, restic reads it as a file. Progress goes to stderr;
the last line on stdout is one JSON object. The whole run at its defaults takes about 15 minutes on two quiet
cores: a minute and a half for the disk (kept for the next run), two minutes for each repetition, and three for latency,
two workers and the map; `--gib 2 --repeat 1` takes two.

A volume's blocks cost the same to whoever reads a snapshot, so `usd_per_tib` counts requests to the store only.

Prices: Amazon S3 standard, us-east-1, PUT $0.005 and GET $0.0004 a thousand (read 2026-11).
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.repository_data import BLOCK, disk, later, written
from workers.repository.lanes import at_once

MEMORY = Path("/dev/shm")
ROOM = 0.5  # GiB that a process fills besides what it stores or restores
PUT, GET = 0.005 / 1000, 0.0004 / 1000
LOGIN = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "RESTIC_PASSWORD": "bench",
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Server:
    """The stand-in as a process. Its room for objects is made before anyone is measured, a tenth more than the disk has
    written: two archives and the changes, or three of half a disk. More comes as it is needed."""

    def __init__(self, root: Path, first: Path, second: Path) -> None:
        self.root = root
        root.mkdir()
        command = [sys.executable, "-m", "tests.bench.thin_server", "--root", str(root)]
        command += ["--snapshot", f"snap-1={first}", "--snapshot", f"snap-2={second}"]
        facts = first.stat()
        command += ["--snapshot", f"snap-half={first},{max(1, (facts.st_size >> 30) // 2)}"]
        command += ["--ahead", str(facts.st_blocks * 512 / 2**30 * 1.1)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.endpoint = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.endpoint}/_stats") as answer:
            return json.load(answer)

    def set(self, **values: float) -> None:
        query = "&".join(f"{name}={value}" for name, value in values.items())
        request = urllib.request.Request(f"{self.endpoint}/_set?{query}", method="POST", data=b"")
        urllib.request.urlopen(request).close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def serving(folder: Path, first: Path, second: Path) -> Iterator[Server]:
    server = Server(folder / "server", first, second)
    try:
        yield server
    finally:
        server.close()


def run(server: Server, command: list[str]) -> dict[str, Any]:
    """Run a process: wall and CPU seconds, peak MiB, requests and bytes at the server, its last line."""
    server.set()
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **LOGIN}
    )
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status:
        assert process.stderr
        raise SystemExit(f"{command[:6]} failed: {process.stderr.read()[-800:]}")
    stats = server.stats()
    facts = {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss_mib": usage.ru_maxrss / 1024}
    facts |= {"counts": stats["counts"], "moved": stats["moved"]}
    lines = [line for line in output.splitlines() if line.strip()]
    if lines and lines[-1].startswith("{"):
        facts["said"] = json.loads(lines[-1])
    return facts


def ours(server: Server, step: str, path: str = "") -> dict[str, Any]:
    return run(server, [sys.executable, "-m", "tests.bench.repository_peer", step, server.endpoint, path])


def restic(server: Server, *arguments: str) -> dict[str, Any]:
    return run(server, ["restic", "--no-cache", "-r", f"s3:{server.endpoint}/restic", *arguments])


def warm(fresh: float, *files: Path) -> None:
    """Bring files into the page cache, and have `fresh` GiB of free memory at hand. Measured 2026-11-22 in a virtual
    machine: a GiB that its host must give anew takes 1.6 CPU seconds to write, one that it has 0.3; files that nobody
    read for a minute are on the disk again."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(4 << 20):
                pass
    chunk = bytes(1 << 20)
    with tempfile.TemporaryFile(dir=MEMORY) as file:
        for _ in range(int(fresh * 1024)):
            file.write(chunk)


def forget(path: Path) -> None:
    """Let a file's pages go that the next step does not read: both disks and all that is made would not fit in 24 GiB,
    and where little is free a restore meets memory that the host gives 4 KiB at a time (7.5 s instead of 9.4,
    measured 2026-11-23)."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def digest(path: Path) -> str:
    """SHA-256 of all its bytes: what is restored is compared by it, and the disk need not be read beside."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def repetition(folder: Path, first: Path, second: Path, right: str) -> dict[str, Any]:
    """Each peer once: full, changes, restore, verify; what they restore is compared with the digest of `second`."""
    view = first.parent / "view"
    view.mkdir(exist_ok=True)
    target, gib = view / "disk.img", first.stat().st_size / 2**30
    found: dict[str, Any] = {}
    with serving(folder, first, second) as server:
        warm(ROOM, first)
        found["zstd"] = run(server, [sys.executable, "-m", "tests.bench.repository_peer", "zstd", "-", str(first)])
        ours(server, "create")
        restic(server, "init")
        warm(ROOM, first)
        found["ours_full"] = ours(server, "full")
        target.unlink(missing_ok=True)
        os.link(first, target)
        warm(ROOM, first)
        found["restic_full"] = restic(server, "backup", "-q", str(target))
        forget(first)
        warm(ROOM, second)
        found["ours_changes"] = ours(server, "changes")
        target.unlink()
        os.link(second, target)
        warm(ROOM, second)
        found["restic_changes"] = restic(server, "backup", "-q", str(target))
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        forget(second)
        warm(gib)
        found["ours_restore"] = ours(server, "restore", str(out / "ours.img"))
        found["correct"] = digest(out / "ours.img") == right
        (out / "ours.img").unlink()
        warm(gib)
        found["restic_restore"] = restic(server, "restore", "latest", "--target", str(out / "restic"))
        found["correct"] &= digest(out / "restic" / str(target).lstrip("/")) == right
        shutil.rmtree(out)
        warm(ROOM)
        found["ours_verify"] = ours(server, "verify")
        warm(ROOM)
        found["restic_verify"] = restic(server, "check", "--read-data", "-q")
        found["correct"] &= bool(found["ours_verify"]["said"]["sound"])
    return found


def delayed(folder: Path, first: Path, second: Path, pairs: int = 4) -> dict[str, float]:
    """Full archives of the disk, with 30 ms before every answer beside ones without: the median pair. Each has a store
    of its own and memory at hand, and either goes first in every other pair. When the delayed one always came second,
    beside what the first had stored, it paid for memory too: 9 to 38 % instead of 9 to 15 (half the disk, 2026-11-23).
    """
    costs = []
    for pair in range(pairs):
        walls = {}
        for latency in ((0.0, 0.03), (0.03, 0.0))[pair % 2]:
            with serving(folder, first, second) as server:
                ours(server, "create")
                warm(ROOM, first)
                server.set(latency=latency)
                walls[latency] = ours(server, "full", "64 snap-1")["wall"]
        costs.append(walls[0.03] / walls[0.0] - 1)
    say(f"30 ms of latency: {[round(cost, 3) for cost in costs]}")
    return {"latency_30ms_cost": round(statistics.median(costs), 3)}


def together(folder: Path, first: Path, second: Path) -> dict[str, float]:
    """Two workers on two volumes beside one, where the store's latency is the limit and not the cores."""
    with serving(folder, first, second) as server:
        ours(server, "create")
        warm(ROOM, first)
        server.set(latency=0.06)
        one = ours(server, "full", "16 snap-half")["wall"]
        command = [sys.executable, "-m", "tests.bench.repository_peer", "full", server.endpoint, "16 snap-half"]
        started = time.perf_counter()
        pair = [subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **LOGIN}) for _ in range(2)]
        if any(process.wait() for process in pair):
            raise SystemExit("a worker failed beside another")
        told = {"two_workers": round(2 * one / (time.perf_counter() - started), 2)}
        say(f"two workers: {told['two_workers']}")
        return told


def summary(rounds: list[dict[str, Any]], gib: float) -> dict[str, Any]:
    def median(peer: str, key: str = "wall") -> float:
        return statistics.median(one[peer][key] for one in rounds)

    def ratio(step: str) -> float:
        pairs = [(one[f"restic_{step}"]["wall"], one[f"ours_{step}"]["wall"]) for one in rounds]
        return round(statistics.median(theirs / own for theirs, own in pairs), 2)

    stored = {p: median_of(rounds, lambda one, p=p: one[f"{p}_full"]["moved"]["in"]) for p in ("ours", "restic")}
    requests = median_of(rounds, lambda one: sum(store_requests(one["ours_full"]["counts"])))
    puts = median_of(rounds, lambda one: one["ours_full"]["counts"].get("PUT", 0))
    restic_puts = median_of(rounds, lambda one: one["restic_full"]["counts"].get("PUT", 0))
    stored_gib = stored["ours"] / 2**30
    return {
        "full_vs_restic": ratio("full"),
        "cpu_vs_restic": round(median("ours_full", "cpu") / median("restic_full", "cpu"), 3),
        "full_vs_zstd": round(median("zstd") / median("ours_full"), 3),
        "incremental_vs_restic": ratio("changes"),
        "restore_vs_restic": ratio("restore"),
        "verify_vs_restic": ratio("verify"),
        "stored_vs_restic": round(stored["ours"] / stored["restic"], 3),
        "rss_mib": round(
            max(one[f"ours_{step}"]["rss_mib"] for one in rounds for step in ("full", "restore", "verify"))
        ),
        "requests_per_gib": round(requests / stored_gib, 1),
        "usd_per_tib": round(puts * PUT / gib * 1024, 4),
        "usd_per_tib_restic": round(restic_puts * PUT / gib * 1024, 4),
        "usd_per_tib_one_object_a_block": round(2048 * 1024 * PUT, 2),
        "mib_per_s": round(gib * 1024 / median("ours_full")),
        "zstd_ratio": round(rounds[0]["zstd"]["said"]["out"] / rounds[0]["zstd"]["said"]["in"], 3),
        "seconds": {f"{p}_{s}": round(median(f"{p}_{s}"), 2) for p in ("ours", "restic") for s in STEPS},
        "cpu_seconds": {f"{p}_{s}": round(median(f"{p}_{s}", "cpu"), 2) for p in ("ours", "restic") for s in STEPS},
        "correct": all(one["correct"] for one in rounds),
    }


STEPS = ("full", "changes", "restore", "verify")


def store_requests(counts: dict[str, int]) -> Iterator[int]:
    """Requests to S3; those to EBS have names in mixed case."""
    return (count for verb, count in counts.items() if verb.split(" ")[0].isupper())


def median_of(rounds: list[dict[str, Any]], pick: Any) -> float:
    return statistics.median(pick(one) for one in rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.repository", description="the engine beside restic")
    parser.add_argument("--gib", type=float, default=8.0, help="size of the disk")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tib", type=int, default=64, help="size of the synthetic map; 0 leaves it out")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "snapfleet-bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    say("making the disk")
    first = disk(options.folder, options.gib)
    second = later(first)
    right = digest(second)
    gib = len(written(first)) * BLOCK / 2**30
    version = subprocess.run(["restic", "version"], capture_output=True, text=True, check=True).stdout.strip()
    peers = f"{version}, auto compression, no cache; ours: zstd 1 with a table of 2^13 and a window of 2^18, "
    peers += f"40 MiB packs, SHA-256 of {at_once()} at a time"
    say(f"{gib:.2f} GiB written of {options.gib:g}; {peers}")
    # objects and restored disks lie in memory: writing back to a disk would throttle whoever comes later
    fast = MEMORY if shutil.disk_usage(MEMORY).free > gib * 3 * 2**30 else options.folder
    rounds = []
    for number in range(options.repeat):
        work = Path(tempfile.mkdtemp(dir=fast))
        rounds.append(repetition(work, first, second, right))
        shutil.rmtree(work, ignore_errors=True)
        walls = {name: round(one["wall"], 2) for name, one in rounds[-1].items() if isinstance(one, dict)}
        say(f"{number + 1} of {options.repeat}, {time.perf_counter() - began:.0f} s: {json.dumps(walls)}")
    report = summary(rounds, gib)
    work = Path(tempfile.mkdtemp(dir=fast))
    report |= delayed(work, first, second)
    report |= together(work, first, second)
    if options.tib:
        command = [sys.executable, "-m", "tests.bench.repository_peer", "map", "-", str(options.tib)]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        report |= {"map_tib": options.tib, "map_mib": round(told["map_bytes"] / 2**20)}
        report["map_rss_mib"] = round(told["rss_mib"])
    shutil.rmtree(work, ignore_errors=True)
    report |= {"repetitions": options.repeat, "gib": round(gib, 2), "cores": os.cpu_count(), "peer": version}
    report["sha256_at_once"] = at_once()
    report |= {"python": platform.python_version(), "minutes": round((time.perf_counter() - began) / 60, 1)}
    print(json.dumps(report), flush=True)
    return 0 if report["correct"] else 1


if __name__ == "__main__":
    sys.exit(main())
