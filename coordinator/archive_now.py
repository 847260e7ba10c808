"""Archiving one recovery point because somebody asks for it, whatever turn its policy's repository is at."""

from datetime import datetime
from typing import Any

from coordinator.archive import plan_archive, repositories
from coordinator.facts import policy_facts, source_facts
from coordinator.plan import MANUAL_PRIORITY
from tasks.catalog import Account, Job, Point, hold_rows
from tasks.catalog.archives import repository_destination
from tasks.catalog.transitions import add_jobs, requeue
from tasks.errors import Invalid, Refused
from tasks.resources import TYPES
from tasks.states import JobState, PointState


def ask_archive(point_id: int, repository: str, at: datetime) -> int:
    """Have a good point archived into a repository ('' for its policy's) at once; the job's id.

    Call inside a transaction. What failed before is tried again, and what was archived and has expired since is
    archived anew. Raises Invalid and Refused.
    """
    point = hold_rows(Point.select().where(Point.id == point_id)).first()
    if point is None:
        raise Invalid(f"There is no point rp-{point_id}.", advice="See `snapfleet points`.")
    _check(point)
    name = repository or str((point.policy.spec.get("repository") or {}).get("name", ""))
    if not name:
        raise Invalid(
            f"The policy {point.policy.name} names no repository.",
            advice="Say which one with --to; see `repository list`.",
        )
    accounts = {row.name: row.id for row in Account.select(Account.id, Account.name).where(Account.enabled)}
    source = source_facts([point])[point.id]
    row = plan_archive(policy_facts(point.policy), None, source, name, repositories(), accounts, MANUAL_PRIORITY)
    if not isinstance(row, dict):
        raise Invalid(row.text, code=row.code)
    known = Job.get_or_none(Job.key == row["key"])
    return add_jobs([row], at)[0] if known is None else _again(known, point, name, at)


def _check(point: Point) -> None:
    kind = TYPES[point.resource.type]
    if point.state != PointState.GOOD:
        raise Refused(f"rp-{point.id} is {point.state}: only a good point is archived.")
    if point.destination:
        of = f"rp-{point.copy_of_id}" if point.copy_of_id else "the point it was made of"
        raise Refused(f"rp-{point.id} lies in {point.destination}.", advice=f"Archive {of} instead.")
    if not kind.repository:
        raise Refused(f"{kind.name} cannot be kept in a repository by this version.")


def _again(job: Job, point: Point, name: str, at: datetime) -> int:
    made = Point.get_or_none(
        Point.copy_of == point.id, Point.destination == repository_destination(name), Point.state == PointState.GOOD
    )
    if made is not None:
        raise Refused(f"rp-{point.id} is in {name} already, as rp-{made.id}.", code="archived-already")
    fresh: dict[str, Any] = {
        "attempt": 0,
        "claims": 0,
        "settled": False,
        "finished_at": None,
        "priority": MANUAL_PRIORITY,
    }
    if job.state == JobState.FAILED:
        requeue(job, at, **fresh)
    elif job.state == JobState.DONE:  # what it made has expired: nothing of that attempt may be taken for the new one
        requeue(job, at, **fresh, epoch=job.epoch + 1, point_id=None)
    elif job.state == JobState.CANCELLED:
        raise Refused(f"The archive of rp-{point.id} was cancelled with its run.", advice="Run the policy again.")
    return int(job.id)
