"""Images that restores of other points launch from: asked when retention plans, and again before a deletion.

Snapshots of a licensed system become an instance only through an image that has the licence: the newest one of the
same resource in the same place, whichever policy made it.
"""

from typing import Any

from peewee import fn

from tasks.catalog.database import rows
from tasks.catalog.point import Point
from tasks.catalog.restore import Restore, RestoreStep
from tasks.states import PointState, RestoreState

RESTORING = (RestoreState.REQUESTED, RestoreState.RUNNING, RestoreState.UNDOING)
_IMAGE, _GOOD = Point.image_id != "", Point.state == PointState.GOOD
# Points that will need an image to be restored. What is marked counts until it is gone: a guard may bring it back.
_STANDING = (PointState.CREATING, PointState.GOOD, PointState.EXPIRING)


def base_image_of(point: Point) -> Any:
    """The query for the image that a restore of this point launches from: its first row, if there is any."""
    return (
        Point.select()
        .where(
            Point.resource == point.resource_id,
            Point.account == point.account_id,
            Point.region == point.region,
            _GOOD,
            _IMAGE,
        )
        .order_by(Point.taken_at.desc(), Point.id.desc())
    )


def images_in_use(which: Any) -> dict[int, set[str]]:
    """Image points that restores of other points need, with what they are needed for. `which` (an expression over
    Point) chooses among images.

    In each place that is the newest good one while a point without an image stands there, and one that is newer still
    and only marked; and whatever image an unfinished restore launches from.
    """
    place = (Point.resource, Point.account, Point.region)
    images = Point.select(*place, Point.taken_at, Point.id).where(_IMAGE)
    there = rows(images.where(which, _GOOD | (Point.state == PointState.EXPIRING)))
    if not there:
        return {}
    imaged = Point.resource.in_(Point.select(Point.resource).where(which, _IMAGE))
    standing = Point.select(*place, fn.MAX(Point.id)).where(
        imaged, ~_IMAGE, Point.kind != "intermediate", Point.state.in_(_STANDING)
    )
    needy = {tuple(where): number for *where, number in rows(standing.group_by(*place))}
    newest = {tuple(row[:3]): tuple(row[3:]) for row in sorted(rows(images.where(imaged, _GOOD)))}
    used: dict[int, set[str]] = {}
    for *where, taken_at, number in there:
        needs = needy.get(tuple(where))
        if needs and (taken_at, number) >= newest.get(tuple(where), (taken_at, number)):
            used.setdefault(number, set()).add(f"restores of rp-{needs} as an instance")
    for number, restore in _launched_from(which):
        used.setdefault(number, set()).add(f"restore:{restore}")
    return used


def _launched_from(which: Any) -> list[tuple[int, int]]:
    """Images that a step of an unfinished restore names, with the restore."""
    steps = RestoreStep.select(RestoreStep.restore, RestoreStep.params).join(Restore)
    named = {
        params["image_id"]: restore
        for restore, params in rows(steps.where(Restore.state.in_(RESTORING)))
        if isinstance(params.get("image_id"), str)
    }
    if not named:
        return []
    query = Point.select(Point.id, Point.image_id).where(which, Point.image_id.in_(list(named)))
    return [(number, named[image]) for number, image in rows(query)]
