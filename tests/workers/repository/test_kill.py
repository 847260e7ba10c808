"""Real processes, killed for real, on a real file system: archives and prunings end at any instruction."""

import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from tests.workers.repository.http_chaos import attempt
from tests.workers.repository.volumes import BLOCK, KEY, TUNING, content
from workers.repository.archive import archive
from workers.repository.clock import host_clock
from workers.repository.folder import FolderStore
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import create, open_repository
from workers.repository.source import FileSource
from workers.repository.verify import verify

# A process that archives the disk over and over, each time upon the newest generation, and prunes all but the last two.
PROGRAM = """
import sys
from datetime import timedelta
from pathlib import Path
from tests.workers.repository.volumes import BLOCK, KEY, TUNING
from workers.repository.archive import archive
from workers.repository.clock import host_clock
from workers.repository.folder import FolderStore
from workers.repository.generations import read_index
from workers.repository.liveness import Margins
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import open_repository
from workers.repository.source import FileSource

repo = open_repository(FolderStore(Path(sys.argv[1])), KEY)
disk = Path(sys.argv[2])
print("ready", flush=True)
while True:
    known = read_index(repo).generations
    archive(repo, "v", FileSource(disk, BLOCK), host_clock(), known[-1] if known else None, tuning=TUNING)
    plan = plan_prune(repo, [g.id for g in known[:-2]], Margins(timedelta(0), timedelta(hours=1)))
    execute_prune(repo, plan)
"""
KILLS = 20


def test_processes_that_are_killed_leave_only_whole_generations(tmp_path: Path) -> None:
    """feature C9: two processes at a time on one repository, each killed at a random moment."""
    at = random.Random(1)
    root, disk = tmp_path / "repository", tmp_path / "disk"
    disk.write_bytes(at.randbytes(300 * BLOCK))
    repo = create(FolderStore(root), KEY)
    wanted = disk.read_bytes()
    archive(repo, "v", FileSource(disk, BLOCK), host_clock(), tuning=TUNING)
    for _ in range(KILLS // 2):
        command = [sys.executable, "-c", PROGRAM, str(root), str(disk)]
        pair = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        for process in pair:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        for process in pair:
            try:
                process.wait(at.uniform(0.02, 0.5))
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()
        repo = open_repository(FolderStore(root), KEY)
        found = read_index(repo).generations
        assert found
        assert all(content(repo, generation) == wanted for generation in found[-2:])
        assert verify(repo, full=True).sound
    margins = Margins(timedelta(0), timedelta(0))
    for _ in range(2):
        execute_prune(repo, plan_prune(repo, [g.id for g in read_index(repo).generations[:-1]], margins))
    assert not plan_prune(repo, [], margins).delete
    (last,) = read_index(repo).generations
    assert content(repo, last) == wanted


def test_processes_that_are_killed_at_every_write_to_a_server_lose_nothing_and_leave_no_garbage() -> None:
    """feature C9: archives, prunes and compactions at once, each ended before a write, after one, or at a moment; the
    same for hundreds of kills against two servers is `make chaos-store`."""
    outcome = attempt("thin", kills=30, seed=7)
    assert outcome.kills >= 30
    assert set(outcome.by) == {"before a write", "after a write", "at a moment"}
    assert outcome.generations > 0
    assert not outcome.bad(), outcome.stories
