"""Repositories as people see them: what the estate says, what workers last found, and archives under way."""

from typing import Any

from peewee import fn

from admin.queries import Row
from tasks.catalog import Job, Part, Point, Policy, Repository, Request, Resource, Transfer, rows, session
from tasks.catalog.archives import ARCHIVE, parts_of_archives, repository_destination
from tasks.errors import Invalid
from tasks.states import JOB_OPEN, JobState, PointState

_BLOCK = 512 << 10  # bytes of a block as EBS counts them


def list_repositories() -> list[Row]:
    """Every repository with its archives."""
    with session():
        return [_row(row) for row in Repository.select().order_by(Repository.name)]


def show_repository(name: str) -> Row:
    """One repository: what was last found there by verb, the policies that use it, archives under way with how far
    each volume is. Raises Invalid."""
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
        "problems": checked.get("problems"),
    }


def _under_way(name: str) -> list[Row]:
    jobs = {
        number: resource
        for number, resource, spec in rows(
            Job.select(Job.id, Resource.external_id, Job.spec)
            .join(Resource)
            .where(Job.kind.in_([ARCHIVE, "import"]), Job.state.in_(list(JOB_OPEN)))
        )
        if spec.get("repository") == name
    }
    if not jobs:
        return []
    found = Transfer.select().where(Transfer.job.in_(list(jobs)), ~Transfer.done).order_by(Transfer.id)
    of_parts = _parts_under_way(list(jobs))
    return [_progress(jobs[row.job_id], _with_parts(row, of_parts.get((row.job_id, row.volume), []))) for row in found]


def _parts_under_way(leads: list[int]) -> dict[tuple[int, str], list[Transfer]]:
    """By archive and volume, how far the jobs are that share a big volume."""
    parts = parts_of_archives(list(Job.select().where(Job.id.in_(leads))))
    lead_of = {part.id: lead for lead, mine in parts.items() for part in mine}
    found: dict[tuple[int, str], list[Transfer]] = {}
    for row in Transfer.select().where(Transfer.job.in_(list(lead_of))) if lead_of else ():
        found.setdefault((lead_of[row.job_id], row.volume), []).append(row)
    return found


def _with_parts(row: Transfer, parts: list[Transfer]) -> Transfer:
    """A volume's row, as far as all of its parts together are."""
    for part in parts:
        row.next_block += part.next_block
        row.changed_at = max(row.changed_at, part.changed_at)
        row.figures = {name: row.figures.get(name, 0) + value for name, value in part.figures.items()}
    return row


def _progress(resource: str, row: Transfer) -> Row:
    """How far a volume is; the rate is that of its slices so far."""
    seconds = (row.changed_at - row.started_at).total_seconds()
    rate = row.next_block / seconds if seconds > 0 else 0.0
    return {
        "resource": resource,
        "volume": row.volume,
        "percent": int(100 * row.next_block / row.blocks) if row.blocks else 0,
        "read_bytes": row.figures.get("read_bytes", 0),
        "stored_bytes": row.figures.get("stored_bytes", 0),
        "mib_per_second": round(rate * _BLOCK / (1 << 20), 1),
        "seconds_left": int((row.blocks - row.next_block) / rate) if rate else None,
        "why_full": row.why_full,
    }


def find_work(job_id: int, wish: int) -> Row:
    """What became of a job since it was wished for: its state (open, done, failed), result and reason."""
    with session():
        row, asked_at = Job.get_by_id(job_id), Request.get_by_id(wish).created_at
    over = row.finished_at is not None and row.finished_at >= asked_at
    state = "open" if not over or row.state in JOB_OPEN else "done" if row.state == JobState.DONE else "failed"
    return {"state": state, "result": dict(row.result), "reason": row.error_text}


def sizes_of(policy: str) -> tuple[int, int]:
    """Volumes and GiB of the newest good point of each of a policy's targets."""
    with session():
        row = Policy.get_or_none(Policy.name == policy, Policy.deleted_at.is_null())
        if row is None:
            raise Invalid(f"There is no policy {policy!r}.", advice="See `snapfleet policies`.")
        newest = (
            Point.select(fn.MAX(Point.id))
            .where(Point.policy == row.id, Point.state == PointState.GOOD, Point.destination == "")
            .group_by(Point.resource)
        )
        found: Any = Part.select(fn.COUNT(Part.id), fn.SUM(Part.size_gib)).where(Part.point.in_(newest))
        count, size = found.tuples().first()
    return int(count or 0), int(size or 0)
