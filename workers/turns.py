"""Whose turn a copy is, where a cloud copies one snapshot of a disk at a time, in the order in which they were taken.

The copies of one resource have a chain. A disk may also be protected twice, alone and with its machine: then two chains
have copies of it, and the worker that is about to begin one asks here first. (Managed disks documentation, "Copy an
incremental snapshot to a new region", restrictions.)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import SQL

from tasks.catalog import Job, Part, Point, Resource
from tasks.chains import copy_chain
from tasks.clock import Clock
from tasks.errors import Impossible, NotReady, Retry
from tasks.resources import TYPES
from tasks.states import JobState, PointState

# A snapshot that was begun before this one and is still being made keeps a copy back for so long: Azure makes one
# within a minute, and a machine of which one disk hangs must not keep the copies of the others from their region.
STILL_MADE_FOR = timedelta(minutes=15)
_TOO_LATE = (
    "rp-{}, which is younger, has been copied there already: the cloud copies the snapshots of a disk in the order in "
    "which they were taken."
)
_OPEN = "\"state\" IN ('pending', 'queued', 'running', 'waiting')"  # written out as the index of open chains has it


class NotItsTurn(NotReady):
    """Another copy of the same disk goes first: that costs no attempt."""

    retry, code, wait = Retry.FREE, "copy-in-turn", timedelta(seconds=60)


@dataclass(frozen=True)
class Turn:
    """A copy that is wanted, by the point that it is made from. `disks`: what that point holds; None while it is not
    known. `begun`: the cloud copies already."""

    point: int
    taken_at: datetime
    disks: frozenset[str] | None
    begun: bool = False


def goes_first(mine: Turn, others: Iterable[Turn]) -> Turn | None:
    """The copy that `mine` has to wait for: of a common disk, begun already or of an older point. None: it is its turn.

    Points have one order, and the first of them waits for nothing but what is under way: nobody waits for ever.
    """
    rivals = [
        one
        for one in others
        if (one.begun or (one.taken_at, one.point) < (mine.taken_at, mine.point))
        and (one.disks is None or mine.disks is None or one.disks & mine.disks)
    ]
    return min(rivals, key=lambda one: (not one.begun, one.taken_at, one.point), default=None)


def await_turn(job: Job, source: Point, clock: Clock) -> None:
    """Raise NotItsTurn while another copy of a disk of `source` goes before `job`, Impossible when a younger one lies
    there already (a failed copy that is wanted again, late). Call inside a session."""
    younger = _younger(source, str(job.spec["destination"]))
    if younger is not None:
        raise Impossible(_TOO_LATE.format(younger), code="out-of-order")
    mine = Turn(source.id, source.taken_at, _disks([source.id]).get(source.id))
    related = _related(source, mine.disks or frozenset())
    if not related:
        return
    waiting = _copies(related, str(job.spec["destination"]))
    if clock.now() - source.taken_at < STILL_MADE_FOR:
        waiting += _still_made(related, source)
    first = goes_first(mine, waiting)
    if first is not None:
        raise NotItsTurn(f"The copy of rp-{first.point}, which holds the same disk, goes before this one.")


def _younger(source: Point, place: str) -> int | None:
    """A point of the same resource that was taken later and copied to `place`."""
    copies = (
        Point.select(Point.copy_of)
        .where(
            Point.resource == source.resource_id,
            Point.destination == place,
            Point.state == PointState.GOOD,
            Point.taken_at > source.taken_at,
        )
        .first()
    )
    return None if copies is None else int(copies.copy_of_id or copies.id)


def _disks(points: list[int]) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for part in Part.select(Part.point, Part.source_id).where(Part.point.in_(points), Part.source_id != ""):
        found.setdefault(part.point_id, set()).add(part.source_id)
    return {point: frozenset(disks) for point, disks in found.items()}


def _related(source: Point, disks: frozenset[str]) -> list[int]:
    """Other resources whose points may hold the same disks: the machine that a disk was or is attached to, the disks of
    a machine and the machines that they are attached to now."""
    types = [name for name, kind in TYPES.items() if kind.copies_in_order]
    own = source.resource
    named = {*disks, own.parent_id, str(source.attributes.get("attached_to", "")), own.external_id} - {""}
    where = [Resource.account == own.account_id, Resource.region == own.region, Resource.type.in_(types)]
    found = list(Resource.select(Resource.id, Resource.parent_id).where(*where, Resource.external_id.in_(named)))
    hosts = {row.parent_id for row in found} - named - {""}
    if hosts:
        found += list(Resource.select(Resource.id).where(*where, Resource.external_id.in_(hosts)))
    return [row.id for row in found if row.id != own.id]


def _copies(related: list[int], place: str) -> list[Turn]:
    """Of each chain the copies under way, and the one that comes next."""
    chains = [copy_chain(number, place, in_order=True) for number in related]
    jobs = list(Job.select(Job.chain, Job.state, Job.spec).where(SQL(_OPEN), Job.chain.in_(chains)).order_by(Job.id))
    heads: dict[str, Job] = {}
    for job in jobs:
        heads.setdefault(job.chain, job)
    begun = {int(job.spec["point"]) for job in jobs if job.state is JobState.WAITING}
    sources = sorted(begun | {int(job.spec["point"]) for job in heads.values()})
    held = _disks(sources)
    rows = Point.select(Point.id, Point.taken_at).where(Point.id.in_(sources))
    return [Turn(row.id, row.taken_at, held.get(row.id), row.id in begun) for row in rows]


def _still_made(related: list[int], source: Point) -> list[Turn]:
    """Older snapshots whose copies cannot be planned yet. Which disks they hold may not be written yet."""
    rows = (
        Point.select(Point.id, Point.taken_at)
        .join(Job, on=(Job.point_id == Point.id))
        .where(
            Point.resource.in_(related),
            Point.destination == "",
            Point.taken_at <= source.taken_at,
            Point.taken_at > source.taken_at - STILL_MADE_FOR,
            ~Job.settled,
        )
    )
    return [Turn(row.id, row.taken_at, None) for row in rows]
