"""The bench's disk: an ext4 image with a seeded corpus that compresses like a system disk, and a later version of it.

Files are text of a skewed vocabulary, machine-code-like records and noise as of compressed archives, in the shares
that give zstd level 1 a ratio of 0.42 to 0.56, as measured on system disks.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK = 512 << 10
WRITTEN = 0.68  # share of the image that has data: 5.4 of 8 GiB
CHANGED = 0.02


def disk(folder: Path, gib: float, seed: int = 7, written_share: float = WRITTEN) -> Path:
    """The first version, made once; its path."""
    image = folder / f"disk-{gib:g}-{seed}.img"
    if image.exists():
        return image
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    left = int(gib * written_share * 2**30)
    source = random.Random(seed)
    words = [source.randbytes(source.randrange(2, 12)).hex().encode()[: source.randrange(2, 11)] for _ in range(6000)]
    number = 0
    while left > 0:
        size = min(left, int(2 ** source.uniform(14, 25)))
        path = tree / f"{number % 97:02}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for piece in _content(source, words, size):
                file.write(piece)
        left -= size
        number += 1
    partial = image.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    size = f"{int(gib * 1024)}M"
    options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"]
    command = ["mkfs.ext4", *options, "-d", str(tree), str(partial), size]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)
    partial.rename(image)
    return image


def later(image: Path, seed: int = 8) -> Path:
    """The second version: 2 % of the written blocks changed in part."""
    second = image.with_name(image.stem + "-later.img")
    if second.exists():
        return second
    partial = second.with_suffix(".partial")
    subprocess.run(["cp", "--sparse=always", str(image), str(partial)], check=True)
    source = random.Random(seed)
    with partial.open("r+b") as file:
        blocks = written(image)
        for block in source.sample(blocks, max(1, int(len(blocks) * CHANGED))):
            file.seek(block * BLOCK + source.randrange(BLOCK - 40_000))
            file.write(source.randbytes(20_000) + bytes(20_000))
    partial.rename(second)
    return second


def written(image: Path) -> list[int]:
    """Blocks that are not zeros."""
    zero = bytes(BLOCK)
    with image.open("rb") as file:
        handle, size = file.fileno(), image.stat().st_size
        return [n for n in range(size // BLOCK) if os.pread(handle, BLOCK, n * BLOCK) != zero]


def _content(source: random.Random, words: list[bytes], size: int) -> Iterator[bytes]:
    kind = source.random()
    while size > 0:
        length = min(size, 1 << 20)
        if kind < 0.30:
            piece = source.randbytes(length)
        elif kind < 0.62:
            piece = b" ".join(words[int(source.paretovariate(0.9)) % len(words)] for _ in range(length // 5))
        else:
            record = bytearray(source.randbytes(4096))
            piece = bytearray()
            while len(piece) < length:
                for _ in range(24):
                    at = source.randrange(4000)
                    record[at : at + 48] = source.randbytes(48)
                piece += record
        piece = bytes(piece[:length])
        yield piece
        size -= max(1, len(piece))
