"""What a block becomes before it is encrypted: one zstd frame that states its size, or itself."""

import random

import pytest
import zstandard

from workers.repository.pack import RAW, shrink

pytestmark = pytest.mark.unit
LETTERS = bytes(random.Random(5).choice(b"0123456789abcdef") for _ in range(1 << 16))


@pytest.mark.parametrize("level", [1, 3])
def test_text_in_which_nothing_comes_again_takes_as_little_as_its_letters_do(level: int) -> None:
    for _ in range(2):  # a thread's compressor is used again
        body, flags = shrink(memoryview(LETTERS), level)
        assert flags == 0
        assert len(body) < 0.52 * len(LETTERS)
        assert zstandard.get_frame_parameters(body).content_size == len(LETTERS)
        assert zstandard.decompress(body) == LETTERS


def test_a_thread_may_change_the_level() -> None:
    text = b"".join(b"%d bottles of beer on the wall, " % number for number in range(4000))
    fast, small = shrink(text, 1)[0], shrink(text, 9)[0]
    assert len(small) < len(fast)
    assert shrink(text, 1)[0] == fast


def test_noise_stays_as_it_is() -> None:
    noise = random.Random(6).randbytes(1 << 16)
    assert shrink(noise, 1) == (noise, RAW)
