"""Deleting a repository that nobody needs any more: looked at first, and only deleted with its address as consent.

Everything is looked at anew by each message, so that a worker that dies leaves what the next one goes on with.
"""

from datetime import timedelta
from typing import Any

from tasks.catalog import Account, Job, Repository, session, transaction
from tasks.catalog.deletion import refuse_while_needed
from tasks.catalog.transitions import finish_job
from tasks.errors import Refused
from workers import fence
from workers.context import Context
from workers.ledger import CatalogCommits
from workers.repositories import blocks_for, go_on_later, place_of, slice_end, translated
from workers.repository.delete import DeletePlan, execute_deletion, plan_deletion
from workers.repository.repository import Repository as Opened
from workers.repository.repository import open_repository
from workers.repository.store import Store

# Foreign or kept objects that are told one by one.
_TOLD = 20
Facts = dict[str, Any]


def run(context: Context, job: Job) -> None:
    """Say what would go, or with `confirm` (the address) delete it. Raises the family: Refused while it is needed,
    written to, or locked, and where no repository is."""
    with session():
        refuse_while_needed(job.spec["url"])
        account = context.account(Account.get_by_id(job.account_id))
        row = Repository.get_or_none(Repository.name == job.spec["repository"])
        sse_key = row.spec.get("sse_kms_key", "") if row is not None else ""
    with translated():
        store: Store = blocks_for(context, job.spec["url"]).store(account, job.region, job.spec["url"], sse_key)
        opener = (lambda: _opened(context, job, store)) if job.spec["repository"] else None
        silence = timedelta(seconds=context.settings.grace_seconds)
        plan = plan_deletion(store, context.clock.timer, silence, opener)
    if "confirm" not in job.spec:
        _finish(context, job, {**_told(plan), "deleted": False})
        return
    facts = _delete(context, job, store, plan)
    if facts is not None:
        _finish(context, job, facts)


def _opened(context: Context, job: Job, store: Store) -> Opened:
    with session():
        place = place_of(context, job.spec["repository"])
    ledger = CatalogCommits(place.url)
    commits = ledger if ledger.is_owned() else None
    return open_repository(store, place.key, clock=context.clock.timer, commits=commits)


def _delete(context: Context, job: Job, store: Store, plan: DeletePlan) -> Facts | None:
    """What was deleted by this message and those before it; None when the next one goes on."""
    before = dict(job.spec.get("going") or {})
    if plan.id == "" and before:  # its last object went before the worker died
        return {**_told(plan), "blocked": "", **before, "deleted": True}
    if plan.blocked:
        raise Refused(plan.blocked, code="repository-in-use" if plan.id else "no-repository", advice="Nothing went.")
    sums = {"objects": int(before.get("objects", 0)), "bytes": int(before.get("bytes", 0))}
    with transaction():
        fence.keep(job, spec={**job.spec, "going": sums})
    CatalogCommits(job.spec["url"]).disown()
    meter = context.meters.begin(job, context.clock.timer(), sums["bytes"] + plan.bytes, sums["bytes"])
    with translated():
        report = execute_deletion(
            store, plan, context.clock.timer, lambda done: meter.moved_to(sums["bytes"] + done), slice_end(context)
        )
    sums = {"objects": sums["objects"] + report.objects, "bytes": sums["bytes"] + report.bytes}
    if not report.complete and not report.kept:
        with transaction():
            fence.keep(job, spec={**job.spec, "going": sums})
        go_on_later(context, job)
        return None
    kept = [f"{name}: {why}" for name, why in sorted(report.kept.items())]
    facts = {**_told(plan), **sums, "deleted": report.complete, "kept": len(kept)}
    return {**facts, "problems": len(kept), "told": [*kept[:_TOLD], *plan.foreign[:_TOLD]]}


def _told(plan: DeletePlan) -> Facts:
    return {
        "url": plan.url,
        "id": plan.id,
        "repository": bool(plan.id),
        "begun": plan.begun,
        "generations": plan.generations,
        "objects": len(plan.objects),
        "bytes": plan.bytes,
        "written_at": plan.written_at.isoformat() if plan.written_at else "",
        "foreign": len(plan.foreign),
        "told": list(plan.foreign[:_TOLD]),
        "blocked": plan.blocked,
    }


def _finish(context: Context, job: Job, facts: Facts) -> None:
    """What was known of a repository that is gone is true no more."""
    at = context.clock.timer()
    with transaction():
        fence.keep(job)
        if facts["deleted"] and job.spec["repository"]:
            told = {"delete": {**facts, "at": at.isoformat()}}
            Repository.update(facts=told).where(Repository.name == job.spec["repository"]).execute()
        finish_job(job, at, result=facts)
