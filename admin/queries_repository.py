"""Repositories as people see them: what the estate says, what workers last found, and what is under way."""

from collections.abc import Mapping
from typing import Any

from peewee import JOIN, fn

from admin.costs import Load
from admin.progress import progress_row
from admin.queries import Row, find_point
from tasks.catalog import Job, Part, Point, Policy, Repository, Request, Resource, Transfer, session
from tasks.catalog.archives import ARCHIVE, IMPORT, damage_of, parts_of_archives, repository_destination
from tasks.errors import Invalid
from tasks.resources import TYPES
from tasks.states import JOB_OPEN, JobState, PointState

_OTHERS = ("repository", "repository-delete", "restore-step")  # kinds of jobs that move a repository's bytes too
_WORDS = {"restore-step": "restore", "repository-delete": "delete"}


def list_repositories() -> list[Row]:
    """Every repository with its archives."""
    with session():
        return [_row(row) for row in Repository.select().order_by(Repository.name)]


def show_repository(name: str) -> Row:
    """One repository: what was last found there by verb, the policies that use it, and what is under way with how
    far it is. Raises Invalid."""
    with session():
        row = _found(name)
        uses = [
            policy.name
            for policy in Policy.select().where(Policy.deleted_at.is_null()).order_by(Policy.name)
            if (policy.spec.get("repository") or {}).get("name") == name
        ]
        return {**_row(row), "policies": uses, "facts": dict(row.facts), "under_way": _under_way(name)}


def find_repository(name: str) -> Row:
    """A repository's row. Raises Invalid when there is none."""
    with session():
        row = _found(name)
        return {"name": row.name, **row.spec, "key_sealed": row.key_sealed}


def _found(name: str) -> Repository:
    row: Repository | None = Repository.get_or_none(Repository.name == name)
    if row is None:
        raise Invalid(f"There is no repository {name!r}.", advice="See `snapfleet repository list`.")
    return row


def _row(row: Repository) -> Row:
    points: Any = Point.select(fn.COUNT(Point.id), fn.MIN(Point.taken_at), fn.MAX(Point.taken_at)).where(
        Point.destination == repository_destination(row.name), Point.state == PointState.GOOD
    )
    count, oldest, newest = points.tuples().first()
    stats, checked = row.facts.get("stats") or {}, row.facts.get("verify") or {}
    return {
        "name": row.name,
        "account": row.spec["account"],
        "region": row.spec["region"],
        "url": row.spec["url"],
        "archives": count,
        "oldest_at": oldest,
        "newest_at": newest,
        "stored_bytes": stats.get("stored_bytes"),
        "verified_at": checked.get("at", ""),
        "problems": damage_of(row.facts)[0] if checked else None,
    }


def _under_way(name: str) -> list[Row]:
    """Everything that moves bytes of a repository: archives, imports, restores, verifications, prunes."""
    query: Any = (
        Job.select(Job, Resource.external_id)
        .join(Resource, JOIN.LEFT_OUTER)
        .where(Job.kind.in_([ARCHIVE, IMPORT, *_OTHERS]), Job.state.in_(list(JOB_OPEN)))
        .order_by(Job.id)
    )
    jobs = [job for job in query if _repository_of(job.spec) == name]
    archives = [job for job in jobs if job.kind in (ARCHIVE, IMPORT)]
    parts = parts_of_archives(archives)
    found: dict[int, list[Transfer]] = {}
    for row in Transfer.select().where(Transfer.job.in_([job.id for job in jobs])).order_by(Transfer.id):
        found.setdefault(row.job_id, []).append(row)
    return [_progress(job, found.get(job.id, []), parts.get(job.id, [])) for job in jobs]


def _repository_of(spec: dict[str, Any]) -> str:
    return str(spec.get("repository") or (spec.get("params") or {}).get("repository", ""))


def _progress(job: Any, transfers: list[Transfer], parts: list[Job]) -> Row:
    now = [row for row in transfers if row.epoch == job.epoch]
    return {
        "job": job.id,
        "kind": job.spec.get("verb", "") or _WORDS.get(job.kind, job.kind),
        "resource": job.resource.external_id if job.resource_id else "",
        "volume": ", ".join(row.volume for row in now if not row.done),
        "state": str(job.state),
        **progress_row(job, parts),
        "parts": len(parts),
        "why_full": "; ".join(row.why_full for row in now if row.why_full),
        "reason": job.error_text,
    }


def find_work(job_id: int, wish: int) -> Row:
    """What became of a job since it was wished for: its state (open, done, failed), result and reason."""
    with session():
        row, asked_at = Job.get_by_id(job_id), Request.get_by_id(wish).created_at
    over = row.finished_at is not None and row.finished_at >= asked_at
    state = "open" if not over or row.state in JOB_OPEN else "done" if row.state == JobState.DONE else "failed"
    percent = progress_row(row)["percent"]
    return {"state": state, "result": dict(row.result), "reason": row.error_text, "percent": percent}


def size_of_point(text: str, repository: str = "") -> tuple[Load, bool]:
    """What archiving a point would read and write, and whether its archive into a repository ('' for its policy's)
    would be the first of its resource there. Raises Invalid."""
    with session():
        point = find_point(text)
        name = repository or str((point.policy.spec.get("repository") or {}).get("name", ""))
        if not name:
            raise Invalid(f"The policy {point.policy.name} names no repository.", advice="Say which one with --to.")
        place = _found(name)
        known = Point.select().where(
            Point.resource == point.resource_id,
            Point.destination == repository_destination(name),
            Point.state == PointState.GOOD,
        )
        parts: Any = Part.select(fn.COUNT(Part.id), fn.SUM(Part.size_gib)).where(Part.point == point.id)
        count, size = parts.tuples().first()
        is_azure = TYPES[point.resource.type].cloud == "azure"
        found = {"azure" if is_azure else "aws": (int(count or 0), int(size or 0))}
        return _load(found, place.spec), not known.exists()


def _load(found: Mapping[str, tuple[int, int]], place: Mapping[str, Any]) -> Load:
    """`found` has volumes and GiB by cloud; a place that is not known is one of the cloud that all volumes are of."""
    volumes, size = (sum(one[part] for one in found.values()) for part in (0, 1))
    azure = found.get("azure", (0, 0))
    url = str(place.get("url", ""))
    into_azure = url.startswith("azure:") if url else set(found) == {"azure"}
    return Load(volumes, size, *azure, into_azure=into_azure)


def sizes_of(policy: str) -> Load:
    """What archiving the newest good point of each of a policy's targets would read and write."""
    with session():
        row = Policy.get_or_none(Policy.name == policy, Policy.deleted_at.is_null())
        if row is None:
            raise Invalid(f"There is no policy {policy!r}.", advice="See `snapfleet policies`.")
        newest = (
            Point.select(fn.MAX(Point.id))
            .where(Point.policy == row.id, Point.state == PointState.GOOD, Point.destination == "")
            .group_by(Point.resource)
        )
        counted: Any = (
            Part.select(Resource.type, fn.COUNT(Part.id), fn.SUM(Part.size_gib))
            .join(Point)
            .join(Resource)
            .where(Part.point.in_(newest))
            .group_by(Resource.type)
        )
        found: dict[str, tuple[int, int]] = {}
        for kind, count, size in counted.tuples():
            cloud = "azure" if TYPES[kind].cloud == "azure" else "aws"
            before = found.get(cloud, (0, 0))
            found[cloud] = (before[0] + int(count), before[1] + int(size or 0))
        name = str((row.spec.get("repository") or {}).get("name", ""))
        place = Repository.get_or_none(Repository.name == name) if name else None
    return _load(found, place.spec if place is not None else {})
