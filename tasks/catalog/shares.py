"""Copies that are only lent to another account: nothing of their own, so that they go when their source goes."""

from typing import Any

from tasks.catalog.database import rows
from tasks.catalog.point import Point
from tasks.states import PointState

SHARE = "share"
_THERE = (PointState.CREATING, PointState.GOOD, PointState.EXPIRING)


def lent(which: Any) -> dict[int, int]:
    """Points that a lent copy is of, with one such copy. `which` (an expression over Point) chooses among copies."""
    query = Point.select(Point.copy_of, Point.id).where(
        Point.kind == SHARE, Point.state.in_(_THERE), Point.copy_of.is_null(False), which
    )
    return dict(rows(query))
