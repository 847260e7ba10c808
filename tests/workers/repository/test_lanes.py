"""Many contents hashed at once have the digests that hashlib gives, with the library and without (feature 82)."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstandard import backend_c

from workers.repository.lanes import at_once, digests

pytestmark = pytest.mark.unit

PROGRAM = """
from hashlib import sha256
from workers.repository.lanes import at_once, digests
contents = [memoryview(bytearray([n]) * 100_000) for n in range(16)]
assert digests(contents) == [sha256(one).digest() for one in contents]
print(at_once())
"""


def right(contents: list[memoryview]) -> list[bytes]:
    return [hashlib.sha256(one).digest() for one in contents]


@given(st.integers(0, 40), st.sampled_from([0, 1, 55, 56, 63, 64, 65, 4096, 70_000]), st.integers(0, 40))
def test_any_number_of_contents_of_one_length_or_two(count: int, length: int, shorter: int) -> None:
    contents = [memoryview(bytearray(os.urandom(max(0, length - (n == shorter))))) for n in range(count)]
    assert digests(contents) == right(contents)


def test_contents_that_cannot_be_written_to_are_hashed_too() -> None:
    contents = [memoryview(os.urandom(1000)) for _ in range(16)]
    assert digests(contents) == right(contents)


def test_threads_do_not_disturb_each_other() -> None:
    def one(seed: int) -> bool:
        contents = [memoryview(bytearray(bytes([seed, n]) * 50_000)) for n in range(16)]
        return all(digests(contents) == right(contents) for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(32)))


@pytest.mark.parametrize("what", ["no library", "another library"])
def test_something_else_in_the_place_of_the_library_is_not_used(tmp_path: Path, what: str) -> None:
    """The loader finds it first, as a bad installation would have it."""
    wrong = tmp_path / "libIPSec_MB.so.1"
    if what == "no library":
        wrong.write_text(what)
    else:
        shutil.copy(backend_c.__file__, wrong)
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_the_library_is_used_where_the_processor_has_lanes_for_it() -> None:
    has_lanes = "avx512vl" in Path("/proc/cpuinfo").read_text()
    assert at_once() == (16 if has_lanes and Path("/usr/lib/x86_64-linux-gnu/libIPSec_MB.so.1.3.0").exists() else 1)
