"""Whose turn a copy is, where a cloud copies one snapshot of a disk at a time, in the order in which they were taken.

The copies of one resource have a chain. A disk may also be protected twice, alone and with its machine: then two chains
have copies of it, and the worker that is about to begin one asks here first. The order is the cloud's own: of each disk
by when its snapshot was begun there (`driver.TAKEN_AT` of a part), which for a machine, whose disks come one after the
other, is another than by point. (Managed disks documentation, "Copy an incremental snapshot to a new region",
restrictions.)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import SQL

from tasks.catalog import Job, Part, Point, Resource
from tasks.catalog.transitions import FREE_FOR
from tasks.chains import copy_chain
from tasks.clock import Clock
from tasks.errors import Impossible, NotReady, Retry
from tasks.resources import TYPES
from tasks.states import JobState, PointState
from workers.context import is_first
from workers.driver import TAKEN_AT, OutOfTurn

# A snapshot that was begun before this one and is still being made keeps a copy back for so long: Azure makes one
# within a minute, and a machine of which one disk hangs must not keep the copies of the others from their region.
STILL_MADE_FOR = timedelta(minutes=15)
_TOO_LATE = (
    "rp-{}, which is younger, has been copied there already: the cloud copies the snapshots of a disk in the order in "
    "which they were taken."
)
_OUT_OF_ORDER = "A younger snapshot of the disk seems to lie there already, which the catalog does not know. {}"
_OPEN = "\"state\" IN ('pending', 'queued', 'running', 'waiting')"  # written out as the index of open chains has it


class NotItsTurn(NotReady):
    """Another copy of the same disk goes first: that costs no attempt."""

    retry, code, wait = Retry.FREE, "copy-in-turn", timedelta(seconds=60)


class OneUnderWay(NotItsTurn):
    """The cloud is copying another snapshot of the disk, a first full one for days: the day of free waiting begins
    anew while it does."""

    renews = True


@dataclass(frozen=True)
class Turn:
    """A copy that is wanted, by the point that it is made from. `disks`: what that point holds and when the snapshot of
    each was begun; None while that is not known. `begun`: the cloud copies already."""

    point: int
    disks: Mapping[str, datetime] | None
    begun: bool = False

    def is_older(self, other: "Turn") -> bool:
        """Whether this holds the older snapshot of a disk that both hold, of several the first that was taken; of two
        copies at most one is the older. What is not known yet may be."""
        if self.disks is None or other.disks is None:
            return self.disks is None
        common = self.disks.keys() & other.disks.keys()
        mine, others = ([disks[disk] for disk in common] for disks in (self.disks, other.disks))
        return bool(common) and (min(mine), self.point) < (min(others), other.point)


def goes_first(mine: Turn, others: Iterable[Turn]) -> Turn | None:
    """The copy that `mine` has to wait for: of a common disk, begun already or older. None: it is its turn."""
    wanted = (mine.disks or {}).keys()
    rivals = [one for one in others if one.is_older(mine) or (one.begun and wanted & (one.disks or {}).keys())]
    return min(rivals, key=lambda one: (not one.begun, one.point), default=None)


def await_turn(job: Job, source: Point, clock: Clock) -> None:
    """Raise NotItsTurn while another copy of a disk of `source` goes before `job`, Impossible when a younger one lies
    there already (a failed copy that is wanted again, late). Call inside a session."""
    mine, place = Turn(source.id, _disks([source]).get(source.id, {})), str(job.spec["destination"])
    related = _related(source, mine.disks or {})
    younger = _younger(mine, source, related, place)
    if younger is not None:
        raise Impossible(_TOO_LATE.format(younger), code="out-of-order")
    if not related:
        return
    waiting = _copies(related, place)
    if clock.now() - source.taken_at < STILL_MADE_FOR:
        waiting += _still_made(related, source)
    _give_way(goes_first(mine, waiting))


def judge_refusal(job: Job, source: Point, refused: OutOfTurn, clock: Clock) -> None:
    """What a refusal for another copy of a disk means, from what the catalog knows. Call inside a session.

    Raises NotItsTurn while a copy of a disk of `source` is under way, to any region, or one has become due before it;
    Impossible when none is and the cloud speaks of the order. Else the refusal stands, and costs an attempt.
    """
    await_turn(job, source, clock)
    mine = Turn(source.id, _disks([source]).get(source.id, {}))
    _give_way(goes_first(mine, _under_way([source.resource_id, *_related(source, mine.disks or {})], job)))
    # Not at the first one: what this attempt has begun of other disks is looked for only after a second (app._give_up).
    if refused.too_late and not is_first(job):
        raise Impossible(_OUT_OF_ORDER.format(refused.text), code="out-of-order")


def _give_way(first: Turn | None) -> None:
    if first is None:
        return
    if first.begun:
        raise OneUnderWay(f"The copy of rp-{first.point}, which holds the same disk, is under way.")
    raise NotItsTurn(f"The copy of rp-{first.point}, which holds the same disk, goes before this one.")


def _younger(mine: Turn, source: Point, related: list[int], place: str) -> int | None:
    """A point with a younger snapshot of one of the disks of `mine` that was copied to `place`."""
    copies = list(
        Point.select(Point.id, Point.copy_of, Point.taken_at).where(
            Point.resource.in_([source.resource_id, *related]),
            Point.destination == place,
            Point.state == PointState.GOOD,
            # the last disk of a machine is taken within the day for which a throttle may put it off
            Point.taken_at > source.taken_at - FREE_FOR,
        )
    )
    held = _disks(copies)
    for one in copies:
        disks = held.get(one.id, {})
        if any(disks[disk] > since for disk, since in (mine.disks or {}).items() if disk in disks):
            return int(one.copy_of_id or one.id)
    return None


def _disks(points: Iterable[Point]) -> dict[int, dict[str, datetime]]:
    """The disks of each point, and when the cloud began the snapshot of each; where it did not tell, the point's time.
    A copy's part has its source's."""
    taken = {point.id: point.taken_at for point in points}
    found: dict[int, dict[str, datetime]] = {}
    parts = Part.select(Part.point, Part.source_id, Part.attributes)
    for part in parts.where(Part.point.in_(list(taken)), Part.source_id != ""):
        told = part.attributes.get(TAKEN_AT)
        at = datetime.fromisoformat(told) if told else taken[part.point_id]
        found.setdefault(part.point_id, {})[part.source_id] = at
    return found


def _related(source: Point, disks: Iterable[str]) -> list[int]:
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
    return _turns(begun | {int(job.spec["point"]) for job in heads.values()}, begun)


def _under_way(resources: list[int], job: Job) -> list[Turn]:
    """Copies of these resources to any place that the cloud makes: one of a disk at a time, wherever it goes."""
    rows = Job.select(Job.spec).where(
        Job.kind == "copy", Job.state == JobState.WAITING, Job.resource.in_(resources), Job.id != job.id
    )
    begun = {int(row.spec["point"]) for row in rows}
    return _turns(begun, begun)


def _turns(sources: set[int], begun: set[int]) -> list[Turn]:
    rows = list(Point.select(Point.id, Point.taken_at).where(Point.id.in_(sorted(sources))))
    held = _disks(rows)
    return [Turn(row.id, held.get(row.id, {}), row.id in begun) for row in rows]


def _still_made(related: list[int], source: Point) -> list[Turn]:
    """Snapshots whose copies cannot be planned yet. Which disks those hold that are being made, and which of them are
    older, may not be written yet."""
    rows = list(
        Point.select(Point.id, Point.taken_at, Point.state)
        .join(Job, on=(Job.point_id == Point.id))
        .where(
            Job.kind == "snapshot",
            Point.resource.in_(related),
            Point.destination == "",
            Point.state.in_([PointState.CREATING, PointState.GOOD]),
            Point.taken_at > source.taken_at - STILL_MADE_FOR,
            ~Job.settled,
        )
    )
    held = _disks(rows)
    return [Turn(row.id, None if row.state is PointState.CREATING else held.get(row.id, {})) for row in rows]
