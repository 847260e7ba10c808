"""What in the catalog forbids that a repository is deleted: coordinator and worker ask the same."""

from typing import Any
from urllib.parse import unquote, urlsplit

from tasks.catalog.archives import repository_destination
from tasks.catalog.job import Job
from tasks.catalog.point import Point
from tasks.catalog.policy import Policy, Repository
from tasks.errors import Refused
from tasks.lanes import Lane
from tasks.states import JOB_OPEN, PointState

DELETE = "repository-delete"  # the kind of job
_HELD = (PointState.GOOD, PointState.CREATING, PointState.EXPIRING)
_LANES = [str(lane) for lane in (Lane.REPOSITORY, Lane.RESTORE, Lane.DISCOVER)]


def same_place(url: str) -> str:
    """An address in the one form in which two of the same place are equal."""
    parts = urlsplit(url)
    steps = unquote(parts.path).strip("/")
    return f"{parts.scheme}://{parts.netloc.casefold()}/{steps}"


def repositories_at(url: str) -> list[Repository]:
    """The estate's repositories at an address. Call inside a session."""
    return [row for row in Repository.select() if same_place(row.spec["url"]) == same_place(url)]


def refuse_while_needed(url: str) -> None:
    """Raises Refused while recovery points lie at an address, a policy archives there, or work is under way there.
    Call inside a session."""
    for row in repositories_at(url):
        _refuse(row.name)


def _refuse(name: str) -> None:
    held = Point.select().where(Point.destination == repository_destination(name), Point.state.in_(_HELD)).count()
    if held:
        raise Refused(
            f"The repository {name} holds {held} recovery points.",
            code="repository-in-use",
            advice=f"See `snapfleet points --destination repository:{name}`.",
        )
    for policy in Policy.select().where(Policy.deleted_at.is_null()):
        if (policy.spec.get("repository") or {}).get("name") == name:
            advice = "Give the policy another repository, or none, and apply."
            raise Refused(f"The policy {policy.name} archives into {name}.", code="repository-in-use", advice=advice)
    jobs: Any = Job.select().where(Job.state.in_(list(JOB_OPEN)), Job.lane.in_(_LANES), Job.kind != DELETE)
    for job in jobs:
        if name in (job.spec.get("repository"), (job.spec.get("params") or {}).get("repository")):
            advice = f"See `snapfleet repository show {name}`, and ask again when it is over."
            raise Refused(f"Work is under way in {name} ({job.kind}).", code="repository-in-use", advice=advice)
