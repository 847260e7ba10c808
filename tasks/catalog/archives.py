"""What archives in repositories need of other points: asked when retention plans, and again before a deletion."""

from typing import Any

from peewee import fn

from tasks.catalog.database import rows
from tasks.catalog.job import Job
from tasks.catalog.point import Point
from tasks.catalog.policy import Membership, Policy
from tasks.states import JOB_OPEN, PointState

ARCHIVE = "archive"
_PREFIX = "repository:"


def repository_destination(name: str) -> str:
    """What points in a repository have as their destination."""
    return f"{_PREFIX}{name}"


def repository_of(destination: str) -> str:
    """The repository that a destination names; '' for any other place."""
    return destination.removeprefix(_PREFIX) if destination.startswith(_PREFIX) else ""


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
