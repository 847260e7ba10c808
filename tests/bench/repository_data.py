"""The bench's disk: an ext4 image with a seeded corpus that compresses like a system disk, and a later version of it.

Files are text, machine-code-like bytes and noise as of compressed archives, each a fixed share at any size: phrases
that come again by Zipf's law, and new bytes between them. So zstd level 1 works as hard as on a real system disk, and
gains as little from larger chunks; measured 2026-11-22 side by side, CPU seconds a GiB at level 1 and to decompress:
blocks of a real /usr 2.1 and 1.0, this corpus 2.1 and 0.9.
"""

import os
import random
import shutil
import subprocess
from array import array
from collections.abc import Callable
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
    kinds = [(0.2, source.randbytes), (0.4, _phrases(source, 700, (8, 40), 18, _letters()))]
    kinds.append((0.4, _phrases(source, 1000, (8, 36), 14, _opcodes(source))))
    done, number = [0] * len(kinds), 0
    while sum(done) < left:
        size = min(left - sum(done), int(2 ** source.uniform(14, 25)))
        which = max(range(len(kinds)), key=lambda one: kinds[one][0] * sum(done) - done[one])
        path = tree / f"{number % 97:02}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(kinds[which][1](min(size - at, 1 << 20)))
        done[which] += size
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


def _phrases(
    source: random.Random, count: int, length: tuple[int, int], between: int, alphabet: bytes
) -> Callable[[int], bytes]:
    """Makes bytes out of `count` phrases, drawn by Zipf's law from one table by two random bytes each, with some
    `between` new bytes from one to the next."""
    table: list[bytes] = []
    total = sum(rank**-0.9 for rank in range(1, count + 1))
    for rank in range(1, count + 1):
        phrase = bytes(alphabet[byte] for byte in source.randbytes(source.randint(*length)))
        table += [phrase] * max(1, int(65536 * rank**-0.9 / total))
    table = (table + [table[0]] * 65536)[:65536]
    ends = source.sample(range(256), 256 // (between + 1))  # these bytes end a run of new ones
    fresh = bytes(10 if byte in ends else 32 if alphabet[byte] == 10 else alphabet[byte] for byte in range(256))
    mean = sum(map(len, table)) / len(table) + 256 / len(ends)

    def make(size: int) -> bytes:
        made = b""
        while len(made) < size:
            runs = source.randbytes(int(size / mean * 256 / len(ends)) + 256).translate(fresh).split(b"\n")
            pieces = [b""] * (2 * len(runs))
            pieces[::2] = map(table.__getitem__, array("H", source.randbytes(2 * len(runs))))
            pieces[1::2] = runs
            made += b"".join(pieces)
        return made[:size]

    return make


def _letters() -> bytes:
    common, other = b"etaoinsrhld ", b'ucmwfgypbvkxTSAE_-./0123456789():;,=<>"'
    return ((common * 14)[:170] + other * 3)[:256]


def _opcodes(source: random.Random) -> bytes:
    known = source.sample(range(256), 96)
    return bytes(known[int(source.paretovariate(0.7)) % 96] for _ in range(256))
