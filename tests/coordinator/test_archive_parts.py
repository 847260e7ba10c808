"""How a big volume is cut into ranges for several workers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.archive_parts import PARTS, ranges

pytestmark = pytest.mark.unit


@settings(deadline=None)
@given(blocks=st.integers(1, 1 << 28), most=st.integers(1, 64))
def test_ranges_cover_every_block_once_and_none_is_empty(blocks: int, most: int) -> None:
    found = list(ranges(blocks, most))
    assert found[0][0] == 0
    assert found[-1][1] == blocks
    assert all(start < stop for start, stop in found)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    assert len(found) <= most


def test_a_volume_of_64_tib_is_four_equal_parts() -> None:
    assert [stop - start for start, stop in ranges(1 << 27, PARTS)] == [1 << 25] * 4
