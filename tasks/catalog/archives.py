"""What archives in repositories need of other points: asked when retention plans, and again before a deletion."""

from collections.abc import Mapping, Sequence
from typing import Any

from peewee import fn

from tasks.catalog.database import rows
from tasks.catalog.job import Job
from tasks.catalog.point import Point
from tasks.catalog.policy import Membership, Policy
from tasks.states import JOB_OPEN, PointState

ARCHIVE = "archive"
# A snapshot of others that becomes a generation.
IMPORT = "import"
# A range of a big volume, archived for an archive or import job that waits for all ranges of it.
ARCHIVE_PART = "archive-part"
# What a part failed by that only a new beginning mends: its base, its snapshot or its right to write is gone.
PART_LOST = "archive-lost"
_PREFIX = "repository:"


def repository_destination(name: str) -> str:
    """What points in a repository have as their destination."""
    return f"{_PREFIX}{name}"


def repository_of(destination: str) -> str:
    """The repository that a destination names; '' for any other place."""
    return destination.removeprefix(_PREFIX) if destination.startswith(_PREFIX) else ""


def parts_of_archives(leads: Sequence[Job]) -> dict[int, list[Job]]:
    """By archive job, the jobs that archive ranges of its big volumes for its point of now and its epoch."""
    epochs = {lead.id: lead.epoch for lead in leads}
    points = [lead.point_id for lead in leads if lead.point_id is not None]
    found: dict[int, list[Job]] = {lead.id: [] for lead in leads}
    query = Job.select().where(Job.point_id.in_(points), Job.kind == ARCHIVE_PART).order_by(Job.id)
    for row in query if points else ():
        if epochs.get(row.spec["lead"]) == row.spec["epoch"]:
            found[row.spec["lead"]].append(row)
    return found


def read_by_archives() -> dict[int, int]:
    """Points that an unfinished archive job reads, with the job."""
    query = Job.select(Job.id, Job.spec).where(Job.kind == ARCHIVE, Job.state.in_(list(JOB_OPEN)))
    return {int(spec["point"]): number for number, spec in rows(query)}


def bases_in_use(which: Any) -> dict[int, int]:
    """Points whose snapshots the next archive is made by the difference to, with the archive that was read of them.

    `which` (an expression over Point) chooses among archives. The newest good one of a resource in a repository holds
    what it was read of, while its policy names that repository and the resource is still in the policy.
    """
    later = Point.alias()
    newer = later.select(later.id).where(
        later.resource == Point.resource,
        later.destination == Point.destination,
        later.kind == ARCHIVE,
        later.state == PointState.GOOD,
        later.taken_at > Point.taken_at,
    )
    left = Membership.select(Membership.id).where(
        Membership.policy == Point.policy, Membership.resource == Point.resource, Membership.left_at.is_null(False)
    )
    query = (
        Point.select(Point.id, Point.copy_of, Point.destination, Policy.spec)
        .join(Policy)
        .where(
            Point.kind == ARCHIVE,
            Point.state == PointState.GOOD,
            Point.copy_of.is_null(False),
            Policy.deleted_at.is_null(),
            ~fn.EXISTS(newer),
            ~fn.EXISTS(left),
            which,
        )
    )
    return {
        base: number
        for number, base, destination, spec in rows(query)
        if repository_of(destination) == (spec.get("repository") or {}).get("name")
    }


def damage_of(facts: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """How many problems a repository has by what was last found there, and the first of them: those of the last
    verification, and of earlier shares of the scrub what no repair has mended since."""
    last = facts.get("verify") or {}
    told = list(last.get("told") or ())
    shares = (facts.get("scrub") or {}).get("found") or {}
    found = tuple(dict.fromkeys([*told, *(line for lines in shares.values() for line in lines)]))
    return int(last.get("problems") or 0) + len(found) - len(told), found
