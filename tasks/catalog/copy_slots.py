"""What workers learn from the cloud about copies in flight, for admission: others' copies, and refusals."""

from datetime import datetime
from typing import Any

from peewee import fn

from tasks.catalog.fleet import CopySlots
from tasks.catalog.job import Job
from tasks.lanes import Lane
from tasks.states import JobState


def note_others(account: int, region: str, service: str, others: int, at: datetime) -> None:
    """So many copies that are not ours ran there at `at`. Call inside a transaction."""
    _write(account, region, service, others=others, seen_at=at)


def note_refusal(account: int, region: str, service: str, at: datetime) -> int:
    """The cloud refused a copy for want of a slot: what runs there of ours is all that it takes just now; how many.

    Call inside the transaction that puts the refused job off, when it is running no more. A copy whose worker died on
    it counts as running, as the cloud may have begun it: what refused this one is then no other limit.
    """
    mine = [Job.lane == Lane.COPY, Job.account == account, Job.region == region, Job.service == service]
    left_over = Job.state.in_([JobState.PENDING, JobState.QUEUED]) & (Job.claims > 0)
    there = (Job.state == JobState.WAITING) | left_over
    query: Any = Job.select(fn.COALESCE(fn.SUM(Job.slots), 0)).where(*mine, there)
    running = int(query.scalar() or 0)
    _write(account, region, service, most=running, refused_at=at)
    return running


def seen_others_at(account: int, region: str, service: str) -> datetime | None:
    """When others' copies were last asked for."""
    row = CopySlots.get_or_none(
        CopySlots.account_id == account, CopySlots.region == region, CopySlots.service == service
    )
    return row.seen_at if row is not None else None


def _write(account: int, region: str, service: str, **columns: object) -> None:
    CopySlots.insert(account_id=account, region=region, service=service, **columns).on_conflict(
        conflict_target=[CopySlots.account_id, CopySlots.region, CopySlots.service],
        update={getattr(CopySlots, name): value for name, value in columns.items()},
    ).execute()
