"""Real ext4 images with generated files, for volumes whose restore can be read back file by file."""

import os
import random
import subprocess
import tempfile
import uuid
from pathlib import Path

from deploy.sandbox.blocks import BLOCK, BlockMap

WORDS = ("ledger", "invoice", "order", "customer", "region", "backup", "copy", "restore", "archive", "policy")
EPOCH = 1_700_000_000  # all files of a seed carry one date, so that images repeat


def _fill(root: Path, dice: random.Random, files: int, kilobytes: int) -> None:
    for number in range(files):
        folder = root / f"data/{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"record-{number:03d}.txt"
        path.write_text("\n".join(" ".join(dice.choices(WORDS, k=12)) for _ in range(dice.randint(5, 80))))
    (root / "blob.bin").write_bytes(dice.randbytes(kilobytes * 1024))
    (root / "etc").mkdir()
    (root / "etc/hostname").write_text(f"host-{dice.randint(1, 9999)}\n")
    for path in [root, *root.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH))


def image(path: str, seed: str, mebibytes: int, files: int = 40, kilobytes: int = 1024) -> None:
    """Write an ext4 image of `mebibytes` MiB to `path`; the same seed gives the same files."""
    dice = random.Random(seed)
    marker = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    with tempfile.TemporaryDirectory(prefix="sandbox-ext4-") as folder:
        _fill(Path(folder), dice, files, kilobytes)
        command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", marker, "-E", f"hash_seed={marker}"]
        command += ["-O", "^has_journal", "-d", folder, path, f"{mebibytes}M"]
        environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "E2FSPROGS_FAKE_TIME": str(EPOCH)}
        subprocess.run(command, check=True, env=environment, capture_output=True)


def pour(path: str, target: BlockMap) -> None:
    """Copy an image to the start of a volume, skipping its holes."""
    with open(path, "rb") as source:
        end, place = source.seek(0, os.SEEK_END), 0
        while place < end:
            try:
                place = os.lseek(source.fileno(), place, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:  # nothing but holes is left
                return
            source.seek(place)
            data = source.read(BLOCK)
            target.set_block(place // BLOCK, target.store.put(data.ljust(BLOCK, b"\0")))
            place += BLOCK


def fill(target: BlockMap, seed: str, mebibytes: int, kilobytes: int = 1024) -> None:
    """Put a new ext4 image at the start of a volume."""
    with tempfile.NamedTemporaryFile(prefix="sandbox-image-") as file:
        image(file.name, seed, mebibytes, kilobytes=kilobytes)
        pour(file.name, target)
