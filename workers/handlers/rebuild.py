"""Writing a place's recovery points again from the cloud's tags, and making good points of orphans that are complete.

Both ask the cloud anew and write a few points at a time, each with all that it is, so that a worker that dies leaves
what the next attempt goes on from. Doing either twice changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tasks.catalog import Job, Part, Point, Resource, lock_rows, session, transaction
from tasks.catalog.era import mark_rebuilt, place_of
from tasks.catalog.point import ORPHAN
from tasks.catalog.transitions import finish_job, move_parts, move_point
from tasks.crash import reach
from tasks.errors import Impossible
from tasks.states import JobState, PointState
from workers import driver, fence, orphans, rebuilding
from workers.context import Context
from workers.handlers.discover import storable
from workers.rebuilding import Sorted, Tally
from workers.tagged import HELD, Attempt, job_key, made_good, unknown

DRY = "rebuild-look"  # the kind of a job that only tells what a rebuilding would write
# Points written in one transaction, and things that are told one by one.
_BATCH, _TOLD = 100, 200
_MARK = "adopted"


class _Tried(Exception):
    """Ends the transaction of a dry run."""


@contextmanager
def _written(dry: bool) -> Iterator[None]:
    """A transaction, of which a dry run leaves nothing."""
    try:
        with transaction():
            yield
            if dry:
                raise _Tried
    except _Tried:
        return


def run(context: Context, job: Job) -> None:
    """Write what no row knows of a place. A dry run writes it too, and takes all of it back. Raises the family."""
    dry = job.kind == DRY
    found, finder = _listed(context, job)
    with session():
        lost = unknown(found, tuple(JobState), job.region)
        known = {one.external_id for one in found} - {one.external_id for one in lost}
        out = rebuilding.sort_out(lost, made_good(found, job.region), context.clock.timer())
    tally = Tally()
    for some in _batches(out):
        with _written(dry):
            rebuilding.write_all(context, job, finder, some, tally)
        reach("rebuild.written")
    at = context.clock.timer()
    result = {
        "points": len(tally.points),
        "failed": len(tally.failed),
        "already": len(known),
        "running": sum(len(one.members) for one in out.running),
        "skipped": tally.skipped[:_TOLD],
        "written": tally.points[:_TOLD],
        "left": tally.failed[:_TOLD],
        "listed": _tells(finder),
        "dry_run": dry,
    }
    with transaction():
        fence.keep(job)
        if not dry:
            result["linked"] = rebuilding.link_copies(job.service) if found else 0
            if not out.running:
                mark_rebuilt(place_of(job.account_id, job.region, job.service), at)
        finish_job(job, at, result=result)


def _listed(context: Context, job: Job) -> tuple[list[driver.Tagged], driver.Driver]:
    """What carries our tag at a job's place, and the driver that says so; nothing where a service tells no tags."""
    finder, found = context.drivers_of(job.service)[0], []
    with session():
        account = context.account(job.account)
    if isinstance(finder, driver.FindsTagged):
        found += finder.tagged(account, job.region, context.installation)
    if isinstance(finder, driver.FindsOneByOne):
        found += finder.tagged_one_by_one(account, job.region, context.installation)
    return [replace(one, tags=storable(dict(one.tags))) for one in found], finder


def _tells(finder: driver.Driver) -> bool:
    """Whether it can be told what of a service's is ours."""
    return isinstance(finder, driver.FindsTagged | driver.FindsOneByOne)


def _batches(out: Sorted) -> Iterator[Sorted]:
    for start in range(0, len(out.good), _BATCH):
        yield Sorted(good=out.good[start : start + _BATCH])
    for start in range(0, len(out.left), _BATCH):
        yield Sorted(left=out.left[start : start + _BATCH])


# --- orphans ---


def adopt(context: Context, job: Job) -> None:
    """Make good points of the orphans that the job names, where the cloud says that they are complete; of each other
    why not. Raises the family."""
    found, finder = _listed(context, job)
    if not _tells(finder):
        raise Impossible(f"What {job.service} holds has no tags.", code="no-list")
    there, dry, told = _There(found), bool(job.spec.get("dry_run")), []
    for number in job.spec["points"]:
        with _written(dry):
            fence.keep(job)
            orphans.note_look(job, context.clock.timer())
            why = _adopt(context, job, finder, int(number), there)
        told.append({"id": f"rp-{number}", "adopted": not why, "why": why})
        reach("rebuild.adopted")
    with transaction():
        fence.keep(job)
        if not dry:
            rebuilding.link_copies(job.service)
        finish_job(job, context.clock.timer(), result={"orphans": told, "dry_run": dry})


class _There:
    """What a place holds with our tag, by id and by the job that made it, and the jobs of which something was adopted:
    a dry run leaves no row of it."""

    def __init__(self, found: Sequence[driver.Tagged]) -> None:
        self.listed = {one.external_id: one for one in found}
        self.by_job: dict[str, list[driver.Tagged]] = defaultdict(list)
        for one in found:
            self.by_job[job_key(one)].append(one)
        self.adopted: set[str] = set()


def _adopt(context: Context, job: Job, finder: driver.Driver, number: int, there: _There) -> str:
    """Make one orphan good; why not, '' when it is. Call inside a transaction that is the look at the place: whoever
    adopts what the same job made is done then, or waits."""
    here = [Point.id == number, Point.account == job.account_id, Point.region == job.region]
    point = lock_rows(Point.select().where(*here, Point.state == PointState.FAILED, Point.error_code == ORPHAN)).first()
    if point is None:
        return "It is no orphan any more."
    parts = list(Part.select().where(Part.point == number))
    ids = [*([point.image_id] if point.image_id else []), *(part.external_id for part in parts)]
    gone = [one for one in ids if one not in there.listed]
    if gone or not ids:
        return f"{gone[0] if gone else 'What it consisted of'} is not there any more, or lost its tags."
    attempt = Attempt(tuple(there.listed[one] for one in ids))
    why = rebuilding.why_no_orphan(attempt, point.destination) or _made_otherwise(job, point, attempt, there)
    if why:
        return why
    rows, columns = rebuilding.described(context, finder, attempt, Resource.get_by_id(point.resource_id))
    _make_good(point, rows, {**columns, "policy": rebuilding.policy_to_keep(context, attempt)})
    there.adopted.add(attempt.job)
    return ""


def _made_otherwise(job: Job, point: Point, attempt: Attempt, there: _There) -> str:
    """Whether the same moment has a good point already, which the orphan would stand beside."""
    known = Job.get_or_none(Job.key == attempt.job)
    other = Point.get_or_none(Point.id == known.point_id) if known is not None else None
    if other is not None and other.id != point.id and other.state != PointState.FAILED:
        return f"Its job made rp-{other.id}."
    good = {*there.adopted, *made_good(there.by_job[attempt.job], job.region)}
    return "Its job made another point." if attempt.job in good else ""


def _make_good(point: Point, rows: Sequence[dict[str, Any]], columns: dict[str, Any]) -> None:
    """By way of a mark, as whatever comes back does: nobody sees it, since it is one transaction."""
    for row in rows:
        kept = {name: value for name, value in row.items() if name != "external_id"}
        Part.update(**kept).where(Part.point == point.id, Part.external_id == row["external_id"]).execute()
    for state in (PointState.EXPIRING, PointState.GOOD):
        move_parts(point.id, state)
    move_point(point.id, PointState.EXPIRING, expire_code=_MARK)
    none = dict.fromkeys(("expire_code", "error_code", "error_text"), "")
    held = "" if point.held == HELD else point.held  # as an orphan alone
    move_point(point.id, PointState.GOOD, held=held, **{**none, **columns})
