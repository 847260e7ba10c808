"""The repository bench runs: a tiny disk goes through every step, and comes back."""

import shutil
from pathlib import Path

import pytest

from tests.bench.repository import digest, ours, serving, store_requests
from tests.bench.repository_data import disk, later, written
from tests.bench.repository_map import whole_volume


def test_a_tiny_disk_goes_through_every_step(tmp_path: Path) -> None:
    if shutil.which("mkfs.ext4") is None:
        pytest.fail("mkfs.ext4 is missing: install e2fsprogs")
    (tmp_path / "data").mkdir()
    first = disk(tmp_path / "data", 1.0, written_share=0.02)
    second = later(first)
    assert digest(first) != digest(second)
    blocks = len(written(first))
    with serving(tmp_path, first, second) as server:
        ours(server, "create")
        full = ours(server, "full", "4")
        assert full["counts"]["GetSnapshotBlock"] == blocks
        assert sum(store_requests(full["counts"])) < 40
        assert ours(server, "changes")["counts"]["GetSnapshotBlock"] < blocks
        ours(server, "restore", str(tmp_path / "out"))
        assert digest(second) == digest(tmp_path / "out")
        assert ours(server, "verify")["said"]["sound"]


def test_a_large_map_is_built_and_changed() -> None:
    told = whole_volume(1)
    assert told["segments"] == 64
    assert told["map_bytes"] < 2.0 * (1 << 40) / (512 << 10)
    assert told["changed_blocks"] == 42
