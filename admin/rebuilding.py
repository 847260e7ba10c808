"""Wishes to write a catalog again from the clouds' tags and to adopt orphans, and what workers say of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from admin.queries import Row, find_point
from admin.requests import request
from tasks.catalog import Account, Job, session
from tasks.clock import Clock
from tasks.errors import Invalid
from tasks.states import JOB_TERMINAL, JobState


def request_rebuild(*, dry_run: bool, unseen: bool, who: str, clock: Clock) -> int:
    """Ask that what no row knows becomes recovery points; the wish's id."""
    given = {name: True for name, asked in (("dry_run", dry_run), ("unseen", unseen)) if asked}
    return request("rebuild", given, subject="state", who=who, clock=clock)


def request_orphans(points: Sequence[str], *, every: bool, dry_run: bool, who: str, clock: Clock) -> int:
    """Ask that orphans, those named or every one, become good points; the wish's id.

    Raises Invalid unless it is the one or the other, and for a point that there is not.
    """
    if bool(points) == every:
        raise Invalid("Which orphans is not clear.", advice="Name them as rp-ID, or give --all.")
    with session():
        numbers = sorted({find_point(point).id for point in points})
    given: dict[str, Any] = {"points": numbers} if numbers else {}
    subject = ", ".join(f"rp-{number}" for number in numbers[:5]) or "all orphans"
    return request(
        "orphans", {**given, **({"dry_run": True} if dry_run else {})}, subject=subject, who=who, clock=clock
    )


def list_places(jobs: Sequence[int], asked_at: datetime) -> list[Row]:
    """What these jobs have done: `state` is open until one that was asked for at `asked_at` has ended."""
    with session():
        query: Any = Job.select(Job, Account).join(Account).where(Job.id.in_(list(jobs)))
        return [
            {
                "account": row.account.name,
                "region": row.region,
                "service": row.service,
                "state": _state(row, asked_at),
                "note": row.error_text if row.state == JobState.FAILED else "",
                "result": dict(row.result) if row.state == JobState.DONE else {},
            }
            for row in query.order_by(Account.name, Job.region, Job.service)
        ]


def _state(row: Job, asked_at: datetime) -> str:
    if row.state not in JOB_TERMINAL or row.finished_at is None or row.finished_at < asked_at:
        return "open"
    return "done" if row.state == JobState.DONE else "failed"
