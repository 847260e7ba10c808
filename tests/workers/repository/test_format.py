"""FORMAT.md is complete: a reader written from it alone restores what the engine wrote."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest

from tests.workers.repository import independent_reader
from tests.workers.repository.independent_reader import Reader
from tests.workers.repository.volumes import KEY, TUNING, Disk, Hand, Snapshot
from workers.repository.archive import archive
from workers.repository.compact import compact, plan_compaction
from workers.repository.folder import FolderStore
from workers.repository.generations import read_index
from workers.repository.keys import Passphrase
from workers.repository.liveness import Margins
from workers.repository.prune import execute_prune, plan_prune
from workers.repository.repository import create

pytestmark = pytest.mark.unit


@pytest.mark.long
def test_an_independent_reader_restores_every_generation(tmp_path: Path) -> None:
    """Full, incremental, compacted; by key file and by passphrase."""
    clock, disk = Hand(), Disk(500, short=99)
    repo = create(FolderStore(tmp_path), KEY)
    repo.add_key(Passphrase("correct horse"))
    contents, base, before = {}, None, None
    for _ in range(5):
        now = disk.bytes()
        base = archive(repo, "vol-1", Snapshot(now, before), clock(), base, tuning=TUNING)
        contents[base.id], before = now, now
        disk.change(200)
        clock.pass_by(hours=1)
    gone = list(contents)[:2]
    execute_prune(repo, plan_prune(repo, gone, Margins(timedelta(0), timedelta(0))))
    report = compact(repo, plan_compaction(repo, 0.95, 1), read_index(repo).generations)
    assert report.generations
    for reader in (Reader(tmp_path, key_file=KEY.content), Reader(tmp_path, passphrase="correct horse")):
        assert {name: reader.restore(name) for name in reader.generations()} == {
            name: content for name, content in contents.items() if name not in gone
        }


def test_the_independent_reader_is_short_and_shares_no_code() -> None:
    text = Path(independent_reader.__file__).read_text()
    assert len(text.splitlines()) < 200
    imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert imported
    assert not any(name and name.startswith(("workers", "tests")) for name in imported)
