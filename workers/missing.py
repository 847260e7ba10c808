"""Recovery points whose snapshot or image somebody else deleted: found, told of, and good again when it is back.

A restore would be the first to notice otherwise. The daily look for orphans has just listed what carries our tag, so a
place where all is well costs no further call; what is not in that list is asked for by its id, as somebody may only
have taken its tags off. A point of which anything is gone is lost: it counts no more for retention and for what its
policy promises, and nothing that is left of it is deleted. A snapshot that comes out of a recycle bin, or a role that
meant another account for a day, makes it good again at the next look.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks.catalog import Job, Part, Point, Resource, lock_rows, rows, session, transaction
from tasks.catalog.point import DELETED_ELSEWHERE
from tasks.catalog.transitions import move_parts, move_point
from tasks.resources import TYPES
from tasks.states import PointState
from workers import drift, driver
from workers.context import Context

log = logging.getLogger("snapfleet.worker")

GRACE = timedelta(days=1)  # younger ones may not be in a list yet, and are followed by polls
_MOST = 500  # ids in one question
_NAMED = 3  # things that a text names; the parts of the point say it of each
_KINDS = ("snapshots", "image", "intermediate")  # archives lie in repositories, and a share is its source's
Things = dict[int, set[str]]  # a point's snapshots and image, by the point


def look(
    context: Context, job: Job, finder: driver.SeesPresent, account: driver.Account, listed: Sequence[driver.Tagged]
) -> int:
    """Compare the points of a poll's place with what the cloud holds, of which `listed` is known to be there; how many
    changed. Raises the family."""
    at = context.clock.timer()
    with session():
        good = _things(job, PointState.GOOD, Point.completed_at < at - GRACE)
        lost = _things(job, PointState.LOST, Point.error_code == DELETED_ELSEWHERE)
        going = _things(job, PointState.EXPIRING, Point.completed_at < at - GRACE)
        told: driver.Presence = {one.external_id: one.tags for one in listed}
        asked = {one for some in (good, lost, going) for things in some.values() for one in things} - told.keys()
        parts = _parts(job, sorted(asked))
    told |= finder.present(account, job.region, parts) if asked else {}
    gone = {point: missing for point, things in good.items() if (missing := things - told.keys())}
    back = [point for point, things in lost.items() if not things - told.keys()]
    changed = [point for point, missing in gone.items() if _lose(point, sorted(missing), at)]
    returned = [point for point in back if _return(point)]
    _tell(job, changed, "were deleted by somebody else")
    _tell(job, returned, "are there again")
    drift.look(context, job, {**good, **going}, told)
    return len(changed) + len(returned)


def _things(job: Job, state: PointState, which: Any) -> Things:
    """What points of a poll's place consist of in the cloud."""
    types = [name for name, kind in TYPES.items() if kind.service == job.service]
    place = [Point.account == job.account_id, Point.region == job.region, Resource.type.in_(types)]
    where = [*place, Point.state == state, Point.kind.in_(_KINDS), which]
    found: Things = defaultdict(set)
    for point, part in rows(Part.select(Part.point, Part.external_id).join(Point).join(Resource).where(*where)):
        found[point].add(part)
    images = Point.select(Point.id, Point.image_id).join(Resource).where(*where, Point.image_id != "")
    for point, image in rows(images):
        found[point].add(image)
    return found


def _parts(job: Job, ids: Sequence[str]) -> list[driver.Part]:
    """Things of a place as drivers know them; an image by its id alone."""
    known: dict[str, driver.Part] = {}
    for start in range(0, len(ids), _MOST):
        some = ids[start : start + _MOST]
        found = Part.select(Part.external_id, Part.attributes).join(Point)
        here = found.where(Part.external_id.in_(some), Point.account == job.account_id, Point.region == job.region)
        known |= {one: driver.Part(one, attributes=attributes) for one, attributes in rows(here)}
    return [known.get(one) or driver.Part(one) for one in ids]


def _lose(point: int, missing: Sequence[str], at: datetime) -> bool:
    """Unless it is about to go anyway, or gone, by our own hand. In a transaction of its own, as there may be as many
    as the place has points."""
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    text = f"Somebody else deleted {', '.join(missing[:_NAMED])}{more} in the cloud."
    with transaction():
        lost = move_point(point, PointState.LOST, error_code=DELETED_ELSEWHERE, error_text=text, deleted_at=at)
        if lost:
            move_parts(point, PointState.LOST, missing)
    return lost


def _return(point: int) -> bool:
    """All of it is there again. A part that was never good stays as it was."""
    with transaction():
        here = Point.select(Point.id).where(Point.id == point, Point.state == PointState.LOST)
        if lock_rows(here).first() is None:
            return False  # back already by another look, and perhaps on its way out since
        lost = rows(Part.select(Part.external_id).where(Part.point == point, Part.state == PointState.LOST))
        move_parts(point, PointState.GOOD, [one for (one,) in lost])
        return move_point(point, PointState.GOOD, error_code="", error_text="", deleted_at=None)


def _tell(job: Job, points: Sequence[int], what: str) -> None:
    if points:
        named = ", ".join(f"rp-{number}" for number in points[:_NAMED])
        log.warning("%d recovery points in %s %s: %s", len(points), job.region, what, named)
